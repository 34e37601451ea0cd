"""A user's own project: the table `[tool.fal-bindings]` of its pyproject.toml, read and edited.

[tool.fal-bindings]
endpoints = ["fal-ai/flux/*", "fal-ai/kokoro/hindi"]
exclude = ["fal-ai/flux/schnell"]
out = "src"
package = "acme.fal"
schemas = "fal-schemas"
models = "msgspec"
source = "https://api.fal.ai/v1"
overrides = "fal-overrides.toml"

[tool.fal-bindings.apps]
"acme/upscaler" = "https://apps.example.com/openapi.json"
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from fal_codegen.catalog import CatalogError
from fal_codegen.names import KEYWORDS
from fal_codegen.prepare import ModelKind
from fal_codegen.selection import Selection
from fal_runtime.values import mapping

__all__ = ["Project", "edit_project", "find_project", "read_project"]

_TABLE = "[tool.fal-bindings]"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _importable(name: str) -> str:
    parts = name.split(".")
    if all(part.isascii() and part.isidentifier() and part not in KEYWORDS for part in parts):
        return name
    advice = "use letters, digits and '_', such as acme.fal"
    raise PydanticCustomError("package", "{name} cannot be a package's name; " + advice, {"name": repr(name)})


_Strings = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Project(BaseModel):
    """What the commands work on. Without a pyproject that says otherwise, this distribution's own layout."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Path | None = Field(default=None, exclude=True)
    """The pyproject.toml that has the table; paths are relative to its folder."""

    endpoints: _Strings | None = None
    """Globs over endpoint ids. Default: all."""
    exclude: _Strings = ()
    """Globs of what is left out again."""
    out: Path = Path("generated")
    """The folder that holds the package."""
    package: Annotated[str, AfterValidator(_importable)] = "fal_endpoints"
    """The package's import name, which may have dots."""
    schemas: Path = Path("generated/schemas")
    """The folder of schema documents and their lock."""
    models: ModelKind = "msgspec"
    """What the types are."""
    source: _Strings = ()
    """Where the catalogue is: Platform APIs, folders, files. Default: the platform."""
    apps: dict[str, str] = {}
    """OpenAPI documents of apps that are in no catalogue, by the app's id."""
    overrides: Path | None = None
    """Corrections of schemas."""

    @property
    def selection(self) -> Selection:
        """The chosen endpoints.

        Raises:
            CatalogError: if none is.
        """
        if self.endpoints == () and not self.apps:
            raise CatalogError(f"{self.file}: {_TABLE} chooses no endpoint; fal-bindings add 'fal-ai/flux/*' does")
        return Selection(self.endpoints or (), self.exclude, tuple(self.apps))

    @property
    def root(self) -> Path:
        """The folder of the package."""
        return self.out.joinpath(*self.package.split("."))

    def changed(self, **options: Any) -> Project:
        """The same with what a command line said instead; `None` says nothing.

        Raises:
            CatalogError: for a value that cannot be.
        """
        given = {name: value for name, value in options.items() if value is not None}
        return _checked({**dict(self), **given}, "the command line") if given else self


# What a table may leave out, but a project of one's own never means: the layout of this distribution.
_OWN: Mapping[str, Any] = {"out": ".", "package": "fal_models", "schemas": "fal-schemas"}


