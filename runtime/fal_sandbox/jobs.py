"""Queued jobs on a virtual timeline: where a job stands follows from the clock alone, so no job needs a worker."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from fal_sandbox.endpoints import EndpointId
from fal_sandbox.ledger import AdmittedJob, Ledger
from fal_sandbox.models import Models, Outcome

Clock = Callable[[], float]
"""Seconds since the epoch."""

JobState = Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]

_ID_SPACE = uuid.UUID("6f1f4a5e-5a58-5c0e-9d63-0b7b6a1f3f11")


@dataclass(slots=True, eq=False)
class Job:
    """One request in the queue. The times are on the sandbox's clock."""

    request_id: str
    endpoint: EndpointId
    input: Any
    submitted_at: float
    starts_at: float
    ends_at: float
    log_lines: tuple[str, ...]
    cancellable: bool
    forced: Outcome | None = None
    """What it ends with whatever the model would say."""
    outcome: Outcome | None = field(default=None, repr=False)
    """What came of it, once someone has asked."""

    def state(self, now: float) -> JobState:
        """Failed and cancelled jobs are completed too. Source: fal docs, queue status reference."""
        if now >= self.ends_at:
            return "COMPLETED"
        return "IN_PROGRESS" if now >= self.starts_at else "IN_QUEUE"

    def logs(self, now: float) -> list[dict[str, str]]:
        """The log entries written so far."""
        if not self.log_lines:
            return []
        pause = max(0.0, self.ends_at - self.starts_at) / len(self.log_lines)
        times = [self.starts_at + index * pause for index in range(len(self.log_lines))]
        return [
            {
                "timestamp": datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z"),
                "message": line,
                "level": "INFO",
                "source": "USER",
            }
            for time, line in zip(times, self.log_lines, strict=True)
            if time <= now
        ]


class JobBook:
    """Every job that was admitted."""

    def __init__(self, models: Models, ledger: Ledger, clock: Clock) -> None:
        self._models = models
        self._ledger = ledger
        self.clock = clock
        self._numbers = itertools.count(1)
        self._jobs: dict[str, Job] = {}
        self._waiting: dict[str, list[Job]] = {}

    def new_request_id(self) -> str:
        """A request id; no two are alike while the sandbox lives."""
        return str(uuid.uuid5(_ID_SPACE, str(next(self._numbers))))

    def admit(self, endpoint: EndpointId, input: object, start_timeout: float | None) -> Job:
        """Accept a job. One that would wait longer than `start_timeout` seconds ends then, unrun.

        Source: fal docs, queue submit reference (`X-Fal-Request-Start-Timeout`).
        """
        now = self.clock()
        waits, runs = self._models.queue_seconds(endpoint), self._models.run_seconds(endpoint)
        forced = None
        if start_timeout is not None and start_timeout < waits:
            waits, runs = start_timeout, 0.0
            body = {"detail": "Request timed out before it started", "error_type": "request_timeout"}
            forced = Outcome.of(504, body, {"x-fal-request-timeout-type": "user"})
        job = Job(
            request_id=self.new_request_id(),
            endpoint=endpoint,
            input=input,
            submitted_at=now,
            starts_at=now + waits,
            ends_at=now + waits + runs,
            log_lines=() if forced else tuple(self._models.logs(endpoint, input)),
            cancellable=self._models.programme(endpoint).cancellable,
            forced=forced,
        )
        self._jobs[job.request_id] = job
        self._waiting.setdefault(str(endpoint), []).append(job)
        self._ledger.admitted.append(AdmittedJob(job.request_id, str(endpoint), input, "queue"))
        return job

    def find(self, app: str, request_id: str) -> Job | None:
        """The job with this id, if it belongs to this application; the whole endpoint id will do as well."""
        job = self._jobs.get(request_id)
        return job if job is not None and app in (job.endpoint.app, str(job.endpoint)) else None

    def waiting(self, endpoint: EndpointId) -> list[Job]:
        """The jobs of the endpoint that have not started, oldest first."""
        now = self.clock()
        waiting = [job for job in self._waiting.get(str(endpoint), []) if job.state(now) == "IN_QUEUE"]
        self._waiting[str(endpoint)] = waiting
        return waiting

    def position(self, job: Job) -> int:
        """How many jobs are ahead of it."""
        waiting = self.waiting(job.endpoint)
        return waiting.index(job) if job in waiting else 0

    def cancel(self, job: Job) -> None:
        """End a job now."""
        job.ends_at = self.clock()
        job.starts_at = min(job.starts_at, job.ends_at)
        body = {"detail": "Request was cancelled", "error_type": "client_cancelled"}
        job.forced = Outcome.of(499, body)

    def outcome(self, job: Job) -> Outcome:
        """What came of a completed job."""
        if job.forced is not None:
            return job.forced
        if job.outcome is None:
            job.outcome = self._models.run(job.endpoint, job.input)
        return job.outcome

    def clear(self) -> None:
        """Forget every job."""
        self._jobs.clear()
        self._waiting.clear()
