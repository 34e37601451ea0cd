"""The client: settings and connections, for blocking and async callers alike."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, cast
from urllib.parse import urlencode, urlsplit

import msgspec

from fal_runtime.credentials import Credentials, authorization, required
from fal_runtime.errors import (
    ConfigurationError,
    FalError,
    NoConnectionError,
    SubmissionTimeout,
    SubmissionUnknownError,
    TimeoutExpired,
    error_from_response,
)
from fal_runtime.options import check
from fal_runtime.retry import RULES, Deadline, Retry, Rule
from fal_runtime.settings import BACKUP_CONNECT_TIMEOUT, BACKUPS, Timeouts, service_urls
from fal_runtime.transport import (
    IO,
    AsyncIO,
    BlockingIO,
    Body,
    Http,
    NotSent,
    Request,
    Response,
    Stream,
    Unanswered,
    drive,
    lower,
    whole,
)
from fal_runtime.version import VERSION

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType
    from typing import Self

    import httpx

__all__ = ["Channel", "Client", "Middleware", "blocking", "configure", "running"]

P = ParamSpec("P")

Answer: TypeAlias = Response | Stream
"""A whole answer, or one that is still arriving; both have `status` and `headers`."""

Middleware: TypeAlias = Callable[[Request, Callable[[Request], Awaitable[Any]]], Awaitable[Any]]
"""`async def middleware(request, call_next)`: called around every attempt of every HTTP request.

It returns what `await call_next(request)` gives: a `Response`, or a `Stream` where the answer is read as it arrives;
both have `status` and `headers`. To change a request, pass `msgspec.structs.replace(request, headers=...)` on. In a
blocking call it may await nothing but `call_next`.
"""

logger = logging.getLogger("fal_runtime")
logger.addHandler(logging.NullHandler())


class Client:
    """What calls share: the key, the services' addresses, timeouts, retries and the connections.

    One client serves blocking calls from any thread and async calls on any event loop. Without one, calls use a
    default client made from the environment. Closing is optional: connections end with the process or event loop.

    Args:
        key: The API key, or a function that is asked for one before each request. Default: `FAL_KEY`, or `FAL_KEY_ID`
            with `FAL_KEY_SECRET`, or a Colab secret, or the login that `fal auth login` saved.
        urls: Base URLs by service (`queue`, `run`, `rest`, `cdn`, `api`, ...). Default: `FAL_QUEUE_URL`,
            `FAL_RUN_URL`, ... or the platform's own.
        timeouts: How long to wait, clock by clock.
        retry: How often to try again.
        headers: Sent with every request to the platform.
        proxy_url: A server of yours that adds the key: requests go there, with the real address in `x-fal-target-url`.
            No key is needed then. Files are fetched, and sockets opened, without it.
        middleware: Functions around every attempt, the first one outermost; see `Middleware`.
        http_client: An `httpx.Client` or `httpx.AsyncClient` of your own for calls of that kind. You close it.
        transport: An `httpx` transport for calls of its kind, in place of `http_client`.
        strict: Raise `OutputError` when an answer departs from its schema, instead of listing it in `Result.warnings`.

    Raises:
        ConfigurationError: if a setting is wrong.
    """

    def __init__(
        self,
        *,
        key: Credentials | None = None,
        urls: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        retry: Retry | None = None,
        headers: Mapping[str, str] | None = None,
        proxy_url: str | None = None,
        middleware: tuple[Middleware, ...] | list[Middleware] = (),
        http_client: httpx.Client | httpx.AsyncClient | None = None,
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
        strict: bool = False,
    ) -> None:
        if http_client is not None and transport is not None:
            raise ConfigurationError("http_client has a transport of its own; give one of http_client and transport")
        self._options: dict[str, Any] = {
            "key": key,
            "urls": urls,
            "timeouts": timeouts,
            "retry": retry,
            "headers": headers,
            "proxy_url": proxy_url,
            "middleware": middleware,
            "strict": strict,
        }
        check({**self._options, "http_client": http_client, "transport": transport})
        self._key = key
        self.urls = service_urls(urls)
        self.timeouts = timeouts or Timeouts()
        self.retry = retry or Retry()
        self.headers = {"user-agent": f"fal-bindings/{VERSION}", **lower(headers)}
        self.proxy_url = proxy_url
        self.middleware = tuple(middleware)
        self.strict = strict
        self._pools = Pools(http_client, transport)
        self.cache: dict[str, Any] = {}
        """What operations keep between calls: upload tokens, files that were uploaded already, keys for webhooks."""

    def __repr__(self) -> str:
        return f"Client(queue={self.urls['queue']!r})"

    if TYPE_CHECKING:

        def with_options(
            self,
            *,
            key: Credentials | None = ...,
            urls: Mapping[str, str] | None = ...,
            timeouts: Timeouts | None = ...,
            retry: Retry | None = ...,
            headers: Mapping[str, str] | None = ...,
            proxy_url: str | None = ...,
            middleware: tuple[Middleware, ...] | list[Middleware] = ...,
            strict: bool = ...,
        ) -> Client: ...

    else:

        def with_options(self, **options: Any) -> Client:
            """A client that differs in some settings and shares this one's connections."""
            other = Client(**{**self._options, **options})
            other._pools = self._pools
            if options.keys().isdisjoint({"key", "urls", "proxy_url"}):
                other.cache = self.cache
            return other

    def blocking(self) -> Channel:
        """The way out for a call in this thread."""
        return Channel(self, self._pools.blocking())

    def running(self) -> Channel:
        """The way out for a call on the running event loop."""
        return Channel(self, self._pools.running())

    def close(self) -> None:
        """Close the connections of blocking calls."""
        self._pools.close()

    async def aclose(self) -> None:
        """Close all connections that this thread may close: blocking ones and those of the running event loop."""
        await self._pools.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def authorization(self) -> str | None:
        """The `Authorization` header for the platform; `None` if there is no key and a proxy adds it.

        Raises:
            MissingCredentialsError: if there is no key and no proxy.
        """
        return authorization(self._key) if self.proxy_url else required(self._key)

    def trusts(self, url: str, service: str) -> bool:
        """Whether a URL that a server handed out lies on a configured service, so that the key may go there."""
        ours, theirs = urlsplit(self.urls[service]), urlsplit(url)
        same = (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)
        return same and theirs.path.startswith(ours.path + "/") and "/../" not in theirs.path


