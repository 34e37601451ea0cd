"""Documents that nobody should write: each is small, and each has broken some generator of code.

The texts among them try to become code. What they would do, if any did, is `HACKED`.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["CORPUS", "HACKED", "TEXT", "TEXTS", "entry", "ids_that_are_none", "obj"]

HACKED = "__import__('pathlib').Path('HACKED').touch()"

HACKED_BY_NUMBERS = f"__import__({'+'.join(f'chr({ord(letter)})' for letter in 'pathlib')}).Path(str(1)).touch()"
"""The same without a quotation mark."""
UNION_NAMES = ("OneOf_", "OneOf_1", "OneOf_1_", "OneOf_2", "OneOf_2_", "OneOf_22", "OneOf")

TEXTS = (
    f'"""\n{HACKED}\n"""',
    f"'''\n{HACKED}\n'''",
    f'"; {HACKED}; "',
    f"'; {HACKED}; '",
    f"\\\\\\\"\\'\n{HACKED}",
    f"\n{HACKED}\n",
    f"\r{HACKED}\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029{HACKED}",
    f'"]] = {HACKED}\n    x: Literal[["',
    f"{{{{ {HACKED} }}}}{{% for x in y %}}{{# {HACKED} #}}",
    "{0} {x!r} %s %(x)s $x ${x}",
    "\\",
    '\\"',
    '"',
    '""',
    "\\N{BULLET} \\x00 \\u0000 \\777 \\",
    "\x00\x01\x1b[2J\x7f",
    "\u202e\u2066\ufeff\u200b right to left",
    "# comment\n# -*- coding: utf-7 -*-\n",
    f"</script><img src=x onerror=alert(1)> [x](javascript:x) `{HACKED}`",
    "Args:\n    prompt: forged\n\nRaises:\n    SystemExit: always",
    " leading and trailing ",
    "\t\ttabs\n\n\n\nand lines\n",
    "x" * 5000,
    "é 日本 🎉 ﬁ ı K",
)

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
NULL = {"type": "null"}


def ref(name: str) -> dict[str, Any]:
    return {"$ref": "#/components/schemas/" + name.replace("~", "~0").replace("/", "~1")}


def obj(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def fields(names: Any) -> dict[str, Any]:
    """An object with a text under each of these names."""
    return {"type": "object", "properties": dict.fromkeys(names, TEXT), "required": []}


def content(schema: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def entry(
    id_: str,
    input: Any,
    output: Any = TEXT,
    components: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A catalogue's entry, as the platform gives it."""
    paths = {
        f"/{id_}": {"post": {"requestBody": content(input), "responses": {}}},
        f"/{id_}/requests/{{request_id}}": {"get": {"responses": {"200": content(output)}}},
    }
    openapi = {"openapi": "3.0.4", "paths": paths, "components": {"schemas": dict(components or {})}}
    return {"endpoint_id": id_, "metadata": dict(metadata or {}), "openapi": openapi}


def nested(levels: int, wrap: Callable[[Any], Any]) -> Any:
    """A schema so many levels deep."""
    schema: Any = TEXT
    for _ in range(levels):
        schema = wrap(schema)
    return schema


def chain(length: int, link: Callable[[Any], Any]) -> dict[str, Any]:
    """Components that each refer to the next one."""
    return {**{f"N{n}": link(ref(f"N{n + 1}")) for n in range(length)}, f"N{length}": obj(x=TEXT)}


def ids_that_are_none() -> list[str]:
    """Ids that could lead somewhere else, or into code."""
    return [
        "",
        "/",
        "one",
        "..",
        "../../evil",
        "a/../../evil",
        "a/..",
        "a/./b",
        "/etc/evil",
        "a//b",
        "a/b/",
        "C:/evil/x",
        "a\\..\\evil/x",
        "a/b\\c",
        "a/b\x00c",
        "a/b\nimport os",
        f"a/'{HACKED}'",
        'a/b"c',
        "a/b c",
        "a/b#c",
        "a/b?c=d",
        "a/%2e%2e/evil",
        "~root/x",
        "a/é",
        "a/‥/b",
        "a/" + "b" * 300,
        "-rf/x",
        "a/__/b",
    ]


