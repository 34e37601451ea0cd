"""From one catalogue entry to the description of a module: what every later stage reads instead of the document.

The documents call themselves OpenAPI 3.0 and hold JSON Schema 2020-12, in several dialects. What comes out is one small
dialect, `Schema`; whatever a document says beyond it, or against itself, is repaired, and each repair that changes what a
type accepts is a diagnostic.

Components are local to their endpoint: `fal_ai.flux_dev.Image` and `fal_ai.flux_schnell.Image` are two classes, although
they look alike. In the catalogue of 2026-01, the components that nearly all endpoints of an owner share are the ones
that come in several shapes under one name (fal-ai: `File` in 3, `Image` in 4, `LoraWeight` in 6), and an endpoint goes
over from one shape to another when it is updated. A shared class would then be another one from one pull to the next,
and `isinstance` with it. What is stable, and what `isinstance` may be asked for, are the bases: `fal_runtime.MediaFile`
for a file that was produced, `InputModel` and `OutputModel`; and within one endpoint, its own classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypeGuard

from fal_codegen import names
from fal_codegen.diagnostics import Diagnostic
from fal_codegen.dialect import (
    APPLICABLE,
    CONSTRAINTS,
    Members,
    Schema,
    checkable,
    conforms,
    exclusive,
    inner,
    is_list,
    is_literal,
    is_mapping,
    json_type,
    relabelled,
    replaced,
    satisfiable,
    text_of,
    union,
    without_null,
)
from fal_runtime.values import mapping, sequence

__all__ = ["Class", "Field", "ModelKind", "Prepared", "Side", "prepare"]

Side: TypeAlias = Literal["input", "output"]

ModelKind: TypeAlias = Literal["msgspec", "pydantic"]
"""What the types are written as."""


@dataclass(frozen=True, slots=True)
class Field:
    """One property of an object."""

    wire: str
    """The property's name in JSON."""
    name: str
    """The attribute's name: the same, unless Python does not allow it."""
    schema: Schema
    """Its type, without null."""
    nullable: bool
    required: bool
    """Whether it must be given."""
    default: Any = None
    """If it need not be given: the document's default, which fits the schema, or null."""
    description: str = ""
    """The document's own text."""
    example: Any = None
    """The document's first example, if it fits the schema."""
    doc: str = ""
    """What a reader sees (see `docs`)."""
    summary: str = ""
    """The same in one line."""


@dataclass(frozen=True, slots=True)
class Class:
    """One object type."""

    name: str
    side: Side
    fields: tuple[Field, ...]
    component: str = ""
    """The component's name in the document."""
    media: bool = False
    """Whether it is a file that was produced."""
    description: str = ""
    """The document's own text."""
    doc: str = ""
    """What a reader sees (see `docs`)."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One endpoint, ready to be written down."""

    endpoint_id: str
    title: str
    category: str
    description: str
    classes: tuple[Class, ...]
    """In the order in which the roots reach them, the roots last."""
    aliases: tuple[tuple[str, Schema], ...]
    """`Input` and `Output`, where they are not classes."""
    diagnostics: tuple[Diagnostic, ...]
    streams: bool = False
    """Whether the platform says that it streams."""
    deprecated: bool = False
    """Whether the platform says that it will go."""
    doc: str = ""
    """The module's text (see `docs`)."""


def prepare(
    endpoint_id: str, metadata: Mapping[str, Any], openapi: Mapping[str, Any], models: ModelKind = "msgspec"
) -> Prepared | Diagnostic:
    """Describe the module of one catalogue entry.

    Args:
        endpoint_id: The platform's id.
        metadata: What the catalogue says about the endpoint.
        openapi: Its document. It is not changed.
        models: What its types will be, which decides what names are free.

    Returns:
        The description, with a diagnostic for each repair; or, if nothing can be made of the document, why.
    """
    if (problem := names.check_id(endpoint_id)) is not None:
        return problem
    try:
        input_, output = _roots(endpoint_id, openapi)
        components = mapping(mapping(openapi.get("components")).get("schemas"))
        return _Document(endpoint_id, components, models).prepared(metadata, input_, output)
    except _UnusableError as error:
        return error.diagnostic
    except RecursionError:
        return _unusable(
            "too-deep", endpoint_id, "/openapi", "the document is nested too deeply", _LEAVE_OUT
        ).diagnostic


