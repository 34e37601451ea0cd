"""What a reader of a generated module sees: the meaning, the range and the default of each field.

An editor shows the string under a field when the field is hovered, and in signature help one line of the class's
`Args:`; it shows bounds nowhere. So both carry the same text, and the text carries the bounds.
"""

from __future__ import annotations

import functools
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fal_codegen.dialect import Schema
from fal_codegen.prepare import Class, Field, Prepared, Side

__all__ = ["Glossary", "Pattern", "bounds", "describe", "docstring", "load_glossary", "one_line"]

_LONGEST_DEFAULT = 80


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text for all fields that are named alike."""

    match: re.Pattern[str]
    text: str
    side: str | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Glossary:
    """The meaning of common fields, in this project's own words. An empty one has nothing to say."""

    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    input: Mapping[str, str] = field(default_factory=dict[str, str])
    output: Mapping[str, str] = field(default_factory=dict[str, str])
    components: Mapping[str, str] = field(default_factory=dict[str, str])
    patterns: tuple[Pattern, ...] = ()
    components_docs: Mapping[str, str] = field(default_factory=dict[str, str])
    categories: Mapping[str, str] = field(default_factory=dict[str, str])

    def field_text(self, component: str, item: Field, side: Side) -> str:
        """The meaning of a field of a component, or nothing: no text is better than a guess."""
        own = self.input if side == "input" else self.output
        for table, key in ((self.components, f"{component}.{item.wire}"), (own, item.wire), (self.fields, item.wire)):
            if key in table:
                return table[key]
        kinds = _json_types(item.schema)
        for pattern in self.patterns:
            found = pattern.match.fullmatch(item.wire)
            if found and pattern.side in (None, side) and (pattern.type is None or pattern.type in kinds):
                text = pattern.text
                for number, group in enumerate(found.groups(default="")):
                    text = text.replace(f"{{{number}}}", group.replace("_", " "))
                return text
        return ""


@functools.cache
def load_glossary() -> Glossary:
    """Read the glossary that comes with the generator, once."""
    data: dict[str, Any] = tomllib.loads(Path(__file__).with_name("glossary.toml").read_text(encoding="utf-8"))
    rows: list[dict[str, str]] = data.pop("patterns", [])
    patterns = (Pattern(re.compile(row["match"]), row["text"], row.get("side"), row.get("type")) for row in rows)
    return Glossary(**data, patterns=tuple(patterns))


def describe(prepared: Prepared, glossary: Glossary) -> Prepared:
    """Give each field, class and module of an endpoint its text: the document's own, or else the glossary's."""
    classes = (_described(item, prepared.endpoint_id, glossary) for item in prepared.classes)
    return replace(prepared, classes=tuple(classes), doc=_module_doc(prepared, glossary))


def _module_doc(prepared: Prepared, glossary: Glossary) -> str:
    purpose = one_line(glossary.categories.get(prepared.category, ""))
    title = one_line(prepared.title)
    head = f"{title}: {purpose[0].lower()}{purpose[1:]}" if purpose else _sentence(title)
    category = f", category {one_line(prepared.category)}" if prepared.category else ""
    link = f"`{prepared.endpoint_id}`{category}: https://fal.ai/models/{prepared.endpoint_id}"
    return "\n\n".join(part for part in (head, one_line(prepared.description), link) if part)


def _described(item: Class, endpoint_id: str, glossary: Glossary) -> Class:
    fields = tuple(
        replace(one, doc=_field_doc(one, item.side, glossary.field_text(item.component, one, item.side)))
        for one in item.fields
    )
    entries = [f"    {one.name}: {one.doc}" for one in fields if one.doc]
    whole = {"Input": "Input of", "Output": "Output of"}.get(item.name, f"Part of the {item.side} of")
    own = one_line(item.description) or one_line(glossary.components_docs.get(item.component, ""))
    text = _sentence(own) or f"{whole} `{endpoint_id}`."
    doc = "\n".join((text, "", "Args:", *entries)) if entries else text
    return replace(item, fields=fields, doc=doc)


