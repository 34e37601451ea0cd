"""Queued jobs on a virtual timeline: where a job stands follows from the clock alone, so no job needs a worker."""

from __future__ import annotations

import itertools
import math
import uuid
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from fal_sandbox.endpoints import EndpointId
from fal_sandbox.ledger import AdmittedJob, Ledger
from fal_sandbox.models import Models, Outcome, Plan
from fal_sandbox.pulse import Pulse

JobState = Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]

LOG_WINDOW_SECONDS = 30.0
"""How much of a job's log a poll shows: what was written in the last so many seconds, not all from the beginning."""

_ID_SPACE = uuid.UUID("6f1f4a5e-5a58-5c0e-9d63-0b7b6a1f3f11")
_KEPT = 50_000
_LARGE_RESULT_BYTES = 10_000
_RETENTION_SECONDS = 3600.0
_LARGE_RETENTION_SECONDS = 360.0


@dataclass(slots=True, eq=False)
class Job:
    """One request in the queue. The times are on the sandbox's clock."""

    request_id: str
    plan: Plan
    input: Any
    sent_at: float
    starts_at: float
    ends_at: float
    log_lines: Sequence[str]
    low: bool = False
    """Whether it waits behind all that are not."""
    webhook_url: str | None = None
    direct: bool = False
    """Whether it was run without the queue, which knows nothing of it."""
    forced: Outcome | None = None
    """What it ends with whatever the model would say."""
    outcome: Outcome | None = field(default=None, repr=False)
    """What came of it, once someone has asked."""
    log_times: Sequence[float] = field(init=False)
    """When each line is written; a job that is cancelled before never gets there."""

    def __post_init__(self) -> None:
        pause = max(0.0, self.ends_at - self.starts_at) / max(1, len(self.log_lines))
        self.log_times = [self.starts_at + index * pause for index in range(len(self.log_lines))]

    @property
    def endpoint(self) -> EndpointId:
        """What it was submitted to."""
        return self.plan.endpoint

    def state(self, now: float) -> JobState:
        """Failed and cancelled jobs are completed too. Source: fal docs, queue status reference."""
        if now >= self.ends_at:
            return "COMPLETED"
        return "IN_PROGRESS" if now >= self.starts_at else "IN_QUEUE"

    def logs(self, after: float, now: float) -> list[dict[str, str]]:
        """The log entries written after one moment and not after the other."""
        first = bisect_right(self.log_times, after)
        last = bisect_right(self.log_times, min(now, self.ends_at))
        return [
            {"timestamp": _timestamp(time), "message": line, "level": "INFO", "source": "USER"}
            for time, line in zip(self.log_times[first:last], self.log_lines[first:last], strict=True)
        ]

    def next_change(self, now: float, *, logs: bool) -> float:
        """When something about it changes by itself next."""
        moments = [self.starts_at, self.ends_at]
        if logs:
            moments += self.log_times[bisect_right(self.log_times, now) :][:1]
        return min((moment for moment in moments if moment > now), default=math.inf)


