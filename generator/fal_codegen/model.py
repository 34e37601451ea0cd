"""The types of a module, written by datamodel-code-generator from the prepared description.

It gets a document in which every property is required and has no default, so that what it writes is the bare types; the
template puts names, defaults and texts beside them.
"""

from __future__ import annotations

import ast
import functools
import itertools
import re
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import datamodel_code_generator as dcg
import jinja2
from datamodel_code_generator.config import GenerateConfig
from datamodel_code_generator.enums import DataModelType, InputFileType
from datamodel_code_generator.format import PythonVersion

from fal_codegen import names
from fal_codegen.diagnostics import Diagnostic
from fal_codegen.dialect import Schema, beyond_msgspec, inner
from fal_codegen.docs import docstring
from fal_codegen.literals import as_python
from fal_codegen.prepare import Class, Field, ModelKind, Prepared
from fal_codegen.render import lay_out, templates_folder

__all__ = ["build_types"]

_REPORT = "report it to fal-bindings with the document, and leave the endpoint out until then"
_CLASS = re.compile(r"^class (\w+)\(", re.MULTILINE)
_TAGGED = re.compile(r"^class .*tag_field=", re.MULTILINE)
_IMPORT = re.compile(r"^from (\S+) import (.+)$")
_REQUIRED = re.compile(r"^Annotated\[(.*), Field\(\.\.\.\)\]$")
_ALIAS = re.compile(r"^(?P<name>\w+): TypeAlias = (?P<type>.+)$", re.MULTILINE)
_NAME = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|\w+", re.DOTALL)
"""A literal of a text as a whole, or a name."""
_META = re.compile(r"^(Annotated\[.*, Meta\([^()]*)\)\]$")


def build_types(
    prepared: Prepared, notes: list[Diagnostic] | None = None, *, models: ModelKind = "msgspec"
) -> str | Diagnostic:
    """Write the types of an endpoint, with their imports, unformatted.

    Args:
        prepared: The endpoint, with its texts.
        notes: Gets what datamodel-code-generator warns about.
        models: What the types are.

    Returns:
        The source; or why there is none.
    """
    classes = {item.name: item for item in prepared.classes}
    kind = _KINDS[models]
    description = _Document(prepared, kind)
    document = description.schemas()
    faces = {item.name: kind.face(item, classes, _tags(prepared), description.unions) for item in prepared.classes}
    if prepared.deprecated and "Input" in faces:
        # Of a deprecated endpoint, each call makes an input: there, a checker says so.
        mark = lay_out(f"@deprecated({f'{prepared.endpoint_id} is deprecated on the platform'!r})\nclass _: ...")
        faces["Input"]["header"] = functools.partial(_header, mark=mark.partition("\nclass")[0])
    config = _config(prepared, faces, kind)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            written = dcg.generate(document, config=config)
        except Exception as error:  # whatever it stumbles over, it costs this endpoint alone
            return _failure(prepared, f"{type(error).__name__}: {str(error)[:200]}")
    for warning in caught:
        message = " ".join(str(warning.message).split())
        if "cannot decode" in message:
            return _failure(prepared, message)
        if notes is not None:
            what = Diagnostic("types-warning", prepared.endpoint_id, "/openapi", message, "nothing to do")
            notes.append(what)
    if not isinstance(written, str):
        return _failure(prepared, "it wrote several modules")
    if sorted(_CLASS.findall(written)) != sorted(item.name for item in prepared.classes):
        return _failure(prepared, "it changed the names of classes")
    return _with_imports(kind.with_aliases(written, description), faces, kind, description.unions)


def _failure(prepared: Prepared, why: str) -> Diagnostic:
    message = f"datamodel-code-generator cannot write its types: {why}"
    return Diagnostic("bad-types", prepared.endpoint_id, "/openapi", message, _REPORT, fatal=True)


# --- What datamodel-code-generator gets -------------------------------------------------------------------------------


