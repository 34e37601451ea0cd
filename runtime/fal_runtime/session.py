"""What a realtime connection does, in either of its kinds. Source of the wire facts: fal docs, "Real-time models" page,
and the official clients.

Inputs and outputs are msgpack maps in binary frames; what the platform says itself is JSON in text frames. Everything
is written once, as coroutines over a `Channel` and a `Crew` (threads or tasks).

An input that was sent and not answered when the connection broke off may have been worked on and billed. It is never
sent again by itself: the loss is reported with the number of such inputs.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec

from fal_runtime.client import Channel
from fal_runtime.errors import (
    AuthenticationError,
    ConfigurationError,
    FalError,
    FieldError,
    NoConnectionError,
    RateLimitError,
    RealtimeClosed,
    RealtimeError,
    TimeoutExpired,
)
from fal_runtime.inputs import Messages
from fal_runtime.result import Result, build_output, of_pydantic
from fal_runtime.retry import Deadline
from fal_runtime.sockets import Crew, Dropped, Frame, Socket
from fal_runtime.transport import Response
from fal_runtime.values import json_or_none, mapping
from fal_runtime.wire import OPEN_WITHIN, Wire, WireOptions

if TYPE_CHECKING:
    from typing import Self

__all__ = ["RealtimeOptions", "Reconnected", "Session"]

I = TypeVar("I")  # noqa: E741
R_co = TypeVar("R_co", covariant=True)

logger = logging.getLogger("fal_runtime")

_STEADY_AFTER = 30.0
"""Seconds after which a connection that breaks off is not taken for one that breaks off again and again."""
_FINISH_WITHIN = 10.0
"""Seconds that leaving a `with` statement waits for inputs that wait to be sent, and for results that go to a callback."""
_QUEUES = {"block": 0, "drop_oldest": 16, "latest": 1}
"""How many inputs may wait to be sent, by policy, if that is not said. 0: a call sends its input itself."""


_LARGEST = 8 * 2**20
"""Bytes of a message for which memory is kept."""


@functools.cache
def _keep_memory() -> None:
    """Let memory that one large message needed be there for the next one: a picture goes four times as fast.

    glibc asks the system for each block of more than 128 KiB anew, page by page, until one that is larger still was
    given back. This one is never touched, so it takes no memory; with another C library, it does nothing.
    """
    bytes(_LARGEST)


class Reconnected(msgspec.Struct, frozen=True, kw_only=True):
    """A connection had broken off and is open again."""

    code: int
    """The websocket's close code; 1006 if the connection was cut."""
    reason: str
    unanswered: int
    """How many inputs, at most, had been sent and not been answered. They were not sent again: they may be billed."""


class RealtimeOptions(WireOptions, total=False):
    """The options of `realtime`."""

    on_error: Callable[[Exception], Any]
    """Called with every error that no call is there to raise. Default: the next call raises it."""
    on_reconnect: Callable[[Reconnected], Any]
    """Called when a connection that broke off is open again. With it, that is done at once and nothing is raised;
    without it, the loss is raised as `RealtimeError`, and the next input opens a new connection."""
    reconnect: bool
    """Whether a connection that broke off may be opened again, after growing, random waits. Default: True."""
    throttle: float
    """Seconds from one input to the next, at least; `send_policy` says what happens to inputs meanwhile. Default: 0."""
    send_policy: Literal["block", "drop_oldest", "latest"]
    """What `send` does while the connection is busy. `block` (default): wait. `drop_oldest`: take the place of the
    input that has waited longest. `latest`: take the place of every input that waits."""
    send_queue: int
    """How many inputs may wait to be sent. Default: 0 for `block`, 16 for `drop_oldest`, 1 for `latest`."""
    encode: Callable[[Any], bytes | str]
    """Turns an input, as plain values, into a frame. Default: msgpack."""
    decode: Callable[[bytes | str], Any]
    """Turns a frame into an output, which is not checked then. Default: msgpack, or JSON for text."""
    connection_key: str
    """Calls with the same endpoint, client and key share one connection, which closes with its last holder."""


