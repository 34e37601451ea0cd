"""Believable answers: a value for any output schema, seeded by the input and echoing what it can of it.

Everything here follows from the output schema, the input and the names of fields; no endpoint is special.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from fal_sandbox.files import FRAME_RATE, KINDS, SAMPLE_RATE, FileSpec, FileStore, Medium
from fal_sandbox.schemas import Contract, Schema
from fal_sandbox.seeds import Seed
from fal_sandbox.wishes import Wishes

_MAX_DEPTH = 8
_UNWANTED = re.compile(r"error|debug|nsfw|flagged|partial|moderation|warning")
_WORDS = (
    "a quiet harbour at dawn",
    "soft light over the hills",
    "two cups of tea on a wooden table",
    "the sound of rain on a tin roof",
    "a red bicycle against a white wall",
    "slow clouds above the city",
    "a dog asleep beside the stove",
    "paper boats on a shallow stream",
)
_NUMBERS: tuple[tuple[str, float, float], ...] = (
    ("seed", 0, 4_294_967_295),
    ("sample_rate", SAMPLE_RATE, SAMPLE_RATE),
    ("channels", 1, 1),
    ("fps", FRAME_RATE, FRAME_RATE),
    ("num_frames", FRAME_RATE, FRAME_RATE),
    ("bitrate", 16 * SAMPLE_RATE, 16 * SAMPLE_RATE),
    ("tokens", 8, 400),
    ("cost", 0, 0),
    ("index", 0, 0),
    ("width", 64, 512),
    ("height", 64, 512),
)
"""For a number whose name contains the word: its range. The first that fits counts."""
_KINDS: tuple[tuple[str, str], ...] = (
    ("zip|archive|artifacts|remeshing_dir|debug_dataset|preprocessed", "zip"),
    ("json|config|captions|metadata", "json"),
    ("lora|latents|embedding|weights|safetensors", "safetensors"),
    ("usdz|fbx|blend", "bin"),
    (r"splat|\bply|_ply", "ply"),
    (r"\bobj|_obj", "obj"),
    (r"\bstl|_stl", "stl"),
    ("glb|mesh|model|world|scene|gltf", "glb"),
    ("svg|vector", "svg"),
    ("video|movie|animation|clip", "video"),
    ("audio|voice|vocals|speech|music|song|sound|guitar|bass|piano|drums|stem|target|residual", "sound"),
    (
        "image|picture|photo|thumbnail|mask|texture|color|normal|roughness|metallic|spritesheet|visual|preview",
        "picture",
    ),
)
"""What a file's field is called, and what the file is then: a kind, or a medium whose kind the input may choose. The
first that fits counts."""
_MEDIA: dict[str, Medium] = {"picture": "picture", "video": "video", "sound": "sound"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the answer a value goes: names from the root, the innermost last."""

    names: tuple[str, ...] = ()

    def below(self, name: str) -> Place:
        return Place((*self.names, name))

    @property
    def name(self) -> str:
        """The innermost name that is not a position in a list."""
        return next((name for name in reversed(self.names) if not name.isdigit()), "")

    @property
    def label(self) -> str:
        return "/".join(self.names)