@functools.cache
def _options() -> GenerateConfig:
    """Every option that matters, spelled out, so that nothing depends on the interpreter or on a new default."""
    return GenerateConfig(
        input_file_type=InputFileType.OpenAPI,
        target_python_version=PythonVersion.PY_311,
        custom_template_dir=templates_folder() / "dcg",
        custom_class_name_generator=_kept,
        collapse_root_models=False,
        disable_future_imports=True,
        disable_timestamp=True,
        enum_field_as_literal=dcg.LiteralType.All,
        field_constraints=True,
        formatters=[],
        keep_model_order=True,
        keyword_only=True,
        reuse_model=False,
        snake_case_field=False,
        strict_nullable=True,
        treat_dot_as_module=False,
        use_annotated=True,
        use_double_quotes=True,
        use_standard_collections=True,
        use_title_as_name=False,
        use_union_operator=True,
        use_unique_items_as_set=False,
    )


def _kept(name: str) -> str:
    return name


def _config(prepared: Prepared, faces: Mapping[str, Any], kind: _Kind) -> GenerateConfig:
    bases: dict[str, str | list[str]] = {}
    for item in prepared.classes:
        base = f"{kind.home}.InputModel" if item.side == "input" else f"{kind.home}.OutputModel"
        bases[item.name] = [base, "fal_runtime.MediaFile"] if item.media else base
    data = defaultdict[str, dict[str, Any]](dict, {name: {"face": face} for name, face in faces.items()})
    return _options().model_copy(
        update={
            "extra_template_data": data,
            "base_class_map": bases,
            "output_model_type": kind.target,
            "use_type_alias": kind.target is not DataModelType.MsgspecStruct,
        }
    )


@dataclass(slots=True)
class _Document:
    """The prepared description as an OpenAPI document."""

    prepared: Prepared
    kind: _Kind
    aliases: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Constrained types inside of others. datamodel-code-generator would name them itself, and could take a class's."""
    unions: dict[str, str] = field(default_factory=dict[str, str])
    """Types that datamodel-code-generator would change, for msgspec cannot decode them. It gets a name for each."""
    beyond: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """What datamodel-code-generator does not hear of: the constraints of aliases that the models have no words for."""

    def schemas(self) -> dict[str, Any]:
        classes = {item.name: self._object(item) for item in self.prepared.classes}
        roots = {name: self._type(schema, name) for name, schema in self.prepared.aliases}
        return {
            "openapi": "3.0.3",
            "info": {"title": "types", "version": "1"},
            "paths": {},
            "components": {"schemas": {**self.aliases, **classes, **roots}},
        }

    def _object(self, item: Class) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        for one in item.fields:
            written = self._type(one.schema, names.class_name(f"{item.name}_{one.name}"), outermost=True)
            properties[one.name] = {**written, "nullable": True} if one.nullable and written else written
        return {"type": "object", "properties": properties, "required": list(properties)}

    def _type(self, schema: Schema, name: str, *, outermost: bool = False) -> dict[str, Any]:
        """Write a type in JSON Schema. `name` is for the constrained types inside of it."""
        if "class" in schema:
            return _reference(schema["class"])
        if "enum" in schema:
            return {"enum": schema["enum"]}
        if "union" in schema:
            return {"anyOf": [self._type(branch, name) for branch in schema["union"]]}
        if "one_of" in schema:
            if self.kind.decodes_every_union:
                return {"anyOf": [self._type(branch, name) for branch in schema["one_of"]]}
            union = names.distinct("OneOf_", {*self._taken(), *self.unions})
            self.unions[union] = _python(schema)
            return {"type": "object", "customTypePath": f"fal_runtime.{union}"}
        if "map" in schema:
            return {"type": "object", "additionalProperties": self._type(schema["map"], f"{name}Value")}
        if "tuple" in schema:
            parts = [self._type(part, f"{name}Item") for part in schema["tuple"]]
            return {"type": "array", "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}
        beyond = self.kind.beyond(schema)
        written = {key: value for key, value in schema.items() if key not in ("file", "uniqueItems", *beyond)}
        if "items" in schema:
            written["items"] = self._type(schema["items"], f"{name}Item")
            if schema["items"].keys() == {"type", "file"}:
                written["customTypePath"] = f"{self.kind.home}.FileInputs"
        if "file" in schema:
            written["customTypePath"] = f"{self.kind.home}.FileInput"
        if outermost or schema.keys() <= {"type", "items", "file"}:
            return written
        alias = names.distinct(name, {*self._taken(), *self.aliases})
        self.aliases[alias] = written
        if beyond:
            self.beyond[alias] = beyond
        return _reference(alias)

    def _taken(self) -> set[str]:
        return {name for item in self.prepared.classes for name in (item.name, *(one.name for one in item.fields))}


_WORDS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_META_WORDS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "pattern": "pattern",
}