class Session(Generic[I, R_co]):
    """What both kinds of connection are made of; each operation is a coroutine."""

    def __init__(
        self,
        channel: Channel,
        crew: Crew,
        endpoint_id: str,
        types: tuple[Any, Any],
        pick: Callable[[Result[Any]], R_co] | None,
        on_result: Callable[[R_co], Any] | None,
        options: RealtimeOptions,
    ) -> None:
        self.endpoint_id = endpoint_id
        _keep_memory()
        self._channel, self._crew = channel, crew
        self._wire = Wire(channel, self._crew, endpoint_id, options.get("path", "/realtime"), options)
        self._in_header = bool(options.get("key_in_header"))
        self._output = types[1]
        self._messages = Messages(types[0], endpoint_id)
        self._unpack = None if of_pydantic(types[1]) else msgspec.msgpack.Decoder(types[1]).decode
        self._pick = pick
        self._encode, self._decode = options.get("encode"), options.get("decode")
        self._reconnect = options.get("reconnect", True)
        self._throttle = options.get("throttle", 0.0)
        self._outbox = self._make_outbox(options)
        self.use_callbacks(on_result, options)

        self._opening, self._pacing = self._crew.lock(), self._crew.lock()
        self._signal = self._crew.signal()
        self._reading = threading.Lock()  # only ever tried, never waited for
        self._socket: Socket | None = None
        self._inbox: deque[R_co | Exception] = deque()
        self._closed = False
        self._failure: FalError | None = None
        self._unreported: Exception | None = None
        self._lost: Reconnected | None = None
        self._drops = 0
        self._opened = 0.0
        self._sent = self._answered = 0
        self._busy = self._readers = 0
        self._beside: set[str] = set()
        self._not_before = 0.0
        self.holders = 1
        self.dropped = 0
        """How many inputs were never sent: those that gave way to newer ones, and those that waited when sending failed."""

    def _make_outbox(self, options: Mapping[str, Any]) -> deque[Frame] | None:
        policy: str = options.get("send_policy", "block")
        size: int = options.get("send_queue", _QUEUES[policy])
        if size < min(_QUEUES[policy], 1) or (policy == "latest" and size != 1):
            text = f"send_queue cannot be {size} with send_policy {policy!r}"
            raise ConfigurationError(text, endpoint_id=self.endpoint_id)
        self._blocks = policy == "block"
        return deque(maxlen=size) if size else None

    def use_callbacks(self, on_result: Callable[[R_co], Any] | None, options: Mapping[str, Any]) -> None:
        """Take a caller's functions."""
        self._on_result = on_result
        self._on_error: Callable[[FalError], Any] | None = options.get("on_error")
        self._on_reconnect: Callable[[Reconnected], Any] | None = options.get("on_reconnect")

    @property
    def state(self) -> Literal["idle", "open", "closed"]:
        """`idle` before the first input and after a session's end, `open`, or `closed` for good."""
        return "closed" if self._closed else "open" if self._socket is not None else "idle"

    @property
    def unanswered(self) -> int:
        """How many inputs, at most, were sent on the open connection and have not been answered."""
        return max(0, self._sent - self._answered)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.endpoint_id} {self.state}>"

    # Sending

    async def _send(self, input: I, extra: Mapping[str, Any] | None, validate: bool) -> None:
        if self._closed or self._failure or self._unreported:
            self._check_usable()
        packed = self._messages.build(input, extra, validate)
        frame = packed if self._encode is None else self._encode(msgspec.msgpack.decode(packed))
        outbox = self._outbox
        if outbox is None:
            if self._throttle:
                async with self._pacing:
                    await self._pace()
            await self._transmit(frame)
            return
        full = outbox.maxlen or 0
        if self._blocks:
            await self._signal.wait_for(lambda: len(outbox) < full or self._closed)
            self._check_usable()
        self.dropped += len(outbox) == full
        outbox.append(frame)
        self._signal.notify()
        self._spawn("sender", self._drain_outbox)

    async def _drain_outbox(self) -> None:
        outbox = self._outbox
        while outbox is not None:
            await self._signal.wait_for(lambda: outbox or self._closed)
            await self._pace()
            if self._closed:
                return
            self._busy += 1
            try:
                if self._socket is None:  # meanwhile, newer inputs may take the place of older ones
                    await self._open()
                frame = outbox.popleft()
                self._signal.notify()
                await self._transmit(frame)
            except Exception as error:
                self.dropped += len(outbox)
                outbox.clear()
                await self._report(error)
            finally:
                self._busy -= 1
                self._signal.notify()

    async def _pace(self) -> None:
        wait = self._not_before - time.monotonic()
        if self._throttle and wait > 0:
            await self._signal.wait_for(lambda: self._closed, wait)
        self._not_before = time.monotonic() + self._throttle

    async def _transmit(self, frame: Frame) -> None:
        while True:
            socket = self._socket
            if socket is None:
                socket = await self._open()
            elif not socket.open:
                await self._read_to_its_end(socket)
                continue
            self._sent += 1
            try:
                await socket.send(frame)
            except socket.ended:
                # Nobody knows whether it arrived, so it counts among the inputs that are lost.
                await self._read_to_its_end(socket)
                self._check_usable()
            return

    async def _read_to_its_end(self, socket: Socket) -> None:
        """Take what a socket that has ended still holds, and note how it ended."""
        await self._begin_reading(None)  # if someone is waiting for it, that one does it first
        try:
            while self._socket is socket:
                try:
                    self._inbox.append(await self._receive(socket, Deadline(None)))
                except RealtimeClosed:
                    pass
                except RealtimeError as error:
                    if self._failure is not None:
                        raise
                    if error.unanswered and not (self._is_loss(error) and self._on_reconnect):
                        await self._report(error)
                except FalError as error:
                    await self._report(error)
        finally:
            self._end_reading()

    # Receiving

    async def _begin_reading(self, seconds: float | None) -> bool:
        """Wait to be the only one who reads; `False` if that does not happen in time."""
        self._readers += 1
        try:
            return await self._signal.wait_for(lambda: self._reading.acquire(blocking=False), seconds)
        finally:
            self._readers -= 1

    def _end_reading(self) -> None:
        self._reading.release()
        if self._readers:
            self._signal.notify()

    def _receivable(self) -> Self:
        """Refuse to receive what goes to a callback."""
        if self._on_result is not None:
            text = "results go to on_result, so there is nothing to receive here"
            raise ConfigurationError(text, endpoint_id=self.endpoint_id)
        return self

    async def _recv(self, timeout: float | None) -> R_co:
        """The next result. Raises what `recv` does."""
        deadline = Deadline(timeout)
        if not self._reading.acquire(blocking=False) and not await self._begin_reading(timeout):
            raise self._too_late(timeout)
        try:
            while True:
                if self._inbox:
                    item = self._inbox.popleft()
                    if isinstance(item, Exception):
                        raise item
                    return item
                socket = self._socket
                if socket is not None:
                    try:
                        result: R_co = await self._receive(socket, deadline)
                        return result
                    except RealtimeError as error:
                        if self._on_reconnect is None or self._failure is not None or not self._is_loss(error):
                            raise
                        await self._open()
                elif self._closed:
                    raise RealtimeClosed("the connection was closed", code="CLOSED", endpoint_id=self.endpoint_id)
                elif self._failure is not None:
                    raise self._failure
                elif not await self._signal.wait_for(self._is_eventful, deadline.left()):
                    raise self._too_late(timeout)
        finally:
            self._end_reading()

    def _is_eventful(self) -> bool:
        return bool(self._socket or self._inbox or self._closed or self._failure)

    def _too_late(self, seconds: float | None) -> TimeoutExpired:
        return TimeoutExpired(f"no result within {seconds or 0:g} s", endpoint_id=self.endpoint_id)

    async def _receive(self, socket: Socket, deadline: Deadline) -> Any:
        """One result of a socket. Raises the error that the platform reports, or that the socket's end stands for."""
        while True:
            try:
                frame = await socket.recv(deadline.left())
            except TimeoutError:
                raise self._too_late(deadline.seconds) from None
            except socket.ended as error:
                raise self._ended(Dropped.read(error)) from error
            if isinstance(frame, str) and await self._is_said_by_platform(frame, socket):
                continue
            self._drops = 0
            if self._answered < self._sent:
                self._answered += 1
            data, warnings = self._read(frame)
            if self._pick is None:
                return data
            raw = frame.encode() if isinstance(frame, str) else frame
            result = Result(
                data=data, request_id=None, endpoint_id=self.endpoint_id, headers={}, raw=raw, warnings=warnings
            )
            return self._pick(result)

    def _read(self, frame: Frame) -> tuple[Any, tuple[FieldError, ...]]:
        """The output in a frame, and where it departs from the schema."""
        if self._decode is not None:
            return self._decode(frame), ()
        if isinstance(frame, str):
            return self._lenient(frame.encode(), "application/json")
        if self._unpack is not None:
            try:
                return self._unpack(frame), ()
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass
        return self._lenient(frame, "application/msgpack")

    def _lenient(self, raw: bytes, content_type: str) -> tuple[Any, tuple[FieldError, ...]]:
        response = Response(status=200, headers={"content-type": content_type}, body=raw)
        strict = self._channel.client.strict
        return build_output(self._output, response, endpoint_id=self.endpoint_id, request_id=None, strict=strict)

    async def _is_said_by_platform(self, text: str, socket: Socket) -> bool:
        """Whether a text is the platform's and not an output. Raises the error that it reports."""
        said = mapping(json_or_none(text))
        if said.get("type") == "x-fal-message":
            return True
        about: dict[str, Any] = {"endpoint_id": self.endpoint_id, "body": text.encode()}
        if said.get("status") == "error" and said.get("error") == "Unauthorized":
            self._wire.forget()
            await self._leave(socket)
            raise AuthenticationError("the platform refuses the connection: Unauthorized", **about)
        if said.get("type") != "x-fal-error":
            return False
        code, reason = str(said.get("error") or "ERROR"), str(said.get("reason") or "")
        about.update(code=code, reason=reason, unanswered=await self._leave(socket))
        if code == "TIMEOUT":  # nothing was sent for some time
            raise RealtimeClosed("the session ended", **about)
        raise RealtimeError(f"the app reported {code}: {reason}"[:300], **about)

    # Opening and ending

    async def _open(self) -> Socket:
        """The socket; a new one if there is none. Raises what `Wire.dial` does if it cannot be opened."""
        async with self._opening:
            if self._socket is not None:
                return self._socket
            retry, deadline = self._channel.client.retry, Deadline(OPEN_WITHIN)
            failure: FalError | None = None
            for attempt in count(self._drops):
                if attempt:
                    wait = retry.wait(attempt, {})
                    if attempt >= retry.attempts or deadline.within(wait) != wait:
                        self._drops = 0
                        text = "the connection breaks off again and again"
                        raise failure or NoConnectionError(text, endpoint_id=self.endpoint_id)
                    logger.info("%s: opening the connection again in %.2f s", self.endpoint_id, wait)
                    await self._signal.wait_for(lambda: self._closed, wait)
                self._check_usable()
                try:
                    socket = await self._wire.dial(deadline)
                    break
                except FalError as error:
                    failure = error
                    if not isinstance(error, NoConnectionError | RateLimitError) and (error.status_code or 0) < 500:
                        raise
            else:
                raise AssertionError("unreachable")
            if self._closed:
                await socket.close()
                self._check_usable()
            lost, self._lost = self._lost, None
            self._socket, self._opened = socket, time.monotonic()
            self._signal.notify()
        if not self._in_header:
            self._spawn("renewal", self._renew_tokens)
        if self._on_result is not None:
            self._spawn("listener", self._listen)
        if lost is not None and self._on_reconnect is not None:
            await self._channel.io.invoke(self._on_reconnect, lost)
        return socket

    def _ended(self, drop: Dropped) -> RealtimeError:
        """Note that the socket is closed, and say what that means."""
        about: dict[str, Any] = {"close_code": drop.code, "reason": drop.reason, "endpoint_id": self.endpoint_id}
        about["unanswered"] = unanswered = self._forget_socket()
        if drop.code == 1000 or self._closed:
            self._drops = 0
            return RealtimeClosed("the session ended", code="CLOSED", **about)
        self._drops = self._drops + 1 if time.monotonic() - self._opened < _STEADY_AFTER else 1
        if drop.code == 1008:
            self._wire.forget()
        text = f"the connection was lost ({drop.code} {drop.reason})"
        if unanswered:
            text += f"; up to {unanswered} inputs were not answered, and were not sent again"
        end = RealtimeError(text[:300], code="CONNECTION_LOST", **about)
        self._lost = Reconnected(code=drop.code, reason=drop.reason, unanswered=unanswered)
        if not self._reconnect:
            self._failure = end
        return end

    @staticmethod
    def _is_loss(error: RealtimeError) -> bool:
        """Whether the connection broke off, rather than that the app reported something."""
        return error.close_code is not None and not isinstance(error, RealtimeClosed)

    def _forget_socket(self) -> int:
        """Do without the socket; how many inputs were not answered."""
        unanswered = self.unanswered
        self._socket = None
        self._sent = self._answered = 0
        self._signal.notify()
        return unanswered

    async def _leave(self, socket: Socket) -> int:
        """Close a socket on which nothing more will come; how many inputs were not answered."""
        unanswered = self._forget_socket()
        await socket.close()
        return unanswered

    async def _close(self) -> None:
        self.holders -= 1
        if self.holders > 0 or self._closed:
            return
        self._closed = True
        self._signal.notify()
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()
        await self._crew.dismiss()

    async def _finish(self, failed: bool) -> None:
        """Close; first wait for what is still to be sent, and for the results that go to a callback."""

        def done() -> bool:
            owed = self._outbox or self._busy or (self._on_result is not None and self.unanswered)
            return not owed or self._closed or self._failure is not None or self._unreported is not None

        try:
            if not failed and self.holders == 1:
                await self._signal.wait_for(done, _FINISH_WITHIN)
        finally:
            await self._close()
        if not failed:
            self._raise_unreported()

    # Beside the caller

    def _spawn(self, name: str, operation: Callable[[], Any]) -> None:
        """Do something beside the caller, unless it is being done."""
        if name in self._beside:
            return
        self._beside.add(name)

        async def run() -> None:
            try:
                await operation()
            finally:
                self._beside.discard(name)

        self._crew.spawn(run())

    async def _listen(self) -> None:
        while not self._closed and self._failure is None:
            try:
                result = await self._recv(None)
            except RealtimeClosed:
                continue
            except Exception as error:
                await self._report(error)
                continue
            self._busy += 1
            try:
                if self._on_result is not None:
                    await self._channel.io.invoke(self._on_result, result)
            except Exception as error:
                await self._report(error)
            finally:
                self._busy -= 1
                self._signal.notify()

    async def _renew_tokens(self) -> None:
        while not self._closed and self._socket is not None:
            wait = self._wire.renewal()
            if wait is None:
                return
            if await self._signal.wait_for(lambda: self._closed or self._socket is None, max(wait, 0.0)):
                return
            try:
                await self._wire.renew()
            except FalError as error:
                logger.info("%s: the token was not renewed (%s)", self.endpoint_id, error.message)
                await self._signal.wait_for(lambda: self._closed, 0.05 * self._wire.seconds)

    async def _report(self, error: Exception) -> None:
        """Tell the caller of an error that no call of his is there to raise."""
        if self._on_error is not None:
            try:
                await self._channel.io.invoke(self._on_error, error)
            except Exception:
                logger.exception("%s: on_error failed", self.endpoint_id)
            return
        if self._on_result is None:
            self._inbox.append(error)
        else:
            self._unreported = self._unreported or error
        self._signal.notify()

    def _check_usable(self) -> None:
        """Raise what stands against sending."""
        if self._closed:
            raise ConfigurationError("the connection was closed; open a new one", endpoint_id=self.endpoint_id)
        if self._failure is not None:
            raise self._failure
        self._raise_unreported()

    def _raise_unreported(self) -> None:
        error, self._unreported = self._unreported, None
        if error is not None:
            raise error
