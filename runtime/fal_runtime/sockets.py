"""Websockets, and what goes on beside a caller: for threads and for event loops, behind one interface.

The operations of `realtime` are coroutines over a `Crew`, as all others are over an `IO`. `Threads` never suspends, so
`drive` runs them to their end in the calling thread; what goes on beside it has a thread of its own. `Tasks` awaits
everything on the running event loop. What speaks the protocol is the library `websockets`, from the extra `realtime`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from fal_runtime.transport import NotSent, Response, drive

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from websockets.asyncio.client import ClientConnection as AsyncConnection
    from websockets.sync.client import ClientConnection as BlockingConnection

__all__ = ["Crew", "Dropped", "Frame", "Refused", "Signal", "Socket", "Tasks", "Threads"]

Frame = bytes | str
"""A message: binary, or text."""

_CLOSE_TIMEOUT = 2.0
"""Seconds that the other side has for its part of closing; after that the connection is cut."""


_quiet = logging.getLogger("fal_runtime.websockets")
_quiet.setLevel(logging.INFO)  # below that the library writes whole handshakes, and so the key

_JOIN_TIMEOUT = 5.0
"""Seconds to wait for a thread that may be in the middle of opening a connection; it closes that by itself."""


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection ended."""

    code: int
    """The websocket protocol's (1000: in good order; 1006: it was cut)."""
    reason: str

    @classmethod
    def read(cls, error: Any) -> Dropped:
        """Read the exception of a closed connection."""
        close = error.rcvd
        if close is None:
            return cls(code=1006, reason="it was cut")
        return cls(code=close.code, reason=close.reason)


class Refused(Exception):
    """The server answered the handshake with something else than a websocket."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"HTTP {response.status}")
        self.response = response


class Socket(Protocol):
    """One open websocket."""

    ended: type[Exception]
    """What the library raises once it is closed; `Dropped.read` reads it."""

    @property
    def open(self) -> bool:
        """Whether nothing is known yet of its end."""
        ...

    def send(self, frame: Frame, /) -> Coroutine[Any, Any, None]:
        """Send one message. Raises an `ended` if the connection is closed."""
        ...

    def recv(self, timeout: float | None = None) -> Coroutine[Any, Any, Frame]:
        """Wait for one message; those that came before the connection's end are still given after it.

        Raises:
            ended: if there are no more.
            TimeoutError: if none came in time. Nothing is lost then.
        """
        ...

    def close(self) -> Coroutine[Any, Any, None]: ...


class Signal(Protocol):
    """Lets one part of a connection wait for what another one does."""

    async def wait_for(self, true: Callable[[], Any], timeout: float | None = None) -> bool:
        """Wait until something is true; whether it is."""
        ...

    def notify(self) -> None:
        """Have everyone who waits look again."""
        ...


class Crew(Protocol):
    """Opens sockets and does things beside the caller."""

    async def connect(self, url: str, headers: Mapping[str, str], timeout: float | None) -> Socket:
        """Open a websocket. Raises `Refused`, or `NotSent` if it cannot be opened."""
        ...

    def lock(self) -> AbstractAsyncContextManager[Any]: ...

    def signal(self) -> Signal: ...

    def spawn(self, operation: Coroutine[Any, Any, None]) -> None:
        """Do something beside the caller."""
        ...

    async def dismiss(self) -> None:
        """End everything that was spawned, but for what calls this."""
        ...


def options(headers: Mapping[str, str], timeout: float | None) -> dict[str, Any]:
    """How both kinds of socket are opened: without compression, which costs more than it saves on pictures."""
    headers = dict(headers)
    return {
        "user_agent_header": headers.pop("user-agent", None),
        "additional_headers": headers,
        "open_timeout": timeout,
        "close_timeout": _CLOSE_TIMEOUT,
        "compression": None,
        "logger": _quiet,
        "max_size": None,
    }


@contextmanager
def opening() -> Generator[None, None, None]:
    """Say what a failure to open a websocket means."""
    try:
        from websockets.exceptions import InvalidStatus, WebSocketException
    except ModuleNotFoundError as error:
        text = "realtime needs websockets; run: pip install 'fal-bindings[realtime]'"
        raise ModuleNotFoundError(text, name=error.name) from error
    try:
        yield
    except InvalidStatus as error:
        answer = error.response
        headers = {name.lower(): value for name, value in answer.headers.raw_items()}
        raise Refused(Response(status=answer.status_code, headers=headers, body=bytes(answer.body or b""))) from error
    except (WebSocketException, OSError) as error:
        raise NotSent(type(error).__name__) from error


class _BlockingSocket:
    def __init__(self, connection: BlockingConnection, ended: type[Exception]) -> None:
        self.ended = ended
        self.raw = connection.__enter__()  # it is used without a `with` statement, which the library warns of

    @property
    def open(self) -> bool:
        return self.raw.state == 1

    async def send(self, frame: Frame, /) -> None:
        self.raw.send(frame)

    async def recv(self, timeout: float | None = None) -> Frame:
        return self.raw.recv(timeout)

    async def close(self) -> None:
        self.raw.close()


class _AsyncSocket:
    def __init__(self, connection: AsyncConnection, ended: type[Exception]) -> None:
        self.ended = ended
        self.raw = connection
        self.send = connection.send
        self.close = connection.close

    @property
    def open(self) -> bool:
        return self.raw.state == 1

    def recv(self, timeout: float | None = None) -> Coroutine[Any, Any, Frame]:
        return self.raw.recv() if timeout is None else self._recv(timeout)

    async def _recv(self, timeout: float) -> Frame:
        import asyncio

        async with asyncio.timeout(timeout):
            return await self.raw.recv()


class _ThreadLock:
    """A lock of threads with the face of an event loop's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    async def __aenter__(self) -> None:
        self._lock.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._lock.release()