class Pools:
    """The connections of one client and of those made from it: one pool for threads, one for each event loop."""

    def __init__(self, http_client: Any, transport: Any) -> None:
        self._given = http_client, transport
        self._lock = threading.Lock()
        self._blocking: BlockingIO | None = None
        self._per_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncIO] = weakref.WeakKeyDictionary()
        _all_pools.add(self)

    def blocking(self) -> BlockingIO:
        """The pool that all threads share."""
        if self._blocking is None:
            with self._lock:
                if self._blocking is None:
                    self._blocking = BlockingIO(self._http(asynchronous=False))
        return self._blocking

    def running(self) -> AsyncIO:
        """The pool of the running event loop."""
        import asyncio

        loop = asyncio.get_running_loop()
        io = self._per_loop.get(loop)
        if io is None:
            io = self._per_loop[loop] = AsyncIO(self._http(asynchronous=True))
            io.attach()
        return io

    def _http(self, *, asynchronous: bool) -> Http:
        """What speaks HTTP: the caller's client or transport if it is of the right kind, or else one of our own."""
        client, transport = self._given
        if client is None and transport is None:
            return _own_http(asynchronous=asynchronous)
        import httpx

        from fal_runtime.http_httpx import AsyncHttpx, BlockingHttpx

        if asynchronous:
            if client is None and isinstance(transport, httpx.AsyncBaseTransport):
                client = httpx.AsyncClient(transport=transport)
            return AsyncHttpx(client if isinstance(client, httpx.AsyncClient) else None)
        if client is None and isinstance(transport, httpx.BaseTransport):
            client = httpx.Client(transport=transport)
        return BlockingHttpx(client if isinstance(client, httpx.Client) else None)

    def close(self) -> None:
        with self._lock:
            if self._blocking is not None:
                drive(self._blocking.close())
                self._blocking = None

    async def aclose(self) -> None:
        import asyncio

        self.close()
        io = self._per_loop.pop(asyncio.get_running_loop(), None)
        if io is not None:
            await io.close()

    def forget(self) -> None:
        """Leave the connections to the process that opened them."""
        _inherited.append((self._blocking, list(self._per_loop.values())))
        self._lock, self._blocking, self._per_loop = threading.Lock(), None, weakref.WeakKeyDictionary()