class _Line:
    """The jobs of one endpoint that wait, and who is before whom."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._lows = False
        self._places: dict[Job, int] | None = {}
        self._holds_until = math.inf

    def add(self, job: Job) -> None:
        self._jobs.append(job)
        self._holds_until = min(self._holds_until, job.starts_at)
        if self._places is not None and (job.low or not self._lows):
            self._places[job] = len(self._places)
        else:
            self._places = None
        self._lows = self._lows or job.low

    def upset(self) -> None:
        """Someone has left before his time."""
        self._places = None

    def places(self, now: float) -> dict[Job, int]:
        """How many are before each job that waits; worked out anew only when someone has left."""
        if self._places is None or now >= self._holds_until:
            self._jobs = [job for job in self._jobs if job.state(now) == "IN_QUEUE"]
            self._lows = any(job.low for job in self._jobs)
            self._holds_until = min((job.starts_at for job in self._jobs), default=math.inf)
            self._places = {job: place for place, job in enumerate(sorted(self._jobs, key=lambda job: job.low))}
        return self._places

    def next_departure(self, now: float) -> float:
        """When the next job leaves by itself."""
        self.places(now)
        return self._holds_until


class JobBook:
    """Every job that was admitted."""

    def __init__(self, models: Models, ledger: Ledger, pulse: Pulse) -> None:
        self._models = models
        self._ledger = ledger
        self._pulse = pulse
        self._numbers = itertools.count(1)
        self._jobs: dict[str, Job] = {}
        self._lines: dict[str, _Line] = {}

    def new_request_id(self) -> str:
        """A request id; no two are alike while the sandbox lives."""
        return str(uuid.uuid5(_ID_SPACE, str(next(self._numbers))))

    def admit(
        self,
        endpoint: EndpointId,
        input: object,
        *,
        start_timeout: float | None = None,
        low: bool = False,
        webhook_url: str | None = None,
        forced: Outcome | None = None,
    ) -> Job:
        """Accept a job. One that would wait longer than `start_timeout` seconds ends then, unrun.

        With `forced`, it comes to that whatever the model would say.

        Source: fal docs, queue submit reference (`X-Fal-Request-Start-Timeout`).
        """
        now = self._pulse.now()
        plan = self._models.plan(endpoint, input)
        waits, runs = plan.queue_seconds, plan.run_seconds
        if start_timeout is not None and start_timeout < waits:
            waits, runs = start_timeout, 0.0
            body = {"detail": "Request timed out before it started", "error_type": "request_timeout"}
            forced = Outcome.of(504, body, {"x-fal-request-timeout-type": "user"})
        job = Job(
            request_id=self.new_request_id(),
            plan=plan,
            input=input,
            sent_at=now,
            starts_at=now + waits,
            ends_at=now + waits + runs,
            log_lines=() if plan.queue_seconds > waits else self._models.logs(plan, input),
            low=low,
            webhook_url=webhook_url,
            forced=forced,
        )
        self._keep(job)
        self._lines.setdefault(str(endpoint), _Line()).add(job)
        self._ledger.admitted.append(AdmittedJob(job.request_id, str(endpoint), input, "queue"))
        return job

    def admit_direct(
        self,
        endpoint: EndpointId,
        input: object,
        *,
        service: Literal["run", "realtime"] = "run",
        forced: Outcome | None = None,
    ) -> Job:
        """Accept a request that runs at once and without the queue."""
        now = self._pulse.now()
        plan = self._models.plan(endpoint, input)
        job = Job(
            request_id=self.new_request_id(),
            plan=plan,
            input=input,
            sent_at=now,
            starts_at=now,
            ends_at=now + plan.run_seconds,
            log_lines=(),
            direct=True,
            forced=forced,
        )
        self._keep(job)
        self._ledger.admitted.append(AdmittedJob(job.request_id, str(endpoint), input, service))
        return job

    def all(self) -> list[Job]:
        """Every job, direct ones too, oldest first; the last fifty thousand are kept."""
        return list(self._jobs.values())

    def _keep(self, job: Job) -> None:
        self._jobs[job.request_id] = job
        if len(self._jobs) > _KEPT:
            del self._jobs[next(iter(self._jobs))]

    def find(self, app: str, request_id: str) -> Job | None:
        """The job with this id, if it belongs to this application; the whole endpoint id will do as well."""
        job = self._jobs.get(request_id)
        return job if job is not None and not job.direct and app in (job.endpoint.app, str(job.endpoint)) else None

    def holds(self, job: Job) -> bool:
        """Whether the job has not been forgotten."""
        return self._jobs.get(job.request_id) is job

    def get(self, request_id: str) -> Job | None:
        """The job with this id."""
        return self._jobs.get(request_id)

    def waiting(self, endpoint: EndpointId) -> int:
        """How many jobs of the endpoint have not started."""
        line = self._lines.get(str(endpoint))
        return 0 if line is None else len(line.places(self._pulse.now()))

    def position(self, job: Job) -> int:
        """How many jobs are ahead of it."""
        return self._lines[str(job.endpoint)].places(self._pulse.now()).get(job, 0)

    def next_change(self, job: Job, now: float, *, logs: bool) -> float:
        """When its status changes by itself next: by what it does, or because one before it starts."""
        own = job.next_change(now, logs=logs)
        if job.state(now) != "IN_QUEUE":
            return own
        return min(own, self._lines[str(job.endpoint)].next_departure(now))

    def cancel(self, job: Job) -> None:
        """End a job now."""
        job.ends_at = self._pulse.now()
        job.starts_at = min(job.starts_at, job.ends_at)
        job.forced = Outcome.of(499, {"detail": "Request was cancelled", "error_type": "client_cancelled"})
        self._lines[str(job.endpoint)].upset()
        self._pulse.beat()

    def outcome(self, job: Job) -> Outcome:
        """What comes of a job. Takes as long as running its model does, the first time."""
        if job.forced is not None:
            return job.forced
        if job.outcome is None:
            job.outcome = self._models.run(job.plan, job.input)
        return job.outcome

    def kept_until(self, job: Job, size: int) -> float:
        """When a result of so many bytes is thrown away.

        The platform keeps one longer where an account stores payloads; this is the least that it promises. Source: fal
        docs, queue result reference.
        """
        return job.ends_at + (_RETENTION_SECONDS if size < _LARGE_RESULT_BYTES else _LARGE_RETENTION_SECONDS)

    def clear(self) -> None:
        """Forget every job."""
        self._jobs.clear()
        self._lines.clear()
        self._pulse.beat()


def _timestamp(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