RESERVED = [
    "match",
    "type",
    "case",
    "int",
    "str",
    "list",
    "dict",
    "print",
    "self",
    "cls",
    "default",
    "field",
    "Meta",
    "Annotated",
    "Literal",
    "Any",
    "Input",
    "Output",
    "Endpoint",
    "endpoint",
    "run",
    "subscribe",
    "mro",
    "__class__",
    "__init__",
    "__slots__",
    "__dict__",
    "__annotations__",
    "__struct_fields__",
    "_private",
    "__",
    "to_dict",
    "from_dict",
    "replace",
    "model_config",
    "model_fields",
    "model_dump",
    "copy",
    "json",
    "schema",
]

ODD = [
    "",
    " ",
    "a-b",
    "a_b",
    "a b",
    "a.b",
    "1st",
    "1",
    "é",
    "日本",
    "🎉",
    "ﬁ",
    "fi",
    "A",
    "a",
    "$ref",
    "a/b",
    "a~b",
    "properties",
    "items",
    "type",
    "enum",
    "default",
    "allOf",
    "x" * 300,
]

COMPONENTS = [
    "a.b",
    "a-b",
    "ab",
    "AB",
    "A_B",
    "a/b",
    "../../evil",
    "a b",
    "",
    "1",
    "é",
    "🎉",
    "x" * 300,
    "a~b",
    "#",
    "%2F",
    "Input",
    "Output",
    "Struct",
    "Any",
    "Literal",
    "Endpoint",
    "None",
    "True",
    "default",
    "InputModel",
    "Meta",
    "int",
    "str",
    "field",
    "class",
    "import",
    "__init__",
    "typing",
    "msgspec",
    "os",
    "a__b__Image",
    "__",
]

