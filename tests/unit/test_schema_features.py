"""What documents say, all the way to what a caller can write and what goes over the wire."""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from fal_codegen.docs import Glossary
from fal_codegen.emit import emit
from fal_runtime import MediaFile, OutputModel
from fal_runtime.errors import InputError
from fal_runtime.inputs import build_body

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
NULL = {"type": "null"}
SIZE = {"type": "object", "properties": {"width": WHOLE, "height": WHOLE}, "required": ["width", "height"]}
CAT = {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": WHOLE}, "required": ["kind", "lives"]}
DOG = {"type": "object", "properties": {"kind": {"const": "dog"}, "tricks": WHOLE}, "required": ["kind", "tricks"]}
FILE = {"type": "object", "properties": {"url": TEXT, "file_name": TEXT}, "required": ["url"]}
FILE_TEXT = '{"url": "https://example.com/a.png"}'
COMPONENTS = {"Size": SIZE, "Cat": CAT, "Dog": DOG, "Format": {"enum": ["png", "jpeg"], "type": "string"}}


def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


class Made:
    """A module made of one field, `x`, on both sides."""

    def __init__(self, schema: Any) -> None:
        def content(root: Any) -> dict[str, Any]:
            return {"content": {"application/json": {"schema": root}}}

        root = {"type": "object", "properties": {"x": schema}}
        required = [] if isinstance(schema, dict) and "default" in schema else ["x"]
        post = {"requestBody": content(root), "responses": {"200": content({**root, "required": required})}}
        openapi = {"paths": {"/acme/thing": {"post": post}}, "components": {"schemas": COMPONENTS}}
        made = emit("acme/thing", {}, openapi, module="acme.thing", sha256="0" * 64, glossary=Glossary())
        assert made.source is not None, made.diagnostics
        self.source = made.source
        self.codes = [diagnostic.code for diagnostic in made.diagnostics]
        self.module: Any = types.ModuleType("made_for_a_test")
        sys.modules[self.module.__name__] = self.module  # msgspec resolves forward references through it
        exec(compile(made.source, self.module.__name__, "exec", dont_inherit=True), self.module.__dict__)  # noqa: S102

    def annotation(self, root: str = "Input") -> str:
        """The type of the field, as it is written."""
        tree = ast.parse(self.source)
        body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == root)
        return next(ast.unparse(node.annotation) for node in body if isinstance(node, ast.AnnAssign))

    def sent(self, *value: Any) -> Any:
        """What goes over the wire for a value; for none, what does for an input without it."""
        given = self.module.Input(**({"x": value[0]} if value else {}))
        body = build_body(given, self.module.Input, endpoint_id="acme/thing", extra=None, validate=True)
        return msgspec.json.decode(body).get("x", "absent")

    def refuses(self, value: Any) -> bool:
        with pytest.raises(InputError):
            self.sent(value)
        return True

    def read(self, text: str) -> Any:
        """The field of an output that holds this JSON."""
        return msgspec.json.decode(f'{{"x": {text}}}', type=self.module.Output).x


@pytest.fixture(autouse=True)
def no_module_stays() -> Iterator[None]:
    yield
    sys.modules.pop("made_for_a_test", None)


def test_a_union_keeps_all_its_branches() -> None:
    made = Made({"anyOf": [ref("Size"), {"enum": ["square", "wide"]}, WHOLE]})
    assert made.codes == []
    assert made.annotation() == "SizeInput | Literal['square', 'wide'] | int"
    assert made.sent("square") == "square"
    assert made.sent(made.module.SizeInput(width=1, height=2)) == {"width": 1, "height": 2}
    assert made.sent(3) == 3
    assert made.refuses("tall")
    assert made.read('"wide"') == "wide"
    assert made.read('{"width": 1, "height": 2}').height == 2
    assert made.read("4") == 4


def test_an_enum_of_integers_stays_one() -> None:
    made = Made({"enum": [1, 2, 4], "type": "integer", "default": 2})
    assert made.annotation() == "Literal[1, 2, 4]"
    assert made.sent(4) == 4
    assert type(made.sent(4)) is int
    assert made.refuses("4")
    assert made.refuses(3)
    assert "default(2)" in made.source
    assert made.read("1") == 1


@pytest.mark.parametrize(
    "siblings", [{}, {"nullable": True}, {"title": "Format", "examples": ["png"]}, {"deprecated": False}]
)
def test_what_stands_beside_a_reference_is_kept(siblings: dict[str, Any]) -> None:
    made = Made({**ref("Format"), "description": "What the file is.", "default": "png", **siblings})
    assert made.codes == []
    assert 'default("png")' in made.source
    assert 'What the file is. Default: "png".' in made.source
    null = " | None" if "nullable" in siblings else ""
    assert made.annotation() == f"Literal['png', 'jpeg']{null}"
    if null:
        assert made.sent(None) is None
    else:
        assert made.refuses(None)