def _field_doc(item: Field, side: Side, glossary_text: str) -> str:
    facts = [bounds(branch) for branch in item.schema.get("union") or item.schema.get("one_of") or [item.schema]]
    told = [fact for fact in facts if fact]
    default = _default(item.default) if side == "input" and not item.required and item.default is not None else ""
    # With several ranges, nothing says which is whose.
    parts = (
        _sentence(one_line(item.description) or one_line(glossary_text)),
        told[0] if len(told) == 1 else "",
        default,
    )
    return " ".join(part for part in parts if part)


def _default(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
    return f"Default: {text if len(text) <= _LONGEST_DEFAULT else text[: _LONGEST_DEFAULT - 1] + '…'}."


def bounds(schema: Schema) -> str:
    """The bounds of a type, in words."""
    kind = schema.get("type")
    if kind == "string":
        return _counted(schema.get("minLength", 0), schema.get("maxLength"), "character")
    if kind == "array":
        return _counted(schema.get("minItems", 0), schema.get("maxItems"), "item")
    low = _bound(schema, "minimum", "", "exclusiveMinimum", "above ")
    high = _bound(schema, "maximum", "", "exclusiveMaximum", "below ")
    if low and high:
        plain = low[0].isdigit() or low[0] == "-"
        join = " to " if plain and "below" not in high else ", " if "below" in high else ", to "
        text = f"Range: {low}{join}{high}."
    elif low:
        text = f"{low.capitalize()}." if "above" in low else f"At least {low}."
    elif high:
        text = f"{high.capitalize()}." if "below" in high else f"At most {high}."
    else:
        text = ""
    step = f"A multiple of {schema['multipleOf']}." if schema.get("multipleOf", 1) != 1 else ""
    return " ".join(part for part in (text, step) if part)


def _bound(schema: Schema, inclusive: str, sign: str, exclusive: str, exclusive_sign: str) -> str:
    if inclusive in schema:
        return f"{sign}{_number(schema[inclusive])}"
    return f"{exclusive_sign}{_number(schema[exclusive])}" if exclusive in schema else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _counted(low: int, high: int | None, noun: str) -> str:
    def some(count: int) -> str:
        return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

    if high is None:
        return f"At least {some(low)}." if low else ""
    if low == high:
        return f"Exactly {some(high)}."
    return f"{low} to {some(high)}." if low else f"Up to {some(high)}."


def _json_types(schema: Schema) -> frozenset[str]:
    if branches := schema.get("union") or schema.get("one_of"):
        return frozenset[str]().union(*(_json_types(branch) for branch in branches))
    if "enum" in schema:
        return frozenset("string" if isinstance(value, str) else "integer" for value in schema["enum"])
    if "class" in schema or "map" in schema:
        return frozenset({"object"})
    return frozenset({"array"}) if "tuple" in schema else frozenset({schema["type"]} if schema else ())


# --- Text -------------------------------------------------------------------------------------------------------------


def one_line(text: str) -> str:
    """A text of a document in one line."""
    return " ".join(text.split())


def _sentence(text: str) -> str:
    return f"{text}." if text and text[-1] not in ".!?:;…" else text


def docstring(text: str, indent: str = "") -> str:
    """Write a text as a string literal between triple quotes. Whatever is in the text, it stays text.

    Args:
        text: The text. Its line ends are kept.
        indent: What to put before each line but the first.
    """
    lines = [_escaped(line).rstrip(" ") for line in text.split("\n")]
    body = "\n".join([lines[0], *(f"{indent}{line}" if line else "" for line in lines[1:])])
    if len(lines) > 1:
        return f'"""{body}\n{indent}"""'
    return f'"""{body}"""'


def _escaped(line: str) -> str:
    """Escape what could end the literal, and what cannot be seen, such as marks that turn the direction of text."""
    plain = re.sub(r'"(?=""|$)', r'\\"', line.replace("\\", "\\\\"))
    if plain.isprintable():
        return plain
    return "".join(_escaped_characters(plain))


def _escaped_characters(line: str) -> Iterable[str]:
    for character in line:
        if character.isprintable():
            yield character
        elif 0xD800 <= ord(character) <= 0xDFFF:
            yield "\ufffd"  # half a character, which Python's own compiler refuses in a docstring
        else:
            yield f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"
