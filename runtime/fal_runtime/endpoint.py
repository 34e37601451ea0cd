"""What a generated module offers: the verbs of one endpoint, blocking and async, typed by its `Input` and `Output`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypedDict, TypeVar, Unpack, overload

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncSocket
    from websockets.sync.client import ClientConnection as BlockingSocket

    from fal_runtime import client as clients
    from fal_runtime import file_inputs, inputs, queue, retry, transport
    from fal_runtime import options as rules
    from fal_runtime import run as runs
    from fal_runtime import stream as streams
    from fal_runtime.client import Channel, Client
    from fal_runtime.lifecycle import Lifecycle
    from fal_runtime.queue import Job, Status
    from fal_runtime.realtime import AsyncRealtimeConnection, RealtimeConnection, RealtimeOptions
    from fal_runtime.result import Result
    from fal_runtime.stream import AsyncEventStream, EventStream
    from fal_runtime.webhooks import Headers, WebhookEvent, WebhookOptions
    from fal_runtime.wire import WireOptions
else:  # loaded by the first call, so that a module costs little more than its types
    from fal_runtime.packages import LazyModule

    clients = LazyModule("fal_runtime.client")
    file_inputs = LazyModule("fal_runtime.file_inputs")
    inputs = LazyModule("fal_runtime.inputs")
    queue = LazyModule("fal_runtime.queue")
    retry = LazyModule("fal_runtime.retry")
    rules = LazyModule("fal_runtime.options")
    runs = LazyModule("fal_runtime.run")
    streams = LazyModule("fal_runtime.stream")
    transport = LazyModule("fal_runtime.transport")

__all__ = [
    "CallOptions",
    "Endpoint",
    "Handle",
    "RunOptions",
    "StreamOptions",
    "SubmitOptions",
    "SubscribeOptions",
    "Verbs",
    "endpoint",
]

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741
O_co = TypeVar("O_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

if (
    TYPE_CHECKING
):  # `typing` has it with a default from Python 3.13 on; without one, each `Endpoint[I, O]` would need it
    from typing_extensions import ParamSpec

    P = ParamSpec("P", default=...)
else:
    from typing import ParamSpec

    P = ParamSpec("P")


class CallOptions(TypedDict, total=False):
    """What every call that sends an input takes."""

    client: Client
    """The client to use. Default: the one of `configure`, or one made from the environment."""
    headers: Mapping[str, str]
    """Sent with the request; they go before the client's own."""
    extra: Mapping[str, Any]
    """Fields to send beside the input's own, for what the schema does not know. They are not checked."""
    validate: bool
    """Whether to check the input before it is sent. Default: True. Turn it off where a schema is wrong."""
    timeout: float | None
    """Seconds for the whole call. Default: the client's `timeouts`."""
    start_timeout: float
    """Seconds within which the request must start on a runner; else it is refused with `StartTimeout`."""
    hint: str
    """Routes requests with the same hint to the same runner, where possible."""
    storage: Lifecycle
    """How long the files that the request makes are kept, and who may read them. Default: the account's setting."""


class RunOptions(CallOptions, total=False):
    """The options of `run`."""

    path: str
    """A path inside the endpoint's app, such as `/variant`, to call in place of its main one."""
    method: Literal["POST", "GET", "PUT", "PATCH", "DELETE"]
    """The HTTP method, for apps that want another one. Default: `POST`. With `GET` the input goes into the URL."""


class StreamOptions(CallOptions, total=False):
    """The options of `stream`."""

    path: str
    """The path of the endpoint's streaming route. Default: `/stream`; an id that ends with it is not made longer."""


class SubmitOptions(CallOptions, total=False):
    """The options of `submit`."""

    path: str
    """A path inside the endpoint's app, such as `/variant`, to call in place of its main one."""
    webhook_url: str
    """Where the platform posts the result when it is there."""
    priority: Literal["normal", "low"]
    """`low` waits behind every `normal` request to the endpoint."""
    max_queue_length: int
    """Refuse the request with `RateLimitError` if more than so many already wait for the endpoint, from all callers."""


