"""The sandbox as its users see it: started, asked and programmed from Python."""

from __future__ import annotations

import ipaddress
import json
import socket
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack
from urllib.parse import urlsplit

from fal_sandbox.addresses import Addresses
from fal_sandbox.cassettes import Cassette, CassetteError
from fal_sandbox.catalog import Catalog, default_catalog_path
from fal_sandbox.checks import check_headers, check_status
from fal_sandbox.endpoints import EndpointId
from fal_sandbox.faults import Fault, FaultOptions
from fal_sandbox.jobs import LOG_WINDOW_SECONDS
from fal_sandbox.latency import Latency
from fal_sandbox.ledger import AdmittedJob, ReceivedRequest
from fal_sandbox.models import EVENT_STREAM, Outcome, Programme
from fal_sandbox.pulse import Clock
from fal_sandbox.state import SERVICES, Settings, State
from fal_sandbox.storage import StoredFile
from fal_sandbox.webhooks import USER_ID, Delivery, WebhookRequest, payload

if TYPE_CHECKING:
    from fal_sandbox.server import Server

T = TypeVar("T")

DEFAULT_KEY = "sandbox-id:sandbox-secret"
"""The key that a sandbox accepts unless it is given another."""

_NOT_RUNNING = "the sandbox is not running; start() it, or use it in a with statement"
_BACKLOG = 2048


