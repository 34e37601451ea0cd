"""The pages: every block of code runs, every link leads somewhere, and what tables say is held by tests."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from fal_sandbox import Sandbox
from pages import PAGES, ROOT, Block, anchors, blocks, links

NOT_RUN = ("pip install", "python -m venv", "git clone", "cd ", "export ", "scripts/", "pytest", "uv ", "npm ")
"""How commands start that set a machine up, or that run what other tests run."""
SHELLS = ("console", "sh", "bash", "shell")
_NAMED = re.compile(r"# (\S+\.(?:toml|yml|yaml))\n")
"""The first line of a file of settings: its name."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages speak of: a picture, a sound, a large file, and a project."""
    from PIL import Image

    Image.new("RGB", (64, 48), "teal").save(tmp_path / "cat.png")
    Image.new("L", (64, 48), 255).save(tmp_path / "mask.png")
    (tmp_path / "talk.wav").write_bytes(
        b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0"
    )
    (tmp_path / "film.mp4").write_bytes(b"\0" * 2**20)
    shutil.copytree(ROOT / "generated" / "schemas" / "fal-ai" / "flux", tmp_path / "catalogue" / "flux")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_blocks_run(page: Path, sandbox: Sandbox, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page are one program, from top to bottom: Python, files of settings and `fal-bindings` commands."""
    source = place / "src"
    source.mkdir()
    monkeypatch.setattr(sys, "path", [str(source), *sys.path])
    before = set(sys.modules)
    namespace: dict[str, object] = {"__name__": "page"}
    environment = {
        **os.environ,
        **sandbox.environment(),
        "FAL_BINDINGS_CACHE": str(place / "cache"),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    try:
        for block in blocks(page):
            if block.language in ("python", "py"):
                # As many lines before it as in the page, so that an error names the line there.
                text = "\n" * (block.line - 1) + block.text
                importlib.invalidate_caches()
                exec(compile(text, str(page), "exec", dont_inherit=True), namespace)  # noqa: S102
            elif block.language in ("toml", "yaml") and (named := _NAMED.match(block.text)):
                (place / named[1]).parent.mkdir(parents=True, exist_ok=True)
                (place / named[1]).write_text(block.text)
            elif block.language in SHELLS:
                _run(block, f"{_name(page)}:{block.line}", environment)
    finally:
        for name in set(sys.modules) - before:  # what the page generated is not there for another one
            if str(getattr(sys.modules[name], "__file__", None)).startswith(str(place)):
                del sys.modules[name]


def _run(block: Block, where: str, environment: dict[str, str]) -> None:
    """Run each `fal-bindings` command of a console."""
    lines = block.text.replace("\\\n", " ").splitlines()
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ") or block.language != "console"]
    for command in commands:
        text = command.partition("  #")[0].strip()
        if not text or text.startswith(NOT_RUN) or text == "fal-bindings sandbox":
            continue
        words = shlex.split(text)
        assert words[0] == "fal-bindings", f"{where}: nothing here runs {text!r}"
        if words[1] == "sandbox":
            words.append("--help")
        program = [sys.executable, "-m", "fal_codegen", *words[1:]]
        done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=120)
        allowed = (0, 1) if words[1] == "diff" else (0,)  # 1: there are additive changes
        assert done.returncode in allowed, f"{where}: {text}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        assert "Usage:" not in done.stderr, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_other_blocks_can_be_read(page: Path) -> None:
    known = {
        "python",
        "py",
        "console",
        "sh",
        "bash",
        "shell",
        "text",
        "toml",
        "json",
        "yaml",
        "mermaid",
        "js",
        "ts",
        "diff",
    }
    for block in blocks(page):
        assert block.language in known, f"{_name(page)}:{block.line} says no language, or one that nothing checks"
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.language == "json":
            msgspec.json.decode(block.text)
        if block.language == "yaml":
            msgspec.yaml.decode(block.text)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{_name(page)} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{_name(page)} links to {link}"


_TEST = re.compile(r"\[`?([\w.:\[\]-]+)`?\]\((?:\.\./)*(tests/[\w/]+\.py)\)")


def test_each_feature_names_a_test_that_there_is() -> None:
    page = ROOT / "runtime" / "FEATURES.md"
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ") and "tests/" in line]
    assert len(rows) >= 60
    for row in rows:
        named = _TEST.findall(row)
        assert named, f"no test is linked: {row}"
        for function, path in named:
            tree = ast.parse((ROOT / path).read_text())
            functions = {
                node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            assert function in functions, f"{path} has no {function}"