class _ThreadSignal:
    def __init__(self) -> None:
        self._condition = threading.Condition()

    async def wait_for(self, true: Callable[[], Any], timeout: float | None = None) -> bool:
        with self._condition:
            return bool(self._condition.wait_for(true, timeout))

    def notify(self) -> None:
        with self._condition:
            self._condition.notify_all()


class _TaskSignal:
    def __init__(self) -> None:
        import asyncio

        self._asyncio = asyncio
        self._event = asyncio.Event()

    async def wait_for(self, true: Callable[[], Any], timeout: float | None = None) -> bool:
        try:
            async with self._asyncio.timeout(timeout):
                while not true():
                    await self._event.wait()
        except TimeoutError:
            return bool(true())
        return True

    def notify(self) -> None:
        waiting, self._event = self._event, self._asyncio.Event()
        waiting.set()


class Threads:
    """A `Crew` of threads."""

    lock = staticmethod(_ThreadLock)
    signal = staticmethod(_ThreadSignal)

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    async def connect(self, url: str, headers: Mapping[str, str], timeout: float | None) -> Socket:
        with opening():
            from websockets.exceptions import ConnectionClosed
            from websockets.sync.client import connect

            connection = cast("BlockingConnection", connect(url, **options(headers, timeout)))
            return _BlockingSocket(connection, ConnectionClosed)

    def spawn(self, operation: Coroutine[Any, Any, None]) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=drive, args=(operation,), name="fal-realtime", daemon=True)
        self._threads.append(thread)
        thread.start()

    async def dismiss(self) -> None:
        # Whoever dismisses them has let them know before, by a signal or by closing what they wait for.
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_JOIN_TIMEOUT)


class Tasks:
    """A `Crew` of tasks on the running event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self, url: str, headers: Mapping[str, str], timeout: float | None) -> Socket:
        with opening():
            from websockets.asyncio.client import connect
            from websockets.exceptions import ConnectionClosed

            return _AsyncSocket(await connect(url, **options(headers, timeout)), ConnectionClosed)

    def lock(self) -> AbstractAsyncContextManager[Any]:
        import asyncio

        return asyncio.Lock()

    def signal(self) -> Signal:
        return _TaskSignal()

    def spawn(self, operation: Coroutine[Any, Any, None]) -> None:
        import asyncio

        task = asyncio.get_running_loop().create_task(operation)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def dismiss(self) -> None:
        import asyncio

        others = self._tasks - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