_UNION_IMPORTS = {
    **dict.fromkeys(("Annotated", "Any", "Literal"), "typing"),
    **dict.fromkeys(("FileInput", "FileInputs", "OneOf"), "fal_runtime"),
    "Meta": "msgspec",
}


def _python(schema: Schema) -> str:
    """Write a type in Python."""
    if not schema:
        return "Any"
    if "class" in schema:
        return str(schema["class"])
    if "enum" in schema:
        return f"Literal[{', '.join(map(repr, schema['enum']))}]"
    if "union" in schema:
        return " | ".join(map(_python, schema["union"]))
    if "one_of" in schema:
        return f"OneOf[{', '.join(map(_python, schema['one_of']))}]"
    if "map" in schema:
        return f"dict[str, {_python(schema['map'])}]"
    if "tuple" in schema:
        return f"tuple[{', '.join(map(_python, schema['tuple']))}]"
    bare = f"list[{_python(schema['items'])}]" if "items" in schema else _WORDS[schema["type"]]
    bare = "FileInput" if "file" in schema else "FileInputs" if bare == "list[FileInput]" else bare
    beyond = beyond_msgspec(schema)
    words = [f"{_META_WORDS[key]}={schema[key]!r}" for key in schema if key in _META_WORDS and key not in beyond]
    words += [f"extra_json_schema={beyond!r}"] if beyond else []
    return f"Annotated[{bare}, Meta({', '.join(words)})]" if words else bare


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


# --- What the template gets -------------------------------------------------------------------------------------------


class _Kind:
    """What is written for msgspec Structs. The types that are written are the same for every kind."""

    target = DataModelType.MsgspecStruct
    decodes_every_union = False
    home = "fal_runtime"
    """Where the bases are imported from."""

    def beyond(self, schema: Schema) -> dict[str, Any]:
        """The constraints of a type that the models have no words for."""
        return beyond_msgspec(schema)

    def annotated(self, annotation: str, beyond: Mapping[str, Any]) -> str:
        """A type with the constraints that msgspec only carries. The runtime checks them, `json_schema` shows them."""
        if not beyond:
            return annotation
        bare = annotation.removesuffix(" | None")
        words = f"extra_json_schema={dict(beyond)!r}"
        found = _META.fullmatch(bare)
        return (f"{found[1]}, {words})]" if found else f"Annotated[{bare}, Meta({words})]") + annotation[len(bare) :]

    def with_aliases(self, written: str, description: _Document) -> str:
        """What datamodel-code-generator wrote, with what it did not hear of."""

        def alias(found: re.Match[str]) -> str:
            annotation = _with_unions(found["type"], description.unions)
            annotation = self.annotated(annotation, description.beyond.get(found["name"], {}))
            return found[0] if annotation == found["type"] else lay_out(f"{found['name']}: TypeAlias = {annotation}")

        return _ALIAS.sub(alias, written)

    def face(
        self,
        item: Class,
        classes: Mapping[str, Class],
        tags: Collection[tuple[str, str]],
        unions: Mapping[str, str],
    ) -> dict[str, Any]:
        """A class's text, and what the template writes for each of its fields."""
        return {
            "header": _header,
            "struct": _struct(),
            "doc": docstring(item.doc, indent="    "),
            "fields": {
                one.name: _FieldFace(
                    kind=self,
                    name=one.name,
                    assigned=self.assigned(one, item, classes, is_tag=(item.name, one.name) in tags),
                    constant=repr(one.schema["enum"][0]) if "enum" in one.schema else "",
                    beyond=self.beyond(one.schema),
                    unions=unions,
                    doc=docstring(one.doc, indent="    ") if one.doc else "",
                )
                for one in item.fields
            },
        }

    def assigned(self, item: Field, owner: Class, classes: Mapping[str, Class], *, is_tag: bool) -> str:
        """What is assigned to a field in the class body."""
        name = "" if item.name == item.wire else f"name={item.wire!r}"
        if item.required:
            return self.required(item.wire) if name else ""
        if owner.side == "input" and item.default is None and not item.nullable and item.schema:
            return f"default({name})"
        value = as_python(item.default, item.schema, classes)
        if owner.side == "input":
            return f"default({value}, {name})" if name else f"default({value})"
        return self.optional(value, name)

    def required(self, wire: str) -> str:
        """What is assigned to a field that must be given and is called differently on the wire."""
        return f"field(name={wire!r})"

    def optional(self, value: str, name: str) -> str:
        """What is assigned to a field of an output that may be absent."""
        if value[-1] in "])}" and value not in ("[]", "{}"):
            # msgspec refuses a shared default that can change.
            factory = f"default_factory=lambda: {value}"
            return f"field({factory}, {name})" if name else f"field({factory})"
        return f"field(default={value}, {name})" if name else value

    def imports(self, types: str, assigned: Iterable[str]) -> Iterator[tuple[str, str]]:
        """What is used beside what datamodel-code-generator imports itself."""
        words = [each.partition("(")[0] for each in assigned]
        yield from ((module, word) for module, word in ((self.home, "default"), ("msgspec", "field")) if word in words)
        if "extra_json_schema=" in types:
            yield from (("typing", "Annotated"), ("msgspec", "Meta"))
        if "OneOf[" in types:
            words = [each.id for each in ast.walk(ast.parse(types)) if isinstance(each, ast.Name)]
            yield from ((module, word) for word, module in _UNION_IMPORTS.items() if word in words)
        if _TAGGED.search(types):
            # A tag is a class variable, for which datamodel-code-generator imports nothing.
            yield from (("typing", "ClassVar"), ("typing", "Literal"))


