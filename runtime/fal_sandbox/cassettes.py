"""Cassettes: what was once said between a program and the platform, without secrets, to be said again without it.

A cassette is a JSON file, with the files that answers consist of in a folder beside it. It holds no key, no token, no
request header and no signed query.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, cast

from fal_sandbox.addresses import without_signature, without_signatures
from fal_sandbox.catalog import Catalog
from fal_sandbox.schemas import Contract, Schema, Violation

MAX_FILE_BYTES = 5 * 2**20
"""The largest file that is kept with a cassette; of a larger one only its size, type and hash are."""
SCRUBBED = "SCRUBBED"

_VERSION = 1
_REMEDY = "record it with `pytest --fal-record`, `fal-bindings sandbox --record` or Sandbox.record"
_MIN_SECRET = 6
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{4,}")
_TOKEN = re.compile(r'("(?:[a-z_]*token)"\s*:\s*)"[^"]*"')
_EXPIRY = re.compile(r'("expires_at"\s*:\s*)"[^"]*"')
_LATER = "2099-01-01T00:00:00+00:00"
_TOKEN_PATHS = ("/tokens/", "/tokens/realtime", "/storage/auth/token")
_DATA_URI = re.compile(r"data:([\w.+/-]*)[;,].{64,}", re.DOTALL)
_SHOWN = 60
_JOB_PATH = re.compile(r"(.*)/requests/([^/]+)(/.*)?")


class CassetteError(Exception):
    """A cassette that cannot be used, or that does not fit what is asked of it; the message says how it can be mended."""


@dataclass(slots=True)
class Exchange:
    """One request and its answer, with the platform's own addresses."""

    method: str
    url: str
    sent: Any = None
    """The request's JSON; of any other body, its hash and size."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    json: Any = None
    """The answer's body, if it is JSON."""
    text: str | None = None
    """The answer's body, if it is any other text."""
    file: dict[str, Any] | None = None
    """The answer's body, if it is no text: its `sha256`, `size`, and `name` in the folder, unless it was too large."""
    departures: list[str] = field(default_factory=list[str])
    """How it departed from its schema when it was recorded: this much is accepted."""

    @property
    def place(self) -> tuple[str, str]:
        """What it must have in common with a request to be its answer, but for the body."""
        return self.method, self.url


class Cassette:
    """The exchanges of one recording, in their order.

    Args:
        path: the JSON file.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self.exchanges: list[Exchange] = []
        self._files: dict[str, bytes] = {}

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self.path.with_suffix(".files")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Cassette:
        """Read a cassette.

        Raises:
            CassetteError: if there is none, or it cannot be understood.
        """
        cassette = cls(path)
        try:
            document = json.loads(cassette.path.read_bytes())
            if document["version"] != _VERSION:
                raise CassetteError(f"{path} was made by another version; {_REMEDY}")
            cassette.exchanges = [Exchange(**each) for each in document["exchanges"]]
        except FileNotFoundError:
            raise CassetteError(f"there is no cassette {path}; {_REMEDY}") from None
        except (KeyError, TypeError, ValueError) as error:
            raise CassetteError(f"{path} is no cassette; {_REMEDY}") from error
        return cassette

    def save(self, secrets: Iterable[str]) -> None:
        """Write the cassette and its files, in place of what was there.

        Args:
            secrets: what must not be in it; where it is all the same, it is taken out.
        """
        document = {"version": _VERSION, "exchanges": [_written(each) for each in self.exchanges]}
        text = _without(json.dumps(document, indent=1, ensure_ascii=True) + "\n", secrets)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        for name, content in self._files.items():
            self.folder.mkdir(exist_ok=True)
            (self.folder / name).write_bytes(content)
        self.path.write_text(text)

    def keep(self, content: bytes, extension: str) -> dict[str, Any]:
        """Keep a file with the cassette, if it is not too large; how an exchange refers to it."""
        digest = hashlib.sha256(content).hexdigest()
        about: dict[str, Any] = {"sha256": digest, "size": len(content)}
        if len(content) <= MAX_FILE_BYTES:
            about["name"] = f"{digest[:16]}.{extension}"
            self._files[about["name"]] = content
        return about

    def read(self, file: dict[str, Any]) -> bytes | None:
        """The bytes of a file; None if it was too large to keep.

        Raises:
            CassetteError: if it is gone.
        """
        if "name" not in file:
            return None
        try:
            return (self.folder / str(file["name"])).read_bytes()
        except FileNotFoundError:
            raise CassetteError(f"{self.path} misses its file {file['name']}; {_REMEDY}") from None

    def check(self, catalog: Catalog) -> list[str]:
        """How its inputs and outputs depart from today's schemas, beyond how they did when they were recorded."""
        found = zip(self.exchanges, departures(self.exchanges, catalog), strict=True)
        new = (text for exchange, texts in found for text in texts if text not in exchange.departures)
        return list(dict.fromkeys(new))

    def note_departures(self, catalog: Catalog) -> None:
        """Accept how the exchanges depart from their schemas today."""
        for exchange, texts in zip(self.exchanges, departures(self.exchanges, catalog), strict=True):
            exchange.departures = texts