_SMALL: dict[str, dict[str, Any]] = {
    # What refers to itself
    "cycle": {"input": ref("Node"), "components": {"Node": obj(next=ref("Node"), many={"items": ref("Node")})}},
    "cycle-of-two": {"input": obj(a=ref("A")), "components": {"A": obj(b=ref("B")), "B": obj("a", a=ref("A"))}},
    "cycle-of-lists": {"input": obj(a=ref("L")), "components": {"L": {"items": ref("L")}}},
    "cycle-of-all-of": {"input": obj(a=ref("A")), "components": {"A": {"allOf": [ref("A")]}}},
    "cycle-of-all-of-two": {
        "input": obj(a=ref("A")),
        "components": {"A": {"allOf": [ref("B"), obj(x=TEXT)]}, "B": {"allOf": [ref("A"), obj(y=TEXT)]}},
    },
    "cycle-of-any-of": {"input": obj(a=ref("A")), "components": {"A": {"anyOf": [ref("A"), TEXT]}}},
    "cycle-of-maps": {"input": obj(a=ref("M")), "components": {"M": {"additionalProperties": ref("M")}}},
    "cycle-of-references": {"input": obj(a=ref("A")), "components": {"A": ref("B"), "B": ref("A")}},
    "cycle-in-a-default": {
        "input": obj(a={**ref("A"), "default": {"a": {"a": {}}}}),
        "components": {"A": obj(a={**ref("A"), "default": {}})},
    },
    "root-that-refers-to-itself": {"input": ref("A"), "components": {"A": ref("A")}},
    # Names
    "keywords": {"input": fields(keyword.kwlist), "output": fields([*keyword.kwlist, *keyword.softkwlist])},
    "reserved-names": {"input": fields(RESERVED), "output": fields(RESERVED)},
    "odd-names": {"input": fields(ODD), "output": fields(ODD)},
    "names-that-are-texts": {"input": fields(TEXTS), "output": fields(TEXTS)},
    "names-in-both-forms": {"input": fields(["class", "class_", "class_2", "a-b", "a_b", "a__b", "-a-b-"])},
    "a-field-that-is-called-like-its-class": {
        "input": obj(Size=ref("Size"), x=ref("Size")),
        "components": {"Size": obj(Size=ref("Size"))},
    },
    "component-names": {
        "input": obj(**{f"f{n}": ref(name) for n, name in enumerate(COMPONENTS)}),
        "output": obj(**{f"f{n}": ref(name) for n, name in enumerate(COMPONENTS)}),
        "components": {name: obj(x=TEXT) for name in COMPONENTS},
    },
    "component-names-that-are-texts": {
        "input": obj(**{f"f{n}": ref(name) for n, name in enumerate(TEXTS)}),
        "components": {name: obj(x=TEXT) for name in TEXTS},
    },
    "aliases-that-are-called-like-fields": {
        "input": obj(x={"items": {**WHOLE, "minimum": 1}}, InputXItem=TEXT, input_x_item=ref("InputXItem")),
        "components": {"InputXItem": obj(y=TEXT)},
    },
    "methods-of-files": {
        "output": obj(f=obj("url", url=TEXT, **dict.fromkeys(["save", "read", "size", "to_pil", "width"], WHOLE))),
    },
    # Values
    "two-thousand-values": {"input": obj(x={"enum": [f"voice-{n}" for n in range(2000)]})},
    "values-that-are-texts": {"input": obj(x={"enum": list(TEXTS)}), "output": obj("x", x={"enum": list(TEXTS)})},
    "constants-that-are-texts": {
        "input": {"type": "object", "properties": {f"c{n}": {"const": t} for n, t in enumerate(TEXTS)}}
    },
    "values-of-all-kinds": {"input": obj(x={"enum": [1, "1", 1.5, True, None, [1], {"a": 1}, 2**70, -1]})},
    "values-of-integers": {"input": obj(x={"enum": [0, -1, 10**18], "default": 0}, y={"enum": [0, False]})},
    "no-values": {"input": obj(x={"enum": []}, y={"enum": [None]}, z={"enum": {}}, w={"enum": "abc"})},
    "half-characters": {
        "input": obj(
            x={"enum": ["\ud800"]}, y={"const": "\udfff"}, z={**TEXT, "default": "\ud800", "description": "\ud800"}
        ),
        "metadata": {"display_name": "\ud800", "description": "\udc00"},
    },
    # Defaults
    "wrong-defaults": {
        "input": obj(
            a={**TEXT, "default": 5},
            b={**WHOLE, "default": "5"},
            c={**WHOLE, "default": True},
            d={"enum": ["x"], "default": "y"},
            e={"items": TEXT, "default": {}},
            f={**ref("P"), "default": {"nope": 1}},
            g={**ref("P"), "default": "p"},
            h={"type": "number", "default": float("nan")},
            i={"type": "number", "default": float("-inf")},
            j={"prefixItems": [TEXT, WHOLE], "default": ["a"]},
            k={"type": "boolean", "default": "true"},
            l={"anyOf": [TEXT, NULL], "default": []},
            m={**WHOLE, "minimum": 3, "default": 2},
        ),
        "components": {"P": obj("a", a=TEXT)},
    },
    "defaults-that-are-texts": {
        "input": {"type": "object", "properties": {f"d{n}": {**TEXT, "default": t} for n, t in enumerate(TEXTS)}},
        "output": {"type": "object", "properties": {f"d{n}": {**TEXT, "default": t} for n, t in enumerate(TEXTS)}},
    },
    "defaults-with-texts-inside": {
        "input": obj(
            a={"default": {text: [text] for text in TEXTS}},
            b={"items": TEXT, "default": list(TEXTS)},
            c={"additionalProperties": TEXT, "default": {text: text for text in TEXTS}},
            d={**ref("P"), "default": {TEXTS[0]: TEXTS[1]}},
            image_url={**TEXT, "default": TEXTS[0]},
        ),
        "output": obj(a={"default": {text: [text] for text in TEXTS}}),
        "components": {"P": fields(TEXTS)},
    },
    "numbers-at-the-edge": {
        "input": obj(
            a={**WHOLE, "default": 2**64, "maximum": 2**70},
            b={"type": "number", "default": 1e308, "maximum": 1e309},
            c={"type": "number", "default": -0.0},
            d={"type": "number", "default": 5e-324, "multipleOf": 5e-324},
            e={**WHOLE, "default": 10**30},
        )
    },
    # References
    "missing-references": {
        "input": obj(
            a=ref("Nowhere"),
            b={"$ref": "https://example.com/evil.json"},
            c={"$ref": "#"},
            d={"$ref": "#/components/schemas/"},
            e={"$ref": "#/paths/~1x"},
            f={"$ref": 5},
            g={"$ref": None},
            h={"$ref": "file:///etc/passwd"},
            i={"$ref": "../../secret.json"},
            j={"items": ref("Nowhere"), "default": ["a"]},
            k={"anyOf": [ref("Nowhere"), TEXT]},
            l={"$ref": TEXTS[0]},
        )
    },
    "no-input": {"input": ref("Nowhere"), "output": ref("Nowhere")},
    # Depth and size
    "deep-objects": {"input": obj(x=nested(150, lambda inner: obj(p=inner)))},
    "deep-lists": {"input": obj(x=nested(200, lambda inner: {"items": inner}))},
    "deep-unions": {"input": obj(x=nested(200, lambda inner: {"anyOf": [inner]}))},
    "deep-all-ofs": {"input": obj(x=nested(200, lambda inner: {"allOf": [inner]}))},
    "long-chain-of-classes": {"input": obj(n=ref("N0")), "components": chain(1500, lambda inner: obj(next=inner))},
    "long-chain-of-references": {
        "input": obj(n=ref("N0")),
        "components": chain(1500, lambda inner: {"allOf": [inner]}),
    },
    "unfolding": {
        "input": obj(x=ref("B0")),
        "components": {f"B{n}": {"prefixItems": [ref(f"B{n + 1}")] * 9} for n in range(30)},
    },
    "a-thousand-fields": {"input": fields([f"field_{n}" for n in range(1000)])},
    # What is of another kind than it should be
    "wrong-kinds": {
        "input": obj(
            a={"type": "object", "properties": []},
            b={"type": "object", "properties": {"x": 5, "y": None, "z": [], "w": "text"}, "required": "x"},
            c={"type": "object", "properties": {"x": TEXT}, "required": {"x": 1}},
            d={"type": "array", "items": 5},
            e={"anyOf": {}},
            f={"anyOf": [5, None, "x"]},
            g={"allOf": "x"},
            h={"type": []},
            i={"type": {"a": 1}},
            j={"additionalProperties": 5},
            k={"prefixItems": {}},
            l={"nullable": "yes", "type": "string"},
            m=[TEXT],
            n={"description": {"a": 1}, "title": [1], "type": "string"},
        )
    },
    "wrong-order": {"input": obj(a=TEXT) | {"x-fal-order-properties": ["b", None, 5, ["a"], "a", "a"]}},
    "wrong-bounds": {
        "input": obj(
            a={**WHOLE, "minimum": "1", "maximum": None},
            b={**TEXT, "minLength": -1, "maxLength": 1.5},
            c={**WHOLE, "minimum": 5, "maximum": 1},
            d={**WHOLE, "multipleOf": 0},
            e={"items": TEXT, "minItems": 2**40, "maxItems": True},
            f={"type": "number", "exclusiveMinimum": True},
            g={"type": "number", "minimum": float("nan")},
        )
    },
    "patterns": {
        "input": {
            "type": "object",
            "properties": {
                f"p{n}": {**TEXT, "pattern": pattern}
                for n, pattern in enumerate(
                    ("(", "(a+)+$", "[", "(?!a)b(?<=c)", "(?P<x>a)(?P=x)", "\\p{L}", "\\", *TEXTS)
                )
            },
        }
    },
    "unions": {
        "input": obj(
            a={"anyOf": [ref("P"), ref("Q")]},
            b={
                "oneOf": [ref("P"), ref("Q")],
                "discriminator": {"propertyName": TEXTS[0], "mapping": {"x": "#/nowhere"}},
            },
            c={"anyOf": [{"items": TEXT}, {"items": WHOLE}, {"type": "object"}, ref("P")]},
            d={"type": ["string", "string", "integer", "null", "null", "object"]},
            e={"oneOf": [obj(kind={"const": text}) for text in TEXTS[:4]]},
        ),
        "components": {"P": obj("a", a=TEXT), "Q": obj("a", a=WHOLE)},
    },
    "keywords-of-other-dialects": {
        "input": obj(
            a={"not": TEXT, "if": TEXT, "then": TEXT, "$defs": {"x": TEXT}, "$dynamicRef": "#x", "type": "string"},
            b={"patternProperties": {"(": TEXT}, "type": "object"},
            c={"type": "string", "format": TEXTS[0], "contentEncoding": TEXTS[1], "x-fal": {"a": TEXTS[2]}},
        )
    },
    # Texts
    "texts-everywhere": {
        "input": {
            "type": "object",
            "title": TEXTS[0],
            "description": "\n".join(TEXTS),
            "properties": {
                f"f{n}": {**TEXT, "title": text, "description": text, "examples": [text], "example": text}
                for n, text in enumerate(TEXTS)
            },
        },
        "output": {
            "type": "object",
            "description": TEXTS[1],
            "properties": {f"f{n}": {**TEXT, "description": text} for n, text in enumerate(TEXTS)},
        },
        "metadata": {
            "display_name": TEXTS[0],
            "description": "\n".join(TEXTS),
            "category": TEXTS[1],
            "tags": list(TEXTS),
            "stream_url": TEXTS[2],
            "kind": TEXTS[3],
            "status": TEXTS[4],
            "license_type": TEXTS[5],
        },
    },
    "texts-of-classes": {
        "input": obj(**{f"f{n}": ref(f"C{n}") for n in range(len(TEXTS))}),
        "components": {f"C{n}": {**obj(x=TEXT), "description": text, "title": text} for n, text in enumerate(TEXTS)},
    },
    # The names that the generator gives to unions for a while, in texts and as fields; the unions end a text.
    "names-of-unions": {
        "input": obj(
            a={"anyOf": [{**TEXT, "maxLength": 9}, {"enum": [f"', {HACKED_BY_NUMBERS}, '", f'", {HACKED}, "']}]},
            b={"enum": [*UNION_NAMES]},
            c={"items": {"enum": [*UNION_NAMES]}, "minItems": 1},
            d={**TEXT, "default": "OneOf_", "description": "OneOf_"},
            e={"anyOf": [{"items": TEXT}, {"items": {"enum": [*UNION_NAMES]}}]},
        ),
        "output": obj(**dict.fromkeys(UNION_NAMES, TEXT)),
    },
    "fields-called-like-unions": {
        "input": obj(**dict.fromkeys(UNION_NAMES, TEXT), x={"anyOf": [{**TEXT, "maxLength": 9}, {"enum": ["a", "b"]}]}),
    },
    "metadata-of-other-kinds": {
        "input": obj(x=TEXT),
        "metadata": {"display_name": 5, "category": [1], "description": {}},
    },
    "an-enormous-text": {"input": obj(x={**TEXT, "description": '"' * 100_000})},
    # Roots
    "input-is-a-text": {"input": TEXT},
    "input-is-a-union": {"input": {"anyOf": [obj(x=TEXT), obj(y=TEXT)]}},
    "input-is-anything": {"input": {}},
    "output-is-a-list": {"input": obj(x=TEXT), "output": {"items": obj(x={"enum": list(TEXTS)})}},
    "output-is-a-value": {"input": obj(x=TEXT), "output": {"enum": list(TEXTS)}},
    "output-is-null": {"input": obj(x=TEXT), "output": NULL},
}


