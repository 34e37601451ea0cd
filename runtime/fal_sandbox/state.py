"""All that a running sandbox knows, in one place: the services are views on it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

from fal_sandbox.catalog import Catalog
from fal_sandbox.faults import FaultPlan
from fal_sandbox.files import FileStore
from fal_sandbox.jobs import Clock, JobBook
from fal_sandbox.ledger import Ledger
from fal_sandbox.models import Models

_TICK_SECONDS = 0.05


@dataclass(eq=False)
class State:
    """The catalogue, the models, the jobs and the files of one sandbox."""

    catalog: Catalog
    key: str
    queue_seconds: float
    run_seconds: float
    clock: Clock
    url: str = ""
    """Where the sandbox is reached; known once it listens."""
    stopping: threading.Event = field(default_factory=threading.Event)
    ledger: Ledger = field(default_factory=Ledger)
    faults: FaultPlan = field(default_factory=FaultPlan)
    files: FileStore = field(default_factory=FileStore)
    models: Models = field(init=False)
    jobs: JobBook = field(init=False)

    def __post_init__(self) -> None:
        self.models = Models(self.catalog, self.files, self.file_url, self.queue_seconds, self.run_seconds)
        self.jobs = JobBook(self.models, self.ledger, self.clock)

    def file_url(self, name: str) -> str:
        """Where a generated file is downloaded."""
        return f"{self.url}/cdn/files/{name}"

    async def pause(self, seconds: float) -> None:
        """Wait, but not beyond the sandbox's end: a server must not be held up by a slow answer."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (left := end - loop.time()) > 0 and not self.stopping.is_set():
            await asyncio.sleep(min(left, _TICK_SECONDS))

    def clear(self) -> None:
        """Go back to how it was in the beginning; request ids go on."""
        for part in (self.ledger, self.faults, self.files, self.models, self.jobs):
            part.clear()
