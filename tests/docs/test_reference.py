"""The reference is built from the docstrings, and what is wrong with them is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fal_sandbox
from pages import ROOT

PROGRAM = ROOT / "scripts" / "reference.py"
WRONG = '''
"""See `fal_runtime.errors.NoSuchError`, `Result.warnings`, `Result.warning` and `fal_runtime.errors.FalError`."""

def made(value: "No | Such") -> None:
    """Does nothing."""
'''


def build(folder: Path, *modules: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder.parent), *filter(None, sys.path)])}
    command = [sys.executable, str(PROGRAM), str(folder), *modules]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def test_it_is_built_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "html"
    monkeypatch.setenv("FAL_KEY", fal_sandbox.DEFAULT_KEY)  # which pdoc would take for a secret
    done = build(folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pages = {path.relative_to(folder).as_posix() for path in folder.rglob("*.html")}
    assert pages > {
        "index.html",
        "fal_runtime.html",
        "fal_runtime/webhooks.html",
        "fal_sandbox/pytest_plugin.html",
        "fal_codegen/diff.html",
        "fal_endpoints/fal_ai/flux_dev.html",
    }
    verbs = (folder / "fal_runtime" / "endpoint.html").read_text()
    assert '<a href="errors.html">fal_runtime.errors</a>' in verbs


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "wrong_docs.py").write_text(WRONG)
    done = build(tmp_path / "html", "wrong_docs", "fal_runtime.result", "fal_runtime.errors")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert "wrong_docs.html: `fal_runtime.errors.NoSuchError` leads nowhere" in lines
    assert "wrong_docs.html: `Result.warning` leads nowhere" in lines
    assert any("type annotation No | Such for wrong_docs.made" in line for line in lines)
    assert not [line for line in lines if "`Result.warnings`" in line or "errors.FalError`" in line]
