"""The models behind the endpoints: what each answers to an input, how long it takes, what it logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from fal_sandbox.answers import Answer
from fal_sandbox.catalog import Catalog
from fal_sandbox.endpoints import EndpointId
from fal_sandbox.files import FileStore
from fal_sandbox.validation import field_error, input_errors

_DEFAULT_STEPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """How a test wants an endpoint to behave. None leaves a point as it would be; times are in seconds."""

    output: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    queue_seconds: float | None = None
    run_seconds: float | None = None
    logs: Sequence[str] | None = None
    cancellable: bool = True


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
        queue_seconds: how long a job waits by default.
        run_seconds: how long it runs by default.
    """

    def __init__(
        self,
        catalog: Catalog,
        files: FileStore,
        file_url: Callable[[str], str],
        queue_seconds: float,
        run_seconds: float,
    ) -> None:
        self._catalog = catalog
        self._files = files
        self._file_url = file_url
        self._queue_seconds = queue_seconds
        self._run_seconds = run_seconds
        self._programmes: dict[str, Programme] = {}

    def program(self, endpoint_id: str, programme: Programme) -> None:
        """Make an endpoint, known or not, behave like this from now on."""
        self._programmes[endpoint_id] = programme

    def clear(self) -> None:
        """Forget every programme."""
        self._programmes.clear()

    def find(self, path: str) -> EndpointId | None:
        """The endpoint with this id, if it can be called."""
        endpoint = EndpointId.parse(path)
        if endpoint is None:
            return None
        known = str(endpoint) in self._programmes or self._catalog.contract(str(endpoint)) is not None
        return endpoint if known else None

    def programme(self, endpoint: EndpointId) -> Programme:
        """How the endpoint is to behave."""
        return self._programmes.get(str(endpoint)) or Programme()

    def queue_seconds(self, endpoint: EndpointId) -> float:
        """How long a job waits before it runs."""
        wanted = self.programme(endpoint).queue_seconds
        return self._queue_seconds if wanted is None else wanted

    def run_seconds(self, endpoint: EndpointId) -> float:
        """How long a job runs."""
        wanted = self.programme(endpoint).run_seconds
        return self._run_seconds if wanted is None else wanted

    def logs(self, endpoint: EndpointId, input: object) -> Sequence[str]:
        """What a run writes, evenly spread over its time."""
        programmed = self.programme(endpoint).logs
        if programmed is not None:
            return programmed
        steps = cast("dict[str, Any]", input).get("num_inference_steps") if isinstance(input, dict) else None
        total = steps if isinstance(steps, int) and 0 < steps <= 1000 else _DEFAULT_STEPS
        marks = sorted({round(total * quarter / 4) for quarter in range(1, 5)} - {0})
        progress = [f"{100 * step // total:3d}%|{'█' * (10 * step // total):<10}| {step}/{total}" for step in marks]
        return [f"Running {endpoint}", *progress, "Done"]

    def run(self, endpoint: EndpointId, input: object) -> Outcome:
        """Run the model: an invalid input is a 422 with every problem in it.

        Takes milliseconds, or some tens of them when media are asked for inside the answer (`sync_mode`).
        """
        programme = self.programme(endpoint)
        if programme.status >= 400:
            return Outcome.of(programme.status, programme.output, programme.headers)
        contract = self._catalog.contract(str(endpoint))
        if contract is not None:
            errors = input_errors(contract, input)
        elif isinstance(input, dict):
            errors = []
        else:
            errors = [field_error("dict_type", "Input should be a valid dictionary", (), input)]
        if errors:
            return Outcome.of(422, {"detail": errors})
        headers = {"x-fal-billable-units": "1"}
        output = programme.output
        if output is None and contract is not None:
            entry = self._catalog.get(str(endpoint))
            category = str(entry.metadata.get("category", "")) if entry else ""
            answer = Answer(contract, category, cast("dict[str, Any]", input), self._files, self._file_url)
            headers["x-fal-billable-units"] = str(answer.count)
            output = answer.make()
        return Outcome.of(programme.status, {} if output is None else output, {**headers, **programme.headers})
