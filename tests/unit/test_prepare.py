"""Awkward documents become one small dialect, and every repair that changes a type is a named diagnostic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from fal_codegen.diagnostics import Diagnostic
from fal_codegen.dialect import Schema, conforms
from fal_codegen.prepare import Class, Field, Prepared, prepare

TEXT = {"type": "string"}
NULL = {"type": "null"}
NOTHING: dict[str, Any] = {}
ANY: Schema = {}
ANY_MAP: Schema = {"map": ANY}


def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def obj(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def document(input: Any, output: Any = NOTHING, **components: Any) -> dict[str, Any]:
    """A queue document; `input` and `output` are the schemas of the roots."""

    def content(schema: Any) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    return {
        "openapi": "3.0.4",
        "components": {"schemas": components},
        "paths": {
            "/acme/thing": {"post": {"requestBody": content(input), "responses": {}}},
            "/acme/thing/requests/{request_id}/status": {"get": {"responses": {"200": content(ref("QueueStatus"))}}},
            "/acme/thing/requests/{request_id}": {"get": {"responses": {"200": content(output)}}},
        },
    }


def prepared(openapi: Any) -> Prepared:
    result = prepare("acme/thing", {}, openapi)
    assert isinstance(result, Prepared), result
    return result


def classes(openapi: Any) -> dict[str, Class]:
    return {item.name: item for item in prepared(openapi).classes}


def fields(openapi: Any, name: str = "Input") -> dict[str, Field]:
    return {item.wire: item for item in classes(openapi)[name].fields}


def one(schema: Any) -> tuple[Field, list[str]]:
    """What becomes of a property of the input, and the codes of what is said about it."""
    result = prepared(document(obj(x=schema), TEXT, P=obj("a", a=TEXT), Alias={"enum": ["p", "q"]}))
    root = next(item for item in result.classes if item.name == "Input")
    return root.fields[0], [item.code for item in result.diagnostics]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "format": "uri", "title": "X", "x-fal": {"max_file_size": 1}, "ui": {}}, TEXT),
        ({"type": "string", "format": "binary"}, TEXT),
        ({"const": "8s", "type": "string"}, {"enum": ["8s"]}),
        ({"enum": [1, 2], "type": "integer"}, {"enum": [1, 2]}),
        ({"enum": ["a ", "a", "a "]}, {"enum": ["a ", "a"]}),
        (ref("Alias"), {"enum": ["p", "q"]}),
        ({"allOf": [ref("P")], "description": "x"}, {"class": "P"}),
        ({"allOf": [TEXT]}, TEXT),
        ({}, {}),
        (True, {}),
        ({"type": "object"}, {"map": {}}),
        ({"additionalProperties": {"type": "number"}}, {"map": {"type": "number"}}),
        ({"type": "object", "additionalProperties": False}, {"map": {}}),
        ({"type": "array"}, {"type": "array", "items": {}}),
        ({"items": TEXT, "maxItems": 4}, {"type": "array", "items": TEXT, "maxItems": 4}),
        ({"prefixItems": [TEXT, {"type": "number"}]}, {"tuple": [TEXT, {"type": "number"}]}),
        ({"type": "array", "items": [TEXT, TEXT]}, {"tuple": [TEXT, TEXT]}),
        ({"anyOf": [ref("P"), {"enum": ["auto"]}]}, {"union": [{"class": "P"}, {"enum": ["auto"]}]}),
        ({"oneOf": [TEXT, TEXT, {"type": "integer"}]}, {"union": [TEXT, {"type": "integer"}]}),
        ({"anyOf": [TEXT, {}]}, {}),
        ({"type": ["string", "integer"]}, {"union": [TEXT, {"type": "integer"}]}),
        ({"type": "integer", "minimum": 1.5, "maximum": 9.5}, {"type": "integer", "minimum": 2, "maximum": 9}),
        ({"type": "integer", "exclusiveMinimum": 0.5}, {"type": "integer", "exclusiveMinimum": 0}),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, {"type": "number", "exclusiveMinimum": 0.0}),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": False}, {"type": "number", "minimum": 0.0}),
        ({"type": "number", "minimum": 3, "exclusiveMinimum": 2}, {"type": "number", "minimum": 3.0}),
        ({"type": "number", "exclusiveMaximum": 2, "maximum": 2}, {"type": "number", "exclusiveMaximum": 2.0}),
        ({"type": "string", "minimum": 3, "maxLength": 3}, {"type": "string", "maxLength": 3}),
    ],
)
def test_one_dialect(schema: Any, expected: Schema) -> None:
    item, codes = one(schema)
    assert item.schema == expected
    assert codes == []


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"anyOf": [TEXT, NULL]}, TEXT),
        ({"type": ["string", "null"]}, TEXT),
        ({"type": "string", "nullable": True}, TEXT),
        ({"anyOf": [TEXT, NULL], "nullable": True}, TEXT),
        ({"enum": ["a"], "anyOf": [TEXT, NULL]}, {"enum": ["a"]}),
        ({"enum": ["a", None]}, {"enum": ["a"]}),
        ({"anyOf": [{"type": "integer"}, NULL], "minimum": 3}, {"type": "integer", "minimum": 3}),
        ({**ref("P"), "nullable": True}, {"class": "P"}),
        ({"anyOf": [ref("Alias"), ref("P"), NULL]}, {"union": [{"enum": ["p", "q"]}, {"class": "P"}]}),
    ],
)
def test_null_is_told_apart(schema: dict[str, Any], expected: Schema) -> None:
    openapi = document(obj("x", x=schema), P=obj("a", a=TEXT), Alias={"enum": ["p", "q"]})
    item = fields(openapi)["x"]
    assert (item.schema, item.nullable, item.required) == (expected, True, True)


def test_null_inside_of_items_stays() -> None:
    item, _ = one({"type": "array", "items": {"anyOf": [TEXT, NULL]}})
    assert item.schema["items"] == {"union": [TEXT, NULL]}


@pytest.mark.parametrize(
    ("schema", "expected", "code"),
    [
        (ref("Nowhere"), ANY, "dangling-ref"),
        ({"$ref": "https://example.com/x.json"}, ANY, "dangling-ref"),
        ({"$ref": 5}, ANY, "dangling-ref"),
        (5, ANY, "bad-schema"),
        (False, ANY, "bad-schema"),
        ({"type": "colour"}, ANY, "bad-schema"),
        ({"type": 5}, ANY, "bad-schema"),
        ({"allOf": [TEXT, {"maxLength": 3}]}, ANY, "bad-schema"),
        ({"type": "string", "not": {"const": "x"}}, TEXT, "ignored-keyword"),
        ({"enum": [0.5, 1]}, {"union": [{"type": "integer"}, {"type": "number"}]}, "bad-enum"),
        ({"enum": [True]}, {"type": "boolean"}, "bad-enum"),
        ({"enum": NOTHING, "type": "string"}, TEXT, "bad-enum"),
        ({"enum": [2**70]}, {"type": "integer"}, "bad-enum"),
        ({"enum": ["\ud800"]}, TEXT, "bad-enum"),
        ({"type": "integer", "minimum": 5, "maximum": 1}, {"type": "integer"}, "impossible-bounds"),
        ({"type": "string", "minLength": 5, "maxLength": 1}, TEXT, "impossible-bounds"),
        ({"type": "number", "minimum": float("nan")}, {"type": "number"}, "dropped-constraint"),
        ({"type": "number", "maximum": 10**400}, {"type": "number"}, "dropped-constraint"),
        ({"type": "string", "pattern": "("}, TEXT, "dropped-constraint"),
        ({"type": "string", "minLength": -1}, TEXT, "dropped-constraint"),
        ({"anyOf": [ref("P"), obj("a", a=TEXT)]}, {"class": "P"}, "merged-union"),
    ],
)
def test_repairs(schema: Any, expected: Schema, code: str) -> None:
    item, codes = one(schema)
    assert item.schema == expected
    assert set(codes) == {code}


SHORT: Schema = {"type": "string", "maxLength": 3}
WHOLE: Schema = {"type": "integer"}


@pytest.mark.parametrize(
    ("branches", "of_input", "of_output"),
    [
        ([ref("P"), {"type": "object"}, TEXT], [{"class": "P"}, ANY_MAP, TEXT], {"union": [ANY_MAP, TEXT]}),
        ([ref("P"), ref("Q")], [{"class": "P"}, {"class": "Q"}], ANY_MAP),
        (
            [{"type": "array", "items": TEXT}, {"type": "array", "items": WHOLE}],
            [{"type": "array", "items": TEXT}, {"type": "array", "items": WHOLE}],
            {"type": "array", "items": ANY},
        ),
        ([SHORT, {"enum": ["a long word"]}], [SHORT, {"enum": ["a long word"]}], None),
        ([{**WHOLE, "minimum": 1}, {"type": "number"}], [{**WHOLE, "minimum": 1}, {"type": "number"}], None),
        ([TEXT, {"enum": ["a"]}], None, None),
        ([WHOLE, {"type": "number"}], None, None),
        ([ref("P"), TEXT], None, None),
    ],
)
def test_a_union_that_msgspec_cannot_decode_is_checked_by_the_runtime_in_inputs_alone(
    branches: list[Any], of_input: list[Schema] | None, of_output: Schema | None
) -> None:
    parts = {"P": obj("a", a=TEXT), "Q": obj("b", b=TEXT)}
    nullable = {"anyOf": [*branches, NULL]}
    got = fields(document(obj(x=nullable), **parts))["x"]
    assert got.nullable
    assert ("one_of" in got.schema) is (of_input is not None)
    if of_input is not None:
        assert got.schema == {"one_of": of_input}
    result = prepared(document(obj(), obj(x=nullable), **parts))
    (given,) = next(item.fields for item in result.classes if item.name == "Output")
    assert "one_of" not in given.schema
    if of_output is not None:
        assert given.schema == of_output
        assert "undecodable-union" in [item.code for item in result.diagnostics]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number", "multipleOf": 0.1},
        {"type": "number", "multipleOf": 5},
        {"type": "integer", "maximum": 2**70},
        {"type": "array", "items": TEXT, "uniqueItems": True},
    ],
)
def test_what_msgspec_cannot_check_is_kept_for_the_runtime(schema: Any) -> None:
    item, codes = one(schema)
    assert (item.schema, codes) == (schema, [])


def test_a_repair_says_where_and_what_to_do() -> None:
    openapi = document(ref("In"), TEXT, In=obj(**{"a/b": {"type": "array", "items": ref("Nowhere")}}))
    (found,) = prepared(openapi).diagnostics
    assert found.endpoint_id == "acme/thing"
    assert found.pointer == "/openapi/components/schemas/In/properties/a~1b/items"
    assert "Nowhere" in found.message
    assert found.remedy
    assert not found.fatal
    assert str(found).startswith("acme/thing#/openapi/components/schemas/In/properties/a~1b/items: ")


@pytest.mark.parametrize(
    ("schema", "nullable", "default"),
    [
        ({**TEXT, "default": "x"}, False, "x"),
        (TEXT, False, None),
        ({**TEXT, "default": None}, False, None),
        ({"anyOf": [TEXT, NULL], "default": "x"}, True, "x"),
        ({**ref("P"), "default": {"a": "x"}}, False, {"a": "x"}),
        ({"allOf": [ref("P")], "default": {"a": "x"}}, False, {"a": "x"}),
        ({"type": "number", "default": 1}, False, 1),
    ],
)
def test_what_need_not_be_given_is_null_only_where_the_document_says_so(
    schema: Any, nullable: bool, default: Any
) -> None:
    item, codes = one(schema)
    assert (item.required, item.nullable, item.default, codes) == (False, nullable, default, [])


def test_what_an_answer_may_leave_out_has_a_default_or_is_nullable() -> None:
    result = prepared(document(ref("P"), obj(x=TEXT, y={**TEXT, "default": "a"}), P=obj(a=TEXT)))
    root = next(item for item in result.classes if item.name == "Output")
    assert [(item.wire, item.nullable, item.default) for item in root.fields] == [("x", True, None), ("y", False, "a")]


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": ["129", "85"], "default": 129},
        {"type": "integer", "default": True},
        {"type": "integer", "default": 1.0},
        {"type": "integer", "maximum": 3, "default": 4},
        {"type": "number", "default": float("inf")},
        {"type": "string", "maxLength": 1, "default": "xy"},
        {"type": "string", "pattern": "^a", "default": "b"},
        {"type": "array", "items": TEXT, "default": ["a", 1]},
        {"type": "array", "items": TEXT, "maxItems": 1, "default": ["a", "b"]},
        {"prefixItems": [TEXT], "default": ["a", "b"]},
        {"type": "object", "additionalProperties": TEXT, "default": {"a": 1}},
        {**ref("P"), "default": "https://example.com/a.glb"},
        {**ref("P"), "default": {"b": "unknown"}},
        {**ref("P"), "default": {}},
    ],
)
def test_defaults_that_break_their_own_schema_are_dropped(schema: Any) -> None:
    item, codes = one(schema)
    assert (item.required, item.nullable, item.default) == (False, False, None)
    assert codes == ["dropped-default"]


def test_a_default_that_holds_its_own_class_is_dropped() -> None:
    node = obj(kids={"type": "array", "items": ref("Node")}, self_={**ref("Node"), "default": {"kids": []}})
    result = prepared(document(obj(n={**ref("Node"), "default": {}}), TEXT, Node=node))
    assert [item.code for item in result.diagnostics] == ["dropped-default"]
    assert fields(document(obj(n={**ref("Node"), "default": {}}), Node=node))["n"].default == {}


def test_required_with_a_default_is_optional() -> None:
    result = prepared(document(obj("x", x={**TEXT, "default": "a"}), TEXT))
    assert (result.classes[0].fields[0].required, result.classes[0].fields[0].default) == (False, "a")
    assert [item.code for item in result.diagnostics] == ["required-default"]


def test_fields_have_the_platforms_order_and_then_one_of_their_own() -> None:
    schema = obj("c", a=TEXT, b=TEXT, c=TEXT, d=TEXT) | {"x-fal-order-properties": ["d", "b", "gone", 5, "b"]}
    assert list(fields(document(schema))) == ["d", "b", "c", "a"]


def test_only_what_is_reachable_is_kept() -> None:
    found = classes(document(obj(p=ref("P")), Unused=obj(x=ref("P")), P=obj(q=ref("Q")), Q=obj(a=TEXT)))
    assert list(found) == ["P", "Q", "Input"]


def test_what_a_union_lost_is_not_kept() -> None:
    union = {"anyOf": [ref("P"), {"type": "object"}]}
    assert list(classes(document({"type": "object"}, obj(p=union), P=obj(a=TEXT)))) == ["Output"]


def test_a_component_of_both_sides_is_split() -> None:
    file = obj("url", url=TEXT, file_size={"type": "integer"})
    found = classes(document(ref("In"), obj(f=ref("File"), again=ref("In")), In=obj(f=ref("File")), File=file))
    assert {name: (item.side, item.media) for name, item in found.items()} == {
        "Input": ("input", False),
        "FileInputType": ("input", False),
        "File": ("output", True),
        "In": ("output", False),
        "Output": ("output", False),
    }
    assert found["Input"].fields[0].schema == {"class": "FileInputType"}
    assert found["Output"].fields[0].schema == {"class": "In"}


def test_awkward_component_names() -> None:
    odd = ("Annotated", "Input", "a.b", "A-b", "AB", "x__y__AB", "1st", "é")
    found = classes(
        document(obj(**{f"f{n}": ref(name) for n, name in enumerate(odd)}), **{n: obj(a=TEXT) for n in odd})
    )
    names = {item.component: name for name, item in found.items()}
    assert [names[name] for name in odd] == [
        "AnnotatedType",
        "InputType",
        "AB3",
        "AB2",
        "AB",
        "XYAB",
        "Model1st",
        "Model",
    ]


def test_awkward_property_names() -> None:
    odd = ("class", "class_", "int", "_x", "x", "a-b", "P", 'a"b', "a\nb", "a\\b")
    result = prepared(document(obj(**dict.fromkeys(odd, TEXT), p=ref("P")), TEXT, P=obj(a=TEXT)))
    root = next(item for item in result.classes if item.name == "Input")
    assert {item.wire: item.name for item in root.fields} == {
        "P": "P_",
        "_x": "x",
        "a-b": "a_b",
        "class": "class_",
        "class_": "class_2",
        "int": "int_",
        "p": "p",
        "x": "x2",
    }
    assert [item.code for item in result.diagnostics] == ["unusable-name"] * 3


def test_files_do_not_lose_their_methods() -> None:
    output = obj("url", url=TEXT, size={"type": "integer"}, width={"type": "integer"}, save=TEXT)
    found = classes(document(obj(a=TEXT), obj(image=output)))
    media = next(item for item in found.values() if item.media)
    assert {item.wire: item.name for item in media.fields}["size"] == "size_"
    assert {item.wire: item.name for item in media.fields}["save"] == "save_"


@pytest.mark.parametrize(
    ("schema", "media"),
    [
        (obj("url", url=TEXT, content_type=TEXT), True),
        (obj("url", url=TEXT, height={"type": "integer"}), True),
        (obj(url=TEXT, content_type=TEXT), False),
        (obj("url", url=TEXT, title=TEXT), False),
        (obj("url", url={"type": "array"}, file_name=TEXT), False),
    ],
)
def test_what_is_a_file(schema: Any, media: bool) -> None:
    assert classes(document(obj(a=TEXT), obj(x=ref("X")), X=schema))["X"].media is media
    assert classes(document(obj(x=ref("X")), X=schema))["X"].media is False


FILE = {"type": "string", "file": True}


@pytest.mark.parametrize(
    ("name", "schema", "expected"),
    [
        ("image_url", TEXT, FILE),
        ("image_url", {"anyOf": [TEXT, NULL]}, FILE),
        ("image_urls", {"items": {**TEXT, "maxLength": 9}}, {"type": "array", "items": {**FILE, "maxLength": 9}}),
        ("audio_url_person1", TEXT, FILE),
        ("imageUrl", TEXT, FILE),
        ("fill_image_url", {"anyOf": [TEXT, {"items": TEXT}]}, {"union": [FILE, {"type": "array", "items": FILE}]}),
        ("mask", {**TEXT, "ui": {"field": "image_mask"}}, FILE),
        ("hypothesis", {**TEXT, "_fal_ui_field": "image"}, FILE),
        ("url", {**TEXT, "_fal_ui_field": "video"}, FILE),
        ("url", TEXT, TEXT),
        ("page_url", TEXT, TEXT),
        ("webhook_url", TEXT, TEXT),
        ("prompt", {**TEXT, "ui": {"field": "url"}}, TEXT),
        ("prompt", TEXT, TEXT),
        ("curl", TEXT, TEXT),
        ("image_url", {"enum": ["a"]}, {"enum": ["a"]}),
    ],
)
def test_which_inputs_take_a_file(name: str, schema: Any, expected: Schema) -> None:
    assert fields(document(obj(**{name: schema})))[name].schema == expected
    assert "file" not in str(fields(document(obj(a=TEXT), obj(**{name: schema})), "Output")[name].schema)


def test_the_url_of_a_nested_input_object_takes_a_file() -> None:
    assert fields(document(obj(frames={"items": ref("Frame")}), Frame=obj(url=TEXT)), "Frame")["url"].schema == FILE


def test_objects_in_place_become_classes() -> None:
    found = classes(document(ref("In"), In=obj(box=obj(corner=obj(x=TEXT)), list={"items": obj(y=TEXT)})))
    assert list(found) == ["InBox", "InList", "BoxCorner", "Input"]


def test_all_of_objects_is_put_together() -> None:
    found = fields(document({"allOf": [ref("A"), obj("b", b=TEXT)]}, A={"allOf": [obj("a", a=TEXT)]}))
    assert {name: item.required for name, item in found.items()} == {"a": True, "b": True}


def test_tagged_unions_are_kept() -> None:
    components = {"A": obj(kind={"const": "a"}, x=TEXT), "B": obj("kind", kind={"enum": ["b"]}, x=TEXT)}
    result = prepared(document(obj(a=TEXT), {"oneOf": [ref("A"), ref("B")]}, **components))
    assert result.aliases == (("Output", {"union": [{"class": "A"}, {"class": "B"}]}),)
    assert result.diagnostics == ()


def test_cycles() -> None:
    openapi = document(
        obj(n=ref("Node"), a=ref("Loop"), b=ref("Endless")),
        TEXT,
        Node=obj(next={"anyOf": [ref("Node"), NULL]}, other=ref("Other")),
        Other=obj(back=ref("Node")),
        Loop={"items": ref("Loop")},
        Endless={"allOf": [ref("Endless")]},
    )
    result = prepared(openapi)
    assert {item.name for item in result.classes} == {"Node", "Other", "Input"}
    assert {item.code for item in result.diagnostics} == {"endless-ref"}


def test_depth_and_size_have_bounds() -> None:
    deep: dict[str, Any] = TEXT
    for _ in range(60):
        deep = {"items": deep}
    assert one(deep)[1] == ["too-deep"]
    deeper: dict[str, Any] = obj(x=TEXT)
    for _ in range(5000):
        deeper = {"allOf": [deeper]}
    assert isinstance(prepare("acme/thing", {}, document(obj(x=deeper))), Prepared | Diagnostic)
    bomb = {f"B{n}": {"prefixItems": [ref(f"B{n + 1}")] * 2} for n in range(40)}
    failed = prepare("acme/thing", {}, document(obj(x=ref("B0")), **bomb))
    assert isinstance(failed, Diagnostic)
    assert (failed.code, failed.fatal) == ("too-large", True)


@pytest.mark.parametrize(
    ("input", "alias", "code"),
    [
        (None, {"map": {}}, "missing-input"),
        (ref("Gone"), {"map": {}}, "missing-input"),
        ({}, {"map": {}}, "missing-input"),
        ({"type": "object"}, {"map": {}}, None),
        ({"type": "object", "additionalProperties": {"type": "number"}}, {"map": {"type": "number"}}, None),
    ],
)
def test_inputs_without_fields_are_open(input: Any, alias: Schema, code: str | None) -> None:
    result = prepared(document(input, TEXT))
    assert result.aliases == (("Input", alias), ("Output", TEXT))
    assert [item.code for item in result.diagnostics] == ([code] if code else [])


@pytest.mark.parametrize("output", [None, {}, ref("Empty")])
def test_outputs_without_a_schema_are_anything(output: Any) -> None:
    result = prepared(document(obj(a=TEXT), output, Empty={}))
    assert result.aliases == (("Output", {}),)
    assert [item.code for item in result.diagnostics] == ["empty-output"]


def test_the_document_of_an_app_has_its_output_in_the_answer() -> None:
    def content(schema: Any) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    post = {"requestBody": content(obj(a=TEXT)), "responses": {"200": content(obj(b=TEXT))}}
    assert list(fields({"paths": {"/": {"post": post}, "/health": {"get": {}}}}, "Output")) == ["b"]


@pytest.mark.parametrize(
    ("openapi", "code", "pointer"),
    [
        ([], "bad-document", "/openapi"),
        ({"error": {"code": "expansion_failed"}}, "no-schema", "/openapi/error"),
        ({}, "no-paths", "/openapi/paths"),
        ({"paths": {}}, "no-paths", "/openapi/paths"),
        ({"paths": {"/x": {"get": {}}}}, "no-post", "/openapi/paths"),
        ({"paths": {"/x": 5}}, "no-post", "/openapi/paths"),
        ({"paths": {"/x": {"post": {}}, "/y": {"post": {}}}}, "no-post", "/openapi/paths"),
        (
            document(TEXT),
            "input-not-object",
            "/openapi/paths/~1acme~1thing/post/requestBody/content/application~1json/schema",
        ),
    ],
)
def test_hopeless_documents_name_the_place_and_the_remedy(openapi: Any, code: str, pointer: str) -> None:
    failed = prepare("acme/thing", {}, openapi)
    assert isinstance(failed, Diagnostic)
    assert (failed.code, failed.pointer, failed.endpoint_id, failed.fatal) == (code, pointer, "acme/thing", True)
    assert failed.remedy


def test_a_bad_id_is_refused() -> None:
    failed = prepare("../../x", {}, document(obj(a=TEXT)))
    assert isinstance(failed, Diagnostic)
    assert failed.code == "bad-id"


def test_the_document_is_not_changed() -> None:
    openapi = document(obj("x", x={"allOf": [ref("P")], "default": {"a": "x"}}), P=obj(a=TEXT))
    before = repr(openapi)
    prepared(openapi)
    assert repr(openapi) == before


def test_key_order_does_not_matter() -> None:
    def turned(node: Any) -> Any:
        if isinstance(node, Mapping):
            members = cast("Mapping[str, Any]", node)
            return {key: turned(members[key]) for key in reversed(list(members))}
        return node

    openapi = document(
        obj("b", a=ref("a.b"), b=ref("A-b"), c={"default": {"y": 1, "x": 2}}),
        **{"a.b": obj(x=TEXT), "A-b": obj(y=TEXT)},
    )
    assert prepared(turned(openapi)) == prepared(openapi)


def test_conforms_knows_values_inside_of_unions() -> None:
    schema: Schema = {"union": [{"enum": ["a", 1]}, {"map": {"type": "boolean"}}, NULL]}
    good: list[Any] = ["a", 1, {"x": True}, None, {}]
    bad: list[Any] = ["b", True, 1.0, {"x": 1}, []]
    assert all(conforms(value, schema, lambda _: ()) for value in good)
    assert not any(conforms(value, schema, lambda _: ()) for value in bad)
