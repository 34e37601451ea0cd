"""The lock: one line an endpoint, so that two branches merge line by line, and what a bad merge is told."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fal_codegen.catalog import CatalogError
from fal_codegen.lock import LOCK_NAME, Locked, current_tools, read_lock, read_tools, write_lock


def row(name: str, **more: str) -> Locked:
    return Locked(**{"id": f"acme/{name}", "state": "active", "module": f"acme.{name}", "sha256": "0" * 64, "source": "x", **more})  # type: ignore[arg-type]


def write(folder: Path, *rows: Locked) -> None:
    folder.mkdir(exist_ok=True)
    (folder / LOCK_NAME).write_bytes(write_lock({each.id: each for each in rows}))


def test_a_row_says_what_is_known(tmp_path: Path) -> None:
    gone = row("gone", state="tombstone", missing="2026-01-31")
    write(tmp_path, row("b"), gone, row("a"))
    head, *lines = (tmp_path / LOCK_NAME).read_text().splitlines()
    assert json.loads(head).keys() == {"lock", "fal-bindings", "datamodel-code-generator", "black"}
    assert [json.loads(line)["id"] for line in lines] == ["acme/a", "acme/b", "acme/gone"]
    assert json.loads(lines[0]).keys() == {"id", "state", "module", "sha256", "source"}
    assert read_lock(tmp_path)["acme/gone"] == gone
    assert read_tools(tmp_path) == current_tools()


def test_two_branches_merge_and_a_conflict_is_one_line(tmp_path: Path) -> None:
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    base = [row(f"m{number:02}") for number in range(30)]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [git, "-c", "user.name=x", "-c", "user.email=x@example.com", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    def branch(name: str, *rows: Locked) -> None:
        run("checkout", "-q", "-b", name, "base")
        write(tmp_path, *rows)
        run("commit", "-q", "-a", "-m", name)

    run("init", "-q", "-b", "base")
    write(tmp_path, *base)
    run("add", "-A")
    run("commit", "-q", "-m", "base")
    branch("ours", *base[:3], row("m03", sha256="1" * 64), *base[4:])
    branch("theirs", *base[:20], *base[21:], row("new"))
    branch("other", *base[:3], row("m03", sha256="2" * 64), *base[4:])
    run("checkout", "-q", "ours")
    assert run("merge", "-q", "--no-edit", "theirs").returncode == 0
    merged = read_lock(tmp_path)
    assert merged["acme/m03"].sha256 == "1" * 64
    assert "acme/new" in merged
    assert "acme/m20" not in merged
    assert run("merge", "-q", "--no-edit", "other").returncode == 1
    with pytest.raises(CatalogError, match=r"line 5: .*; if this is a merge, keep either side's line"):
        read_lock(tmp_path)
    lines = (tmp_path / LOCK_NAME).read_text().splitlines()
    start, end = (next(n for n, line in enumerate(lines) if line.startswith(mark)) for mark in ("<<<<<<<", ">>>>>>>"))
    assert end - start == 4  # the marks, and one line of either side
    kept = [*lines[:start], lines[start + 1], *lines[end + 1 :]]
    (tmp_path / LOCK_NAME).write_text("\n".join(kept))
    assert read_lock(tmp_path) == merged


DAMAGES: list[tuple[Callable[[list[str]], list[str]], str]] = [
    (lambda lines: [*lines, lines[1]], "line 4: acme/a has two lines; keep either, then pull again"),
    (lambda lines: [], "it is empty; pull again"),
    (lambda lines: lines[1:], "line 1"),
    (lambda lines: [lines[0], lines[1].replace("acme.a", "../a")], "line 2"),
    (lambda lines: [lines[0], lines[1].replace("active", "alive")], "line 2"),
    (
        lambda lines: [*lines, lines[1].replace("acme/a", "acme/A")],
        "line 4: acme/A and acme/a have one module, acme.a; take the line of the newer one out, then pull again",
    ),
    # What could stand in a module as something else than text
    (lambda lines: [lines[0], lines[1].replace("acme/a", "acme/a\\nimport os")], "line 2: 'acme/a\\nimport os' is not"),
    (lambda lines: [lines[0], lines[1].replace("acme/a", "../../a")], "line 2: '../../a' is not an endpoint id"),
    (lambda lines: [lines[0], lines[1].replace("acme.a", "acme.a\\n")], "line 2"),
    (lambda lines: [lines[0], lines[1].replace("0" * 64, "0" * 64 + "\\n")], "line 2"),
    (lambda lines: [lines[0], lines[1].replace("0" * 64, "0\\nimport os")], "line 2"),
    (lambda lines: [lines[0], lines[1].replace("}", ',"missing":"2026-01-31\\nimport os"}')], "line 2"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_bad_line_is_named(tmp_path: Path, damage: Callable[[list[str]], list[str]], message: str) -> None:
    write(tmp_path, row("a"), row("b"))
    lines = (tmp_path / LOCK_NAME).read_text().splitlines()
    (tmp_path / LOCK_NAME).write_text("\n".join(damage(lines)))
    with pytest.raises(CatalogError) as caught:
        read_lock(tmp_path)
    assert message in str(caught.value)
