"""What a reader of a generated module sees: the meaning, the range and the default of each field.

An editor shows the string under a field when the field is hovered, and in signature help one line of the class's
`Args:`; it shows bounds nowhere. So both carry the same text, the one in full and the other in short, with the bounds.
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
from fal_codegen.literals import as_python
from fal_codegen.prepare import Class, Field, Prepared, Side
from fal_codegen.prose import in_one_line, paragraphs

__all__ = ["Glossary", "Pattern", "bounds", "describe", "docstring", "load_glossary", "one_line"]

_LONGEST_DEFAULT = 80
_LONGEST_SNIPPET_LINE = 100


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


def describe(prepared: Prepared, glossary: Glossary, module: str = "", *, listed: bool = True) -> Prepared:
    """Give each field, class and module of an endpoint its text: the document's own, or else the glossary's.

    Args:
        prepared: The endpoint.
        glossary: The texts for fields that have none.
        module: The module's full name, for a snippet of a call. Without it, there is none.
        listed: Whether the platform has a page about it.
    """
    link = _link(prepared, listed)
    classes = tuple(_described(item, prepared, glossary, module, link) for item in prepared.classes)
    return replace(prepared, classes=classes, doc=_module_doc(prepared, glossary, link))


def _module_doc(prepared: Prepared, glossary: Glossary, link: str) -> str:
    purpose = one_line(glossary.categories.get(prepared.category, ""))
    title = one_line(prepared.title)
    head = f"{title}: {purpose[0].lower()}{purpose[1:]}" if purpose else _sentence(title)
    return "\n\n".join(part for part in (head, paragraphs(prepared.description), link) if part)


def _link(prepared: Prepared, listed: bool) -> str:
    category = f", category {one_line(prepared.category)}" if prepared.category else ""
    page = f": https://fal.ai/models/{prepared.endpoint_id}" if listed else ""
    return f"`{prepared.endpoint_id}`{category}{page}"


def _described(item: Class, prepared: Prepared, glossary: Glossary, module: str, link: str) -> Class:
    fields = tuple(
        _with_doc(one, item.side, glossary.field_text(item.component, one, item.side)) for one in item.fields
    )
    entries = [f"    {one.name}: {one.summary}" for one in fields if one.summary]
    own = in_one_line(item.description) or one_line(glossary.components_docs.get(item.component, ""))
    whole = {"Input": "Input of", "Output": "Output of"}.get(item.name, f"Part of the {item.side} of")
    parts = [_sentence(own) or f"{whole} `{prepared.endpoint_id}`."]
    if module and (snippet := _snippet(item, prepared, module)):
        parts = [*parts, link, snippet] if own else [f"{whole} {link}", snippet]
    if entries:
        parts.append("\n".join(("Args:", *entries)))
    return replace(item, fields=fields, doc="\n\n".join(parts))


def _with_doc(item: Field, side: Side, glossary_text: str) -> Field:
    ranges = [bounds(branch) for branch in item.schema.get("union") or item.schema.get("one_of") or [item.schema]]
    told = [each for each in ranges if each]
    facts = told if len(told) == 1 else []  # with several ranges, nothing says which is whose
    if side == "input" and not item.required and item.default is not None:
        facts = [*facts, f"Default: {_shown(item.default)}."]
    if item.example is not None and item.example != item.default:
        facts = [*facts, f"Example: {_shown(item.example)}."]
    text = paragraphs(item.description) or one_line(glossary_text)
    short = in_one_line(item.description) or one_line(glossary_text)
    # Facts get a line of their own below a text that has several.
    between = "\n\n" if "\n" in text and facts else " "
    return replace(
        item,
        doc=between.join(part for part in (_sentence(text), " ".join(facts)) if part),
        summary=" ".join(part for part in (_sentence(short), *facts) if part),
    )


def _snippet(item: Class, prepared: Prepared, module: str) -> str:
    """A call of the endpoint, from the document's own examples; nothing if it has none for what must be given."""
    needed = [one for one in item.fields if one.required]
    if item.name != "Input" or not needed or any(one.example is None for one in needed):
        return ""
    classes = {each.name: each for each in prepared.classes}
    package, _, name = module.rpartition(".")
    given: list[str] = []
    for one in needed:
        value = _brief(one.example, one.schema)
        text = isinstance(value, str) and value.isprintable()
        written = (
            json.dumps(value, ensure_ascii=False) if text else as_python(value, one.schema, classes, prefix=f"{name}.")
        )
        given.append(f"{one.name}={written}")
    call = f"output = {name}.subscribe({name}.Input({', '.join(given)}))"
    if len(call) > _LONGEST_SNIPPET_LINE:
        inside = "\n".join(f"    {each}," for each in given)
        call = f"output = {name}.subscribe({name}.Input(\n{inside}\n))"
    return f"```python\nfrom {package} import {name}\n\n{call}\n```"


def _brief(value: Any, schema: Schema) -> Any:
    """An example that is a long text, cut to what fits on a line where that is an example, too."""
    free = schema.keys() == {"type"} and isinstance(value, str) and len(value) > _LONGEST_DEFAULT
    return value[:_LONGEST_DEFAULT].rpartition(" ")[0] or value if free else value


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST_DEFAULT else f"{text[: _LONGEST_DEFAULT - 1]}…"


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