def find_project(start: Path | None = None) -> Project:
    """Read the table of the nearest pyproject.toml that has one, from a folder upwards.

    Args:
        start: The folder. Default: the current one.

    Raises:
        CatalogError: if the table is wrong. The message names the key and what it should be.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        if file.is_file() and (project := read_project(file)) is not None:
            return project
    return Project()


def read_project(file: Path, text: str | None = None) -> Project | None:
    """Read the table of one file, or of a text that may take its place; `None` if it has none.

    Raises:
        CatalogError: as `find_project` does.
    """
    try:
        data: Any = tomllib.loads(file.read_text(encoding="utf-8") if text is None else text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"{file}: not valid TOML: {error}") from error
    table: Any = mapping(data.get("tool")).get("fal-bindings")
    if table is None:
        return None
    if not isinstance(table, dict):
        raise CatalogError(f"{file}: {_TABLE} must be a table")
    project = _checked({**_OWN, **mapping(table), "file": file}, f"{file}, {_TABLE}")
    base = file.parent
    paths = {
        "out": _below(base, project.out),
        "schemas": _below(base, project.schemas),
        "overrides": project.overrides and _below(base, project.overrides),
        "source": tuple(_located(base, where) for where in project.source),
        "apps": {app: _located(base, where) for app, where in project.apps.items()},
    }
    return project.model_copy(update=paths)


def _checked(table: Mapping[str, Any], where: str) -> Project:
    try:
        return Project.model_validate(table)
    except ValidationError as error:
        raise CatalogError(f"{where}: {'; '.join(map(_problem, error.errors()))}") from error


def _problem(error: Mapping[str, Any]) -> str:
    key = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        known = sorted(Project.model_fields.keys() - {"file"})
        near = difflib.get_close_matches(key, known, n=1)
        return f"there is no key {key!r}; " + (f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}")
    message = str(error["msg"])
    return f"{key}: {message[0].lower()}{message[1:]}"


def _below(base: Path, path: Path) -> Path:
    """A path of the table, as short as it can be said from the current folder."""
    whole = base / path
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole


def _located(base: Path, where: str) -> str:
    return where if "://" in where else str(_below(base, Path(where)))


def edit_project(
    file: Path,
    *,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    known: Iterable[str] = (),
    settings: Mapping[str, str] | None = None,
) -> str:
    """Change the table of a pyproject.toml; return the file's new text, which is not written.

    Everything else in the file stays as it is, comments and layout included.

    Args:
        file: The file. If it is not there, or has no table, there will be one.
        add: Patterns to choose.
        remove: Patterns to choose no more: one that was chosen by these words is taken back; what a wider pattern
            chooses is excluded.
        known: The ids that there are, to see what a wider pattern chooses.
        settings: Keys to set.

    Raises:
        CatalogError: for a pattern to remove that nothing chooses, or one to add where all are chosen already.
    """
    import tomlkit

    document: Any = tomlkit.parse(file.read_text(encoding="utf-8")) if file.exists() else tomlkit.document()
    tool = document.setdefault("tool", tomlkit.table(is_super_table=True))
    if "fal-bindings" in tool and "endpoints" not in tool["fal-bindings"]:
        raise CatalogError(f"{file}: {_TABLE} has no `endpoints`, which chooses all; write some there first")
    table = tool.setdefault("fal-bindings", tomlkit.table())
    known = list(known)
    for key, value in (settings or {}).items():
        table[key] = value
    for pattern in add:
        endpoints = _array(table, "endpoints")
        if pattern not in endpoints:
            endpoints.append(pattern)
        if pattern in table.get("exclude", []):
            _array(table, "exclude").remove(pattern)
    for pattern in remove:
        endpoints = _array(table, "endpoints")
        named = pattern in endpoints
        if named:
            endpoints.remove(pattern)
        chosen = Selection(tuple(endpoints) or ("",), tuple(table.get("exclude", [])))
        wider = any(id_ in chosen for id_ in (*known, pattern) if id_ in Selection((pattern,)))
        if wider:
            _array(table, "exclude").append(pattern)
        elif not named:
            raise CatalogError(f"{file}: nothing in {_TABLE} chooses {pattern!r}; it has {', '.join(endpoints)}")
    return str(tomlkit.dumps(document))


def _array(table: Any, name: str) -> Any:
    """A list of the table, one item a line."""
    import tomlkit

    found = table.get(name)
    if not isinstance(found, list):
        items = [] if found is None else [found]
        table[name] = tomlkit.array()
        table[name].extend(items)
    table[name].multiline(True)
    return table[name]
