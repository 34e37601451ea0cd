"""Realtime: one connection for many inputs, its outputs as they come.

An input that was sent and not answered when the connection broke off may have been worked on and billed. It is never
sent again by itself: the loss is reported with the number of such inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from fal_runtime.client import Channel
from fal_runtime.errors import ConfigurationError, RealtimeClosed
from fal_runtime.options import check
from fal_runtime.result import Result
from fal_runtime.session import RealtimeOptions, Reconnected, Session
from fal_runtime.sockets import Tasks, Threads
from fal_runtime.transport import drive

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["AsyncRealtimeConnection", "RealtimeConnection", "RealtimeOptions", "Reconnected", "connection"]

I = TypeVar("I")  # noqa: E741
R_co = TypeVar("R_co", covariant=True)

_CALLBACKS = ("on_error", "on_reconnect")


class RealtimeConnection(Session[I, R_co]):
    """A realtime connection for threads. It is opened by the first `send`, and closed by `with` or `close`.

    Results are received with `recv`, by iteration, or by `on_result`, which is called in a thread of the connection's
    own. One thread may send while another receives.

    The server ends a session that was idle for some time, or whose stream is complete. Iteration ends then; the next
    `send` opens a new session, and iteration goes on.
    """

    def connect(self) -> None:
        """Open the connection now, and not with the first input. Raises as `send` does."""
        drive(self._open())

    def send(self, input: I, *, extra: Mapping[str, Any] | None = None, validate: bool = True) -> None:
        """Check an input and send it.

        Args:
            input: The input.
            extra: Fields to send beside the input's own, for what the schema does not know. They are not checked.
            validate: Whether to check the input.

        Raises:
            InputError: if the input is wrong; every problem is listed, and nothing was sent.
            NoConnectionError: if the connection cannot be opened.
            RealtimeError: if it broke off, and `reconnect` is off.
            FalError: any other; also one that `on_result` had no call to be raised by.
        """
        drive(self._send(input, extra, validate))

    def recv(self, timeout: float | None = None) -> R_co:
        """Wait for the next result.

        Args:
            timeout: For how many seconds. Default: until there is one.

        Raises:
            TimeoutExpired: if there is none in time. Nothing is lost: call again.
            RealtimeClosed: once, if the server ended the session in good order; and after `close`.
            RealtimeError: if the app reported an error, or if the connection broke off.
            FalError: any other.
        """
        return drive(self._receivable()._recv(timeout))

    def close(self) -> None:
        """Close the connection and end its threads. What was not received is dropped."""
        drive(self._close())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R_co:
        try:
            return drive(self._receivable()._recv(None))
        except RealtimeClosed:
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        drive(self._finish(failed=kind is not None))


class AsyncRealtimeConnection(Session[I, R_co]):
    """A realtime connection for one event loop, for `async with` and `async for`; the same as `RealtimeConnection`.

    `on_result` is called, and awaited if it is async, in a task of the connection's own.
    """

    async def connect(self) -> None:
        """Open the connection now, and not with the first input. Raises as `send` does."""
        await self._open()

    def send(
        self, input: I, *, extra: Mapping[str, Any] | None = None, validate: bool = True
    ) -> Coroutine[Any, Any, None]:
        """Check an input and send it; takes and raises what `RealtimeConnection.send` does."""
        return self._send(input, extra, validate)

    def recv(self, timeout: float | None = None) -> Coroutine[Any, Any, R_co]:
        """Wait for the next result; takes and raises what `RealtimeConnection.recv` does."""
        return self._receivable()._recv(timeout)

    async def close(self) -> None:
        """Close the connection and end its tasks. What was not received is dropped."""
        await self._close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R_co:
        try:
            return await self._receivable()._recv(None)
        except RealtimeClosed:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._finish(failed=kind is not None)


def connection(
    kind: type[RealtimeConnection[Any, Any]] | type[AsyncRealtimeConnection[Any, Any]],
    channel: Channel,
    endpoint_id: str,
    types: tuple[Any, Any],
    pick: Callable[[Result[Any]], Any] | None,
    on_result: Callable[[Any], Any] | None,
    options: RealtimeOptions,
) -> Any:
    """A connection of a kind: a new one, or the open one of the same `connection_key`.

    Raises:
        ConfigurationError: if an option is wrong, or differs from those that the open connection was made with.
    """
    check(options, RealtimeOptions, endpoint_id=endpoint_id)
    check({"on_result": on_result}, endpoint_id=endpoint_id)
    given: Any = {name: option for name, option in options.items() if option is not None}
    about = {name: option for name, option in given.items() if name not in ("client", *_CALLBACKS)}

    def made() -> Any:
        crew = Threads() if issubclass(kind, RealtimeConnection) else Tasks()
        return kind(channel, crew, endpoint_id, types, pick, on_result, given)

    key = given.get("connection_key")
    if key is None:
        return made()
    shared: dict[Any, tuple[Any, dict[str, Any]]] = channel.client.cache.setdefault("realtime", {})
    name = (channel.io, endpoint_id, key)
    known = shared.get(name)
    if known is None or known[0].state == "closed":
        shared[name] = made(), about
        return shared[name][0]
    if known[1] != about:
        text = f"the connection {key!r} is open with other options"
        raise ConfigurationError(text, endpoint_id=endpoint_id)
    known[0].holders += 1
    known[0].use_callbacks(on_result, given)
    return known[0]
