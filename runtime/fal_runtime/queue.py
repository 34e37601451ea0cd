"""The queue: submit, watch, fetch, cancel. Source of the wire facts: fal docs, "Inference API" reference, queue pages.

Each operation is written once, as a coroutine over a `Channel`.
"""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from fal_runtime.client import Channel, successful
from fal_runtime.errors import (
    AuthenticationError,
    ConfigurationError,
    FalError,
    OutputError,
    PermissionDeniedError,
    RunnerError,
    StartTimeout,
    SubmissionUnknownError,
    TimeoutExpired,
    error_from_response,
)
from fal_runtime.result import LogEntry, Result, build_output
from fal_runtime.retry import Deadline
from fal_runtime.sse import Event, is_event_stream, server_sent_events
from fal_runtime.transport import Response, Unanswered, drive, lower
from fal_runtime.values import json_or_none, mapping, sequence

if TYPE_CHECKING:
    from fal_runtime.lifecycle import Lifecycle

__all__ = ["Completed", "EndpointId", "InProgress", "Job", "Queued", "Status"]

logger = logging.getLogger("fal_runtime")


class Queued(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="IN_QUEUE"):
    """The request waits for a runner."""

    request_id: str
    position: int | None = None
    """How many requests are ahead of it."""
    logs: tuple[LogEntry, ...] = ()


class InProgress(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="IN_PROGRESS"):
    """The request runs."""

    request_id: str
    logs: tuple[LogEntry, ...] = ()
    """Lines that no earlier event had, if logs were asked for."""


class Completed(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="COMPLETED"):
    """The request has ended: with a result, with an error, or cancelled."""

    request_id: str
    logs: tuple[LogEntry, ...] = ()
    metrics: dict[str, Any] = {}
    """What the platform measured, such as `inference_time` in seconds."""
    error: str | None = None
    """What went wrong, if the platform says so here."""
    error_type: str | None = None


Status: TypeAlias = Queued | InProgress | Completed


def _is_segment(text: str) -> bool:
    """Whether a text can stand between two slashes of a URL and mean itself."""
    return text not in ("", ".", "..") and text.isprintable() and not set(text) & set(" ?#\\")


def known_id(request_id: object) -> str:
    """An id that a caller gives. Raises `ConfigurationError` if it cannot be one."""
    if not isinstance(request_id, str) or "/" in request_id or not _is_segment(request_id):
        raise ConfigurationError(f"{request_id!r} is no request's id; `handle.request_id` gives one")
    return request_id