def _own_http(*, asynchronous: bool) -> Http:
    """`pyreqwest` where it is installed and `FAL_HTTP` does not say otherwise, or else `httpx`."""
    wanted = os.environ.get("FAL_HTTP", "")
    if wanted not in ("", "httpx", "pyreqwest"):
        raise ConfigurationError(f"FAL_HTTP is 'httpx' or 'pyreqwest', not {wanted!r}")
    if wanted != "httpx" and not _forked:
        try:
            from fal_runtime.http_pyreqwest import AsyncPyreqwest, BlockingPyreqwest
        except ModuleNotFoundError as error:
            if wanted:
                text = "FAL_HTTP=pyreqwest needs pyreqwest; run: pip install 'fal-bindings[fast]'"
                raise ConfigurationError(text) from error
        else:
            return AsyncPyreqwest() if asynchronous else BlockingPyreqwest()
    from fal_runtime.http_httpx import AsyncHttpx, BlockingHttpx

    return AsyncHttpx() if asynchronous else BlockingHttpx()


_all_pools: weakref.WeakSet[Pools] = weakref.WeakSet()
_inherited: list[Any] = []
"""Connections that a forked process must neither use nor close."""


_forked = False
"""Whether this is the child of a process that had loaded `pyreqwest`, whose threads do not live on in it."""


