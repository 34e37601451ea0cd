"""A user's own project, from its table to checked, running code; and what its commands do to it."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click.testing
import pytest

from fal_codegen.cli import cli
from fal_codegen.lock import LOCK_NAME, read_lock
from fal_codegen.write import existing
from fal_sandbox import Sandbox
from pages import ROOT, blocks, links
from private_app import DOCUMENT

HERE = Path(__file__).resolve().parent
COMMITTED = HERE.parents[1] / "generated" / "schemas"
Run = Callable[..., click.testing.Result]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the example project, with a small catalogue beside it."""
    folder = tmp_path / "own"
    shutil.copytree(HERE / "own_endpoints", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for id_ in ("flux/dev", "flux/schnell", "flux/krea", "kokoro/hindi", "hyper-sdxl", "fast-sdxl"):
        target = folder / "catalogue" / f"{id_}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(COMMITTED / "fal-ai" / f"{id_}.json", target)
    (folder / "upscaler.openapi.json").write_text(json.dumps(DOCUMENT))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FAL_BINDINGS_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def run() -> Run:
    return lambda *arguments: click.testing.CliRunner().invoke(cli, arguments, catch_exceptions=False)


def done(result: click.testing.Result) -> str:
    assert result.exit_code == 0, result.output
    return result.output


def modules(project: Path) -> set[str]:
    found = {path for path in existing(project / "src/acme/fal") if path.endswith(".py")}
    return {path.removesuffix(".py") for path in found if not path.endswith("__init__.py")}


CHOSEN = {
    "acme/upscaler",
    "acme/upscaler_fast_x2",
    "acme/upscaler_realtime",
    "acme/upscaler_stream",
    "fal_ai/flux_dev",
    "fal_ai/flux_schnell",
    "fal_ai/kokoro_hindi",
}


def python(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    paths = [str(project / "src"), *(path for path in sys.path if path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment}
    return subprocess.run([sys.executable, *arguments], cwd=project, capture_output=True, text=True, env=env)


def test_a_project_of_ones_own_from_its_table_to_a_call(project: Path, run: Run) -> None:
    done(run("pull"))
    assert "7 modules (7 anew)" in done(run("generate", "--offline"))
    assert modules(project) == CHOSEN
    assert {row.split("/")[-1] for row in read_lock(project / "fal-schemas")} >= {"dev", "schnell", "hindi", "upscaler"}
    assert "7 modules are what would be generated" in done(run("check"))

    with Sandbox(project / "catalogue") as server:
        result = python(project, "-m", "acme.poster", **server.environment())
    assert result.stdout.startswith("http"), result.stderr


def test_it_passes_its_own_strict_checkers(project: Path, run: Run) -> None:
    done(run("pull"))
    done(run("generate"))
    # One that is gone must leave code that can be checked, too.
    (project / "catalogue/kokoro/hindi.json").unlink()
    done(run("pull", "--confirm-missing"))
    assert "and 1 tombstones" in done(run("generate"))
    roots = ["src", str(HERE.parents[1] / "runtime")]  # named as soon as another one is
    settings = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(
        settings.replace('include = ["src", "tests"]', f'include = ["src", "tests"]\nextraPaths = {roots}')
    )
    pyright = python(project, "-m", "pyright", "--pythonpath", sys.executable)
    assert "0 errors" in pyright.stdout, pyright.stdout
    mypy = python(project, "-m", "mypy", f"--cache-dir={project.parent / 'mypy'}", MYPYPATH=os.pathsep.join(roots))
    assert mypy.stdout.startswith("Success"), mypy.stdout
    (project / "src/acme/late.py").write_text(
        "from acme.fal.fal_ai import kokoro_hindi\n\n"
        'print(kokoro_hindi.subscribe(kokoro_hindi.Input(prompt="namaste")))\n'
    )
    (project / "src/acme/early.py").write_text(
        "from acme.fal.acme import upscaler_fast_x2\n\nvalue = upscaler_fast_x2.Input(prompt='x')\n"
    )
    early = python(project, "-m", "pyright", "--pythonpath", sys.executable, "src/acme/early.py")
    assert "acme/upscaler/fast/x2 is deprecated on the platform" in early.stdout
    assert "Error" not in python(project, "src/acme/early.py").stderr
    late = python(project, "-m", "pyright", "--pythonpath", sys.executable, "src/acme/late.py")
    assert "no longer on the platform" in late.stdout
    assert "reportDeprecated" in late.stdout


def test_the_package_needs_nothing_but_the_runtime(project: Path, run: Run) -> None:
    done(run("pull"))
    done(run("generate"))
    code = (
        "import sys; import acme.fal.fal_ai.flux_dev, acme.fal.acme.upscaler\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'fal_codegen', 'fal_endpoints', 'pydantic', "
        "'datamodel_code_generator', 'black', 'jinja2', 'click'}))"
    )
    assert python(project, "-c", code).stdout.strip() == "[]"


def test_adding_and_removing_endpoints(project: Path, run: Run) -> None:
    done(run("pull"))
    done(run("generate"))
    assert "8 modules (1 anew)" in done(run("add", "fal-ai/fast-*"))
    assert modules(project) == {*CHOSEN, "fal_ai/fast_sdxl"}
    text = (project / "pyproject.toml").read_text()
    assert '    "fal-ai/flux/*",     # pictures\n    "fal-ai/kokoro/hindi",\n    "fal-ai/fast-*",\n]' in text

    assert "Removed 2 endpoints: fal-ai/flux/dev, fal-ai/kokoro/hindi." in done(
        run("remove", "fal-ai/flux/dev", "fal-ai/kokoro/hindi")
    )
    assert modules(project) == {*CHOSEN, "fal_ai/fast_sdxl"} - {"fal_ai/flux_dev", "fal_ai/kokoro_hindi"}
    assert not {path for path in existing(project / "fal-schemas") if "hindi" in path or "dev" in path}
    assert '    "fal-ai/flux/dev",\n]' in (project / "pyproject.toml").read_text()
    done(run("check"))
    done(run("pull"))
    assert "fal-ai/flux/dev" not in read_lock(project / "fal-schemas")
    assert "8 modules" not in done(run("add", "fal-ai/flux/dev"))
    assert "fal_ai/flux_dev" in modules(project)


def test_what_cannot_be_added_or_removed_changes_nothing(project: Path, run: Run) -> None:
    done(run("pull"))
    done(run("generate"))
    before = {path: (project / path).read_bytes() for path in existing(project)}
    for arguments, message in (
        (["add", "fal-ai/fluxx/dev"], "no endpoint matches 'fal-ai/fluxx/dev'; did you mean fal-ai/flux/dev"),
        (["remove", "fal-ai/none"], "chooses 'fal-ai/none'"),
        (["generate", "--package", "a-b"], "'a-b' cannot be a package's name"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert message in result.output
        assert {path: (project / path).read_bytes() for path in existing(project)} == before


def test_a_first_endpoint_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAL_BINDINGS_CACHE", str(tmp_path / "cache"))
    assert "has a table [tool.fal-bindings]" in run("remove", "fal-ai/flux/dev").output
    with Sandbox(COMMITTED / "fal-ai/flux") as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        done(run("add", "fal-ai/flux/dev", "--package", "acme.fal", "--out", "src"))
    assert (tmp_path / "src/acme/fal/fal_ai/flux_dev.py").is_file()
    assert list(read_lock(tmp_path / "fal-schemas")) == ["fal-ai/flux/dev"]
    last = run("remove", "fal-ai/flux/dev")
    assert last.exit_code == 1
    assert "to end it, delete the package" in last.output or "chooses no endpoint" in last.output


def test_offline_takes_only_what_the_lock_names(project: Path, run: Run) -> None:
    done(run("pull"))
    done(run("generate", "--offline"))
    first = {path: (project / "src/acme/fal" / path).read_bytes() for path in existing(project / "src/acme/fal")}
    shutil.rmtree(project / "src/acme/fal")
    done(run("generate", "--offline", "--cold", "--jobs", "1"))
    again = {path: (project / "src/acme/fal" / path).read_bytes() for path in existing(project / "src/acme/fal")}
    assert again == first

    document = project / "fal-schemas/fal-ai/flux/dev.json"
    text = document.read_text()
    document.write_text(text.replace('"maximum": 4', '"maximum": 8'))
    result = run("generate", "--offline")
    assert result.exit_code == 1
    assert "not the document that endpoints.lock names" in result.output
    document.write_text(text)
    lock = project / "fal-schemas" / LOCK_NAME
    text = lock.read_text()
    lock.write_text(text.replace('"black":"', '"black":"1'))
    result = run("generate", "--offline")
    assert result.exit_code == 1
    assert "it was written with black 1" in result.output
    assert {
        path: (project / "src/acme/fal" / path).read_bytes() for path in existing(project / "src/acme/fal")
    } == first


def test_a_tombstone_says_what_became_of_its_endpoint(project: Path, run: Run) -> None:
    done(run("pull"))
    done(run("generate"))
    (project / "catalogue/flux/schnell.json").unlink()
    assert "1 endpoints are missing from the listing" in done(run("pull"))
    assert "7 modules (0 anew) in" in done(run("generate"))
    assert "1 endpoints are gone from the platform" in done(run("pull"))
    assert "6 modules (0 anew) and 1 tombstones" in done(run("generate"))
    assert modules(project) == CHOSEN
    done(run("check"))
    assert "fal-ai/flux/schnell" not in (project / "src/acme/fal/index.json").read_text()
    code = """
from fal_runtime.errors import EndpointRemovedError
from acme.fal.fal_ai import flux_schnell
for use in (
    lambda: flux_schnell.Input(prompt="x"),
    lambda: flux_schnell.Image,
    lambda: flux_schnell.subscribe({}),
    lambda: flux_schnell.with_result.run({}),
    lambda: flux_schnell.endpoint.run_async({}),
    lambda: flux_schnell.handle("x"),
):
    try:
        use()
    except EndpointRemovedError as error:
        assert error.endpoint_id == "fal-ai/flux/schnell"
        print(error)
assert not hasattr(flux_schnell, "__path__")
assert "no longer" in flux_schnell.Input.__deprecated__
"""
    result = python(project, "-c", code)
    lines = result.stdout.splitlines()
    assert len(lines) == 6, result.stderr
    date = read_lock(project / "fal-schemas")["fal-ai/flux/schnell"].missing
    assert lines[0].startswith(f"fal-ai/flux/schnell: no longer on the platform: it was not listed on {date}")
    assert "fal-ai/flux/" in lines[0].partition("called like it")[2]


# --- Its page and its CI ----------------------------------------------------------------------------------------------


class Shell:
    """A shell in the project, in which the commands are there that its environment would have."""

    def __init__(self, project: Path, server: Sandbox) -> None:
        self.project = project
        tools = project.parent / "bin"
        tools.mkdir()
        plugin = () if entry_points(group="pytest11", name="fal_sandbox") else ("-p", "fal_sandbox.pytest_plugin")
        for name, command in {
            "fal-bindings": ["fal_codegen"],
            "pyright": ["pyright", "--pythonpath", sys.executable],
            "pytest": ["pytest", "-p", "no:cacheprovider", *plugin],
        }.items():
            line = shlex.join([sys.executable, "-m", *command])
            (tools / name).write_text(f'#!/usr/bin/env bash\nexec {line} "$@"\n')
            (tools / name).chmod(0o755)
        settings = project / "pyproject.toml"
        roots = ["src", str(ROOT / "runtime")]  # the first is named as soon as another one is
        settings.write_text(settings.read_text().replace("[tool.pyright]\n", f"[tool.pyright]\nextraPaths = {roots}\n"))
        self.summary = project.parent / "summary"
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FAL_QUEUE", "FAL_RUN", "PYTEST_"))
        }
        self.environment = {
            **kept,
            "FAL_API_URL": server.environment()["FAL_API_URL"],
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "GITHUB_STEP_SUMMARY": str(self.summary),
        }

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script as GitHub runs a step."""
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        return subprocess.run(
            command, cwd=self.project, env=self.environment, capture_output=True, text=True, check=False
        )


def workflow() -> dict[str, Any]:
    yaml: Any = importlib.import_module("yaml")
    read: dict[str, Any] = yaml.safe_load((HERE / "own_endpoints/.github/workflows/fal.yml").read_text())
    return read


def test_its_actions_are_used_as_they_are() -> None:
    yaml: Any = importlib.import_module("yaml")
    steps = [
        step for job in workflow()["jobs"].values() for step in job["steps"] if "fal-bindings/" in step.get("uses", "")
    ]
    assert len(steps) == 1
    for step in steps:
        path = step["uses"].partition("fal-bindings/")[2].partition("@")[0]
        assert step["with"].keys() <= yaml.safe_load((ROOT / path / "action.yml").read_text())["inputs"].keys()
    for link in links(HERE / "own_endpoints/README.md"):
        assert (HERE / "own_endpoints" / link).exists(), link


@pytest.mark.skipif(sys.platform == "win32", reason="the steps are for bash")
def test_its_page_and_its_ci_do_what_they_say(project: Path) -> None:
    with Sandbox(project / "catalogue") as server:
        shell = Shell(project, server)
        commands = [
            line.removeprefix("$ ")
            for block in blocks(project / "README.md")
            for line in block.text.splitlines()
            if not line.startswith(("$ pip", "$ python -m venv"))
        ]
        assert commands == ["fal-bindings pull", "fal-bindings generate", "fal-bindings check", "pytest"]
        for command in commands:
            done = shell.run(command)
            assert done.returncode == 0, done.stdout + done.stderr

        steps = [step for step in workflow()["jobs"]["check"]["steps"] if "run" in step and step["name"] != "Install"]
        assert len(steps) == 4
        for step in steps:
            done = shell.run(step["run"])
            assert done.returncode == 0, step["name"] + done.stdout + done.stderr
        last = steps[-1]["run"]
        # A listing of the platform says nothing of a private app, in either direction.
        assert shell.run('fal-bindings diff "$FAL_API_URL"').returncode == 0
        assert shell.run('fal-bindings diff fal-schemas "$FAL_API_URL"').returncode == 0

    # The platform allows one picture a request from now on, and the application asks for two.
    document = project / "catalogue/flux/dev.json"
    document.write_text(document.read_text().replace('"maximum": 4', '"maximum": 1'))
    with Sandbox(project / "catalogue") as server:
        shell.environment["FAL_API_URL"] = server.environment()["FAL_API_URL"]
        done = shell.run(last)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "num_images" in shell.summary.read_text()

    # Who edits what is generated is told at once.
    module = project / "src/acme/fal/fal_ai/flux_dev.py"
    module.write_text(module.read_text().replace("le=4", "le=8"))
    assert shell.run(steps[0]["run"]).returncode == 1