class EndpointId(msgspec.Struct, frozen=True):
    """An endpoint's id, `[workflows/|comfy/]owner/alias[/path]`, and its parts.

    Raises:
        ConfigurationError: if the text is not an id.
    """

    text: str

    def __post_init__(self) -> None:
        text: Any = self.text
        parts: list[str] = text.split("/") if isinstance(text, str) else []
        enough = 3 if parts[:1] in (["workflows"], ["comfy"]) else 2
        if len(parts) < enough or not all(map(_is_segment, parts)):
            raise ConfigurationError(f"{self.text!r} is not an endpoint id; one looks like 'fal-ai/flux/dev'")

    @property
    def app(self) -> str:
        """The id without its path: what status, result and cancel go by."""
        parts = self.text.split("/")
        return "/".join(parts[: 3 if parts[0] in ("workflows", "comfy") else 2])


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A submitted request: where to ask about it, and what type its output has."""

    endpoint_id: str
    output: Any
    request_id: str
    status_url: str | None = None
    response_url: str | None = None
    cancel_url: str | None = None

    def url(self, channel: Channel, handed_out: str | None, suffix: str) -> str:
        """The URL the server handed out if it lies on the configured queue, or else one built from the id."""
        if handed_out and channel.client.trusts(handed_out, "queue"):
            return handed_out
        app = EndpointId(self.endpoint_id).app
        return f"{channel.client.urls['queue']}/{app}/requests/{self.request_id}{suffix}"

    @property
    def about(self) -> dict[str, Any]:
        """What every error about this request carries."""
        return {"endpoint_id": self.endpoint_id, "request_id": self.request_id}


def address(channel: Channel, service: str, endpoint_id: str, path: str) -> str:
    """Where an endpoint, or a path inside its app, is called. A path that the id ends with is not added again."""
    return _address(channel.client.urls[service], endpoint_id, path)


@functools.lru_cache(maxsize=512)
def _address(base: str, endpoint_id: str, path: str) -> str:
    id_, path = EndpointId(endpoint_id).text, f"/{path.strip('/')}" if path else ""
    return f"{base}/{EndpointId(id_ if id_.endswith(path) else id_ + path).text}"


def paid_headers(
    start_timeout: float | None, hint: str | None, storage: Lifecycle | None, headers: Mapping[str, str] | None
) -> dict[str, str]:
    """The headers that a run, a stream and a submission have in common. Source: fal docs, "Platform Headers"."""
    sent = lower(headers)
    if start_timeout is not None:
        sent["x-fal-request-start-timeout"] = f"{start_timeout:g}"
        if start_timeout > 1:  # the older name, which knows no shorter time; servers that know both prefer the newer
            sent["x-fal-request-timeout"] = f"{start_timeout:g}"
    if hint is not None:
        sent["x-fal-runner-hint"] = hint
    if storage is not None:
        sent["x-fal-object-lifecycle-preference"] = storage.to_json()
    return sent


async def submit(
    channel: Channel,
    endpoint_id: str,
    output: Any,
    body: bytes,
    *,
    path: str = "",
    webhook_url: str | None = None,
    priority: str | None = None,
    hint: str | None = None,
    start_timeout: float | None = None,
    max_queue_length: int | None = None,
    storage: Lifecycle | None = None,
    headers: Mapping[str, str] | None = None,
    deadline: Deadline | None = None,
) -> Job:
    """Put a request into the queue. Raises what `Channel.call` raises, and the error that a refusal stands for."""
    sent = paid_headers(start_timeout, hint, storage, headers)
    if priority is not None:
        sent["x-fal-queue-priority"] = priority
    params: dict[str, Any] = {}
    if webhook_url:
        params["fal_webhook"] = webhook_url
    if max_queue_length is not None:
        params["fal_max_queue_length"] = max_queue_length
    response = await channel.call(
        "submit",
        "POST",
        address(channel, "queue", endpoint_id, path),
        headers=sent,
        params=params,
        body=body,
        deadline=deadline,
        endpoint_id=endpoint_id,
    )
    successful(response, endpoint_id=endpoint_id)
    answer = mapping(json_or_none(response.body))
    request_id = answer.get("request_id") or response.headers.get("x-fal-request-id")
    if not isinstance(request_id, str):
        message = "the queue accepted the request, but its answer cannot be read: it is probably running"
        raise SubmissionUnknownError(message, endpoint_id=endpoint_id, status_code=response.status, body=response.body)
    urls = {name: answer.get(name) for name in ("status_url", "response_url", "cancel_url")}
    return Job(
        endpoint_id=endpoint_id,
        output=output,
        request_id=request_id,
        **{name: url for name, url in urls.items() if isinstance(url, str)},
    )


async def status(channel: Channel, job: Job, *, logs: bool = False, deadline: Deadline | None = None) -> Status:
    """Ask how a request stands, once."""
    url = job.url(channel, job.status_url, "/status")
    response = await channel.call(
        "status", "GET", url, params={"logs": 1} if logs else None, deadline=deadline, **job.about
    )
    return read_status(_object(response, **job.about), job)


def read_status(answer: dict[str, Any], job: Job) -> Status:
    """Read a status object. One that is not known is final, so that nobody waits for ever on a new word."""
    logs = tuple(LogEntry.read(mapping(line)) for line in sequence(answer.get("logs")))
    word = answer.get("status")
    if word == "IN_QUEUE":
        position = answer.get("queue_position")
        return Queued(request_id=job.request_id, logs=logs, position=position if isinstance(position, int) else None)
    if word == "IN_PROGRESS":
        return InProgress(request_id=job.request_id, logs=logs)
    error = answer.get("error")
    if word != "COMPLETED":
        error = error or f"the queue answered a status that is not known: {word!r}"
    return Completed(
        request_id=job.request_id,
        logs=logs,
        metrics=mapping(answer.get("metrics")),
        error=str(error) if error else None,
        error_type=answer.get("error_type"),
    )


class _Clocks:
    """The clocks of a request that is waited for: the total one, and one for its start and then for its run."""

    def __init__(self, channel: Channel, job: Job, total: Deadline, start: float | None, run: float | None) -> None:
        timeouts = channel.client.timeouts
        self.total = total
        self._job = job
        self._phase = Deadline(start if start is not None else timeouts.start)
        self._run = run if run is not None else timeouts.run
        self.started = False

    def start(self) -> None:
        """From here on it is the run that is timed."""
        self.started, self._phase = True, Deadline(self._run)

    def left(self, seconds: float | None = None) -> float | None:
        """The shortest of `seconds` and what is left on each clock."""
        return self._phase.within(self.total.within(seconds))

    def check(self) -> None:
        """Raises `TimeoutExpired` or `StartTimeout` if a clock has run out."""
        if self.total.over():
            raise TimeoutExpired(f"not done within {self.total.seconds:g} s", **self._job.about)
        if self._phase.over():
            if not self.started:
                raise StartTimeout(f"the request did not start within {self._phase.seconds:g} s", **self._job.about)
            error = TimeoutExpired(f"the request ran longer than {self._phase.seconds:g} s", **self._job.about)
            error.clock = "run"
            raise error


async def events(
    channel: Channel,
    job: Job,
    *,
    logs: bool = False,
    deadline: Deadline | None = None,
    start_timeout: float | None = None,
    run_timeout: float | None = None,
) -> AsyncGenerator[Status, None]:
    """Follow a request to its end: an event whenever something changed, a `Completed` last.

    Raises:
        StartTimeout, TimeoutExpired: if a clock runs out. The request itself goes on.
    """
    clocks = _Clocks(channel, job, deadline or Deadline(channel.client.timeouts.total), start_timeout, run_timeout)
    seen: set[tuple[str, str]] = set()
    last: Status | None = None
    async with aclosing(_statuses(channel, job, logs, clocks)) as statuses:
        async for answer in statuses:
            # The server's log is a moving window, not a growing list, so lines are told apart by time and text.
            fresh = tuple(line for line in answer.logs if (line.timestamp, line.message) not in seen)
            seen.update((line.timestamp, line.message) for line in fresh)
            current, bare = msgspec.structs.replace(answer, logs=fresh), msgspec.structs.replace(answer, logs=())
            if isinstance(current, InProgress) and not clocks.started:
                clocks.start()
            if isinstance(current, Completed):
                yield current
                return
            if fresh or bare != last:
                yield current
            last = bare
            clocks.check()


_DEAF_AFTER = 15.0
"""Seconds without a first word after which a status stream is given up: something on the way may be holding it back."""
_QUIET_AFTER = 120.0
"""Seconds of silence after which the first status stream is given up, although it had begun."""
_FOREVER = 86_400.0


async def _statuses(channel: Channel, job: Job, logs: bool, clocks: _Clocks) -> AsyncGenerator[Status, None]:
    """How a request stands, again and again: from the status stream while there is one, or else by asking.

    A stream that falls silent is opened once more, and from then on only the clocks end it: the server begins each
    stream with the present status, so this also shows whether the first one was held back.
    """
    streaming, quiet, pause = True, _QUIET_AFTER, 0.1
    last: type[Status] | None = None
    while True:
        before, heard = last, False
        if streaming:
            async with aclosing(_streamed(channel, job, logs, clocks, quiet)) as statuses:
                async for status_ in statuses:
                    heard, last = True, type(status_)
                    yield status_
            streaming, quiet = heard, _FOREVER
            if not heard:
                clocks.check()
                continue
        else:
            status_ = await status(channel, job, logs=logs, deadline=clocks.total)
            last = type(status_)
            yield status_
        clocks.check()
        pause = 0.1 if last is not before else min(pause * 1.25, 2.0)
        await channel.io.sleep(clocks.left(pause * random.uniform(0.75, 1.25)) or 0.0)  # noqa: S311


async def _streamed(
    channel: Channel, job: Job, logs: bool, clocks: _Clocks, quiet: float
) -> AsyncGenerator[Status, None]:
    """What one status stream says, until it ends, breaks off, makes no sense or is silent for too long."""
    url = job.url(channel, f"{job.status_url}/stream" if job.status_url else None, "/status/stream")
    heard = False
    try:
        stream = await channel.open(
            "watch",
            "GET",
            url,
            headers={"accept": "text/event-stream"},
            params={"logs": 1} if logs else None,
            idle=clocks.left(_DEAF_AFTER),
            quiet=clocks.left(quiet),
            **job.about,
        )
    except (AuthenticationError, PermissionDeniedError):
        raise
    except FalError as error:
        logger.info("%s: no status stream (%s), asking instead", job.request_id, error.message)
        return
    try:
        if not is_event_stream(stream):
            return
        async with aclosing(
            server_sent_events(stream, lambda: clocks.left(quiet if heard else _DEAF_AFTER))
        ) as arriving:
            async for event in arriving:
                heard = True
                status_ = _said(event, job)
                if status_ is None:
                    return
                yield status_
                if isinstance(status_, Completed):
                    return
    except Unanswered as error:
        text = str(error)  # a record with the error itself would keep the connection
        logger.info("%s: the status stream broke off (%s)", job.request_id, text)
    finally:
        await stream.close()


def _said(event: Event, job: Job) -> Status | None:
    """The status in an event, if there is one."""
    fields = mapping(json_or_none(event.data))
    return read_status(fields, job) if isinstance(fields.get("status"), str) else None


async def fetch(channel: Channel, job: Job, end: Completed) -> Result[Any]:
    """Fetch the result of a request that has ended. Raises the error that it ended with."""
    response = await channel.call(
        "result", "GET", job.url(channel, job.response_url, ""), deadline=Deadline(600.0), **job.about
    )
    if response.status >= 300:
        error = error_from_response(response.status, response.headers, response.body, **job.about)
        error.error_type = error.error_type or end.error_type
        raise error
    if end.error:
        message = f"the request ended with an error: {end.error}"
        raise RunnerError(
            message, status_code=response.status, error_type=end.error_type, body=response.body, **job.about
        )
    return make_result(channel, response, job.output, metrics=end.metrics, logs=end.logs, **job.about)


def make_result(
    channel: Channel,
    response: Response,
    output: Any,
    *,
    endpoint_id: str,
    request_id: str | None,
    metrics: dict[str, Any] | None = None,
    logs: tuple[LogEntry, ...] = (),
) -> Result[Any]:
    """Make the result of an answer."""
    strict = channel.client.strict
    data, warnings = build_output(output, response, strict=strict, endpoint_id=endpoint_id, request_id=request_id)
    return Result(
        data=data,
        request_id=request_id,
        endpoint_id=endpoint_id,
        headers=response.headers,
        raw=response.body,
        metrics=metrics or {},
        logs=logs,
        warnings=warnings,
    )


async def cancel(channel: Channel, job: Job, *, deadline: Deadline | None = None) -> str:
    """Ask to cancel a request; return what the platform says.

    `OK` (it was still queued and is gone), `CANCELLATION_REQUESTED` (it runs; its program decides),
    `ALREADY_COMPLETED` or `NOT_FOUND`.
    """
    response = await channel.call(
        "cancel", "PUT", job.url(channel, job.cancel_url, "/cancel"), deadline=deadline, **job.about
    )
    word = mapping(json_or_none(response.body)).get("status")
    if isinstance(word, str):
        return word
    if response.status >= 300:
        raise error_from_response(response.status, response.headers, response.body, **job.about)
    return "OK" if response.status == 200 else "CANCELLATION_REQUESTED"


async def follow(
    channel: Channel,
    job: Job,
    *,
    logs: bool = False,
    on_queue_update: Callable[[Status], Any] | None = None,
    deadline: Deadline | None = None,
    start_timeout: float | None = None,
    run_timeout: float | None = None,
) -> Completed:
    """Follow a request to its end, which is returned with all the log lines. Raises as `events` does."""
    collected: list[LogEntry] = []
    source = events(channel, job, logs=logs, deadline=deadline, start_timeout=start_timeout, run_timeout=run_timeout)
    async with aclosing(source):
        async for event in source:
            collected += event.logs
            if on_queue_update is not None:
                await channel.io.invoke(on_queue_update, event)
            if isinstance(event, Completed):
                return msgspec.structs.replace(event, logs=tuple(collected))
    raise AssertionError("unreachable")


async def wait(channel: Channel, job: Job, *, logs: bool, timeout: float | None) -> Result[Any]:
    """Wait for a request's end and fetch its result. Leaving early leaves the request running."""
    deadline = Deadline(timeout) if timeout is not None else None
    return await fetch(channel, job, await follow(channel, job, logs=logs, deadline=deadline))