class _PydanticKind(_Kind):
    """What is written otherwise for Pydantic models."""

    target = DataModelType.PydanticV2BaseModel
    decodes_every_union = True
    home = "fal_runtime.pydantic_models"

    def beyond(self, schema: Schema) -> dict[str, Any]:
        return {"uniqueItems": True} if schema.get("uniqueItems") else {}

    def annotated(self, annotation: str, beyond: Mapping[str, Any]) -> str:
        # Required, which datamodel-code-generator says of everything that may be null.
        plain = _REQUIRED.sub(r"\1", annotation).replace("Field(..., ", "Field(")
        return f"Annotated[{plain}, UniqueItems]" if beyond else plain

    def with_aliases(self, written: str, description: _Document) -> str:
        return _ALIAS.sub(lambda found: lay_out(found[0]), super().with_aliases(written, description))

    def assigned(self, item: Field, owner: Class, classes: Mapping[str, Class], *, is_tag: bool) -> str:
        if is_tag:
            return f"tag({item.schema['enum'][0]!r})"
        return super().assigned(item, owner, classes, is_tag=is_tag)

    def required(self, wire: str) -> str:
        return f"Field(validation_alias={wire!r}, serialization_alias={wire!r})"

    def optional(self, value: str, name: str) -> str:
        return f"default({value}, {name})" if name else value

    def imports(self, types: str, assigned: Iterable[str]) -> Iterator[tuple[str, str]]:
        words = [each.partition("(")[0] for each in assigned]
        yield from ((self.home, word) for word in ("default", "tag") if word in words)
        if "Field" in words:
            yield ("pydantic", "Field")
        if ": TypeAlias = " in types:
            yield ("typing", "TypeAlias")
        if "UniqueItems" in types:
            yield from (("typing", "Annotated"), (self.home, "UniqueItems"))


_KINDS: Mapping[ModelKind, _Kind] = {"msgspec": _Kind(), "pydantic": _PydanticKind()}


@dataclass(frozen=True, slots=True)
class _FieldFace:
    """What the template writes for a field."""

    kind: _Kind
    name: str
    assigned: str
    """What stands behind the type."""
    constant: str
    """The same, if the field turns out to be the tag of its class."""
    beyond: Mapping[str, Any]
    """The constraints of its type that the models have no words for."""
    unions: Mapping[str, str]
    """The unions that datamodel-code-generator has only a name for."""
    doc: str

    def statement(self, annotation: str, is_tag: bool | None) -> str:
        annotation = self.kind.annotated(_with_unions(annotation, self.unions), self.beyond)
        assigned = self.constant if is_tag else self.assigned
        text = f"{self.name}: {annotation} = {assigned}" if assigned else f"{self.name}: {annotation}"
        return lay_out(text, in_class=True)


