"""What type checkers say to users: nothing about right code, and something about each wrong line and no other.

A line of `wrong/*.py` that must be red ends with `# error: ` and the rule of pyright's that it breaks.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
MARK = "  # error: "

Lines = dict[tuple[str, int], list[str]]
"""What there is on a line of a file."""


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """A user's folder, where no setting of this project holds."""
    shutil.copy(HERE / "right.py", tmp_path)
    shutil.copytree(HERE / "wrong", tmp_path / "wrong", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def marked() -> Lines:
    return {
        (f"wrong/{file.name}", number): [line.partition(MARK)[2]]
        for file in sorted((HERE / "wrong").glob("*.py"))
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if MARK in line
    }


def run(folder: Path, *command: str) -> str:
    done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True)
    # 1 says that there were errors in the code, more that the checker itself failed.
    assert done.returncode in (0, 1), f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_pyright_strict_refuses_each_marked_line_by_its_rule_and_no_other(user: Path) -> None:
    (user / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    report = json.loads(run(user, "pyright", "--pythonpath", sys.executable, "--outputjson"))
    found: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for each in report["generalDiagnostics"]:
        found[place(user, each["file"], each["range"]["start"]["line"] + 1)].append(each.get("rule", each["message"]))
    for rules in found.values():
        # What has no right type is also of unknown type: strict says both.
        rules[:] = [rule for rule in rules if not rule.startswith("reportUnknown")] or rules
    assert found == marked()
    assert report["summary"]["filesAnalyzed"] == 1 + len(list((HERE / "wrong").glob("*.py")))


def test_mypy_strict_refuses_each_marked_line_and_no_other(user: Path) -> None:
    options = ("--strict", "--config-file=", f"--cache-dir={user / 'cache'}", "--output=json")
    found: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for line in run(user, "mypy", *options, f"--python-executable={sys.executable}", "right.py", "wrong").splitlines():
        each: dict[str, Any] = json.loads(line)
        if each["severity"] == "error":
            found[place(user, each["file"], each["line"])].append(each["message"])
    marks = marked()
    assert {where: found[where] for where in found.keys() - marks.keys()} == {}
    assert {where: marks[where] for where in marks.keys() - found.keys()} == {}


def place(folder: Path, file: str, line: int) -> tuple[str, int]:
    return (folder / file).resolve().relative_to(folder.resolve()).as_posix(), line
