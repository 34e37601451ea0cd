"""Keeping a test on this machine: connections to anything but loopback are refused with a clear error.

This holds for everything that uses Python's own sockets, blocking or with asyncio, and for the clients of `fal_runtime`
whatever they use. Other libraries that bring a network stack of their own (uvloop, curl, Rust clients) are not seen.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from fal_runtime.transport import Request

_HERE = ("localhost", "ip6-localhost", "")
_lock = threading.Lock()
_allowed: list[Sequence[str]] = []
_undo: list[Callable[[], object]] = []
_known: set[str] = set()
"""Addresses that a permitted host was found to have."""


class NetworkBlockedError(RuntimeError):
    """A test reached for another machine. It is no `OSError`, so that no client takes it for a passing failure."""


@contextmanager
def stay_here(allowed: Sequence[str] = ()) -> Generator[None, None, None]:
    """Refuse connections to other machines while this lasts. It may be nested: then the innermost counts.

    Args:
        allowed: host names and addresses that may be reached all the same, with `*` as a wildcard.
    """
    with _lock:
        _allowed.append(allowed)
        if len(_allowed) == 1:
            _patch()
    try:
        yield
    finally:
        with _lock:
            _allowed.remove(allowed)
            if not _allowed:
                _restore()


def _check(host: object) -> None:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host is None or not isinstance(host, str) or host.lower() in (*_HERE, socket.gethostname().lower()):
        return
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    else:
        if address.is_loopback or address.is_unspecified or host in _known:
            return
    if not _allowed or any(fnmatch.fnmatch(host.lower(), pattern.lower()) for pattern in _allowed[-1]):
        return
    text = (
        f"this test reached for {host}, but a test with the sandbox stays on this machine. "
        f'If it is meant to, mark it: @pytest.mark.fal_network("{host}"). '
    )
    if host.endswith(("fal.run", "fal.ai", "fal.media", "falrun.com")):
        text += (
            "If it is not: a client made before the fixture fal_sandbox, or with urls= of its own, still calls the "
            "platform; make it inside the test"
        )
    raise NetworkBlockedError(text.rstrip(" .") + ".")


def _patch() -> None:
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        _replace(socket, name, _guarded_lookup(getattr(socket, name)))
    for name in ("connect", "connect_ex", "sendto"):
        _replace(socket.socket, name, _guarded_method(getattr(socket.socket, name)))
    try:
        from fal_runtime.http_pyreqwest import AsyncPyreqwest, BlockingPyreqwest
    except ModuleNotFoundError:
        return
    for cls, name in ((BlockingPyreqwest, "send"), (AsyncPyreqwest, "send"), (AsyncPyreqwest, "open")):
        _replace(cls, name, _guarded_request(getattr(cls, name)))


def _replace(owner: object, name: str, value: object) -> None:
    inherited = isinstance(owner, type) and name not in vars(owner)
    _undo.append(partial(delattr, owner, name) if inherited else partial(setattr, owner, name, getattr(owner, name)))
    setattr(owner, name, value)


def _guarded_lookup(original: Callable[..., Any]) -> Callable[..., Any]:
    def lookup(*args: Any, **named: Any) -> Any:
        _check(named.get("host", args[0] if args else None))
        found = original(*args, **named)
        if original.__name__ == "getaddrinfo":
            _known.update(str(address[0]) for *_, address in found)
        return found

    return lookup


def _guarded_method(original: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: socket.socket, *args: Any) -> Any:
        # The address is the last argument: of sendto, the flags may be in between.
        address = args[-1] if args else None
        if self.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple) and address:
            _check(cast("tuple[object, ...]", address)[0])
        return original(self, *args)

    return method


def _guarded_request(original: Callable[..., Any]) -> Callable[..., Any]:
    async def method(self: object, request: Request) -> Any:
        _check(urlsplit(request.url).hostname)
        return await original(self, request)

    return method


def _restore() -> None:
    while _undo:
        _undo.pop()()
    _known.clear()
