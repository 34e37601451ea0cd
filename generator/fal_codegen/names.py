"""Names: from endpoint ids to modules, from components to classes, from properties to attributes.

All of them are part of what users import, so each is a pure function of its input and never of the interpreter.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from fal_codegen.diagnostics import Diagnostic

__all__ = ["assign_modules", "attribute_name", "check_id", "class_name", "collisions", "distinct", "module_name"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The keywords of Python 3.11 to 3.14. Spelled out, because `keyword.kwlist` depends on the interpreter that runs the
# generator. Changing this list renames modules and attributes: a breaking change.
KEYWORDS = _words(
    "False None True and as assert async await break class continue def del elif else except finally for from global "
    "if import in is lambda nonlocal not or pass raise return try while with yield"
)

# Names that a module's file cannot have on Windows. Changing this list renames modules: a breaking change.
DEVICE_NAMES = frozenset({"con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))})

# Names that the class bodies of a generated module read, and the first parameter of initialisers, so that no attribute
# may have them. Changing this list renames attributes: a breaking change.
BODY_NAMES = _words(
    "Annotated Any ClassVar FileInput FileInputs Literal Meta OneOf Optional TypeAlias Union bool default dict field float "
    "int list self str tuple"
)

# The methods of `fal_runtime.MediaFile`, which no attribute of a file type may hide. Changing this list renames
# attributes: a breaking change.
MEDIA_NAMES = frozenset({"read", "read_async", "save", "save_async", "size", "to_pil", "to_pil_async"})

# The methods of `fal_runtime.InputModel` and `OutputModel`, which no attribute may hide. Changing this list renames
# attributes: a breaking change.
MODEL_NAMES = frozenset({"from_dict", "replace", "to_dict"})

# The attributes of Pydantic's models, which no attribute of a generated one may hide, and what modules with such models
# import besides. Changing these lists renames attributes and classes of such modules: a breaking change.
PYDANTIC_NAMES = _words(
    "construct copy dict from_orm json model_computed_fields model_config model_construct model_copy model_dump "
    "model_dump_json model_extra model_fields model_fields_set model_json_schema model_parametrized_name "
    "model_post_init model_rebuild model_validate model_validate_json model_validate_strings mro parse_file parse_obj "
    "parse_raw register schema schema_json update_forward_refs validate tag"
)
PYDANTIC_CLASSES = _words("Field UniqueItems")

# Names that a generated module defines or imports, so that no component may take them. Changing this list renames
# classes: a breaking change.
CLASS_NAMES = _words(
    "Annotated Any ClassVar Endpoint False FileInput FileInputs Input InputModel Literal MediaFile Meta None OneOf "
    "Optional Output OutputModel Struct True TypeAlias Union UnsetType"
)

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_MODULE = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_LONGEST_ID = 200


def check_id(endpoint_id: str) -> Diagnostic | None:
    """Say what is wrong with an endpoint id; `None` if it can safely name a module and a file."""
    segments = endpoint_id.split("/")
    if len(endpoint_id) > _LONGEST_ID:
        problem = f"it is longer than {_LONGEST_ID} characters"
    elif len(segments) < 2:
        problem = "it has no owner"
    elif ".." in endpoint_id or not all(_SEGMENT.fullmatch(segment) and segment.strip("_") for segment in segments):
        problem = "only letters, digits, '.', '_' and '-' may stand between its slashes"
    else:
        return None
    return Diagnostic(
        code="bad-id",
        endpoint_id=endpoint_id,
        pointer="/endpoint_id",
        message=f"{endpoint_id[:_LONGEST_ID]!r} is not an endpoint id: {problem}",
        remedy="correct the id in the catalogue; ids look like owner/name or owner/name/variant",
        fatal=True,
    )


def module_name(endpoint_id: str) -> str:
    """Name the module of an endpoint, inside the package of all of them: `fal-ai/flux/dev` is `fal_ai.flux_dev`.

    Raises:
        ValueError: if `check_id` finds fault with the id.
    """
    if (problem := check_id(endpoint_id)) is not None:
        raise ValueError(problem.message)
    owner, _, rest = endpoint_id.partition("/")
    return f"{_module_part(owner, 'owner')}.{_module_part(rest, 'model')}"


def _module_part(text: str, prefix: str) -> str:
    name = re.sub(r"[^a-z0-9_]", "_", text.lower()).lstrip("_")
    if name[0].isdigit():
        return f"{prefix}_{name}"
    return f"{name}_" if name in KEYWORDS or name in DEVICE_NAMES else name


def assign_modules(ids: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """Give each endpoint its module, so that no name changes by accident.

    An id that is in `known` keeps its name. Of the others, those that come to one name, or to one that a known id has,
    all get a suffix made from their id; `collisions` names them. The result does not depend on the order of `ids`.

    Args:
        ids: The endpoint ids. Those that `check_id` refuses are left out.
        known: The names of earlier runs, for these and for other ids.
    """
    assigned: dict[str, str] = {}
    taken: set[str] = set()
    for endpoint_id, name in sorted(known.items()):
        if _MODULE.fullmatch(name) and name not in taken:
            taken.add(name)
            assigned[endpoint_id] = name
    wanted = sorted({endpoint_id for endpoint_id in ids if check_id(endpoint_id) is None})
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for endpoint_id in wanted:
        if endpoint_id not in assigned:
            groups[module_name(endpoint_id)].append(endpoint_id)
    for name, group in groups.items():
        alone = len(group) == 1 and name not in taken
        for endpoint_id in group:
            assigned[endpoint_id] = name if alone else _suffixed(name, endpoint_id, taken.union(groups))
            taken.add(assigned[endpoint_id])
    return {endpoint_id: assigned[endpoint_id] for endpoint_id in wanted}


def _suffixed(name: str, endpoint_id: str, taken: set[str]) -> str:
    digest = hashlib.sha256(endpoint_id.encode()).hexdigest()
    return next(candidate for n in range(6, 65) if (candidate := f"{name}_{digest[:n]}") not in taken)


def collisions(assigned: Mapping[str, str]) -> tuple[Diagnostic, ...]:
    """Name the endpoints whose module is not called what the id alone would give."""
    return tuple(
        Diagnostic(
            code="module-renamed",
            endpoint_id=endpoint_id,
            pointer="/endpoint_id",
            message=f"another endpoint has the name {module_name(endpoint_id)}, so this module is called {module}",
            remedy="nothing to do: the lock keeps the name",
        )
        for endpoint_id, module in sorted(assigned.items())
        if module != module_name(endpoint_id)
    )


def class_name(component: str) -> str:
    """Make a class name of a component's: valid, not reserved, and itself if it is already one.

    What stands before a double underscore is the Python module that the component came from, and is left out.
    """
    tail = component.rpartition("__")[2]
    name = _camel(tail) or _camel(component) or "Model"
    if name[0].isdigit():
        name = f"Model{name}"
    return f"{name}Type" if name in CLASS_NAMES else name


def _camel(text: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", text)
    return "".join(word[0].upper() + word[1:] for word in words)


def attribute_name(wire: str, reserved: frozenset[str] = frozenset()) -> str:
    """Make an attribute name of a property's: itself if it can be one.

    Args:
        wire: The property's name in the document.
        reserved: More names that it must not have.
    """
    plain = wire.isascii() and wire.isidentifier() and wire[0] != "_"
    name = wire if plain else re.sub(r"[^A-Za-z0-9_]", "_", wire).strip("_")
    if not name or name[0].isdigit():
        name = f"field_{name}".rstrip("_")
    return f"{name}_" if name in KEYWORDS | BODY_NAMES | MODEL_NAMES | reserved else name


def distinct(name: str, taken: Iterable[str]) -> str:
    """`name`, or if it is taken, the first of `name2`, `name3`, ... that is free."""
    names = frozenset(taken)
    return next(
        candidate for n in range(1, len(names) + 2) if (candidate := name if n == 1 else f"{name}{n}") not in names
    )