# --- Finding the roots ------------------------------------------------------------------------------------------------


class _UnusableError(Exception):
    """Nothing can be made of the document."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic)
        self.diagnostic = diagnostic


def _unusable(code: str, endpoint_id: str, pointer: str, message: str, remedy: str) -> _UnusableError:
    return _UnusableError(Diagnostic(code, endpoint_id, pointer, message, remedy, fatal=True))


_PULL_AGAIN = "pull it again; if it stays, report it to the platform"
_LEAVE_OUT = "leave the endpoint out, or correct its document"


def _roots(endpoint_id: str, openapi: Any) -> tuple[_Place, _Place]:
    """Find what the endpoint takes and what it gives."""
    if not is_mapping(openapi):
        raise _unusable("bad-document", endpoint_id, "/openapi", "the document is not an object", _PULL_AGAIN)
    if "error" in openapi:
        why = json.dumps(openapi["error"], default=str)[:200]
        raise _unusable("no-schema", endpoint_id, "/openapi/error", f"the platform gave an error: {why}", _PULL_AGAIN)
    paths = openapi.get("paths")
    if not is_mapping(paths) or not paths:
        raise _unusable("no-paths", endpoint_id, "/openapi/paths", "the document has no paths", _PULL_AGAIN)
    posts = [path for path, item in paths.items() if is_mapping(item) and is_mapping(item.get("post"))]
    path = f"/{endpoint_id}" if f"/{endpoint_id}" in posts else posts[0] if len(posts) == 1 else None
    if path is None:
        found = "no path has a POST operation" if not posts else f"none of its POST operations is at /{endpoint_id}"
        raise _unusable("no-post", endpoint_id, "/openapi/paths", found, _LEAVE_OUT)
    post = paths[path]["post"]
    base = _join("/openapi/paths", path, "post")
    input_ = _content(post, base, "requestBody")
    # The queue's documents give the output at the address of the result; an app's own document, in the answer itself.
    result = next((p for p in paths if p.endswith("/requests/{request_id}")), None)
    if result is not None and is_mapping(get := mapping(paths[result]).get("get")):
        return input_, _content(get, _join("/openapi/paths", result, "get"), "responses", "200")
    return input_, _content(post, base, "responses", "200")


@dataclass(frozen=True, slots=True)
class _Place:
    """A schema and where it stands; `None` if there is none."""

    schema: Any
    pointer: str


def _content(operation: Any, base: str, *keys: str) -> _Place:
    steps = (*keys, "content", "application/json", "schema")
    node = operation
    for step in steps:
        node = mapping(node).get(step)
    return _Place(node, _join(base, *steps))


# --- The document -----------------------------------------------------------------------------------------------------

_CORRECT = "nothing to do, or correct the document"
_REF = "#/components/schemas/"
_ORDER = "x-fal-order-properties"
_SCALARS = frozenset({"string", "integer", "number", "boolean", "null"})
_BRANCHES = ("anyOf", "oneOf")
_IGNORED = frozenset({"not", "if", "patternProperties", "propertyNames", "contains", "dependentSchemas"})
_STEPS = frozenset({"properties", "items", "prefixItems", "additionalProperties", "allOf", *_BRANCHES})

# Far above what real documents have (5 levels, 2,000 schemas); a bound on the work that a hostile one can ask for.
_DEEPEST = 32
_LONGEST_CHAIN = 64
_MOST_SCHEMAS = 50_000

# What makes an object with a `url` a file, and not a web page.
_FILE_FACTS = frozenset({"content_type", "file_name", "file_size", "file_data", "width", "height", "duration"})

# The platform's hints to its playground on fields that take a file.
_FILE_HINTS = frozenset({"archive", "audio", "file", "image", "image_mask", "mask", "model", "video"})

_FILE_NAME = re.compile(r"(?:\w+_)?urls?|\w+_urls?_\w+|\w+Urls?")

NOT_FILES: Final[Mapping[str, str]] = {
    "base_url": "the address of a service",
    "callback_url": "called by the platform, not read",
    "lora_url": "the address of a server of weights, not of one file",
    "page_url": "a web page",
    "repo_url": "a repository, not one file",
    "webhook_url": "called by the platform, not read",
    "website_url": "a web page",
}
"""Input fields that are named like files and take another kind of address, with the reason."""

# What msgspec refuses in a field's name, and UTF-8 in any string.
_UNUSABLE_NAME = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')

_Key: TypeAlias = tuple[str, Side]


@dataclass(slots=True)
class _RawField:
    """A field before its unions and its default are settled."""

    wire: str
    pointer: str
    schema: Schema
    required: bool
    node: Mapping[str, Any]


@dataclass(slots=True)
class _RawClass:
    fields: list[_RawField]
    media: bool
    description: str


@dataclass(slots=True)
class _Document:
    """One document on its way through the repairs. Classes are named by component and side until the very end."""

    endpoint_id: str
    components: Mapping[str, Any]
    models: ModelKind = "msgspec"
    hoisted: dict[str, str] = field(default_factory=dict[str, str])
    """Pointers of objects that are described in place, and the names that they got."""
    classes: dict[_Key, _RawClass] = field(default_factory=dict["_Key", "_RawClass"])
    waiting: list[tuple[_Key, _Place]] = field(default_factory=list[tuple["_Key", _Place]])
    levels: dict[_Key, int] = field(default_factory=dict["_Key", int])
    """How many classes away from a root the classes are."""
    level: int = 0
    """The level of the class that is being read."""
    diagnostics: dict[Diagnostic, None] = field(default_factory=dict[Diagnostic, None])
    schemas: int = 0

    def note(self, code: str, pointer: str, message: str, remedy: str = _CORRECT) -> None:
        """Report a repair, once."""
        self.diagnostics[Diagnostic(code, self.endpoint_id, pointer, message, remedy)] = None

    def prepared(self, metadata: Mapping[str, Any], input_: _Place, output: _Place) -> Prepared:
        """Take the document through all repairs."""
        roots = {"Input": self._input(input_), "Output": self._output(output)}
        while self.waiting:
            key, place = self.waiting.pop(0)
            self.level = self.levels[key]
            self._read_fields(key, place)
        for (_, side), raw in self.classes.items():
            for raw_field in raw.fields:
                raw_field.schema = self._decodable(raw_field.schema, raw_field.pointer, side)
        places = {"Input": input_.pointer, "Output": output.pointer}
        roots = {name: self._decodable(schema, places[name], "output") for name, schema in roots.items()}
        order = self._reached(*roots.values())
        labels = self._labels(order, roots)
        classes = [self._finished(key, labels, nested=roots["Input"].get("class") != key) for key in order]
        return Prepared(
            endpoint_id=self.endpoint_id,
            title=text_of(metadata.get("display_name")) or self.endpoint_id,
            category=text_of(metadata.get("category")),
            description=text_of(metadata.get("description")),
            classes=tuple(sorted(classes, key=lambda item: item.name in roots)),
            aliases=tuple(
                (name, relabelled(schema, labels)) for name, schema in roots.items() if "class" not in schema
            ),
            diagnostics=tuple(self.diagnostics),
            deprecated=metadata.get("status") == "deprecated",
            streams=bool(metadata.get("stream_url")) or self.endpoint_id.endswith("/stream"),
        )

    def _input(self, place: _Place) -> Schema:
        target = _target(place.schema)
        schema: Schema = {}
        if place.schema is None:
            problem = "the operation has no schema of its input"
        elif target is not None and target not in self.components:
            problem = f"component {target[:80]!r} is missing"
        else:
            problem = "the schema of the input is empty"
            schema = self._schema(place.schema, place.pointer, "input")
        if not schema:
            self.note("missing-input", place.pointer, f"{problem}, so the input is an open dict", _PULL_AGAIN)
            return {"map": {}}
        if "class" not in schema and "map" not in schema:
            message = "the input is not an object, so it has no named fields"
            raise _unusable("input-not-object", self.endpoint_id, place.pointer, message, _LEAVE_OUT)
        return schema

    def _output(self, place: _Place) -> Schema:
        schema = {} if place.schema is None else self._schema(place.schema, place.pointer, "output")
        if not schema:
            self.note("empty-output", place.pointer, "the output has no schema, so it is Any", _PULL_AGAIN)
        return schema

    # --- Reading schemas

    def _schema(self, node: Any, pointer: str, side: Side, trail: tuple[str, ...] = (), depth: int = 0) -> Schema:
        """Read a schema into the small dialect. `trail` are the components that are being inlined."""
        self._count(pointer)
        if node is True or node == {}:
            return {}
        if not is_mapping(node):
            self.note("bad-schema", pointer, f"a schema must be an object, not {node!r:.60}, so this is Any")
            return {}
        if depth > _DEEPEST:
            self.note("too-deep", pointer, f"it is nested more than {_DEEPEST} levels deep, so the rest is Any")
            return {}
        for keyword in sorted(_IGNORED.intersection(node)):
            self.note("ignored-keyword", pointer, f"no Python type says {keyword!r}, so the platform checks it alone")
        schema = self._kind(node, pointer, side, trail, depth)
        return union([schema, {"type": "null"}]) if node.get("nullable") is True else schema

    def _count(self, pointer: str) -> None:
        self.schemas += 1
        if self.schemas > _MOST_SCHEMAS:
            message = f"the document unfolds into more than {_MOST_SCHEMAS} schemas"
            raise _unusable("too-large", self.endpoint_id, pointer, message, _LEAVE_OUT)

    def _kind(self, node: Mapping[str, Any], pointer: str, side: Side, trail: tuple[str, ...], depth: int) -> Schema:
        if "$ref" in node:
            return self._reference(node, pointer, side, trail, depth)
        if "const" in node or "enum" in node:
            return self._enum(node, pointer, side, trail, depth)
        if "allOf" in node:
            return self._all_of(node, pointer, side, trail, depth)
        for keyword in _BRANCHES:
            if branches := sequence(node.get(keyword)):
                shared = {key: value for key, value in node.items() if key in CONSTRAINTS}
                return union(
                    self._schema(
                        {**shared, **branch} if shared and is_mapping(branch) and branch else branch,
                        _join(pointer, keyword, str(index)),
                        side,
                        trail,
                        depth + 1,
                    )
                    for index, branch in enumerate(branches)
                )
        kind = node.get("type")
        if kinds := sequence(kind):
            each = ({**node, "type": kind, "nullable": False} for kind in kinds)
            return union(self._schema(one, pointer, side, trail, depth + 1) for one in each)
        if kind == "object" or (kind is None and ("properties" in node or "additionalProperties" in node)):
            return self._object(node, pointer, side, trail, depth)
        if kind == "array" or (kind is None and ("items" in node or "prefixItems" in node)):
            return self._array(node, pointer, side, trail, depth)
        if isinstance(kind, str) and kind in _SCALARS:
            return {"type": kind, **self._constraints(node, kind, pointer)}
        if kind is not None:
            self.note("bad-schema", pointer, f"there is no type {kind!r:.60}, so this is Any")
        return {}

    def _reference(
        self, reference: Mapping[str, Any], pointer: str, side: Side, trail: tuple[str, ...], depth: int
    ) -> Schema:
        name = _target(reference)
        if name is None or name not in self.components:
            ref = str(reference["$ref"])[:100]
            self.note("dangling-ref", pointer, f"$ref {ref!r} leads nowhere, so this is Any", _PULL_AGAIN)
            return {}
        place = _join("/openapi/components/schemas", name)
        node = self._merged(self.components[name], (name,))
        if _has_properties(node):
            return self._class(name, _Place(node, place), side)
        if name in trail:
            self.note("endless-ref", pointer, f"component {name[:80]!r} is made of itself, so this is Any")
            return {}
        return self._schema(node, place, side, (*trail, name), depth + 1)

    def _merged(self, node: Any, trail: tuple[str, ...] = ()) -> Any:
        """Put together the parts of an `allOf` of objects; any other node stays as it is."""
        self._count("/openapi/components")
        if not is_mapping(node) or not (parts := sequence(node.get("allOf"))):
            return node
        properties = dict(mapping(node.get("properties")))
        required = [*sequence(node.get("required"))]
        order = [*sequence(node.get(_ORDER))]
        for part in parts:
            name = _target(part)
            if name is not None and name in trail:
                return node
            if name is not None:
                part = self._merged(self.components.get(name), (*trail, name))
            else:
                part = self._merged(part, trail)
            if not _has_properties(part):
                return node
            properties = {**part["properties"], **properties}
            required += sequence(part.get("required"))
            order += sequence(part.get(_ORDER))
        kept = {key: value for key, value in node.items() if key != "allOf"}
        return {**kept, "type": "object", "properties": properties, "required": required, _ORDER: order}

    def _all_of(self, node: Mapping[str, Any], pointer: str, side: Side, trail: tuple[str, ...], depth: int) -> Schema:
        parts = sequence(node["allOf"])
        if len(parts) == 1 and "properties" not in node:
            return self._schema(parts[0], _join(pointer, "allOf", "0"), side, trail, depth + 1)
        merged = self._merged(node)
        if _has_properties(merged):
            return self._object(merged, pointer, side, trail, depth)
        self.note("bad-schema", pointer, "the parts of its allOf cannot be put together, so this is Any")
        return {}

    def _enum(self, node: Mapping[str, Any], pointer: str, side: Side, trail: tuple[str, ...], depth: int) -> Schema:
        values = [node["const"]] if "const" in node else sequence(node["enum"])
        if values and all(value is None or is_literal(value) for value in values):
            branches = [branch for keyword in _BRANCHES for branch in sequence(node.get(keyword))]
            null = None in values or any(mapping(branch).get("type") == "null" for branch in branches)
            literals = [value for value in dict.fromkeys(values) if value is not None]
            return union([{"enum": literals}] * bool(literals) + [{"type": "null"}] * null)
        self.note("bad-enum", pointer, "only strings and integers can be listed as values, so the type allows others")
        rest = {key: value for key, value in node.items() if key not in ("const", "enum", "nullable")}
        kinds = sorted({json_type(value) for value in values})
        return self._schema({"type": kinds, **rest} if kinds else rest, pointer, side, trail, depth + 1)

    def _object(self, node: Mapping[str, Any], pointer: str, side: Side, trail: tuple[str, ...], depth: int) -> Schema:
        if _has_properties(node):
            return self._class(self._hoist(pointer), _Place(node, pointer), side)
        values = node.get("additionalProperties")
        if not is_mapping(values):
            return {"map": {}}
        return {"map": self._schema(values, _join(pointer, "additionalProperties"), side, trail, depth + 1)}

    def _hoist(self, pointer: str) -> str:
        """Name an object that is described in place, after where it stands."""
        if pointer not in self.hoisted:
            path = pointer.removeprefix("/openapi/components/schemas/").rpartition("/schema/")[2].split("/")
            steps = [step for step in path if step not in _STEPS and not step.isdigit()]
            name = "".join(names.class_name(step) for step in steps[-2:])
            self.hoisted[pointer] = names.distinct(name, {*self.components, *self.hoisted.values()})
        return self.hoisted[pointer]

    def _array(self, node: Mapping[str, Any], pointer: str, side: Side, trail: tuple[str, ...], depth: int) -> Schema:
        # A list of schemas is `prefixItems` in the older dialects.
        keyword = "prefixItems" if "prefixItems" in node else "items"
        if positions := sequence(node.get(keyword)):
            places = enumerate(positions)
            parts = [self._schema(n, _join(pointer, keyword, str(i)), side, trail, depth + 1) for i, n in places]
            return {"tuple": parts}
        items = node.get("items", {})
        item = {} if is_list(items) else self._schema(items, _join(pointer, "items"), side, trail, depth + 1)
        return {"type": "array", "items": item, **self._constraints(node, "array", pointer)}

    def _constraints(self, node: Mapping[str, Any], kind: str, pointer: str) -> dict[str, Any]:
        asked = APPLICABLE.get(kind, frozenset[str]()).intersection(node)
        if not asked:
            return {}
        wanted = exclusive({key: node[key] for key in sorted(asked)})
        checked = {key: checkable(key, value, whole=kind == "integer") for key, value in wanted.items()}
        if lost := [key for key, value in checked.items() if value is None]:
            what = ", ".join(lost)
            self.note("dropped-constraint", pointer, f"nothing can check {what}, so the platform checks it alone")
        kept = {key: value for key, value in checked.items() if value is not None}
        if not satisfiable(kept):
            self.note("impossible-bounds", pointer, "no value satisfies its bounds, so they are left out")
            return {}
        return kept

    # --- Reading objects

    def _class(self, name: str, place: _Place, side: Side) -> Schema:
        """Refer to an object type, which is read later."""
        if (name, side) not in self.classes:
            if self.level >= _LONGEST_CHAIN:
                message = f"it is more than {_LONGEST_CHAIN} objects inside of each other, so the rest is Any"
                self.note("too-deep", place.pointer, message)
                return {}
            self.levels[name, side] = self.level + 1
            media = side == "output" and _is_file(place.schema)
            self.classes[name, side] = _RawClass([], media, text_of(place.schema.get("description")))
            self.waiting.append(((name, side), place))
        return {"class": (name, side)}

    def _read_fields(self, key: _Key, place: _Place) -> None:
        properties: Mapping[str, Any] = place.schema["properties"]
        required = {item for item in sequence(place.schema.get("required")) if isinstance(item, str)}
        listed = [item for item in sequence(place.schema.get(_ORDER)) if isinstance(item, str) and item in properties]
        # JSON objects have no order: what the document does not order is ordered by what it needs, then by name.
        for wire in dict.fromkeys([*listed, *sorted(properties, key=lambda name: (name not in required, name))]):
            pointer = _join(place.pointer, "properties", wire)
            if _UNUSABLE_NAME.search(wire):
                self.note("unusable-name", pointer, "msgspec has no fields with such a name, so it is left out")
                continue
            node = mapping(properties[wire])
            schema = self._schema(properties[wire], pointer, key[1])
            if "default" in node and wire in required:
                message = "it is required and has a default, so it is optional"
                self.note("required-default", pointer, message)
            is_required = wire in required and "default" not in node
            self.classes[key].fields.append(_RawField(wire, pointer, schema, is_required, node))

    # --- Repairs that need all classes

    def _decodable(self, schema: Schema, pointer: str, side: Side) -> Schema:
        """Make every union one that msgspec can decode: one object type, unless they are tagged, and one array type.

        In an input, another union stays, for the runtime checks it; an output must be decoded, whatever it holds.
        """
        if "items" in schema:
            return {**schema, "items": self._decodable(schema["items"], pointer, side)}
        if "map" in schema:
            return {"map": self._decodable(schema["map"], pointer, side)}
        if "tuple" in schema:
            return {"tuple": [self._decodable(part, pointer, side) for part in schema["tuple"]]}
        if "union" not in schema:
            return schema
        branches: list[Schema] = [self._decodable(branch, pointer, side) for branch in schema["union"]]
        objects = [branch for branch in branches if "class" in branch or "map" in branch]
        arrays = [branch for branch in branches if "items" in branch or "tuple" in branch]
        if len(objects) > 1 and not self._tagged(objects):
            merged: Schema = {"map": {}}
            if all("class" in branch and self._shape(branch) == self._shape(objects[0]) for branch in objects):
                merged = objects[0]
                self.note("merged-union", pointer, f"its {len(objects)} object types are alike, so it is the first")
            elif side == "input":
                return self._one_of(branches)
            else:
                message = f"nothing tells its {len(objects)} object types apart, so it is an open dict"
                self.note("undecodable-union", pointer, message)
            branches = replaced(branches, objects, merged)
        if side == "input" and (len(arrays) > 1 or _overlap(branches)):
            return self._one_of(branches)
        if len(arrays) > 1:
            message = f"msgspec cannot tell its {len(arrays)} array types apart, so it is a list of anything"
            self.note("undecodable-union", pointer, message)
            branches = replaced(branches, arrays, {"type": "array", "items": {}})
        return union(branches)

    def _one_of(self, branches: list[Schema]) -> Schema:
        """A union that msgspec cannot decode, with null apart."""
        null: Schema = {"type": "null"}
        rest = [branch for branch in branches if branch != null]
        return union([{"one_of": rest}, *([null] if null in branches else [])])

    def _tagged(self, objects: list[Schema]) -> bool:
        """Whether one constant field has another value in each of these types."""
        if not all("class" in branch for branch in objects):
            return False
        constants = [
            {
                item.wire: item.schema["enum"][0]
                for item in self.classes[branch["class"]].fields
                if len(item.schema.get("enum", ())) == 1 and names.attribute_name(item.wire) == item.wire
            }
            for branch in objects
        ]
        return any(
            len({constant.get(wire) for constant in constants}) == len(objects)
            and all(isinstance(constant.get(wire), str) for constant in constants)
            for wire in constants[0]
        )

    def _shape(self, branch: Schema) -> list[tuple[str, Schema, bool, str]]:
        return [
            (item.wire, item.schema, item.required, json.dumps(item.node.get("default"), sort_keys=True))
            for item in self.classes[branch["class"]].fields
        ]

    def _reached(self, *schemas: Schema) -> list[_Key]:
        """The classes that these schemas need, nearest first."""
        found: dict[_Key, None] = {}
        waiting = [key for schema in schemas for key in _class_keys(schema)]
        while waiting:
            key = waiting.pop(0)
            if key not in found:
                found[key] = None
                waiting += [inner for item in self.classes[key].fields for inner in _class_keys(item.schema)]
        return list(found)

    def _labels(self, order: list[_Key], roots: Mapping[str, Schema]) -> dict[_Key, str]:
        """Name the classes. Components that are called as their class go first, so that nothing displaces them."""
        labels: dict[_Key, str] = {schema["class"]: name for name, schema in roots.items() if "class" in schema}
        rest = [key for key in order if key not in labels]
        for component, side in sorted(rest, key=lambda key: (names.class_name(key[0]) != key[0], key)):
            suffix = "Input" if side == "input" and (component, "output") in order else ""
            short = names.class_name(names.class_name(component) + suffix)
            long = names.class_name(names.class_name(component.replace("__", "-")) + suffix)
            taken = {*labels.values(), *(names.PYDANTIC_CLASSES if self.models == "pydantic" else ())}
            labels[component, side] = short if short not in taken else names.distinct(long, taken)
        return labels

    def _finished(self, key: _Key, labels: Mapping[_Key, str], *, nested: bool) -> Class:
        raw = self.classes[key]
        side = key[1]
        reserved = names.MEDIA_NAMES.union(labels.values()) if raw.media else frozenset(labels.values())
        if self.models == "pydantic":
            reserved |= names.PYDANTIC_NAMES
        taken: list[str] = []
        fields: list[Field] = []
        for item in raw.fields:
            schema, nullable = without_null(item.schema)
            if side == "input" and _takes_file(item, nested=nested):
                schema = _with_files(schema)
            # Keys in order, so that the same document gives the same module however it was written down.
            default = json.loads(json.dumps(item.node.get("default"), sort_keys=True))
            if default is not None and (problem := self._default_problem(default, schema, key)):
                self.note("dropped-default", item.pointer, f"its default {default!r:.80} {problem}, so it has none")
                default = None
            taken.append(names.distinct(names.attribute_name(item.wire, reserved), taken))
            fields.append(
                Field(
                    wire=item.wire,
                    name=taken[-1],
                    schema=relabelled(schema, labels),
                    # Nothing is sent for an input's absent field; an output's is read, and then is the default or None.
                    nullable=nullable or (side == "output" and default is None and not item.required),
                    required=item.required,
                    default=default,
                    description=text_of(item.node.get("description")),
                    example=self._example(item.node, schema),
                )
            )
        return Class(labels[key], side, tuple(fields), key[0], raw.media, raw.description)

    def _example(self, node: Mapping[str, Any], schema: Schema) -> Any:
        examples = [*sequence(node.get("examples")), node.get("example")]
        example = json.loads(json.dumps(examples[0], sort_keys=True))
        return example if example is not None and conforms(example, schema, self._members) else None

    def _default_problem(self, default: Any, schema: Schema, key: _Key) -> str | None:
        if not conforms(default, schema, self._members):
            return "is not of its own type"
        # A default that is an object is written as a call of its class, which must be complete before this one is.
        if isinstance(default, dict | list) and key in self._reached(schema):
            return "holds its own class"
        return None

    def _members(self, reference: Any) -> Members:
        return [(item.wire, item.schema, item.required) for item in self.classes[reference].fields]


# --- Reading documents -------------------------------------------------------------------------------------------------


def _join(pointer: str, *steps: str) -> str:
    return "/".join((pointer, *(step.replace("~", "~0").replace("/", "~1") for step in steps)))


def _target(node: Any) -> str | None:
    """The component that a reference names."""
    ref = mapping(node).get("$ref")
    if not isinstance(ref, str) or not ref.startswith(_REF):
        return None
    return ref.removeprefix(_REF).replace("~1", "/").replace("~0", "~")


def _has_properties(node: Any) -> TypeGuard[Mapping[str, Any]]:
    return is_mapping(node) and bool(mapping(node.get("properties"))) and node.get("type", "object") == "object"


def _is_file(node: Mapping[str, Any]) -> bool:
    properties = mapping(node["properties"])
    return (
        "url" in sequence(node.get("required"))
        and mapping(properties.get("url")).get("type") == "string"
        and not _FILE_FACTS.isdisjoint(properties)
    )


def _takes_file(item: _RawField, *, nested: bool) -> bool:
    """Whether an input field names a file, by the platform's hint or by its name.

    A `url` at the top of an input can be any address; inside an object, it is the object's.
    """
    hint = mapping(item.node.get("ui")).get("field") or item.node.get("_fal_ui_field")
    if isinstance(hint, str) and hint in _FILE_HINTS:
        return True
    if item.wire in NOT_FILES or (item.wire in ("url", "urls") and not nested):
        return False
    return _FILE_NAME.fullmatch(item.wire) is not None


def _overlap(branches: list[Schema]) -> bool:
    """Whether several branches take values of one kind, and one of them not all: msgspec then confuses their rules."""

    def kind(branch: Schema) -> str:
        if "enum" in branch:
            return "number" if all(isinstance(value, int) for value in branch["enum"]) else "string"
        return "number" if branch.get("type") == "integer" else str(branch.get("type"))

    kinds = [kind(branch) for branch in branches]
    return any(
        kinds.count(kind(branch)) > 1 and not branch.keys() <= {"type", "file"}
        for branch in branches
        if "type" in branch and branch["type"] != "array"
    )


def _class_keys(schema: Schema) -> Iterator[_Key]:
    if "class" in schema:
        yield schema["class"]
    for part in inner(schema):
        yield from _class_keys(part)


def _with_files(schema: Schema) -> Schema:
    if "items" in schema:
        return {**schema, "items": _with_files(schema["items"])}
    for key in ("union", "one_of"):
        if key in schema:
            return {key: [_with_files(branch) for branch in schema[key]]}
    return {**schema, "file": True} if schema.get("type") == "string" else schema