def test_types_of_endpoints_are_their_own_and_have_bases_in_common() -> None:
    one, other = Made(FILE), Made(FILE)
    first, second = one.read(FILE_TEXT), other.read(FILE_TEXT)
    assert isinstance(first, MediaFile)
    assert isinstance(second, MediaFile)
    assert isinstance(first, OutputModel)
    assert not isinstance(first, type(second))


def test_a_default_beside_a_reference_to_an_object_is_one_of_it() -> None:
    made = Made({**ref("Size"), "default": {"width": 1, "height": 2}})
    assert "default(SizeInput(height=2, width=1))" in made.source
    assert made.sent() == "absent"


@pytest.mark.parametrize(
    "discriminator",
    [
        {"propertyName": "kind", "mapping": {"cat": "#/components/schemas/Cat", "dog": "#/components/schemas/Dog"}},
        {"propertyName": "kind"},
        {"propertyName": "nothing"},
    ],
)
def test_one_of_with_a_discriminator(discriminator: dict[str, Any]) -> None:
    made = Made({"oneOf": [ref("Cat"), ref("Dog")], "discriminator": discriminator})
    assert made.codes == []
    assert type(made.read('{"kind": "dog", "tricks": 1}')).__name__ == "Dog"
    assert type(made.read('{"kind": "cat", "lives": 9}')).__name__ == "Cat"
    assert made.sent(made.module.CatInput(lives=9)) == {"kind": "cat", "lives": 9}
    with pytest.raises(msgspec.ValidationError):
        made.read('{"kind": "cow"}')


def test_positions_of_a_list_have_types_of_their_own() -> None:
    made = Made({"type": "array", "prefixItems": [TEXT, WHOLE], "minItems": 2, "maxItems": 2})
    assert made.annotation() == "tuple[str, int]"
    assert made.sent(("a", 1)) == ["a", 1]
    assert made.refuses(("a", "b"))
    assert made.refuses(("a",))
    assert made.read('["a", 1]') == ("a", 1)


@pytest.mark.parametrize(("value", "other"), [("fixed", "else"), (7, 8)])
def test_a_constant_is_the_one_value_that_is_taken(value: Any, other: Any) -> None:
    made = Made({"const": value})
    assert made.annotation() == f"Literal[{value!r}]"
    assert made.sent(value) == value
    assert made.refuses(other)


@pytest.mark.parametrize("schema", [{}, True, {"title": "X", "description": "Anything."}])
def test_an_empty_schema_takes_anything(schema: Any) -> None:
    made = Made(schema)
    assert made.annotation() == "Any"
    for value in ("a", 1, None, [1, {"a": 2}], {"b": [True]}):
        assert made.sent(value) == value
    assert made.read('{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize(
    ("schema", "annotation", "right", "wrong"),
    [
        ({"type": "object", "additionalProperties": WHOLE}, "dict[str, int]", {"a": 1}, {"a": "b"}),
        ({"type": "object", "additionalProperties": True}, "dict[str, Any]", {"a": [1]}, [1]),
        ({"type": "object"}, "dict[str, Any]", {"a": 1}, "a"),
        (
            {"additionalProperties": {"type": "array", "items": WHOLE}},
            "dict[str, list[int]]",
            {"a": [1]},
            {"a": ["b"]},
        ),
    ],
)
def test_objects_without_names(schema: Any, annotation: str, right: Any, wrong: Any) -> None:
    made = Made(schema)
    assert made.annotation() == annotation
    assert made.sent(right) == right
    assert made.refuses(wrong)


@pytest.mark.parametrize("more", [True, False, WHOLE])
def test_named_fields_stay_named_whatever_else_an_object_may_have(more: Any) -> None:
    made = Made({"type": "object", "properties": {"a": WHOLE}, "required": ["a"], "additionalProperties": more})
    cls = made.annotation()
    assert made.sent(getattr(made.module, cls)(a=1)) == {"a": 1}
    assert made.read('{"a": 1, "b": 2}').a == 1


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [TEXT, WHOLE], "nullable": True},
        {"anyOf": [TEXT, WHOLE, NULL]},
        {"anyOf": [TEXT, WHOLE, NULL], "nullable": True},
        {"anyOf": [{"type": "string", "nullable": True}, WHOLE]},
        {"type": ["string", "integer", "null"]},
        {"oneOf": [TEXT, {"anyOf": [WHOLE, NULL]}]},
    ],
)
def test_null_however_it_is_said(schema: Any) -> None:
    made = Made(schema)
    assert made.annotation() == "str | int | None"
    assert [made.sent(value) for value in ("a", 1, None)] == ["a", 1, None]
    assert made.sent() == "absent"
    assert made.refuses(1.5)
    assert made.read("null") is None
