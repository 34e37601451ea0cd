"""The upload of a large file: progress, lifecycle, and a second run that sends the rest."""

from __future__ import annotations

import stat
import sys
from collections import Counter
from pathlib import Path

import pytest

from fal_sandbox import Sandbox
from support import run_program

PROGRAM = "big_upload/big_upload.py"
SIZE = 95 * 2**20


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A file of 95 MiB that takes no room on disk."""
    path = tmp_path / "film.mp4"
    with path.open("wb") as file:
        file.truncate(SIZE)
    return path


def parts(sandbox: Sandbox) -> Counter[str]:
    """How often each part was sent."""
    found = (request for request in sandbox.requests if request.method == "PUT" and "/multipart/" in request.path)
    return Counter(request.path.rsplit("/", 1)[1] for request in found)


def test_it_goes_up_in_parts_and_is_kept_for_a_week(film: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    done = run_program(PROGRAM, film.name, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = sandbox.uploads
    assert done.stdout.strip() == file.url
    assert (file.size, file.file_name, file.content_type, file.complete) == (SIZE, "film.mp4", "video/mp4", True)
    assert file.lifecycle == {"expiration_duration_seconds": 7 * 86_400}
    told = done.stderr.splitlines()
    assert told[-1] == "100 %, 95 of 95 MiB"
    assert len(told) == 11
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_second_run_sends_only_what_is_missing(film: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    # The fifth part fails for good; the others that are on their way arrive.
    sandbox.fail_next("*/multipart/*/5", method="PUT", status=403, times=1)
    first = run_program(PROGRAM, film.name, folder=tmp_path)
    assert first.returncode == 75, first.stderr
    assert first.stdout == ""
    assert "it goes on from there" in first.stderr
    notes = tmp_path / "film.mp4.upload"
    assert sys.platform == "win32" or stat.S_IMODE(notes.stat().st_mode) == 0o600
    sent = parts(sandbox)
    before = len(sandbox.requests)

    second = run_program(PROGRAM, film.name, folder=tmp_path)
    assert second.returncode == 0, second.stderr
    assert "parts have arrived" in second.stderr
    (file,) = sandbox.uploads
    assert (second.stdout.strip(), file.size, file.complete) == (file.url, SIZE, True)
    late = Counter(
        request.path.rsplit("/", 1)[1]
        for request in sandbox.requests[before:]
        if request.method == "PUT" and "/multipart/" in request.path
    )
    assert "5" in late
    assert len(late) < len(sent | late)
    assert not notes.exists()


def test_another_file_does_not_go_on(film: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.fail_next("*/multipart/*/2", method="PUT", status=403, times=1)
    assert run_program(PROGRAM, film.name, folder=tmp_path).returncode == 75
    with film.open("ab") as file:
        file.truncate(SIZE + 1)
    done = run_program(PROGRAM, film.name, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "delete film.mp4.upload" in done.stderr
    missing = run_program(PROGRAM, "none.mp4", folder=tmp_path)
    assert missing.returncode == 1
    assert "none.mp4" in missing.stderr
    assert "Traceback" not in missing.stderr