def _after_fork() -> None:
    global _forked
    _forked = _forked or "pyreqwest" in sys.modules
    for pools in list(_all_pools):
        pools.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one attempt: an answer, a failure, or an answer that counts as one."""

    answer: Any = None
    failure: FalError | None = None
    unknown: bool = False
    """Whether the request may have been admitted all the same."""

    def settle(self) -> Any:
        """The answer if there is one to read; else the failure is raised."""
        if self.answer is not None and not self.unknown:
            return self.answer
        raise self.failure or AssertionError("an attempt without an outcome")


class Channel:
    """A client together with a way to do its input and output: what operations are written against."""

    __slots__ = ("client", "io")

    def __init__(self, client: Client, io: IO) -> None:
        self.client = client
        self.io = io

    async def call(self, verb: str, method: str, url: str, **options: Any) -> Response:
        """Send a request by its verb's retry rule and return the whole answer, whatever its status.

        Takes and raises what `exchange` does.
        """
        answer: Response = await self.exchange(self.io.send, verb, method, url, **options)
        return answer

    async def open(self, verb: str, method: str, url: str, **options: Any) -> Stream:
        """Send a request by its verb's retry rule and return its answer as it arrives. The caller closes it.

        Takes and raises what `exchange` does, and raises the error that an answer of 300 and above stands for.
        """

        async def opened(request: Request) -> Answer:
            stream = await self.io.open(request)
            return stream if stream.status < 300 else await whole(stream, self.client.timeouts.attempt)

        answer: Answer = await self.exchange(opened, verb, method, url, **options)
        if isinstance(answer, Response):
            about = {name: options.get(name) for name in ("endpoint_id", "request_id")}
            raise error_from_response(answer.status, answer.headers, answer.body, **about)
        return answer

    async def exchange(
        self,
        send: Callable[[Request], Awaitable[Any]],
        verb: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        body: bytes | Body | None = None,
        key: bool = True,
        follow_redirects: bool = False,
        deadline: Deadline | None = None,
        timeout: float | None = None,
        idle: float | None = None,
        quiet: float | None = None,
        endpoint_id: str | None = None,
        request_id: str | None = None,
    ) -> Any:
        """Send a request by its verb's retry rule.

        Args:
            send: How: for a whole answer, or for one that arrives.
            verb: The row of `RULES` that applies.
            method: The HTTP method.
            url: Where to; with the key only if it is one of the client's services.
            headers: Beside the client's own.
            params: Added to the URL; a list repeats its name.
            body: JSON, unless `headers` say what it is.
            key: Whether to send the key (and to go by way of the proxy).
            follow_redirects: Only for what carries no secret.
            deadline: When to stop trying.
            timeout: Seconds for one attempt. Default: the client's `attempt`, or none if `idle` is given.
            idle: Seconds that the server may be silent.
            quiet: The same once its answer has begun. Default: `idle`.
            endpoint_id: For error messages.
            request_id: For error messages.

        Raises:
            MissingCredentialsError: if there is no key.
            NoConnectionError: if no attempt got an answer.
            SubmissionUnknownError: if a paid request may have been admitted, but was not answered.
            TimeoutExpired: if the deadline passed.
        """
        client, rule = self.client, RULES[verb]
        sent = client.headers.copy()
        sent["accept"] = "application/json"
        sent["accept-encoding"] = "gzip, deflate"
        if body is not None:
            sent["content-type"] = "application/json"
        if headers:
            sent.update(lower(headers))
        if params:
            url += ("&" if "?" in url else "?") + urlencode(params, doseq=True)
        if key:
            authorized = client.authorization()
            if authorized is not None:
                sent["authorization"] = authorized
            if client.proxy_url:
                sent["x-fal-target-url"] = url
        elif client.headers.get("authorization") == sent.get("authorization"):
            sent.pop("authorization", None)
        deadline = deadline or Deadline(None)
        if timeout is None and idle is None:
            timeout = client.timeouts.attempt
        about: dict[str, Any] = {"endpoint_id": endpoint_id, "request_id": request_id}
        for layer in reversed(client.middleware):
            send = _around(layer, send)

        for attempt in count(1):
            over = await self.io.turn() if rule.quick else None
            try:
                request = Request(
                    method=method,
                    url=client.proxy_url if key and client.proxy_url else url,
                    headers=sent,
                    body=body,
                    timeout=idle,
                    quiet=quiet,
                    total=deadline.within(timeout),
                    connect_timeout=client.timeouts.connect,
                    follow_redirects=follow_redirects,
                )
                outcome = await self._attempt(send, request, rule, deadline, about)
            finally:
                if over is not None:
                    over()
            if outcome.failure is None or (outcome.unknown and not client.retry.resubmit_unknown):
                return outcome.settle()
            headers_: dict[str, str] = outcome.answer.headers if outcome.answer is not None else {}
            wait, left = client.retry.wait(attempt, headers_), deadline.left()
            late = left is not None and wait >= left
            if late and outcome.answer is None:
                raise TimeoutExpired(f"not done within {deadline.seconds:g} s", **about) from outcome.failure
            if late or attempt >= (rule.attempts or client.retry.attempts):
                return outcome.settle()
            logger.info("%s %s: trying again in %.2f s (%s)", method, _path(url), wait, outcome.failure.message)
            await self.io.sleep(wait)
        raise AssertionError("unreachable")

    async def _attempt(
        self,
        send: Callable[[Request], Awaitable[Any]],
        request: Request,
        rule: Rule,
        deadline: Deadline,
        about: dict[str, Any],
    ) -> _Outcome:
        """Send a request once, and tell by the rule what came of it."""
        doubt = ": the request may be running, so it was not sent again"
        try:
            backup = _backup(request.url)
            answer = await (send(request) if backup is None else self._reach(send, request, backup))
        except NotSent as error:
            failure: FalError = NoConnectionError(f"{_host(request)} could not be reached ({error})", **about)
            failure.__cause__ = error.__cause__
            return _Outcome(failure=failure)
        except Unanswered as error:
            text = f"{_host(request)} did not answer ({error})"
            unknown = not rule.unanswered
            kind = SubmissionTimeout if deadline.over() else SubmissionUnknownError
            failure = _unknown(kind, text + doubt, request, about) if unknown else NoConnectionError(text, **about)
            failure.__cause__ = error.__cause__
            return _Outcome(failure=failure, unknown=unknown)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %s: %d", request.method, _path(request.url), answer.status)
        if answer.status < 300 or not isinstance(answer, Response):
            return _Outcome(answer=answer)
        if rule.unknown(answer):
            text = f"a gateway answered {answer.status} in the platform's place{doubt}"
            failure = _unknown(
                SubmissionUnknownError, text, request, about, status_code=answer.status, body=answer.body
            )
            return _Outcome(answer=answer, failure=failure, unknown=True)
        if rule.again(answer):
            failure = error_from_response(answer.status, answer.headers, answer.body, **about)
            return _Outcome(answer=answer, failure=failure)
        return _Outcome(answer=answer)

    async def _reach(self, send: Callable[[Request], Awaitable[Any]], request: Request, backup: str) -> Any:
        """Send a request; if its service is out of reach, once more to the backup."""
        wait = min(request.connect_timeout, BACKUP_CONNECT_TIMEOUT)
        try:
            return await send(msgspec.structs.replace(request, connect_timeout=wait))
        except NotSent as error:
            logger.info("%s could not be reached; trying %s", _host(request), _host(request, backup))
            try:
                return await send(msgspec.structs.replace(request, url=backup, connect_timeout=wait))
            except NotSent:
                raise error from error.__cause__

    async def read(
        self, service: str, path: str = "", *, params: Mapping[str, Any] | None = None, key: bool = True
    ) -> Response:
        """Read something of a service.

        Raises:
            FalError: for every answer that is not a success, and everything `call` raises.
        """
        response = await self.call("read", "GET", self.client.urls[service] + path, params=params, key=key)
        return successful(response)

    async def download(self, url: str) -> Stream:
        """Open a file's URL, without the key. Raises `NoConnectionError`, or `ServiceError` if it is not there."""
        idle, headers = self.client.timeouts.attempt, {"accept": "*/*", "accept-encoding": "identity"}
        return await self.open("read", "GET", url, headers=headers, key=False, follow_redirects=True, idle=idle)


