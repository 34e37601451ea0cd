"""A project's table: read with clear errors, edited without touching anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_codegen.catalog import CatalogError
from fal_codegen.project import Project, edit_project, find_project, read_project
from fal_codegen.selection import Selection

KNOWN = ("fal-ai/flux/dev", "fal-ai/flux/schnell", "fal-ai/kokoro/hindi")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pyproject.toml"


def test_without_a_table_it_is_this_distributions_layout(file: Path) -> None:
    file.write_text("[project]\nname = 'x'\n")
    project = find_project()
    assert project == Project()
    assert (project.schemas, project.root) == (Path("generated/schemas"), Path("generated/fal_endpoints"))


def test_a_whole_table(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("""
        [tool.fal-bindings]
        endpoints = ["fal-ai/flux/*"]
        exclude = "fal-ai/flux/schnell"
        out = "src"
        package = "acme.fal"
        schemas = "fal"
        models = "pydantic"
        source = ["https://api.fal.ai/v1", "extra"]
        overrides = "fixes.toml"
        [tool.fal-bindings.apps]
        "acme/upscaler" = "openapi.json"
    """)
    deep = tmp_path / "src" / "acme"
    deep.mkdir(parents=True)
    (deep.parent / "pyproject.toml").write_text("[tool.other]\n")
    monkeypatch.chdir(deep)
    project = find_project()
    assert project.file == file
    assert project.root == tmp_path / "src/acme/fal"
    assert project.schemas == tmp_path / "fal"
    assert project.source == ("https://api.fal.ai/v1", str(tmp_path / "extra"))
    assert project.apps == {"acme/upscaler": str(tmp_path / "openapi.json")}
    assert project.overrides == tmp_path / "fixes.toml"
    assert project.models == "pydantic"
    assert [id_ for id_ in (*KNOWN, "acme/upscaler/x2") if id_ in project.selection] == [
        "fal-ai/flux/dev",
        "acme/upscaler/x2",
    ]
    monkeypatch.chdir(tmp_path)
    assert find_project().root == Path("src/acme/fal")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('endpoint = ["a/b"]', "there is no key 'endpoint'; did you mean 'endpoints'?"),
        ("nonsense = 1", "there is no key 'nonsense'; it takes apps, endpoints, exclude, models, out,"),
        ("endpoints = 7", "endpoints: input should be a valid tuple"),
        ("endpoints = [7]", "endpoints: input should be a valid string"),
        ('models = "attrs"', "models: input should be 'msgspec' or 'pydantic'"),
        ('package = "../evil"', "package: '../evil' cannot be a package's name"),
        ('package = "a.2"', "package: 'a.2' cannot be a package's name"),
        ('package = "class.x"', "package: 'class.x' cannot be a package's name"),
        ("models = 'attrs'\npackage = 'a-b'", "models: input should be"),
        ("endpoints =", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(file: Path, table: str, message: str) -> None:
    file.write_text(f"[tool.fal-bindings]\n{table}\n")
    with pytest.raises(CatalogError) as caught:
        find_project()
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_all_that_is_wrong_is_named_at_once(file: Path) -> None:
    file.write_text("[tool.fal-bindings]\nmodel = 'pydantic'\npackage = 'a-b'\n")
    with pytest.raises(CatalogError, match=r"package: .*; there is no key 'model'"):
        find_project()
    file.write_text("[tool]\nfal-bindings = 1\n")
    with pytest.raises(CatalogError, match="must be a table"):
        find_project()


def test_an_empty_choice_is_no_choice(file: Path) -> None:
    file.write_text("[tool.fal-bindings]\nendpoints = []\n")
    with pytest.raises(CatalogError, match="chooses no endpoint; fal-bindings add"):
        _ = find_project().selection


TEXT = """\
# Our project.
[project]
name = "acme"   # the name
dependencies = [ "fal-bindings" ]

[tool.fal-bindings]
# What we use.
endpoints = [
    "fal-ai/flux/*",  # pictures
]
package = "acme.fal"

