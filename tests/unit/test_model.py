"""The types that come out: that they work, and what an editor shows."""

from __future__ import annotations

import ast
import sys
import types
from typing import Any

import msgspec
import pytest

from fal_codegen.diagnostics import Diagnostic
from fal_codegen.docs import Glossary, describe
from fal_codegen.model import build_types
from fal_codegen.prepare import Prepared, prepare
from fal_codegen.render import format_source
from fal_runtime import InputModel, MediaFile, OutputModel

TEXT = {"type": "string"}
NULL = {"type": "null"}


def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def obj(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def prepared(input: Any, output: Any, components: dict[str, Any]) -> Prepared:
    def content(schema: Any) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    post = {"requestBody": content(input), "responses": {"200": content(output)}}
    openapi = {"paths": {"/acme/thing": {"post": post}}, "components": {"schemas": components}}
    result = prepare("acme/thing", {}, openapi)
    assert isinstance(result, Prepared), result
    return describe(result, Glossary())


def source(input: Any, output: Any = True, **components: Any) -> str:
    """The types, laid out; they run, and msgspec can decode them."""
    notes: list[Diagnostic] = []
    text = build_types(prepared(input, output, components), notes)
    assert isinstance(text, str), text
    assert notes == []
    return format_source(text)


def load(text: str) -> Any:
    module = types.ModuleType("types_of_a_test")
    sys.modules[module.__name__] = module  # msgspec resolves forward references through it
    exec(compile(text, module.__name__, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    for root in (module.Input, module.Output):
        msgspec.json.Decoder(root)
    return module


def statements(text: str, name: str) -> list[str]:
    """The fields of a class, each in one line."""
    tree = ast.parse(text)
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return [ast.unparse(node).replace("'", '"') for node in found.body if isinstance(node, ast.AnnAssign)]


def test_an_input_shows_defaults_and_sends_what_was_set() -> None:
    text = source(
        obj(
            "prompt",
            prompt={**TEXT, "minLength": 1},
            steps={"type": "integer", "minimum": 1, "maximum": 50, "default": 28},
            scale={"type": "number", "default": 3},
            seed={"anyOf": [{"type": "integer", "minimum": 0}, NULL]},
            size={"anyOf": [ref("Size"), {"enum": ["square", "wide"]}], "default": "square"},
            custom={**ref("Size"), "default": {"width": 4, "class": "a"}},
            tags={"type": "array", "items": TEXT, "default": ["a"]},
        ),
        Size=obj("width", **{"width": {"type": "integer"}, "class": TEXT}),
    )
    assert set(statements(text, "Input")) == {
        'custom: Size = default(Size(width=4, class_="a"))',
        "prompt: Annotated[str, Meta(min_length=1)]",
        "scale: float = default(3.0)",
        "seed: Annotated[int, Meta(ge=0)] | None = default(None)",
        'size: Size | Literal["square", "wide"] = default("square")',
        "steps: Annotated[int, Meta(ge=1, le=50)] = default(28)",
        'tags: list[str] = default(["a"])',
    }
    module = load(text)
    assert InputModel in module.Input.__mro__
    value = module.Input(prompt="a", size=module.Size(width=2, class_="b"), seed=None)
    assert msgspec.json.decode(msgspec.json.encode(value)) == {
        "prompt": "a",
        "size": {"width": 2, "class": "b"},
        "seed": None,
    }
    assert value.steps is msgspec.UNSET
    with pytest.raises(TypeError):
        module.Input()
    with pytest.raises(msgspec.ValidationError, match=r"<= 50"):
        msgspec.json.decode(b'{"prompt": "a", "steps": 51}', type=module.Input)


def test_an_output_has_real_defaults() -> None:
    text = source(
        obj(a=TEXT),
        obj(
            "images",
            images={"type": "array", "items": ref("Image")},
            seed={"type": "integer"},
            tags={"type": "array", "items": TEXT, "default": []},
            sizes={"type": "array", "items": {"type": "number"}, "default": [1, 2.5]},
            pair={"prefixItems": [{"type": "integer"}, {"type": "number"}], "default": [1, 2]},
            info={**ref("Info"), "default": {"class": "x"}},
            **{"class": {**TEXT, "default": "k"}, "def": TEXT},
        ),
        Image=obj("url", url=TEXT, content_type={**TEXT, "default": "image/png"}),
        Info=obj(**{"class": TEXT}),
    )
    assert set(statements(text, "Output")) == {
        "images: list[Image]",
        "seed: int | None = None",
        "tags: list[str] = []",
        "sizes: list[float] = field(default_factory=lambda: [1.0, 2.5])",
        "pair: tuple[int, float] = field(default_factory=lambda: (1, 2.0))",
        'info: Info = field(default_factory=lambda: Info(class_="x"))',
        'class_: str = field(default="k", name="class")',
        'def_: str | None = field(default=None, name="def")',
    }
    module = load(text)
    output = msgspec.json.decode(b'{"images": [{"url": "u", "new": 1}], "class": "c"}', type=module.Output)
    assert OutputModel in module.Output.__mro__
    assert MediaFile in module.Image.__mro__
    assert (output.images[0].content_type, output.class_, output.seed, output.tags) == ("image/png", "c", None, [])
    assert (output.sizes, output.pair, output.info.class_, output.def_) == ([1.0, 2.5], (1, 2.0), "x", None)


def test_required_fields_keep_their_wire_name() -> None:
    module = load(text := source(obj("class", "int", **{"class": TEXT, "int": {"type": "integer"}})))
    assert statements(text, "Input") == ['class_: str = field(name="class")', 'int_: int = field(name="int")']
    assert msgspec.json.encode(module.Input(class_="a", int_=1)) == b'{"class":"a","int":1}'


def test_imports_are_those_that_are_used() -> None:
    text = source(obj("a", a=TEXT), obj("b", b=TEXT))
    assert text.splitlines()[0] == "from fal_runtime import Endpoint, InputModel, OutputModel"
    head = source(
        obj(image_url=TEXT, n={"type": "integer", "minimum": 1}), obj("x", x=obj("url", url=TEXT, width=TEXT))
    )
    assert head.splitlines()[:4] == [
        "from typing import Annotated",
        "",
        "from fal_runtime import Endpoint, FileInput, InputModel, MediaFile, OutputModel, default",
        "from msgspec import Meta",
    ]


def test_files_are_file_inputs_also_inside() -> None:
    text = source(
        obj(
            "image_url",
            "mask_urls",
            image_url=TEXT,
            mask_urls={"items": TEXT, "maxItems": 3},
            end_url={"anyOf": [TEXT, NULL]},
        )
    )
    assert set(statements(text, "Input")) == {
        "image_url: FileInput",
        "mask_urls: Annotated[FileInputs, Meta(max_length=3)]",
        "end_url: FileInput | None = default(None)",
    }
    load(text)


@pytest.mark.parametrize(
    ("schema", "annotation"),
    [
        ({"type": "boolean"}, "bool"),
        ({}, "Any"),
        ({"type": "object"}, "dict[str, Any]"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "dict[str, float]"),
        ({"type": "array"}, "list[Any]"),
        ({"items": {"items": {"type": "number"}}}, "list[list[float]]"),
        ({"items": {"anyOf": [TEXT, NULL]}}, "list[str | None]"),
        ({"prefixItems": [{"anyOf": [{"type": "number"}, NULL]}, TEXT]}, "tuple[float | None, str]"),
        ({"enum": [1, 2]}, "Literal[1, 2]"),
        ({"enum": ["", "a", 1]}, 'Literal["", "a", 1]'),
        ({"anyOf": [TEXT, {"type": "integer"}, NULL]}, "str | int | None"),
        ({"type": "integer", "multipleOf": 8}, "Annotated[int, Meta(multiple_of=8)]"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "Annotated[float, Meta(gt=0.0, le=1.0)]"),
        ({"type": "null"}, "None"),
    ],
)
def test_annotations(schema: Any, annotation: str) -> None:
    text = source(obj("x", x=schema))
    assert statements(text, "Input") == [f"x: {annotation}"]
    load(text)


def test_constraints_inside_get_names_that_no_class_has() -> None:
    bounded = {"type": "integer", "minimum": 1}
    text = source(obj("x", "y", x={"items": bounded}, y=ref("InputXItem")), InputXItem=obj(a=TEXT))
    assert statements(text, "Input") == ["x: list[InputXItem2]", "y: InputXItem"]
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"x": [0], "y": {}}', type=load(text).Input)


def test_tagged_unions_decode() -> None:
    text = source(
        obj(a=TEXT),
        obj("media", media={"anyOf": [ref("Video"), ref("Audio")]}),
        Video=obj("url", kind={"const": "video", "default": "video"}, url=TEXT, fps={"type": "integer"}),
        Audio=obj("url", kind={"const": "audio", "default": "audio"}, url=TEXT),
    )
    module = load(text)
    output = msgspec.json.decode(b'{"media": {"kind": "audio", "url": "u"}}', type=module.Output)
    assert type(output.media) is module.Audio
    assert output.media.kind == "audio"
    assert 'kind: ClassVar[Literal["audio"]] = "audio"' in text


def test_cycles_decode() -> None:
    module = load(
        source(obj(a=TEXT), ref("Node"), Node=obj(kids={"items": ref("Node")}, up={"anyOf": [ref("Node"), NULL]}))
    )
    assert msgspec.json.decode(b'{"kids": [{"kids": []}]}', type=module.Output).kids[0].kids == []


def test_roots_without_fields_are_aliases() -> None:
    text = source({"type": "object"}, True)
    assert "Input: TypeAlias = dict[str, Any]" in text
    assert "Output: TypeAlias = Any" in text
    assert load(text).Input == dict[str, Any]


def test_components_may_be_called_anything() -> None:
    odd = ("Annotated", "List", "Exception", "typing", "Struct", "a.b", "A b", "print", "é")
    text = source(obj(**{f"f{n}": ref(name) for n, name in enumerate(odd)}), **{name: obj(x=TEXT) for name in odd})
    module = load(text)
    names = {node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    assert names == {
        "AB",
        "AB2",
        "AnnotatedType",
        "Exception",
        "Input",
        "List",
        "Model",
        "Print",
        "StructType",
        "Typing",
    }
    assert module.Input(f0=module.AnnotatedType(x="a")).f0.x == "a"


@pytest.mark.parametrize(
    "value", ['"', "'", "\\", '"""\nimport os\n', "\n", "{{ x }}", "\u202e", "a'b\"c", "%s", "\x00"]
)
def test_values_stay_values(value: str) -> None:
    components = {"P": obj("k", k={"enum": [value, "z"]})}
    module = load(
        source(
            obj(a={"enum": [value, "z"], "default": value}, p={**TEXT, "pattern": "^\"'\\\\\n$"}),
            obj(b={**TEXT, "default": value}, c={"items": TEXT, "default": [value]}, d={"default": {value: [value]}}),
            **components,
        )
    )
    assert msgspec.json.decode(msgspec.json.encode({"a": value}), type=module.Input).a == value
    output = module.Output()
    assert (output.b, output.c, output.d) == (value, [value], {value: [value]})


def test_odd_property_names_work() -> None:
    odd = (
        "Annotated",
        "Any",
        "Input",
        "Meta",
        "None",
        "__init__",
        "__slots__",
        "a b",
        "default",
        "dict",
        "field",
        "self",
    )
    module = load(source(obj(**{name: {**TEXT, "default": name} for name in odd}), obj(**dict.fromkeys(odd, TEXT))))
    fields = module.Input.__struct_fields__
    value = module.Input(**dict(zip(fields, module.Input.__struct_encode_fields__, strict=True)))
    assert msgspec.json.decode(msgspec.json.encode(value)) == {name: name for name in odd}
    assert set(module.Output.__struct_encode_fields__) == set(odd)


def test_what_datamodel_code_generator_warns_about_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    union = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "number", "maximum": 9}]}
    notes: list[Diagnostic] = []
    assert isinstance(build_types(prepared(True, obj(x=union), {}), notes), str)
    assert [(note.code, note.fatal) for note in notes] == [("types-warning", False)]
    assert capsys.readouterr() == ("", "")
