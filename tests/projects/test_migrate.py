"""Whole programs written for `fal_client`, migrated: what changes, and that they do the same afterwards."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click.testing
import pytest

from fal_codegen.cli import cli
from fal_sandbox import Sandbox

HERE = Path(__file__).with_name("migrate")
ROOT = Path(__file__).parents[2]

# The official client takes hosts from its environment, but always puts https before them.
DRIVER = """
import os, runpy, sys
import fal_client.client as client
client.RUN_URL_FORMAT = os.environ["FAL_RUN_URL"] + "/"
client.QUEUE_URL_FORMAT = os.environ["FAL_QUEUE_URL"] + "/"
client.REST_URL = os.environ.get("FAL_REST_URL", client.REST_URL)
client.CDN_URL = os.environ.get("FAL_CDN_URL", client.CDN_URL)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

UPLOADED = re.compile(r"/cdn/files/b/\w+/[0-9a-f]+_")
"""The start of what an upload's URL is, which is another one each time."""

# One HTTP library on both sides, for it is the programs that are compared; and nothing written beside them.
SETTINGS = {"FAL_HTTP": "httpx", "PYTHONDONTWRITEBYTECODE": "1"}

PROGRAMS = {
    "backend": ["../visit.py"],
    "pipeline": ["pipeline.py", "--limit", "2"],
    "tool": ["tool.py", "{folder}"],
}


def migrate(*arguments: str, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> click.testing.Result:
    monkeypatch.chdir(cwd)
    result = click.testing.CliRunner().invoke(cli, ["migrate", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.py"))}


def run(name: str, version: str, sandbox: Sandbox, tmp_path: Path) -> tuple[Any, list[tuple[str, str]]]:
    """What a program prints, and what it has paid for."""
    sandbox.reset()
    arguments = [argument.format(folder=tmp_path) for argument in PROGRAMS[name]]
    folder = HERE / name / version
    path = os.pathsep.join(map(str, [folder, ROOT / "runtime", ROOT / "generated"]))
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", DRIVER, *arguments],
        cwd=folder,
        env={**os.environ, **sandbox.environment(), **SETTINGS, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    inputs = ((job.endpoint_id, json.dumps(job.input, sort_keys=True)) for job in sandbox.admitted)
    paid = sorted((id_, UPLOADED.sub("/cdn/files/", text)) for id_, text in inputs)
    return json.loads(done.stdout[done.stdout.index("[" if name == "backend" else "{") :]), paid


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_changes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dry run writes nothing; the real one writes `after`; the next one finds nothing more to do."""
    before, after = files(HERE / name / "before"), files(HERE / name / "after")
    assert sum(text.count(b"\n") for text in before.values()) >= 200
    for file, text in before.items():
        (tmp_path / file).write_bytes(text)
    dry = migrate(".", cwd=tmp_path, monkeypatch=monkeypatch)
    assert files(tmp_path) == before
    assert dry.stdout.startswith("--- a/")
    written = migrate(".", "--write", cwd=tmp_path, monkeypatch=monkeypatch)
    assert written.stdout == ""
    assert files(tmp_path) == after
    assert written.stderr == (HERE / name / "report.txt").read_text()
    again = migrate(".", "--write", cwd=tmp_path, monkeypatch=monkeypatch)
    assert files(tmp_path) == after
    assert again.exit_code == 0
    assert "note:" not in again.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_does_the_same(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    """Before and after print the same and pay for the same inputs."""
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    before = run(name, "before", sandbox, tmp_path / "before")
    after = run(name, "after", sandbox, tmp_path / "after")
    assert after == before
    assert len(before[1]) >= 5