[tool.other]
x = {a = 1, b = 2}
"""


def test_editing_keeps_everything_else(file: Path) -> None:
    file.write_text(TEXT)
    text = edit_project(file, add=["fal-ai/kokoro/hindi", "fal-ai/flux/*"], settings={"models": "pydantic"})
    added = '    "fal-ai/flux/*",  # pictures\n    "fal-ai/kokoro/hindi",\n'
    expected = TEXT.replace('    "fal-ai/flux/*",  # pictures\n', added)
    assert text == expected.replace('package = "acme.fal"\n', 'package = "acme.fal"\nmodels = "pydantic"\n')
    assert file.read_text() == TEXT


def test_a_table_of_ones_own_from_nothing(file: Path) -> None:
    text = edit_project(file, add=["fal-ai/flux/*"], settings={"package": "acme.fal"})
    assert text == '[tool.fal-bindings]\npackage = "acme.fal"\nendpoints = [\n    "fal-ai/flux/*",\n]\n'
    project = read_project(file, text)
    assert project is not None
    assert project.endpoints == ("fal-ai/flux/*",)
    assert (project.root, project.schemas) == (Path("acme/fal"), Path("fal-schemas"))
    file.write_text("[tool.ruff]\nline-length = 100\n")
    assert edit_project(file, add=["a/b"]).startswith("[tool.ruff]\nline-length = 100\n")


def test_removing_takes_back_or_excludes(file: Path) -> None:
    file.write_text(TEXT)

    def after(*patterns: str) -> Project:
        project = read_project(file, edit_project(file, remove=patterns, known=KNOWN))
        assert project is not None
        return project

    assert after("fal-ai/flux/*").endpoints == ()
    excluded = after("fal-ai/flux/dev")
    assert (excluded.endpoints, excluded.exclude) == (("fal-ai/flux/*",), ("fal-ai/flux/dev",))
    with pytest.raises(CatalogError, match=r"nothing in .* chooses 'fal-ai/kokoro/hindi'; it has fal-ai/flux"):
        after("fal-ai/kokoro/hindi")
    file.write_text(TEXT.replace('"fal-ai/flux/*",', '"fal-ai/flux/*", "fal-ai/flux/dev",'))
    both = after("fal-ai/flux/dev")
    assert (both.endpoints, both.exclude) == (("fal-ai/flux/*",), ("fal-ai/flux/dev",))
    file.write_text(edit_project(file, remove=["fal-ai/flux/dev"], known=KNOWN))
    back = read_project(file, edit_project(file, add=["fal-ai/flux/dev"]))
    assert back is not None
    assert back.exclude == ()


def test_a_table_that_chooses_all_has_nothing_to_add_to(file: Path) -> None:
    file.write_text('[tool.fal-bindings]\npackage = "acme.fal"\n')
    with pytest.raises(CatalogError, match="which chooses all"):
        edit_project(file, add=["fal-ai/flux/*"])


def test_a_selection() -> None:
    assert Selection().of(KNOWN) == list(KNOWN)
    assert Selection(("fal-ai/*",), ("*/schnell",)).of(KNOWN) == ["fal-ai/flux/dev", "fal-ai/kokoro/hindi"]
    assert Selection(("FAL-AI/*", "fal-ai/kokoro/*")[1:]).of(KNOWN) == ["fal-ai/kokoro/hindi"]
    assert Selection(("b/x", "a/x", "a/x")).ids == ("a/x", "b/x")
    assert Selection(("b/x", "a/x"), ("a/*",)).ids == ("b/x",)
    assert Selection(("b/*",)).ids is None
    assert Selection().ids is None
    with pytest.raises(CatalogError, match=r"no endpoint matches 'fal-ai/fluxx/dev'; did you mean fal-ai/flux/dev"):
        Selection(("fal-ai/fluxx/dev",)).of(KNOWN)
    with pytest.raises(CatalogError, match="a glob looks like"):
        Selection(("zzz",)).of(KNOWN)