def _written(exchange: Exchange) -> Schema:
    """An exchange as it stands in the file: without what it does not have."""
    values = asdict(exchange)
    empty = {
        name for name, value in values.items() if value is None or (name in ("headers", "departures") and not value)
    }
    if exchange.text is None and exchange.file is None:
        empty.discard("json")
    return {name: value for name, value in values.items() if name not in empty}


def sent_body(content: bytes, content_type: str) -> Any:
    """How a request's body is written down and compared; its text already has the cassette's addresses."""
    if not content:
        return None
    if "json" in content_type:
        try:
            return _shortened(json.loads(without_signatures(_scrubbed(content.decode()))))
        except ValueError:
            pass
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def answered_text(url: str, text: str) -> str:
    """An answer's text without secrets."""
    text = without_signatures(_scrubbed(text))
    if without_signature(url).partition("?")[0].endswith(_TOKEN_PATHS):
        text = _EXPIRY.sub(rf'\1"{_LATER}"', _TOKEN.sub(rf'\1"{SCRUBBED}"', text))
        if text.startswith('"'):
            text = f'"{SCRUBBED}"'
    return text


def differences(recorded: Any, now: Any, path: str = "") -> Iterator[str]:
    """What a value has become, field by field."""
    if isinstance(recorded, dict) and isinstance(now, dict):
        before, after = cast("Schema", recorded), cast("Schema", now)
        for name in [*before, *(name for name in after if name not in before)]:
            where = f"{path}.{name}" if path else name
            if name not in after:
                yield f"{where} is no longer sent"
            elif name not in before:
                yield f"{where} is new"
            else:
                yield from differences(before[name], after[name], where)
    elif json.dumps(recorded) != json.dumps(now):
        yield f"{path or 'the body'} was {_short(recorded)} and is {_short(now)}"


def departures(exchanges: Iterable[Exchange], catalog: Catalog) -> Iterator[list[str]]:
    """For each exchange, how its input and its output break the rules of today's schemas."""
    jobs: dict[str, str] = {}
    for exchange in exchanges:
        service, _, path = exchange.url.partition("?")[0].removeprefix("https://").partition("/")
        found: list[str] = []
        if service in ("queue.fal.run", "fal.run"):
            found = list(_departures(exchange, path, catalog, jobs))
        yield found


def _departures(exchange: Exchange, path: str, catalog: Catalog, jobs: dict[str, str]) -> Iterator[str]:
    job = _JOB_PATH.fullmatch(path)
    if job is not None:
        endpoint_id = jobs.get(job[2])
        contract = catalog.contract(endpoint_id) if endpoint_id else None
        if contract is not None and not job[3] and exchange.method == "GET" and exchange.status == 200:
            yield from _violations(contract, "output", contract.output, exchange.json)
        return
    endpoint_id = path.removesuffix("/stream")
    contract = catalog.contract(path) or catalog.contract(endpoint_id)
    if exchange.method != "POST" or contract is None or exchange.status >= 400:
        return
    yield from _violations(contract, "input", contract.input, exchange.sent)
    if exchange.url.startswith("https://queue."):
        answer: Any = exchange.json
        if isinstance(answer, dict):
            jobs[str(cast("Schema", answer).get("request_id"))] = contract.endpoint_id
    elif exchange.text is None:
        yield from _violations(contract, "output", contract.output, exchange.json)


def _violations(contract: Contract, what: str, schema: Schema, value: object) -> Iterator[str]:
    for violation in contract.violations(schema, value):
        yield f"{contract.endpoint_id}: {what}{_pointer(violation)} {_rule(violation)}"


def _pointer(violation: Violation) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in violation.path)


def _rule(violation: Violation) -> str:
    value: Any = violation.value
    if violation.keyword == "required" and isinstance(value, dict):
        present = cast("Schema", value)
        missing = [name for name in violation.rule if name not in present]
        return f"has no {', '.join(missing)}"
    return f"is {_short(value)}, against {violation.keyword} {_short(violation.rule)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _shortened(value: Any) -> Any:
    """A value whose long `data:` URIs are told by their hash."""
    if isinstance(value, str):
        found = _DATA_URI.fullmatch(value)
        return f"data:{found[1]};sha256={hashlib.sha256(value.encode()).hexdigest()}" if found else value
    if isinstance(value, list):
        return [_shortened(each) for each in cast("Sequence[Any]", value)]
    if isinstance(value, dict):
        return {name: _shortened(each) for name, each in cast("Schema", value).items()}
    return value


def _scrubbed(text: str) -> str:
    return _JWT.sub(SCRUBBED, text)


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        # The two halves of a key are secrets of their own; something very short would be found in ordinary words.
        for part in sorted({secret, *secret.split(":")}, key=len, reverse=True):
            if len(part) >= _MIN_SECRET:
                text = text.replace(part, SCRUBBED)
    return text
