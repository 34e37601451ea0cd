"""The models behind the endpoints: what each answers to an input, how long it takes, what it logs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from fal_sandbox.answers import Answer
from fal_sandbox.catalog import Catalog
from fal_sandbox.endpoints import EndpointId
from fal_sandbox.files import FileStore
from fal_sandbox.latency import Latency
from fal_sandbox.logs import log_lines
from fal_sandbox.validation import field_error, input_errors
from fal_sandbox.wishes import Wishes

EVENT_STREAM = "text/event-stream"

_STAGES = (0.25, 0.5, 0.75)
"""How far the work is at each event of a stream before the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """How a test wants an endpoint to behave. None leaves a point as it would be; times are in seconds."""

    output: Any = None
    """A plain value, or a function that makes one of the input."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    queue_seconds: float | None = None
    run_seconds: float | None = None
    logs: Sequence[str] | None = None
    cancellable: bool = True
    stream: Sequence[Any] | None = None
    """What it streams before the output; bytes as they are, anything else as an event."""
    stream_type: str = EVENT_STREAM
    realtime: Sequence[Any] | None = None
    """What it answers to the first inputs of a realtime connection; bytes and text as frames of their own."""
    realtime_text: bool = False
    """Whether a realtime connection takes and gives JSON text instead of msgpack."""
    session_timeout: float | None = None
    times: int | None = None
    """How many requests it is for; None for all that come."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is settled about one run when it is admitted; times are in seconds."""

    endpoint: EndpointId
    programme: Programme
    queue_seconds: float
    run_seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of running a model once: an HTTP answer, and how a queue status tells of it."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict[str, str])
    error: str | None = None
    error_type: str | None = None

    @classmethod
    def of(cls, status: int, body: Any, headers: Mapping[str, str] | None = None) -> Outcome:
        """The outcome with this answer. An error's text and type are found in the body.

        Source: fal docs, request errors (`detail`, `error_type`, header `X-Fal-Error-Type`).
        """
        if status < 400:
            return cls(status, body, dict(headers or {}))
        members = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        detail, error_type = members.get("detail"), members.get("error_type")
        out = {"x-fal-billable-units": "0"}
        if isinstance(error_type, str):
            out["x-fal-error-type"] = error_type
        error = detail if isinstance(detail, str) else f"Invalid status code: {status}"
        return cls(status, body, {**out, **(headers or {})}, error, error_type if isinstance(error_type, str) else None)


