"""The client: settings and connections, for blocking and async callers alike."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, ParamSpec
from urllib.parse import urlencode, urlsplit

import msgspec

from fal_runtime.errors import (
    FalError,
    NoConnectionError,
    SubmissionUnknownError,
    TimeoutExpired,
    error_from_response,
)
from fal_runtime.retry import RULES, Deadline, Retry, Rule
from fal_runtime.settings import Credentials, Timeouts, authorization, service_urls
from fal_runtime.transport import IO, AsyncIO, BlockingIO, NotSent, Request, Response, Stream, Unanswered, lower, whole
from fal_runtime.version import VERSION

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    import httpx

__all__ = ["Channel", "Client", "blocking", "configure", "running"]

P = ParamSpec("P")

logger = logging.getLogger("fal_runtime")
logger.addHandler(logging.NullHandler())


class Client:
    """What calls share: the key, the services' addresses, timeouts, retries and the connections.

    One client serves blocking calls from any thread and async calls on any event loop. Without one, calls use a
    default client made from the environment. Closing is optional: connections end with the process or event loop.

    Args:
        key: The API key, or a function that returns one. Default: `FAL_KEY`, or `FAL_KEY_ID` with `FAL_KEY_SECRET`.
        urls: Base URLs by service (`queue`, `run`, `rest`, `cdn`, `api`, ...). Default: `FAL_QUEUE_URL`,
            `FAL_RUN_URL`, ... or the platform's own.
        timeouts: How long to wait, clock by clock.
        retry: How often to try again.
        headers: Sent with every request to the platform.
        http_client: An `httpx.Client` or `httpx.AsyncClient` of your own for calls of that kind. You close it.
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
        http_client: httpx.Client | httpx.AsyncClient | None = None,
        strict: bool = False,
    ) -> None:
        self._key = key
        self.urls = service_urls(urls)
        self.timeouts = timeouts or Timeouts()
        self.retry = retry or Retry()
        self.headers = {"user-agent": f"fal-bindings/{VERSION}", **lower(headers)}
        self.strict = strict
        self._http_client = http_client
        self._blocking: BlockingIO | None = None
        self._per_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncIO] = weakref.WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"Client(queue={self.urls['queue']!r})"

    def blocking(self) -> Channel:
        """The way out for a call in this thread."""
        if self._blocking is None:
            own = self._http_client
            if own is not None:
                import httpx

                own = own if isinstance(own, httpx.Client) else None
            self._blocking = BlockingIO(own)
        return Channel(self, self._blocking)

    def running(self) -> Channel:
        """The way out for a call on the running event loop."""
        import asyncio

        loop = asyncio.get_running_loop()
        io = self._per_loop.get(loop)
        if io is None:
            own = self._http_client
            if own is not None:
                import httpx

                own = own if isinstance(own, httpx.AsyncClient) else None
            io = self._per_loop[loop] = AsyncIO(own)
        return Channel(self, io)

    def close(self) -> None:
        """Close the connections of blocking calls."""
        if self._blocking is not None:
            self._blocking.close()

    async def aclose(self) -> None:
        """Close all connections that this thread may close: blocking ones and those of the running event loop."""
        import asyncio

        self.close()
        io = self._per_loop.pop(asyncio.get_running_loop(), None)
        if io is not None:
            await io.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def authorization(self) -> str:
        """The `Authorization` header for the platform. Raises `MissingCredentialsError`."""
        return authorization(self._key)

    def trusts(self, url: str, service: str) -> bool:
        """Whether a URL that a server handed out lies on a configured service, so that the key may go there."""
        ours, theirs = urlsplit(self.urls[service]), urlsplit(url)
        same = (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)
        return same and theirs.path.startswith(ours.path + "/")


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one attempt: an answer, a failure, or an answer that counts as one."""

    response: Response | None = None
    failure: FalError | None = None
    unknown: bool = False
    """Whether the request may have been admitted all the same."""

    def settle(self) -> Response:
        """The answer if there is one to read; else the failure is raised."""
        if self.response is not None and not self.unknown:
            return self.response
        raise self.failure or AssertionError("an attempt without an outcome")


class Channel:
    """A client together with a way to do its input and output: what operations are written against."""

    def __init__(self, client: Client, io: IO) -> None:
        self.client = client
        self.io = io

    async def call(
        self,
        verb: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        key: bool = True,
        deadline: Deadline | None = None,
        timeout: float | None = None,
        endpoint_id: str | None = None,
        request_id: str | None = None,
    ) -> Response:
        """Send a request by its verb's retry rule and return the answer, whatever its status.

        Args:
            verb: The row of `RULES` that applies.
            method: The HTTP method.
            url: Where to; with the key only if it is one of the client's services.
            headers: Beside the client's own.
            params: Added to the URL; a list repeats its name.
            body: JSON.
            key: Whether to send the key.
            deadline: When to stop trying.
            timeout: Seconds for one attempt. Default: the client's `attempt`.
            endpoint_id: For error messages.
            request_id: For error messages.

        Raises:
            MissingCredentialsError: if there is no key.
            NoConnectionError: if no attempt got an answer.
            SubmissionUnknownError: if a paid request may have been admitted, but was not answered.
            TimeoutExpired: if the deadline passed.
        """
        client, rule = self.client, RULES[verb]
        sent = {**client.headers, **lower(headers)}
        if key:
            sent["authorization"] = client.authorization()
        if body is not None:
            sent["content-type"] = "application/json"
        sent.setdefault("accept", "application/json")
        if params:
            url += ("&" if "?" in url else "?") + urlencode(params, doseq=True)
        deadline = deadline or Deadline(None)
        about: dict[str, Any] = {"endpoint_id": endpoint_id, "request_id": request_id}

        for attempt in count(1):
            request = Request(
                method=method,
                url=url,
                headers=sent,
                body=body,
                timeout=deadline.within(timeout if timeout is not None else client.timeouts.attempt),
                connect_timeout=deadline.within(client.timeouts.connect) or 0.001,
                follow_redirects=not key,
            )
            outcome = await self._attempt(request, rule, about)
            if outcome.failure is None or (outcome.unknown and not client.retry.resubmit_unknown):
                return outcome.settle()
            headers_ = outcome.response.headers if outcome.response is not None else {}
            wait, left = client.retry.wait(attempt, headers_), deadline.left()
            late = left is not None and wait >= left
            if late and outcome.response is None:
                raise TimeoutExpired(f"not done within {deadline.seconds:g} s", **about) from outcome.failure
            if late or attempt >= client.retry.attempts:
                return outcome.settle()
            logger.info("%s %s: trying again in %.2f s (%s)", method, _path(url), wait, outcome.failure.message)
            await self.io.sleep(wait)
        raise AssertionError("unreachable")

    async def _attempt(self, request: Request, rule: Rule, about: dict[str, Any]) -> _Outcome:
        """Send a request once, and tell by the rule what came of it."""
        host = urlsplit(request.url).netloc
        doubt = ": the request may be running, so it was not sent again"
        try:
            response = await self.io.send(request)
        except NotSent as error:
            failure: FalError = NoConnectionError(f"{host} could not be reached ({error})", **about)
            failure.__cause__ = error.__cause__
            return _Outcome(failure=failure)
        except Unanswered as error:
            text = f"{host} did not answer ({error})"
            unknown = not rule.unanswered
            failure = SubmissionUnknownError(text + doubt, **about) if unknown else NoConnectionError(text, **about)
            failure.__cause__ = error.__cause__
            return _Outcome(failure=failure, unknown=unknown)
        logger.debug("%s %s: %d", request.method, _path(request.url), response.status)
        if rule.unknown(response):
            text = f"a gateway answered {response.status} in the platform's place{doubt}"
            failure = SubmissionUnknownError(text, status_code=response.status, body=response.body, **about)
            return _Outcome(response=response, failure=failure, unknown=True)
        if rule.again(response):
            failure = error_from_response(response.status, response.headers, response.body, **about)
            return _Outcome(response=response, failure=failure)
        return _Outcome(response=response)

    async def read(
        self, service: str, path: str = "", *, params: Mapping[str, Any] | None = None, key: bool = True
    ) -> Response:
        """Read something of a service.

        Raises:
            FalError: for every answer that is not a success, and everything `call` raises.
        """
        response = await self.call("read", "GET", self.client.urls[service] + path, params=params, key=key)
        if not 200 <= response.status < 300:
            raise error_from_response(response.status, response.headers, response.body)
        return response

    async def download(self, url: str) -> Stream:
        """Open a file's URL, without the key. Raises `NoConnectionError`, or `ServiceError` if it is not there."""
        request = Request(
            method="GET",
            url=url,
            headers={"user-agent": self.client.headers["user-agent"]},
            timeout=self.client.timeouts.attempt,
            connect_timeout=self.client.timeouts.connect,
            follow_redirects=True,
        )
        rule = RULES["read"]
        for attempt in count(1):
            headers: dict[str, str] = {}
            try:
                stream = await self.io.open(request)
                if stream.status == 200:
                    return stream
                answer = await whole(stream)
            except (NotSent, Unanswered) as error:
                again = True
                failure: FalError = NoConnectionError(f"{urlsplit(url).netloc} could not be reached ({error})")
                failure.__cause__ = error
            else:
                again, headers = rule.again(answer), answer.headers
                failure = error_from_response(answer.status, headers, answer.body)
            if not again or attempt >= self.client.retry.attempts:
                raise failure
            await self.io.sleep(self.client.retry.wait(attempt, headers))
        raise AssertionError("unreachable")


def _path(url: str) -> str:
    """A URL without its query, for the log: signed queries are secrets."""
    return url.partition("?")[0]


_default: Client | None = None


def _default_client() -> Client:
    """The client that calls use when they are given none: made from the environment on first use."""
    global _default
    if _default is None:
        _default = Client()
    return _default


def blocking(client: Client | None) -> Channel:
    """The way out for a call in this thread, with a client or else the default one."""
    return (client or _default_client()).blocking()


def running(client: Client | None) -> Channel:
    """The way out for a call on the running event loop, with a client or else the default one."""
    return (client or _default_client()).running()


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