class Sandbox:
    """A stand-in for the platform on a port of this machine.

    Args:
        catalog: the endpoints to serve: a folder, a file, or a catalogue read before; by default this installation's own.
        port: the TCP port; 0 takes a free one.
        host: the address to listen on. Anything but loopback lets other machines in.
        hosts: whether each service has a port of its own besides, as each has a host of its own on the platform: for clients
            whose base URLs cannot have a path.
        key: the only key that is accepted.
        latency: how long things take: `"zero"`; `"fast"`, a fifth of a second; `"realistic"`, by what an endpoint makes, how
            much of it and in how many steps; or a factor of that.
        queue_seconds: how long each job waits, whatever the latency.
        run_seconds: how long each job runs, whatever the latency.
        log_window: how many seconds of a job's log a poll of its status shows, up to now or to its end.
        cdn_token_seconds: how long a token for uploads is good.
        session_timeout: how many seconds a realtime connection stays open without an input.
        webhook_retry_seconds: how long to wait before a webhook is delivered a second time; twice as long before each
            time after it, up to two minutes, and up to 31 times while the result is kept.
        clock: tells the time that jobs go by, in seconds since the epoch.

    Raises:
        FileNotFoundError: if there is nothing at `catalog`.
        CatalogError: if it cannot be understood.
    """

    def __init__(
        self,
        catalog: str | PathLike[str] | Catalog | None = None,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        hosts: bool = False,
        key: str = DEFAULT_KEY,
        latency: str | float = "fast",
        queue_seconds: float | None = None,
        run_seconds: float | None = None,
        log_window: float = LOG_WINDOW_SECONDS,
        cdn_token_seconds: float = 86_400.0,
        session_timeout: float = 60.0,
        webhook_retry_seconds: float = 1.0,
        clock: Clock = time.time,
    ) -> None:
        if not isinstance(catalog, Catalog):
            path = catalog if catalog is not None else default_catalog_path()
            catalog = Catalog.read(path) if path is not None else Catalog()
        self.catalog = catalog
        self.key = key
        self._host = host
        self._port = port
        self._hosts = hosts
        settings = Settings(
            latency=Latency(latency, queue_seconds, run_seconds),
            log_window=log_window,
            cdn_token_seconds=cdn_token_seconds,
            session_timeout=session_timeout,
            webhook_retry_seconds=webhook_retry_seconds,
        )
        self._state = State(catalog, key, settings, clock)
        self._server: Server | None = None

    def start(self) -> Self:
        """Listen and serve in the background; starting twice is starting once.

        Raises:
            OSError: if the address is taken.
            ModuleNotFoundError: if the extra `sandbox` is not installed.
        """
        if self._server is not None:
            return self
        # Here, not above: importing this package must not cost what only a running sandbox needs.
        try:
            from fal_sandbox.app import build
            from fal_sandbox.server import Server
        except ModuleNotFoundError as error:
            text = f"the sandbox needs {error.name}; run: pip install 'fal-bindings[sandbox]'"
            raise ModuleNotFoundError(text, name=error.name) from error

        listener = _listen(self._host, self._port)
        self._state.url = _url(listener)
        listeners = [listener]
        self._state.hosts.clear()
        for prefix in sorted({service.prefix for service in SERVICES.values()}) if self._hosts else ():
            listeners.append(_listen(self._host, 0))
            self._state.hosts[prefix] = _url(listeners[-1])
        self._server = Server(build(self._state, self), listeners, self._state.pulse.start)
        self._server.start()
        return self

    def stop(self) -> None:
        """Stop serving; what was received can still be looked at."""
        if self._server is not None:
            self._state.pulse.stop()
            self._server.stop()
            self._server = None

    def serve(self, on_start: Callable[[str], object] | None = None) -> None:
        """Serve in the foreground until Ctrl-C, then stop in good order.

        Args:
            on_start: told the URL once requests are answered.
        """
        with self:
            try:
                if on_start is not None:
                    on_start(self.url)
                # In slices: an endless wait for a thread does not notice Ctrl-C on every system.
                while self._server is not None and not self._server.wait(0.2):
                    pass
            except KeyboardInterrupt:
                pass

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base URL, under which every service has its prefix.

        Raises:
            RuntimeError: if the sandbox has not been started.
        """
        if self._server is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._state.url

    def environment(self) -> dict[str, str]:
        """The environment variables that point `fal_runtime` here: the services' URLs and the key.

        Raises:
            RuntimeError: if the sandbox has not been started.
        """
        if self._server is None:
            raise RuntimeError(_NOT_RUNNING)
        urls = {variable: self._state.service_url(service) for service, (variable, _, _) in SERVICES.items()}
        return {**urls, "FAL_KEY": self.key}

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests received so far, oldest first; the last ten thousand are kept."""
        return list(self._state.ledger.requests)

    @property
    def admitted(self) -> list[AdmittedJob]:
        """The jobs accepted for execution so far, queued and direct; the last ten thousand are kept."""
        return list(self._state.ledger.admitted)

    @property
    def uploads(self) -> list[StoredFile]:
        """The files that clients have uploaded or begun to, oldest first."""
        return self._state.storage.files()

    @property
    def deliveries(self) -> list[Delivery]:
        """The attempts to deliver a webhook so far, oldest first; the last ten thousand are kept."""
        return list(self._state.webhooks.deliveries)

    def redeliver(self, request_id: str) -> None:
        """Deliver a job's webhook once more, as the platform may; returns at once.

        Raises:
            KeyError: if there is no such job.
        """
        job = self._state.jobs.get(request_id)
        if job is None or job.webhook_url is None:
            raise KeyError(f"no job {request_id} with a webhook")
        self._state.call(lambda: self._state.webhooks.repeat(job))

    def rotate_webhook_key(self, *, keep: bool = True) -> None:
        """Sign webhooks with a new key from now on; with `keep`, the old ones stay in the published set."""
        self._state.webhook_keys.rotate(keep=keep)

    def sign_webhook(
        self, body: bytes, *, request_id: str = "", user_id: str = USER_ID, timestamp: int | None = None
    ) -> dict[str, str]:
        """The headers that the platform would send with this body; the keys are published at `FAL_JWKS_URL`.

        Args:
            body: the raw body.
            request_id: by default the one that the body tells of.
            user_id: whose webhook it is.
            timestamp: in seconds since the epoch; by default now.
        """
        if not request_id:
            request_id = str(json.loads(body)["request_id"])
        when = int(time.time()) if timestamp is None else timestamp
        return self._state.webhook_keys.sign(body, request_id=request_id, user_id=user_id, timestamp=when)

    def webhook_request(
        self,
        output: Any = None,
        *,
        status: int = 200,
        request_id: str | None = None,
        payload_error: str | None = None,
        user_id: str = USER_ID,
        timestamp: int | None = None,
    ) -> WebhookRequest:
        """A signed webhook, for a test of a handler: headers and body as they would reach it.

        Args:
            output: the model's output, plain or typed; with an error status, the error's body.
            status: the HTTP status of the model's answer.
            request_id: by default a new one.
            payload_error: why the output could not be told, in place of the output.
            user_id: whose webhook it is.
            timestamp: in seconds since the epoch; by default now.
        """
        request_id = request_id or self._state.jobs.new_request_id()
        told = payload(request_id, Outcome.of(status, _plain(output)))
        if payload_error is not None:
            told |= {"payload": None, "payload_error": payload_error}
        body = json.dumps(told).encode()
        headers = self.sign_webhook(body, request_id=request_id, user_id=user_id, timestamp=timestamp)
        return WebhookRequest(headers, body)

    def respond(
        self,
        endpoint: object,
        output: Any = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        after: float | None = None,
        queue_seconds: float | None = None,
        run_seconds: float | None = None,
        logs: Sequence[str] | None = None,
        cancellable: bool = True,
        stream: Sequence[Any] | None = None,
        stream_type: str = EVENT_STREAM,
        realtime: Sequence[Any] | None = None,
        realtime_text: bool = False,
        session_timeout: float | None = None,
        times: int | None = None,
    ) -> None:
        """Decide how an endpoint behaves from now on, until `reset`. It need not be in the catalogue.

        sandbox.respond(flux_dev, flux_dev.Output(...), after=0.3, logs=["one", "two"])
        sandbox.respond("acme/teller", stream=[{"text": "on"}, {"text": "once"}])
        sandbox.respond("acme/echo", lambda input: {"text": input["text"]})
        sandbox.respond("acme/shaky", {"detail": "No runner"}, status=503, times=1)

        Args:
            endpoint: the whole id, or a generated module or an `Endpoint`, which know it.
            output: what it answers: plain JSON values, a typed output, or a function that makes one of the input, called
                in any thread. By default an answer made from its schema. With an error status, the error's body.
            status: the HTTP status of its answer. Below 400 the input is validated first.
            headers: more headers of its answer.
            after: seconds until it has answered: it does not wait, and runs so long.
            queue_seconds: how long its jobs wait.
            run_seconds: how long they run.
            logs: the lines they log, evenly spread over the run.
            cancellable: whether a running job heeds a cancellation.
            stream: what it streams before the output, evenly spread over the run, or altogether if there is no output.
                Bytes go out as they are, anything else as an event's JSON.
            stream_type: the content type of its stream. If it is not that of events, all of `stream` must be bytes.
            realtime: what it answers to the first inputs of a realtime connection, and `output` after that. Bytes and text
                go out as frames of their own.
            realtime_text: whether a realtime connection takes and gives JSON text instead of msgpack.
            session_timeout: seconds after which a realtime connection without an input is closed.
            times: how many requests this is for; by default all from now on.

        Raises:
            TypeError: for an endpoint that is none, or a binary stream of anything but bytes.
            ValueError: for an id that no endpoint can have, a status or a header that no answer can have, or times below one.
        """
        endpoint_id = EndpointId.parse(_id_of(endpoint))
        if endpoint_id is None:
            raise ValueError(f"{_id_of(endpoint)!r} is no endpoint's id; ids look like 'fal-ai/flux/dev'")
        check_status("status", status)
        check_headers(headers or {})
        if times is not None and times < 1:
            raise ValueError(f"times is {times}; it counts requests, from 1")
        if stream_type != EVENT_STREAM and not all(isinstance(part, bytes) for part in stream or ()):
            raise TypeError(f"a stream of type {stream_type} is made of bytes")
        if after is not None:
            queue_seconds, run_seconds = 0.0 if queue_seconds is None else queue_seconds, after
        programme = Programme(
            output=_plain(output),
            status=status,
            headers={name.lower(): value for name, value in (headers or {}).items()},
            queue_seconds=queue_seconds,
            run_seconds=run_seconds,
            logs=None if logs is None else tuple(logs),
            cancellable=cancellable,
            stream=None if stream is None else [_plain(part) for part in stream],
            stream_type=stream_type,
            realtime=None if realtime is None else [_plain(part) for part in realtime],
            realtime_text=realtime_text,
            session_timeout=session_timeout,
            times=times,
        )
        self._state.models.program(str(endpoint_id), programme)

    def fail(
        self, fault: str | Fault, target: object = None, *, on: str | None = None, **changes: Unpack[FaultOptions]
    ) -> None:
        """Let something go wrong, once unless the fault or `times` says otherwise.

        sandbox.fail("nginx-502")                                    # the next submission or direct run
        sandbox.fail("nginx-502", flux_dev, on="status", times=3)    # three polls of that endpoint's jobs
        sandbox.fail("rate-limited-seconds", headers={"retry-after": "0.2"})
        sandbox.fail("part-failure")
        sandbox.fail(Fault(status=418), "/rest/*")

        Args:
            fault: a name out of `FAULTS`, or a fault of one's own.
            target: the endpoint that it is for, as for `respond`; or a glob over paths, beginning with a slash or a star; by
                default all.
            on: which of the requests it is for, a key of `SCOPES`; by default those that the fault is made for, and with
                one of one's own any.
            changes: fields of `Fault` that are to be different.

        Raises:
            ValueError: for a fault or a scope that does not exist, or a target that is neither endpoint nor path.
        """
        from fal_sandbox.fault_table import aimed, named

        path = target if target is None or isinstance(target, str) else _id_of(target)
        scope = "any"
        if isinstance(fault, str):
            line = named(fault)
            fault, scope = line.fault, line.scope
            if line.unknown_enum and changes.get("merge") is None:
                changes["merge"] = self._state.models.unknown_enum(path)
        self._state.faults.add(replace(aimed(fault, on or scope, path), **changes))

    def fail_next(self, path: str = "*", **changes: Unpack[FaultOptions]) -> None:
        """Let the next matching requests go wrong; see `Fault` for what happens in which order.

        sandbox.fail_next("/queue/*", method="POST", status=429, headers={"retry-after": "1"})
        sandbox.fail_next("*/status", status=502, body="<html>nginx</html>", headers={"content-type": "text/html"})
        sandbox.fail_next("/queue/*", method="POST", processed=True, disconnect=True)   # admitted, answer lost
        sandbox.fail_next("/run/*", status=200, body='{"ima', disconnect=True)          # cut off in the middle
        sandbox.fail_next("/run/*", delay_seconds=2)                                    # right, but late
        """
        self._state.faults.add(Fault(path=path, **changes))

    def example(self, type_: type[T], /, *, seed: int = 0) -> T:
        """A valid value of a generated type, as `fal_sandbox.example` makes it, with files that this sandbox serves.

        The links hold until `reset`. Raises as `url` and `fal_sandbox.example` do.
        """
        from fal_sandbox.examples import make

        _ = self.url  # which raises
        return make(type_, seed, self._state.files, self._state.file_url)

    def advance(self, seconds: float) -> None:
        """Move the sandbox's clock on: jobs get done, results and tokens run out, as if so much time had passed.

        Raises:
            ValueError: for a negative time.
        """
        if not seconds >= 0:
            raise ValueError(f"the clock cannot be moved by {seconds} seconds")
        self._state.pulse.advance(seconds)

    @contextmanager
    def record(
        self, path: str | PathLike[str], *, key: str | None = None, urls: Mapping[str, str] | None = None
    ) -> Generator[Cassette, None, None]:
        """Pass every request on to the live platform while this lasts, and write a cassette of it at the end.

        Clients call the sandbox with its own key, as ever. What they do costs what it costs.

        Args:
            path: the JSON file to write; files that answers consist of go into a folder beside it.
            key: the platform's key. By default what `fal_runtime.Client` finds.
            urls: base URLs of the platform by service, as `fal_runtime.Client` takes them.

        Raises:
            RuntimeError: if the sandbox is not running.
            CassetteError: if there is no key, or the platform's addresses are the sandbox's own.
        """
        from fal_runtime.credentials import authorization
        from fal_runtime.settings import service_urls
        from fal_sandbox.tapes import Recorder

        cassette, live = Cassette(path), service_urls(urls)
        header = authorization(key)
        if header is None or header == f"Key {self.key}":
            raise CassetteError("recording needs the platform's key; set FAL_KEY or pass key=")
        addresses = self._addresses(live)
        recorder = Recorder(cassette, addresses, self.key, header)
        self._state.tape = recorder
        try:
            yield cassette
        finally:
            self._state.tape = None
            cassette.note_departures(self.catalog)
            cassette.save([header.partition(" ")[2], self.key])

    @contextmanager
    def replay(self, path: str | PathLike[str]) -> Generator[Cassette, None, None]:
        """Answer from a cassette while this lasts. What a cassette does not know is refused.

        Args:
            path: the JSON file.

        Raises:
            RuntimeError: if the sandbox is not running.
            CassetteError: if there is no cassette, or what is in it no longer fits its schema; at the end, if something
                was asked that is not in it.
        """
        from fal_sandbox.tapes import Replayer

        cassette = Cassette.load(path)
        if departed := cassette.check(self.catalog):
            raise CassetteError(f"{path} no longer fits the schemas; record it again:\n" + "\n".join(departed))
        replayer = Replayer(cassette, self._addresses({}))
        self._state.tape = replayer
        try:
            yield cassette
        finally:
            self._state.tape = None
        if replayer.problems:
            raise CassetteError("\n".join(dict.fromkeys(replayer.problems)))

    def _addresses(self, live: Mapping[str, str]) -> Addresses:
        from fal_runtime.settings import SERVICES as WRITTEN

        here = {service: self._state.service_url(service) for service in SERVICES}
        ours = {urlsplit(url).netloc for url in (self.url, *here.values())}
        if mine := [service for service, url in live.items() if urlsplit(url).netloc in ours]:
            raise CassetteError(
                f"the sandbox would record itself: {SERVICES[mine[0]].variable} leads to it; pass urls="
            )
        # A service with a port of its own is reached on the common one, too.
        alias = {name: self.url + service.prefix + service.path for name, service in SERVICES.items()}
        return Addresses(here, self.url, live, {service: url for service, (_, url) in WRITTEN.items()}, alias)

    def reset(self) -> None:
        """Forget all requests, jobs, files, programmes and faults; request ids are not used again."""
        self._state.clear()


def _id_of(endpoint: object) -> str:
    """The id that an id, an `Endpoint` or a generated module stands for. Neither kind need be installed."""
    for candidate in (
        endpoint,
        getattr(endpoint, "id", None),
        getattr(getattr(endpoint, "endpoint", None), "id", None),
    ):
        if isinstance(candidate, str):
            return candidate
    raise TypeError(
        f"{endpoint!r} is no endpoint; give an id such as 'fal-ai/flux/dev', a generated module or an Endpoint"
    )


def _plain(value: Any) -> Any:
    """The JSON value of a typed output; bytes and functions stay what they are."""
    if value is None or isinstance(value, str | bytes | int | float) or (callable(value)):
        return value
    from msgspec import to_builtins

    return to_builtins(value, enc_hook=_model_dump)


def _model_dump(value: Any) -> Any:
    # A pydantic model, of which nothing else needs to be known.
    return value.model_dump(mode="json", exclude_unset=True)


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        # Listening everywhere is no address that one can call.
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://{host}:{port}" if address.version == 4 else f"http://[{host}]:{port}"