class Models:
    """Every model of the sandbox: those of the catalogue, and those a test has programmed.

    Args:
        catalog: the endpoints with their schemas.
        files: where generated files go.
        file_url: makes the public URL of a generated file's name.
        latency: how long jobs take by default.
    """

    def __init__(self, catalog: Catalog, files: FileStore, file_url: Callable[[str], str], latency: Latency) -> None:
        self._catalog = catalog
        self._files = files
        self._file_url = file_url
        self._latency = latency
        self._lock = threading.Lock()
        self._programmes: dict[str, list[Programme]] = {}

    def program(self, endpoint_id: str, programme: Programme) -> None:
        """Make an endpoint, known or not, behave like this from now on; one for some requests only goes first."""
        with self._lock:
            limited = [one for one in self._programmes.get(endpoint_id, []) if one.times is not None]
            lasting = [one for one in self._programmes.get(endpoint_id, []) if one.times is None]
            if programme.times is None:
                lasting = [programme]
            else:
                limited.append(programme)
            self._programmes[endpoint_id] = limited + lasting

    def clear(self) -> None:
        """Forget every programme."""
        with self._lock:
            self._programmes.clear()

    def find(self, path: str) -> EndpointId | None:
        """The endpoint with this id, if it can be called."""
        endpoint = EndpointId.parse(path)
        if endpoint is None:
            return None
        known = str(endpoint) in self._programmes or self._catalog.contract(str(endpoint)) is not None
        return endpoint if known else None

    def streams(self, endpoint: EndpointId) -> bool:
        """Whether the endpoint has a route for streaming: where the catalogue says so, and where a test has programmed it.

        Source: fal docs, Platform API, model metadata (`stream_url`).
        """
        entry = self._catalog.get(str(endpoint))
        known = entry is not None and bool(entry.metadata.get("stream_url"))
        return known or str(endpoint) in self._programmes or endpoint.path.endswith("stream")

    def peek(self, endpoint: EndpointId) -> Programme:
        """What holds for the next run, without using it up."""
        return next(iter(self._programmes.get(str(endpoint), [])), None) or Programme()

    def plan(self, endpoint: EndpointId, input: object = None) -> Plan:
        """Settle how the next run of the endpoint goes; what was programmed for so many requests is used up by one."""
        programme = self._next(str(endpoint))
        waits, runs = self._latency.times(str(endpoint), self._category(endpoint), self._wishes(endpoint, input))
        waits = waits if programme.queue_seconds is None else programme.queue_seconds
        runs = runs if programme.run_seconds is None else programme.run_seconds
        return Plan(endpoint, programme, waits, runs)

    def _next(self, endpoint_id: str) -> Programme:
        with self._lock:
            waiting = self._programmes.get(endpoint_id)
            if not waiting:
                return Programme()
            programme = waiting[0]
            if programme.times is not None:
                left = programme.times - 1
                if left:
                    waiting[0] = replace(programme, times=left)
                elif len(waiting) > 1:
                    del waiting[0]
                else:
                    # It stays known, so that what a test has done to it is not undone by its last request.
                    waiting[0] = Programme()
            return programme

    def logs(self, plan: Plan, input: object) -> Sequence[str]:
        """What a run writes, evenly spread over its time."""
        programmed = plan.programme.logs
        if programmed is not None:
            return programmed
        category, wishes = self._category(plan.endpoint), self._wishes(plan.endpoint, input)
        return log_lines(str(plan.endpoint), category, wishes, plan.run_seconds)

    def run(self, plan: Plan, input: object) -> Outcome:
        """Run the model: an invalid input is a 422 with every problem in it.

        Takes milliseconds, or some tens of them when media are asked for inside the answer (`sync_mode`).
        """
        endpoint, programme = plan.endpoint, plan.programme
        if programme.status >= 400:
            return Outcome.of(programme.status, programme.output, programme.headers)
        if errors := self._problems(endpoint, input):
            return Outcome.of(422, {"detail": errors})
        try:
            output = programme.output(input) if callable(programme.output) else programme.output
        except Exception as error:
            # As an application's own mistake is, but for the text, which helps whoever has written the function.
            return Outcome.of(500, {"detail": f"the function that makes the output: {type(error).__name__}: {error}"})
        units = 1
        if output is None and programme.stream:
            output = programme.stream[-1]
        elif output is None and (answer := self._answer(endpoint, input)) is not None:
            units, output = answer.count, answer.make()
        headers = {"x-fal-billable-units": str(units), **programme.headers}
        return Outcome.of(programme.status, {} if output is None else output, headers)

    def stream(self, plan: Plan, input: object, outcome: Outcome) -> Sequence[Any]:
        """What a run that has come to this outcome streams: partial outputs, and the output at the end."""
        programme = plan.programme
        if programme.stream is not None:
            final = [] if programme.output is None or programme.stream_type != EVENT_STREAM else [outcome.body]
            return [*programme.stream, *final]
        return [*self._drafts(plan.endpoint, input), outcome.body]

    def unknown_enum(self, endpoint_id: str | None) -> dict[str, Any]:
        """A field of the endpoint's output that has listed values, with one that is not listed.

        Raises:
            ValueError: if the output has no such field.
        """
        contract = self._catalog.contract(endpoint_id or "")
        properties: dict[str, Any] = contract.resolve(contract.output).get("properties", {}) if contract else {}
        for name, schema in properties.items():
            members = [schema, *schema.get("anyOf", [])]
            if contract is not None and any("enum" in contract.resolve(member) for member in members):
                return {name: "a-value-of-the-future"}
        raise ValueError(
            f"no field of {endpoint_id}'s output has listed values; say which one is to change by merge={{...}}"
        )

    def _problems(self, endpoint: EndpointId, input: object) -> list[dict[str, Any]]:
        contract = self._catalog.contract(str(endpoint))
        if contract is not None:
            return input_errors(contract, input)
        if isinstance(input, dict):
            return []
        return [field_error("dict_type", "Input should be a valid dictionary", (), input)]

    def _drafts(self, endpoint: EndpointId, input: object) -> list[Any]:
        """Stages on the way to the output."""
        answers = [self._answer(endpoint, input, progress) for progress in _STAGES]
        return [answer.make() for answer in answers if answer is not None]

    def _answer(self, endpoint: EndpointId, input: object, progress: float = 1.0) -> Answer | None:
        contract = self._catalog.contract(str(endpoint))
        if contract is None:
            return None
        given = cast("dict[str, Any]", input)
        return Answer(contract, self._category(endpoint), given, self._files, self._file_url, progress=progress)

    def _category(self, endpoint: EndpointId) -> str:
        entry = self._catalog.get(str(endpoint))
        return str(entry.metadata.get("category", "")) if entry is not None else ""

    def _wishes(self, endpoint: EndpointId, input: object) -> Wishes:
        contract = self._catalog.contract(str(endpoint))
        given = cast("dict[str, Any]", input) if isinstance(input, dict) else {}
        return Wishes(given, contract.defaults if contract is not None else {})
