"""What a reader sees, and that text never becomes code."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest

from fal_codegen.dialect import Schema
from fal_codegen.docs import Glossary, Pattern, describe, docstring, load_glossary, one_line
from fal_codegen.prepare import Class, Field, Prepared, Side

TEXT: Schema = {"type": "string"}


def endpoint(*classes: Class, **changes: str) -> Prepared:
    texts = {"title": "Thing", "category": "text-to-image", "description": "", **changes}
    return Prepared("acme/thing", texts["title"], texts["category"], texts["description"], classes, (), ())


def described(glossary: Glossary, side: Side = "input", component: str = "In", **field: Any) -> str:
    """The text of one field."""
    given: dict[str, Any] = {"wire": "x", "name": "x", "schema": TEXT, "nullable": False, "required": True, **field}
    item = Field(**given)
    name = "Input" if side == "input" else "Output"
    result = describe(endpoint(Class(name, side, (item,), component)), glossary)
    return result.classes[0].fields[0].doc


def integer(**bounds: int) -> Schema:
    return {"type": "integer", **bounds}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (integer(minimum=1, maximum=4), "Range: 1 to 4."),
        (integer(minimum=-10, maximum=-1), "Range: -10 to -1."),
        (integer(exclusiveMinimum=0, maximum=14142), "Range: above 0, to 14142."),
        (integer(minimum=0, exclusiveMaximum=10), "Range: 0, below 10."),
        (integer(exclusiveMinimum=0, exclusiveMaximum=10), "Range: above 0, below 10."),
        (integer(minimum=1), "At least 1."),
        (integer(maximum=20), "At most 20."),
        (integer(exclusiveMinimum=0), "Above 0."),
        (integer(exclusiveMaximum=10), "Below 10."),
        (integer(minimum=8, maximum=64, multipleOf=8), "Range: 8 to 64. A multiple of 8."),
        ({"type": "number", "minimum": 0.0, "maximum": 1.5}, "Range: 0 to 1.5."),
        ({"type": "number", "minimum": 1e-06, "maximum": 1.0}, "Range: 1e-06 to 1."),
        ({"type": "string", "maxLength": 1000}, "Up to 1000 characters."),
        ({"type": "string", "minLength": 1}, "At least 1 character."),
        ({"type": "string", "minLength": 2, "maxLength": 9}, "2 to 9 characters."),
        ({"type": "array", "items": {}, "minItems": 1, "maxItems": 4}, "1 to 4 items."),
        ({"type": "array", "items": {}, "maxItems": 1}, "Up to 1 item."),
        ({"type": "array", "items": {}, "minItems": 2, "maxItems": 2}, "Exactly 2 items."),
        ({"union": [integer(minimum=1), {"enum": ["auto"]}]}, "At least 1."),
        ({"union": [integer(minimum=1), {"type": "string", "maxLength": 3}]}, ""),
        ({"enum": ["a"]}, ""),
        ({}, ""),
    ],
)
def test_ranges_in_words(schema: Schema, text: str) -> None:
    assert described(Glossary(), schema=schema) == text


@pytest.mark.parametrize(
    ("default", "text"),
    [
        (28, "Default: 28."),
        (3.5, "Default: 3.5."),
        (False, "Default: False."),
        ("jpeg", 'Default: "jpeg".'),
        ("", 'Default: "".'),
        ('a"\n', 'Default: "a\\"\\n".'),
        ([1, 2], "Default: [1, 2]."),
        ("x" * 200, f'Default: "{"x" * 78}….'),
        (None, ""),
    ],
)
def test_defaults_of_inputs(default: Any, text: str) -> None:
    assert described(Glossary(), required=False, default=default) == text
    assert described(Glossary(), side="output", required=False, default=default) == ""


def test_text_range_and_default_stand_in_one_line() -> None:
    glossary = Glossary(fields={"steps": "How many steps"})
    schema = integer(minimum=1, maximum=50)
    text = described(glossary, wire="steps", schema=schema, required=False, default=28)
    assert text == "How many steps. Range: 1 to 50. Default: 28."


def test_the_documents_own_text_comes_first() -> None:
    own = "\n    The number\n    of steps:\n      - few\n    "
    assert described(Glossary(fields={"x": "ours"}), description=own) == "The number of steps:\n- few."
    assert described(Glossary(fields={"x": "ours"}), description="  ") == "ours."


def test_facts_follow_a_text_of_several_lines_on_a_line_of_their_own() -> None:
    field: dict[str, Any] = {"schema": integer(minimum=1), "required": False, "default": 2, "example": 3}
    item = Field("x", "x", nullable=False, description="How much.\n\nMore.", **field)
    (built,) = describe(endpoint(Class("Input", "input", (item,))), Glossary()).classes
    assert built.fields[0].doc == "How much.\n\nMore.\n\nAt least 1. Default: 2. Example: 3."
    assert built.fields[0].summary == "How much. More. At least 1. Default: 2. Example: 3."
    assert built.doc.endswith("Args:\n    x: How much. More. At least 1. Default: 2. Example: 3.")


@pytest.mark.parametrize(
    ("example", "default", "text"),
    [
        ("a cat", None, 'Example: "a cat".'),
        ("a cat", "a cat", 'Default: "a cat".'),
        (None, "a cat", 'Default: "a cat".'),
        ("a cat", "a dog", 'Default: "a dog". Example: "a cat".'),
        ({"width": 1}, None, "Example: {'width': 1}."),
        ("x" * 200, None, f'Example: "{"x" * 78}….'),
    ],
)
def test_examples(example: Any, default: Any, text: str) -> None:
    assert described(Glossary(), required=False, default=default, example=example) == text


SIZE = Class("Size", "input", (Field("width", "width", {"type": "integer"}, False, True),))


@pytest.mark.parametrize(
    ("fields", "call"),
    [
        ({"prompt": (TEXT, "a cat")}, 'output = thing.subscribe(thing.Input(prompt="a cat"))'),
        ({"size": ({"class": "Size"}, {"width": 8})}, "output = thing.subscribe(thing.Input(size=thing.Size(width=8)))"),
        (
            {"prompt": (TEXT, "word " * 40), "number": ({"type": "number"}, 1)},
            f'output = thing.subscribe(thing.Input(\n    prompt="{("word " * 16).strip()}",\n    number=1.0,\n))',
        ),
        ({"prompt": (TEXT, 'a "quote"\n``` and """')}, "output = thing.subscribe(thing.Input(prompt='a \"quote\"\\n``` and \"\"\"'))"),
        ({"prompt": (TEXT, None)}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_a_snippet_calls_the_endpoint_with_its_own_examples(fields: dict[str, Any], call: str | None) -> None:
    given = [Field(name, name, schema, False, True, example=example) for name, (schema, example) in fields.items()]
    optional = Field("seed", "seed", {"type": "integer"}, False, False, example=7)
    classes = (SIZE, Class("Input", "input", (*given, optional)))
    doc = describe(endpoint(*classes), Glossary(), "acme.fal.acme.thing").classes[1].doc
    link = "`acme/thing`, category text-to-image: https://fal.ai/models/acme/thing"
    snippet = f"```python\nfrom acme.fal.acme import thing\n\n{call}\n```"
    head = "Input of `acme/thing`." if call is None else f"Input of {link}\n\n{snippet}"
    assert doc == f"{head}\n\nArgs:\n{args(given)}    seed: Example: 7."
    if call is not None:
        compile(call, "snippet.py", "exec")
        literal = docstring(doc, indent="    ")
        assert ast.get_docstring(ast.parse(f"class A:\n    {literal}\n").body[0]) == doc  # type: ignore[arg-type]
    assert "```python" not in describe(endpoint(*classes), Glossary()).classes[1].doc


def args(fields: list[Field]) -> str:
    built = describe(endpoint(Class("Input", "input", tuple(fields))), Glossary()).classes[0].fields
    return "".join(f"    {each.name}: {each.summary}\n" for each in built if each.summary)


def test_the_glossary_is_searched_from_the_special_to_the_general() -> None:
    patterns = (
        Pattern(re.compile("(.+)_(url)s?"), "The {1} of the {0}.", side="input", type="string"),
        Pattern(re.compile(".*_url"), "A URL."),
    )
    glossary = Glossary(
        fields={"x": "field"},
        input={"x": "input"},
        output={"x": "output"},
        components={"In.x": "own"},
        patterns=patterns,
    )
    assert described(glossary) == "own."
    assert described(glossary, component="Other") == "input."
    assert described(glossary, component="Other", side="output") == "output."
    assert described(Glossary(fields={"x": "field"})) == "field."
    assert described(glossary, wire="first_frame_url") == "The url of the first frame."
    assert described(glossary, wire="first_frame_url", side="output") == "A URL."
    assert described(glossary, wire="first_frame_url", schema={"type": "integer"}) == "A URL."
    assert described(glossary, wire="y") == ""


def test_a_class_lists_the_fields_that_have_a_text() -> None:
    fields = (
        Field("class", "class_", TEXT, False, True, description="First."),
        Field("b", "b", TEXT, False, True),
        Field("c", "c", TEXT, False, True, description="Third"),
    )
    result = describe(endpoint(Class("Input", "input", fields, "In")), Glossary())
    assert result.classes[0].doc == "Input of `acme/thing`.\n\nArgs:\n    class_: First.\n    c: Third."


def test_texts_of_classes() -> None:
    glossary = Glossary(components_docs={"Size": "A size"})
    classes = (
        Class("Size", "input", (), "Size"),
        Class("Own", "input", (), "Own", description="Its\nown."),
        Class("Plain", "output", (), "Plain"),
        Class("Output", "output", (), "Out"),
    )
    assert [item.doc for item in describe(endpoint(*classes), glossary).classes] == [
        "A size.",
        "Its own.",
        "Part of the output of `acme/thing`.",
        "Output of `acme/thing`.",
    ]


def test_the_text_of_a_module() -> None:
    glossary = Glossary(categories={"text-to-image": "Makes images."})
    link = "`acme/thing`, category text-to-image: https://fal.ai/models/acme/thing"
    assert describe(endpoint(), glossary).doc == f"Thing: makes images.\n\n{link}"
    assert (
        describe(endpoint(description="It is\ngood."), glossary).doc == f"Thing: makes images.\n\nIt is good.\n\n{link}"
    )
    assert describe(endpoint(category=""), glossary).doc == "Thing.\n\n`acme/thing`: https://fal.ai/models/acme/thing"


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "",
        '"',
        '""',
        '"""',
        '""""""""',
        'ends with "',
        "ends with \\",
        'ends with \\"',
        "\\",
        "\\n \\x41 \\N{DASH}",
        '"""\nimport os\nos.system("true")\n"""',
        "{{ 7 * 7 }} {% raw %} {x} %s",
        "a\x00b\x1b\x7f",
        "right to left \u202e and zero \u200b width",
        "line\u2028separator\u0085x",
        "emoji 🎨 and ümläut",
    ],
)
def test_text_stays_text(text: str) -> None:
    line = one_line(text)
    literal = docstring(line)
    assert ast.literal_eval(literal) == line
    assert "\n" not in literal
    assert literal.isprintable()
    inside = docstring(f"Head.\n\nArgs:\n    x: {line}", indent="    ")
    tree = ast.parse(f"class A:\n    {inside}\n")
    assert len(tree.body) == 1
    assert ast.get_docstring(tree.body[0], clean=True) == f"Head.\n\nArgs:\n    x: {line}".rstrip()  # type: ignore[arg-type]


def test_half_a_character_is_shown_as_unreadable() -> None:
    literal = docstring("lone \ud800 surrogate")
    assert ast.literal_eval(literal) == "lone \ufffd surrogate"
    compile(f"class A:\n    {literal}\n", "x.py", "exec")


def test_the_projects_own_glossary_can_be_read() -> None:
    glossary = load_glossary()
    assert glossary.input["prompt"]
    assert glossary.categories["text-to-image"]
    assert load_glossary() is glossary