class SubscribeOptions(SubmitOptions, total=False):
    """The options of `subscribe`."""

    logs: bool
    """Whether to ask for the lines that the endpoint's program prints. Default: False."""
    on_enqueue: Callable[[str], Any]
    """Called with the request's id as soon as it has one. Store it: the result can be fetched with it later."""
    on_queue_update: Callable[[Status], Any]
    """Called with `Queued`, `InProgress` and `Completed` events, whenever something changed."""
    run_timeout: float
    """Seconds that the request may run, counted from its start."""


class Handle(Generic[R_co]):
    """A submitted request. It lives on the platform: keep `request_id`, and any process can make the handle again."""

    def __init__(self, job: Job, pick: Callable[[Result[Any]], R_co], client: Client | None) -> None:
        self._job = job
        self._pick = pick
        self._client = client

    def __repr__(self) -> str:
        return f"<Handle {self.endpoint_id} {self.request_id}>"

    @property
    def request_id(self) -> str:
        """The platform's id of the request."""
        return self._job.request_id

    @property
    def endpoint_id(self) -> str:
        """The endpoint that was called."""
        return self._job.endpoint_id

    def status(self, *, logs: bool = False) -> Status:
        """Ask how the request stands: `Queued`, `InProgress` or `Completed`."""
        return transport.drive(queue.status(clients.blocking(self._client), self._job, logs=logs))

    async def status_async(self, *, logs: bool = False) -> Status:
        """Ask how the request stands: `Queued`, `InProgress` or `Completed`."""
        return await queue.status(clients.running(self._client), self._job, logs=logs)

    def events(self, *, logs: bool = False, timeout: float | None = None) -> Generator[Status, None, None]:
        """Follow the request: an event whenever something changed, a `Completed` last.

        Raises:
            TimeoutExpired: after `timeout` seconds (default: the client's). The request goes on.
        """
        return transport.iterate(self._events(clients.blocking(self._client), logs, timeout))

    def events_async(self, *, logs: bool = False, timeout: float | None = None) -> AsyncGenerator[Status, None]:
        """Follow the request, as `events` does."""
        return self._events(clients.running(self._client), logs, timeout)

    def _events(self, channel: Channel, logs: bool, timeout: float | None) -> AsyncGenerator[Status, None]:
        deadline = retry.Deadline(timeout) if timeout is not None else None
        return queue.events(channel, self._job, logs=logs, deadline=deadline)

    def result(self, *, logs: bool = False, timeout: float | None = None) -> R_co:
        """Wait for the request's end and fetch its result.

        Raises:
            TimeoutExpired: after `timeout` seconds (default: the client's). The request goes on.
            FalError: the one that the request ended with.
        """
        return self._pick(
            transport.drive(queue.wait(clients.blocking(self._client), self._job, logs=logs, timeout=timeout))
        )

    async def result_async(self, *, logs: bool = False, timeout: float | None = None) -> R_co:
        """Wait for the request's end and fetch its result, as `result` does."""
        return self._pick(await queue.wait(clients.running(self._client), self._job, logs=logs, timeout=timeout))

    def cancel(self) -> str:
        """Ask to cancel the request; return what the platform says.

        `OK` (it was still queued and is gone), `CANCELLATION_REQUESTED` (it runs; its program decides),
        `ALREADY_COMPLETED` or `NOT_FOUND`.
        """
        return transport.drive(queue.cancel(clients.blocking(self._client), self._job))

    async def cancel_async(self) -> str:
        """Ask to cancel the request, as `cancel` does."""
        return await queue.cancel(clients.running(self._client), self._job)


