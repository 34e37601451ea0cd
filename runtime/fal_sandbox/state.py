"""All that a running sandbox knows, in one place: the services are views on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from fal_sandbox.blobs import BlobStore
from fal_sandbox.catalog import Catalog
from fal_sandbox.faults import FaultPlan
from fal_sandbox.files import FileStore
from fal_sandbox.jobs import LOG_WINDOW_SECONDS, JobBook
from fal_sandbox.latency import Latency
from fal_sandbox.ledger import Ledger
from fal_sandbox.models import Models
from fal_sandbox.pulse import Clock, Pulse
from fal_sandbox.storage import Storage
from fal_sandbox.tokens import Tokens
from fal_sandbox.webhooks import Deliverer, WebhookKeys

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class Service(NamedTuple):
    """Where one service of the platform is found here."""

    variable: str
    """The environment variable that holds its URL."""
    prefix: str
    """Under what it lies; or what has a port of its own, where each service has one."""
    path: str = ""
    """The rest of its URL."""


SERVICES: Mapping[str, Service] = {
    "queue": Service("FAL_QUEUE_URL", "/queue"),
    "run": Service("FAL_RUN_URL", "/run"),
    "realtime": Service("FAL_REALTIME_URL", "/realtime"),
    "rest": Service("FAL_REST_URL", "/rest"),
    "cdn": Service("FAL_CDN_URL", "/cdn"),
    "api": Service("FAL_API_URL", "/api", "/v1"),
    "schema": Service("FAL_SCHEMA_URL", "/schema", "/openapi.json"),
    "jwks": Service("FAL_JWKS_URL", "/rest", "/.well-known/jwks.json"),
}
"""By name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a sandbox is told when it is made; times are in seconds."""

    latency: Latency
    log_window: float = LOG_WINDOW_SECONDS
    cdn_token_seconds: float = 86_400.0
    session_timeout: float = 60.0
    webhook_retry_seconds: float = 1.0


@dataclass(eq=False)
class State:
    """The catalogue, the models, the jobs and the files of one sandbox."""

    catalog: Catalog
    key: str
    settings: Settings
    clock: Clock
    url: str = ""
    """Where the sandbox is reached; known once it listens."""
    tape: ASGIApp | None = None
    """What answers in the services' place, if anything does."""

    hosts: dict[str, str] = field(default_factory=dict[str, str])
    """Where each prefix has a port of its own, if any has."""
    ledger: Ledger = field(default_factory=Ledger)
    faults: FaultPlan = field(default_factory=FaultPlan)
    files: FileStore = field(default_factory=FileStore)
    blobs: BlobStore = field(default_factory=BlobStore)
    webhook_keys: WebhookKeys = field(default_factory=WebhookKeys)
    webhooks: Deliverer = field(init=False)
    tokens: Tokens = field(init=False)
    storage: Storage = field(init=False)
    pulse: Pulse = field(init=False)
    models: Models = field(init=False)
    jobs: JobBook = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(init=False, default_factory=set["asyncio.Task[None]"])

    def __post_init__(self) -> None:
        self.pulse = Pulse(self.clock)
        self.tokens = Tokens(self.key, self.pulse.now)
        self.storage = Storage(self.blobs, self.cdn_url, self.pulse.now)
        self.models = Models(self.catalog, self.files, self.file_url, self.settings.latency)
        self.jobs = JobBook(self.models, self.ledger, self.pulse)
        retry_seconds = self.settings.webhook_retry_seconds
        self.webhooks = Deliverer(self.webhook_keys, self.jobs, self.pulse, retry_seconds)

    def service_url(self, service: str) -> str:
        """The base URL of a service, by its name in `SERVICES`."""
        _, prefix, path = SERVICES[service]
        url = self.hosts.get(prefix, self.url + prefix) + path
        return url.replace("http", "ws", 1) if service == "realtime" else url

    def file_url(self, name: str) -> str:
        """Where a generated file is downloaded."""
        return self.cdn_url(f"files/{name}")

    def cdn_url(self, path: str) -> str:
        """The URL of something at the CDN."""
        return f"{self.service_url('cdn')}/{path}"

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something go on beside the requests."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def call(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let something go on, asked for from any thread; nothing does in a sandbox that is not running."""
        self.pulse.call(lambda: self.spawn(work()))

    def clear(self) -> None:
        """Go back to how it was in the beginning; request ids go on."""
        self.tape = None
        for part in (
            self.ledger,
            self.faults,
            self.files,
            self.models,
            self.jobs,
            self.storage,
            self.blobs,
            self.webhook_keys,
            self.webhooks,
        ):
            part.clear()
