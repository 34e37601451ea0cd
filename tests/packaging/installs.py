"""What the packaging tests share: a clean copy of the project, environments to install it into, commands that work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SITE = sysconfig.get_path("purelib")
"""Where this environment's packages are. On a `PYTHONPATH` its `.pth` files, and so the checkout, do not count."""

OF_EXTRAS = (
    "PIL",
    "black",
    "click",
    "cryptography",
    "datamodel_code_generator",
    "jinja2",
    "jsonschema",
    "pydantic",
    "rich",
    "starlette",
    "uvicorn",
    "websockets",
)
"""Modules that only an extra brings."""

EXTRAS = ("fast", "generator", "images", "migrate", "pydantic", "realtime", "sandbox", "webhooks")
"""The extras that users may name."""

_BIN, _EXE = ("Scripts", ".exe") if os.name == "nt" else ("bin", "")


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command where nothing of this project's environment reaches it but `env`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FAL_", "PYTHON", "VIRTUAL_"))}
    return subprocess.run(command, cwd=cwd, env={**clean, **(env or {})}, capture_output=True, text=True)


def output(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """What a command prints; it must succeed."""
    done = run(*command, cwd=cwd, env=env)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def copy_checkout(target: Path) -> Path:
    """Copy the project as a commit would hold it: what git tracks or would track, and no stray file."""
    for path in _project_files():
        copy = target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, copy)
    return target


def _project_files() -> list[Path]:
    git = shutil.which("git")
    if git is not None and (ROOT / ".git").exists():
        listed = subprocess.run(
            [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
        )
        if listed.returncode == 0:
            paths = [Path(os.fsdecode(name)) for name in listed.stdout.split(b"\0") if name]
            return [path for path in paths if (ROOT / path).is_file()]
    # An unpacked sdist: everything but what running the tests leaves there.
    found: list[Path] = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        found += [(Path(folder) / name).relative_to(ROOT) for name in names]
    return found


def files_below(root: Path) -> set[str]:
    """The files of a folder, by relative path."""
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


@dataclass(frozen=True)
class Venv:
    """A virtual environment."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> Venv:
        """An environment with nothing in it, not even pip."""
        output(sys.executable, "-m", "venv", "--without-pip", path, cwd=path.parent)
        return cls(path)

    @property
    def python(self) -> Path:
        return self.path / _BIN / f"python{_EXE}"

    def script(self, name: str) -> Path:
        return self.path / _BIN / f"{name}{_EXE}"

    @property
    def site(self) -> Path:
        """Where its packages are."""
        return Path(self.evaluate("__import__('sysconfig').get_path('purelib')"))

    def pip_install(self, *what: str | Path, env: Mapping[str, str] | None = None) -> None:
        """Install with this environment's pip, at the versions that everything else here is tested with."""
        pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", self.python, "install"]
        pip += ["--quiet", "--no-input", "--disable-pip-version-check", "--constraint", ROOT / "requirements-dev.txt"]
        output(*pip, *what, cwd=self.path, env=env)

    def add(self, *what: str) -> None:
        """Install as `pip_install` does, in a fraction of its time once it was installed before on this machine."""
        uv: list[str | Path] = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", self.python]
        output(*uv, "--constraint", ROOT / "requirements-dev.txt", *what, cwd=self.path)

    def evaluate(self, expression: str, *, imports: str = "", env: Mapping[str, str] | None = None) -> str:
        """The `str` of an expression in this environment, in a fresh interpreter far from the checkout."""
        code = f"import {imports or 'sys'}\nprint(({expression}))"
        return output(self.python, "-c", code, cwd=self.path, env=env).removesuffix("\n")


@dataclass(frozen=True)
class Built:
    """The distributions, and the clean copy that they were built from: the sdist from it, the wheel from the sdist."""

    checkout: Path
    wheel: Path
    sdist: Path

    @property
    def project(self) -> dict[str, Any]:
        table: dict[str, Any] = tomllib.loads((self.checkout / "pyproject.toml").read_text())["project"]
        return table


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel and its plain dependencies, and nothing else."""

    venv: Venv
    site: Path

    @property
    def with_extras(self) -> dict[str, str]:
        """Adds the packages of this environment behind the wheel's own."""
        return {"PYTHONPATH": os.pathsep.join([str(self.site), SITE])}