async def subscribe(
    channel: Channel,
    endpoint_id: str,
    output: Any,
    body: bytes,
    *,
    logs: bool = False,
    on_enqueue: Callable[[str], Any] | None = None,
    on_queue_update: Callable[[Status], Any] | None = None,
    timeout: float | None = None,
    start_timeout: float | None = None,
    run_timeout: float | None = None,
    **submission: Any,
) -> Result[Any]:
    """Submit a request, follow it, fetch its result; cancel it when left for any other reason than its end."""
    deadline = Deadline(timeout if timeout is not None else channel.client.timeouts.total)
    job = await channel.io.guard(
        submit(channel, endpoint_id, output, body, start_timeout=start_timeout, deadline=deadline, **submission),
        lambda job: _give_up(channel, job),
        _CANCEL_SECONDS,
    )
    try:
        if on_enqueue is not None:
            await channel.io.invoke(on_enqueue, job.request_id)
        end = await follow(
            channel,
            job,
            logs=logs,
            on_queue_update=on_queue_update,
            deadline=deadline,
            start_timeout=start_timeout,
            run_timeout=run_timeout,
        )
    except GeneratorExit:
        # The coroutine is being thrown away and may not wait any more, so the calling thread does it.
        drive(_give_up(channel.client.blocking(), job))
        raise
    except BaseException as error:
        error.add_note(await channel.io.shield(lambda: _give_up(channel, job)))
        raise
    return await fetch(channel, job, end)


_CANCEL_SECONDS = 5.0
"""How long leaving a request may take."""


async def _give_up(channel: Channel, job: Job) -> str:
    """Cancel a request whose caller is gone, and say what came of it."""
    try:
        outcome = await cancel(channel, job, deadline=Deadline(_CANCEL_SECONDS))
    except (
        Exception
    ) as error:  # of whatever kind, a function for the key or a middleware of the caller's may have its own
        reason = error.message if isinstance(error, FalError) else type(error).__name__
        return f"request {job.request_id} could not be cancelled and may still be running: {reason}"
    return f"request {job.request_id} was left, and cancelling it answered {outcome}"


def _object(response: Response, endpoint_id: str, request_id: str | None) -> dict[str, Any]:
    """Read an answer of the queue itself, which is an object. Raises the error that the answer stands for."""
    about: dict[str, Any] = {"endpoint_id": endpoint_id, "request_id": request_id}
    answer = json_or_none(successful(response, **about).body)
    if not isinstance(answer, dict):
        raise OutputError("the queue's answer is not a JSON object", body=response.body, **about)
    return mapping(answer)