@functools.cache
def _struct() -> jinja2.Template:
    """The template of a class."""
    loader = jinja2.FileSystemLoader(templates_folder() / "dcg")
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined)  # noqa: S701  # it is not HTML
    return environment.get_template("msgspec.jinja2")


def _header(text: str, mark: str = "") -> str:
    return "\n".join(line for line in (mark, lay_out(f"{text} ...").removesuffix(" ...")) if line)


def _tags(prepared: Prepared) -> set[tuple[str, str]]:
    """The constant fields of classes that are together in a union, by which they are told apart."""
    constants = {
        item.name: {one.name for one in item.fields if len(one.schema.get("enum", ())) == 1}
        for item in prepared.classes
    }
    found: set[tuple[str, str]] = set()
    waiting = [schema for _, schema in prepared.aliases]
    waiting += [one.schema for item in prepared.classes for one in item.fields]
    while waiting:
        schema = waiting.pop()
        together = [branch["class"] for branch in schema.get("union", ()) if "class" in branch]
        if len(together) > 1:
            found.update((name, constant) for name in together for constant in constants[name])
        waiting += inner(schema)
    return found


def _with_unions(annotation: str, unions: Mapping[str, str]) -> str:
    """Put the unions where datamodel-code-generator wrote their names; what is called like one in a literal stays."""
    return _NAME.sub(lambda found: unions.get(found[0], found[0]), annotation) if unions else annotation


def _in_order(types: str) -> str:
    """Put what a union names before it: datamodel-code-generator did not see it."""
    lines = types.splitlines()
    tree = ast.parse(types)
    ends = [(node.end_lineno or node.lineno) for node in tree.body]
    parts = ["\n".join(lines[start:end]) for start, end in itertools.pairwise([0, *ends])]
    needs = [{each.id for each in ast.walk(node) if isinstance(each, ast.Name)} for node in tree.body]
    makes = [_defines(node) for node in tree.body]
    ordered: dict[int, None] = {}

    def place(index: int, trail: tuple[int, ...]) -> None:
        for other, name in enumerate(makes):
            if name in needs[index] and other not in (index, *trail):
                place(other, (*trail, index))
        ordered[index] = None

    for index in range(len(parts)):
        place(index, ())
    return "\n\n\n".join(parts[index].strip("\n") for index in ordered)


def _defines(node: ast.stmt) -> str:
    """The name of the class or the alias that a statement makes."""
    if isinstance(node, ast.ClassDef):
        return node.name
    return node.target.id if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else ""


# --- What comes out ---------------------------------------------------------------------------------------------------


def _with_imports(written: str, faces: Mapping[str, Any], kind: _Kind, unions: Collection[str]) -> str:
    """Put the imports in order, with those that the module around the types needs."""
    imports: defaultdict[str, set[str]] = defaultdict(set)
    body = written.splitlines()
    while body and (not body[0] or body[0][0] == "#" or _IMPORT.match(body[0])):
        if found := _IMPORT.match(body.pop(0)):
            imports[found[1]].update(name for name in found[2].split(", ") if name not in unions)
    imports["fal_runtime"].add("Endpoint")
    assigned = [own.assigned for face in faces.values() for own in face["fields"].values()]
    types = re.sub(r"\n{4,}", "\n\n\n", "\n".join(body).strip())
    types = _in_order(types) if "OneOf[" in types else types
    for module, name in kind.imports(types, assigned):
        imports[module].add(name)
    if re.search(r"^@deprecated\(", types, re.MULTILINE):
        imports["fal_runtime.removed"].add("deprecated")
    for module in list(imports):
        # What datamodel-code-generator imports for what the template leaves out.
        imports[module] = {name for name in imports[module] if name == "Endpoint" or re.search(rf"\b{name}\b", types)}
        if not imports[module]:
            del imports[module]
    lines = [f"from {module} import {', '.join(sorted(imports[module]))}" for module in sorted(imports)]
    standard = [f"{line}\n" for line in lines if line.startswith("from typing ")]
    rest = [line for line in lines if not line.startswith("from typing ")]
    space = ["", ""] if types.startswith(("class ", "@")) else [""]
    return "\n".join([*standard, *rest, *space, types])
