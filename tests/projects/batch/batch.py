"""A batch: many prompts, some at a time, and a journal so that a rerun goes on where this run ended.

    python batch.py prompts.txt --out pictures --at-once 16

What is in the journal is never paid twice. An entry is written before a prompt is submitted and again when its id is known,
so after a crash, a power cut or Ctrl-C the next run waits for what was submitted, submits what was not, and names what
nobody can know: whoever has looked into the dashboard says `--again unknown`. A prompt that fails costs the others nothing.

It needs `pip install fal-bindings rich`, and `fal-bindings[fast]` for thousands. To try it without a key, run
`fal-bindings sandbox` and export what it prints; to run it live, set FAL_KEY. It exits with 1 if a prompt has no picture.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fal_endpoints.fal_ai import flux_dev
from fal_runtime import FalError, errors

State = Literal["sending", "submitted", "done", "failed"]
NOT_ITS_FAULT = (
    errors.NoConnectionError,
    errors.TimeoutExpired,
    errors.RateLimitError,
    errors.AuthenticationError,
    errors.PermissionDeniedError,
)
"""Errors of fetching a result that say nothing about the request: the next run fetches it again."""


@dataclass(frozen=True)
class Outcome:
    """What became of a prompt."""

    prompt: str
    state: Literal["done", "failed", "pending", "not sent", "unknown"]
    note: str = ""


class Journal:
    """How far each prompt came. Each change is on disk before anything else is done."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)  # each statement is a transaction
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS jobs (prompt TEXT PRIMARY KEY, state TEXT, request_id TEXT, note TEXT)"
        )

    def find(self, prompt: str) -> tuple[State, str, str] | None:
        """The state, the request's id and a note; None for a prompt that was never submitted."""
        found: tuple[State, str, str] | None = self._database.execute(
            "SELECT state, request_id, note FROM jobs WHERE prompt = ?", (prompt,)
        ).fetchone()
        return found

    def write(self, prompt: str, state: State, request_id: str = "", note: str = "") -> None:
        """Note a prompt's new state."""
        row = (prompt, state, request_id, note)
        self._database.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?)", row)

    def forget(self, prompt: str) -> None:
        """Take a prompt out, so that it is submitted again."""
        self._database.execute("DELETE FROM jobs WHERE prompt = ?", (prompt,))

    def close(self) -> None:
        """Close the file."""
        self._database.close()


async def make(prompt: str, journal: Journal, out: Path, again: frozenset[str]) -> Outcome:
    """Bring one prompt to its picture, from wherever it stands. Errors are outcomes, too."""
    found = journal.find(prompt)
    if found is not None and found[0] in again:
        journal.forget(prompt)
        found = None
    state, request_id, note = found or ("", "", "")
    if state == "done":
        return Outcome(prompt, "done", note)
    if state == "failed":
        return Outcome(prompt, "failed", note)
    if state == "sending":
        return Outcome(prompt, "unknown", "it may have been submitted by an earlier run")
    if not request_id:
        journal.write(prompt, "sending")
        try:
            handle = await flux_dev.submit_async(flux_dev.Input(prompt=prompt, output_format="png"), priority="low")
        except (errors.SubmissionUnknownError, errors.OutputError) as error:
            return Outcome(prompt, "unknown", str(error))
        except FalError as error:  # nothing was admitted
            journal.forget(prompt)
            return Outcome(prompt, "not sent", str(error))
        request_id = handle.request_id
        journal.write(prompt, "submitted", request_id)
    try:
        result = await flux_dev.with_result.handle(request_id).result_async()
    except NOT_ITS_FAULT as error:
        return Outcome(prompt, "pending", str(error))
    except FalError as error:
        journal.write(prompt, "failed", request_id, str(error))
        return Outcome(prompt, "failed", str(error))
    try:
        files = await result.download_async(out)
    except (FalError, OSError) as error:
        return Outcome(prompt, "pending", f"the picture could not be saved: {error}")
    names = ", ".join(file.name for file in files)
    journal.write(prompt, "done", request_id, names)
    return Outcome(prompt, "done", names)


async def outcomes(
    prompts: list[str], journal: Journal, out: Path, at_once: int, again: frozenset[str]
) -> AsyncIterator[Outcome]:
    """What becomes of each prompt, in the order in which they end."""
    gate = asyncio.Semaphore(at_once)

    async def one(prompt: str) -> Outcome:
        async with gate:
            return await make(prompt, journal, out, again)

    tasks = [asyncio.create_task(one(prompt)) for prompt in prompts]
    try:
        for ended in asyncio.as_completed(tasks):
            yield await ended
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run(prompts: list[str], journal: Journal, out: Path, at_once: int, again: frozenset[str]) -> Counter[str]:
    """Make all, with a bar on a terminal and a line each in a pipe; how many came to which end."""
    counted: Counter[str] = Counter()
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("pictures", total=len(prompts))
        async for outcome in outcomes(prompts, journal, out, at_once, again):
            counted[outcome.state] += 1
            progress.advance(bar)
            if not console.is_terminal:
                print(
                    f"{counted.total()}/{len(prompts)}\t{outcome.state}\t{outcome.prompt}\t{outcome.note}", flush=True
                )
            elif outcome.state != "done":
                console.print(f"{outcome.state}: {outcome.prompt}: {outcome.note}", markup=False, style="red")
    return counted


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a picture of each line of a file.")
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--out", type=Path, default=Path("pictures"))
    parser.add_argument("--journal", type=Path, help="default: `journal.sqlite` among the pictures")
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--again", action="append", choices=["failed", "unknown"], default=[])
    given = parser.parse_args()
    lines = [line.strip() for line in given.prompts.read_text().splitlines()]
    given.out.mkdir(parents=True, exist_ok=True)
    with closing(Journal(given.journal or given.out / "journal.sqlite")) as journal:
        again = frozenset("sending" if state == "unknown" else state for state in given.again)
        prompts = list(dict.fromkeys(line for line in lines if line))
        try:
            counted = asyncio.run(run(prompts, journal, given.out, given.at_once, again))
        except KeyboardInterrupt:
            print("Stopped. What was submitted goes on; run this again to fetch it.", file=sys.stderr)
            return 130
    print(", ".join(f"{number} {state}" for state, number in sorted(counted.items())), file=sys.stderr)
    return 0 if counted["done"] == counted.total() else 1


if __name__ == "__main__":
    sys.exit(main())