def successful(response: Response, **about: str | None) -> Response:
    """An answer that is a success; of any other, the error that it stands for is raised."""
    if not 200 <= response.status < 300:
        raise error_from_response(response.status, response.headers, response.body, **about)
    return response


def _around(layer: Middleware, send: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Any]]:
    async def call(request: Request) -> Any:
        answer: Any = await layer(request, send)
        if not hasattr(answer, "status"):
            name, kind = getattr(layer, "__name__", "a middleware"), type(answer).__name__
            raise TypeError(f"{name} returned a value of type {kind}; return what `await call_next(request)` gives")
        return answer

    return call


def _unknown(
    kind: type[SubmissionUnknownError], text: str, request: Request, about: dict[str, Any], **more: Any
) -> SubmissionUnknownError:
    error = kind(text, **about, **more)
    error.sent_at = time.time()
    error.input_sha256 = hashlib.sha256(cast(bytes, request.body)).hexdigest() if request.body else None
    return error


def _backup(url: str) -> str | None:
    """The address of a service's backup, if it has one."""
    for base, backup in BACKUPS.items():
        if url.startswith(base + "/"):
            return backup + url[len(base) :]
    return None


def _host(request: Request, url: str | None = None) -> str:
    return urlsplit(url or request.url).netloc


def _path(url: str) -> str:
    """A URL without its query, for the log: signed queries are secrets."""
    return url.partition("?")[0]


_default: Client | None = None


def _usable(client: Client | None) -> Client:
    """A call's client; if it is given none, the default one, which is made from the environment on first use."""
    global _default
    if client is not None:
        if type(client) is not Client:
            check({"client": client})
        return client
    if _default is None:
        _default = Client()
    return _default


def blocking(client: Client | None) -> Channel:
    """The way out for a call in this thread, with a client or else the default one."""
    return _usable(client).blocking()


def running(client: Client | None) -> Channel:
    """The way out for a call on the running event loop, with a client or else the default one."""
    return _usable(client).running()


def _like(_constructor: Callable[P, Client]) -> Callable[[Callable[..., None]], Callable[P, None]]:
    """Give a function the parameters of a constructor, for checkers and editors."""
    return lambda function: function


@_like(Client)
def configure(**options: Any) -> None:
    """Make the client that calls use when they are given none; takes what `Client` takes.

    Without arguments, the client is made anew from the environment.
    """
    global _default
    previous, _default = _default, Client(**options)
    if previous is not None:
        previous.close()