class Verbs(Generic[I, O_co, R_co, P]):
    """What can be done with one endpoint. `R` is what a finished request gives: an `Output`, or a `Result` of it.

    A verb takes an input and options; or a dict of the input's fields, by their names on the wire, and options; or the
    fields alone, by keyword. However it is called, the same is checked and sent.
    """

    def __init__(self, endpoint_id: str, input: Any, output: Any, pick: Callable[[Result[Any]], R_co]) -> None:
        self.id = endpoint_id
        self.input_type = input
        self.output_type = output
        self._pick = pick

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    def _told(self, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The input and the options of a call. Where no input is given, what is named are its fields."""
        if len(given) == 1:
            return given[0], named
        if given:
            raise TypeError(f"a verb takes one input, not {len(given)} values; options are given by name")
        try:
            return self.input_type(**named), {}
        except TypeError as error:
            if misplaced := SubscribeOptions.__annotations__.keys() & named.keys():
                words = ", ".join(sorted(misplaced))
                text = f"options ({words}) go with an input: subscribe(Input(...), {min(misplaced)}=...)"
                raise TypeError(f"{error}; {text}") from None
            raise

    async def _perform(
        self, operation: Callable[..., Awaitable[T]], channel: Channel, input: Any, options: Mapping[str, Any]
    ) -> T:
        """Check the input, upload the files in it, and do an operation with the options that concern the wire."""
        wire, files = {name: value for name, value in options.items() if value is not None}, file_inputs.Files()
        if options:
            rules.check(options, endpoint_id=self.id)
        extra, validate = wire.pop("extra", None), wire.pop("validate", True)
        wire.pop("client", None)
        body = inputs.build_body(
            input, self.input_type, endpoint_id=self.id, extra=extra, validate=validate, files=files
        )
        if files.sources:
            deadline = retry.Deadline(wire.get("timeout"))
            body = await files.upload_into(channel, body, deadline)
            if deadline.seconds is not None:
                wire["timeout"] = deadline.left()
        return await operation(channel, self.id, self.output_type, body, **wire)

    @overload
    def run(self, input: I | dict[str, Any], /, **options: Unpack[RunOptions]) -> R_co: ...
    @overload
    def run(self, *none: P.args, **fields: P.kwargs) -> R_co: ...
    def run(self, *given: Any, **options: Any) -> R_co:
        """Run the endpoint on one connection and return its output. For quick endpoints; else `subscribe`.

        Raises:
            InputError: if the input is wrong; every problem is listed.
            SubmissionUnknownError: if the connection broke after the request had left.
            FalError: any other; see `fal_runtime.errors`.
        """
        value, options = self._told(given, options)
        channel = clients.blocking(options.get("client"))
        return self._pick(transport.drive(self._perform(runs.run, channel, value, options)))

    @overload
    async def run_async(self, input: I | dict[str, Any], /, **options: Unpack[RunOptions]) -> R_co: ...
    @overload
    async def run_async(self, *none: P.args, **fields: P.kwargs) -> R_co: ...
    async def run_async(self, *given: Any, **options: Any) -> R_co:
        """Run the endpoint on one connection and return its output, as `run` does."""
        value, options = self._told(given, options)
        channel = clients.running(options.get("client"))
        return self._pick(await self._perform(runs.run, channel, value, options))

    @overload
    def submit(self, input: I | dict[str, Any], /, **options: Unpack[SubmitOptions]) -> Handle[R_co]: ...
    @overload
    def submit(self, *none: P.args, **fields: P.kwargs) -> Handle[R_co]: ...
    def submit(self, *given: Any, **options: Any) -> Handle[R_co]:
        """Put a request into the queue and return its handle at once. It runs whether or not anyone waits.

        Raises:
            InputError: if the input is wrong; every problem is listed, and nothing was sent.
            SubmissionUnknownError: if the connection broke after the request had left.
            FalError: any other; see `fal_runtime.errors`.
        """
        value, options = self._told(given, options)
        client = options.get("client")
        job = transport.drive(self._perform(_submit, clients.blocking(client), value, options))
        return Handle(job, self._pick, client)

    @overload
    async def submit_async(self, input: I | dict[str, Any], /, **options: Unpack[SubmitOptions]) -> Handle[R_co]: ...
    @overload
    async def submit_async(self, *none: P.args, **fields: P.kwargs) -> Handle[R_co]: ...
    async def submit_async(self, *given: Any, **options: Any) -> Handle[R_co]:
        """Put a request into the queue and return its handle at once, as `submit` does."""
        value, options = self._told(given, options)
        client = options.get("client")
        job = await self._perform(_submit, clients.running(client), value, options)
        return Handle(job, self._pick, client)

    @overload
    def subscribe(self, input: I | dict[str, Any], /, **options: Unpack[SubscribeOptions]) -> R_co: ...
    @overload
    def subscribe(self, *none: P.args, **fields: P.kwargs) -> R_co: ...
    def subscribe(self, *given: Any, **options: Any) -> R_co:
        """Submit a request, wait for its end and return its output.

        Leaving early for whatever reason (a timeout, Ctrl-C, an error in a callback) cancels the request.

        Raises:
            InputError: if the input is wrong; every problem is listed.
            TimeoutExpired: if a clock ran out.
            FalError: any other; see `fal_runtime.errors`.
        """
        value, options = self._told(given, options)
        channel = clients.blocking(options.get("client"))
        return self._pick(transport.drive(self._perform(queue.subscribe, channel, value, options)))

    @overload
    async def subscribe_async(self, input: I | dict[str, Any], /, **options: Unpack[SubscribeOptions]) -> R_co: ...
    @overload
    async def subscribe_async(self, *none: P.args, **fields: P.kwargs) -> R_co: ...
    async def subscribe_async(self, *given: Any, **options: Any) -> R_co:
        """Submit a request, wait for its end and return its output, as `subscribe` does."""
        value, options = self._told(given, options)
        channel = clients.running(options.get("client"))
        return self._pick(await self._perform(queue.subscribe, channel, value, options))

    @overload
    def stream(self, input: I | dict[str, Any], /, **options: Unpack[StreamOptions]) -> EventStream[O_co, R_co]: ...
    @overload
    def stream(self, *none: P.args, **fields: P.kwargs) -> EventStream[O_co, R_co]: ...
    def stream(self, *given: Any, **options: Any) -> EventStream[O_co, R_co]:
        """Run the endpoint and iterate over its outputs as they come; the last one, or `done()`, is the final one.

        The request is sent when the first event is asked for; `EventStream` says what is raised then.
        """
        value, options = self._told(given, options)
        return streams.EventStream(
            lambda: self._perform(streams.open_stream, clients.blocking(options.get("client")), value, options),
            self._pick,
        )

    @overload
    def stream_async(
        self, input: I | dict[str, Any], /, **options: Unpack[StreamOptions]
    ) -> AsyncEventStream[O_co, R_co]: ...
    @overload
    def stream_async(self, *none: P.args, **fields: P.kwargs) -> AsyncEventStream[O_co, R_co]: ...
    def stream_async(self, *given: Any, **options: Any) -> AsyncEventStream[O_co, R_co]:
        """Run the endpoint and iterate over its outputs with `async for`, as `stream` does. It is not awaited."""
        value, options = self._told(given, options)
        return streams.AsyncEventStream(
            lambda: self._perform(streams.open_stream, clients.running(options.get("client")), value, options),
            self._pick,
        )

    def realtime(
        self, *, on_result: Callable[[R_co], Any] | None = None, **options: Unpack[RealtimeOptions]
    ) -> RealtimeConnection[I, R_co]:
        """A connection for many inputs, to be used with `with`; the first `send` opens it.

        Args:
            on_result: Called with every output, in a thread of the connection's own. Default: they are received.
            options: See `fal_runtime.realtime.RealtimeOptions`.

        Raises:
            ConfigurationError: if an option is wrong.
        """
        from fal_runtime.realtime import RealtimeConnection, connection

        channel, types = clients.blocking(options.get("client")), (self.input_type, self.output_type)
        pick = None if self._pick is _data else self._pick
        made: RealtimeConnection[I, R_co] = connection(
            RealtimeConnection, channel, self.id, types, pick, on_result, options
        )
        return made

    def realtime_async(
        self, *, on_result: Callable[[R_co], Any] | None = None, **options: Unpack[RealtimeOptions]
    ) -> AsyncRealtimeConnection[I, R_co]:
        """A connection for many inputs, to be used with `async with`, as `realtime` is. It is not awaited."""
        from fal_runtime.realtime import AsyncRealtimeConnection, connection

        channel, types = clients.running(options.get("client")), (self.input_type, self.output_type)
        pick = None if self._pick is _data else self._pick
        made: AsyncRealtimeConnection[I, R_co] = connection(
            AsyncRealtimeConnection, channel, self.id, types, pick, on_result, options
        )
        return made

    def websocket(self, **options: Unpack[WireOptions]) -> BlockingSocket:
        """Open a websocket to one of the endpoint's own routes: a `websockets` connection, to be used with `with`.

        Args:
            options: See `fal_runtime.wire.WireOptions`; the route is `path`.

        Raises:
            NoConnectionError: if it cannot be opened.
            ServiceError: if the platform refuses.
        """
        from fal_runtime.wire import websocket

        return websocket(self.id, options)

    async def websocket_async(self, **options: Unpack[WireOptions]) -> AsyncSocket:
        """Open a websocket, as `websocket` does, to be used with `async with`."""
        from fal_runtime.wire import websocket_async

        return await websocket_async(self.id, options)

    def handle(self, request_id: str, *, client: Client | None = None) -> Handle[R_co]:
        """The handle of a request that was submitted before, here or anywhere.

        Raises:
            ConfigurationError: if `request_id` cannot be one.
        """
        job = queue.Job(endpoint_id=self.id, output=self.output_type, request_id=queue.known_id(request_id))
        return Handle(job, self._pick, client)


async def _submit(
    channel: Channel, endpoint_id: str, output: Any, body: bytes, *, timeout: float | None = None, **options: Any
) -> Job:
    deadline = retry.Deadline(timeout if timeout is not None else channel.client.timeouts.total)
    return await queue.submit(channel, endpoint_id, output, body, deadline=deadline, **options)


def _data(result: Result[Any]) -> Any:
    return result.data


def _itself(result: Result[Any]) -> Any:
    return result


class Endpoint(Verbs[I, O, O, P]):
    """One endpoint, typed: each verb takes an `Input` and gives an `Output`.

    Args:
        endpoint_id: The platform's id, `fal-ai/flux/dev`.
        input: The type of inputs.
        output: The type of outputs.
    """

    if not TYPE_CHECKING:

        def __class_getitem__(cls, types):
            return super().__class_getitem__((*types, ...) if len(types) == 2 else types)

    def __init__(self, endpoint_id: str, input: Callable[P, I], output: Callable[..., O]) -> None:
        super().__init__(endpoint_id, input, output, _data)

    @property
    def with_result(self) -> Verbs[I, O, Result[O], P]:
        """The same verbs, each giving a `Result`: the output, and what else the platform said about the request."""
        return Verbs(self.id, self.input_type, self.output_type, _itself)

    def parse_webhook(self, headers: Headers, body: bytes, **options: Unpack[WebhookOptions]) -> WebhookEvent[O]:
        """Check that a webhook's delivery comes from the platform, and read it.

        Args:
            headers: The request's headers, as any framework has them.
            body: The request's body, byte by byte as it came.
            options: See `fal_runtime.webhooks.WebhookOptions`.

        Raises:
            WebhookSignatureError: if it is not to be trusted; and what else `fal_runtime.webhooks.verify` raises.
        """
        return transport.drive(self._receive(clients.blocking(options.get("client")), headers, body, options))

    async def parse_webhook_async(
        self, headers: Headers, body: bytes, **options: Unpack[WebhookOptions]
    ) -> WebhookEvent[O]:
        """Check that a webhook's delivery comes from the platform, and read it, as `parse_webhook` does."""
        return await self._receive(clients.running(options.get("client")), headers, body, options)

    async def _receive(
        self, channel: Channel, headers: Headers, body: bytes, options: WebhookOptions
    ) -> WebhookEvent[O]:
        from fal_runtime.webhooks import receive

        return await receive(channel, headers, body, options, endpoint_id=self.id, output=self.output_type)


def endpoint(endpoint_id: str) -> Endpoint[dict[str, Any], Any]:
    """An endpoint without types, for one that has no module: plain dicts in, plain JSON values out.

    Raises:
        ConfigurationError: if `endpoint_id` is not one.
    """
    return Endpoint(queue.EndpointId(endpoint_id).text, dict, Any)