def _corpus() -> dict[str, dict[str, Any]]:
    corpus: dict[str, dict[str, Any]] = {}
    for name, parts in _SMALL.items():
        corpus[name] = entry(f"hostile/{name}", **{"input": obj(x=TEXT), **parts})
    whole: dict[str, Any] = {
        "no-paths": {"components": {}},
        "paths-are-a-list": {"paths": [1]},
        "components-are-a-list": {**entry("x/x", obj(x=ref("A")))["openapi"], "components": []},
        "no-post": {"paths": {"/x": {"get": {}}, "/y": None, "/z": {"post": 5}}},
        "many-posts": {"paths": {f"/{n}": {"post": {"requestBody": content(obj(x=TEXT))}} for n in range(3)}},
        "paths-that-are-texts": {
            "paths": {text: {"post": {"requestBody": content(obj(x=TEXT))}} for text in TEXTS[:1]}
        },
        "an-error": {"error": {"code": TEXTS[0], "message": TEXTS[1]}},
        "an-error-of-another-kind": {"error": TEXTS[2]},
        "empty": {},
    }
    for name, openapi in whole.items():
        corpus[name] = {"endpoint_id": f"hostile/{name}", "metadata": {}, "openapi": openapi}
    return corpus


CORPUS = _corpus()
"""Entries of a catalogue, by what is wrong with them."""