class Answer:
    """One answer in the making.

    Args:
        contract: the endpoint's schemas.
        category: the endpoint's category in the catalogue, a hint at what unnamed files are.
        input: the accepted input.
        files: where generated files go.
        url: makes the public URL of a file's name.
        progress: below 1, a stage on the way there: pictures are previews, texts are not complete.
        variant: leads to other choices for the same input.
        terse: leave out what need not be there.
    """

    def __init__(
        self,
        contract: Contract,
        category: str,
        input: dict[str, Any],
        files: FileStore,
        url: Callable[[str], str],
        *,
        progress: float = 1.0,
        variant: int = 0,
        terse: bool = False,
    ) -> None:
        self._contract = contract
        self._category = category
        self._files = files
        self._url = url
        self._progress = progress
        self._terse = terse
        self._seed = Seed(contract.endpoint_id, input, variant)
        self._wishes = Wishes(input, contract.defaults)

    def make(self) -> Any:
        """The output."""
        return self._value(self._contract.output, Place())

    @property
    def count(self) -> int:
        """How many media were asked for."""
        return self._wishes.count

    def _value(self, schema: Schema, place: Place) -> Any:
        schema = self._contract.resolve(schema)
        if (echoed := self._echo(schema, place)) is not None:
            return echoed
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._member(schema[key], schema, place)
        if "default" in schema and self._contract.accepts(schema, schema["default"]):
            return schema["default"]
        match schema.get("type"):
            case "object":
                return self._object(schema, place)
            case "array":
                return self._array(schema, place)
            case "string":
                return self._string(schema, place)
            case "integer":
                return int(self._number(schema, place, whole=True))
            case "number":
                return self._number(schema, place, whole=False)
            case "boolean":
                if place.names == ("partial",):
                    return self._progress < 1
                return not _UNWANTED.search(place.name) and self._seed.number(place.label, 0, 1) == 1
            case "null":
                return None
            case _:
                return self._object(schema, place) if "properties" in schema else {}

    def _echo(self, schema: Schema, place: Place) -> Any:
        """What the input says under the same name, at the top only, and only plain values that fit."""
        if len(place.names) != 1:
            return None
        given = self._wishes.asked(place.name)
        if isinstance(given, str | int | float) and self._contract.accepts(schema, given):
            return given
        return None

    def _member(self, members: list[Schema], schema: Schema, place: Place) -> Any:
        options = [member for member in members if member.get("type") != "null"]
        if len(options) < len(members) and (
            not options or _UNWANTED.search(place.name) or len(place.names) > _MAX_DEPTH
        ):
            return None
        siblings = {
            key: value for key, value in schema.items() if key in ("minLength", "maxLength", "maximum", "minimum")
        }
        return self._value({**self._contract.resolve(options[0]), **siblings}, place)

    def _object(self, schema: Schema, place: Place) -> Any:
        properties: Schema = schema.get("properties", {})
        if self._is_file(properties):
            return self._file(schema, place)
        required = schema.get("required", [])
        out: dict[str, Any] = {}
        for name in _in_order(schema):
            welcome = not self._terse and ("nsfw" in name or not _UNWANTED.search(name))
            if name in required or (welcome and len(place.names) < _MAX_DEPTH):
                out[name] = self._value(properties[name], place.below(name))
        extra = schema.get("additionalProperties")
        if not properties and isinstance(extra, dict) and extra:
            out["inference"] = self._value(cast("Schema", extra), place.below("inference"))
        return out

    def _array(self, schema: Schema, place: Place) -> list[Any]:
        # A tuple says by `"items": false` that nothing follows its own items.
        items: Schema = schema.get("items") or {}
        prefix: list[Schema] = schema.get("prefixItems", [])
        resolved = self._contract.resolve(items)
        per_medium = self._is_file(resolved.get("properties", {})) or resolved.get("type") == "boolean"
        count = self.count if per_medium and len(place.names) == 1 else 2
        if resolved.get("type") in ("number", "integer") and "minItems" not in schema:
            count = 4 if "bbox" in place.name or "box" in place.name else 3
        count = max(schema.get("minItems", 0), min(count, schema.get("maxItems", count)))
        if prefix:
            count = max(len(prefix), schema.get("minItems", 0))
        return [self._value(prefix[n] if n < len(prefix) else items, place.below(str(n))) for n in range(count)]

    def _number(self, schema: Schema, place: Place, *, whole: bool) -> float:
        if "duration" in place.name:
            seconds = self._wishes.seconds * (1000 if place.name.endswith("_ms") else 1)
            named = iter([(seconds, seconds)])
        else:
            named = ((low, high) for word, low, high in _NUMBERS if word in place.name)
        low, high = next(named, (1, 20) if whole else (0, 1))
        smallest, largest = schema.get("minimum"), schema.get("maximum")
        step = schema.get("multipleOf") or (1 if whole else 0)
        if (bound := schema.get("exclusiveMinimum")) is not None:
            smallest = bound + (step or 0.01)
        if (bound := schema.get("exclusiveMaximum")) is not None:
            largest = bound - (step or 0.01)
        low = low if smallest is None else max(low, smallest)
        high = max(low, high) if largest is None else min(max(low, high), largest)
        low = min(low, high)
        if whole:
            value: float = self._seed.number(place.label, int(low), int(high))
        else:
            value = round(low + (high - low) * self._seed.fraction(place.label), 4)
        return step * round(value / step) if step not in (0, 1) else value

    def _string(self, schema: Schema, place: Place) -> str:
        text = self._text(schema.get("format", ""), place)
        shortest, longest = schema.get("minLength", 0), schema.get("maxLength")
        return text.ljust(shortest, ".")[:longest]

    def _text(self, format: str, place: Place) -> str:
        name = place.name
        if format in ("uuid", "uuid4"):
            return str(uuid.UUID(self._seed.token(place.label), version=4))
        if format == "date-time":
            return "2026-01-01T00:00:00Z"
        if format == "binary":
            return ""
        if format == "uri" or name == "url" or name.endswith(("_url", "_urls")):
            return self._public(self._spec(place))
        if name == "id" or name.endswith("_id"):
            return self._seed.token(place.label)
        if "lang" in name:
            return "en"
        if name == "finish_reason":
            return "stop"
        if name == "content_type":
            return "application/octet-stream"
        words = self._seed.choice(place.label, _WORDS)
        if len(place.names) != 1:
            return words
        caption = self._wishes.caption
        return _begun(f"{words} ({caption})" if caption else words, self._progress)

    @staticmethod
    def _is_file(properties: Schema) -> bool:
        """A file is an object with a string `url`. Source: fal docs, the `File` and `Image` types."""
        url = properties.get("url", {})
        return url.get("type") == "string" or any(one.get("type") == "string" for one in url.get("anyOf", []))

    def _file(self, schema: Schema, place: Place) -> dict[str, Any]:
        spec = self._spec(place)
        clip = spec.medium == "video"
        required = schema.get("required", [])
        sized = "file_size" in required or not KINDS[spec.kind].slow
        facts: dict[str, Callable[[], object]] = {
            "url": lambda: self._public(spec),
            "content_type": lambda: spec.content_type,
            "file_name": lambda: spec.name,
            "file_size": lambda: len(self._files.content(spec)) if sized else None,
            "width": lambda: spec.width or None,
            "height": lambda: spec.height or None,
            "duration": lambda: spec.seconds or None,
            "fps": lambda: float(FRAME_RATE) if clip else None,
            "num_frames": lambda: spec.frame_count if clip else None,
            "sample_rate": lambda: SAMPLE_RATE if spec.medium == "sound" else None,
        }
        out: dict[str, Any] = {}
        properties: Schema = schema.get("properties", {})
        for name in _in_order(schema):
            if name == "file_data" and name not in required:
                continue
            value = facts[name]() if name in facts else None
            if value is not None and self._contract.accepts(properties[name], value):
                out[name] = value
            elif name in required or name not in facts:
                out[name] = self._value(properties[name], place.below(name))
        return out

    def _spec(self, place: Place) -> FileSpec:
        seed = self._seed.number(f"file {place.label}", 0, 2**32 - 1)
        return self._wishes.file(self._kind(place), seed, self._caption, self._progress)

    def _kind(self, place: Place) -> str:
        names = [name for name in reversed(place.names) if not name.isdigit()]
        # A field's own name says most; then what it lies in; then what the endpoint is for.
        product = self._category.rpartition("-to-")[2]
        for name in [*names, {"3d": "mesh", "training": "lora"}.get(product, product)]:
            for pattern, kind in _KINDS:
                if re.search(pattern, name):
                    return self._wishes.kind(_MEDIA[kind]) if kind in _MEDIA else kind
        return "txt"

    @property
    def _caption(self) -> str:
        return self._wishes.caption or self._contract.endpoint_id

    def _public(self, spec: FileSpec) -> str:
        if self._wishes.inline:
            return f"data:{spec.content_type};base64,{base64.b64encode(self._files.content(spec)).decode()}"
        return self._url(self._files.add(spec))


def _begun(text: str, progress: float) -> str:
    """The first words of a text: all of them once it is done, and always one."""
    words = text.split(" ")
    return " ".join(words[: max(1, round(len(words) * progress))])


def _in_order(schema: Schema) -> list[str]:
    """The names of an object's fields, in the platform's own display order."""
    properties: Schema = schema.get("properties", {})
    return [
        name for name in dict.fromkeys([*schema.get("x-fal-order-properties", []), *properties]) if name in properties
    ]
