"""The workflow, the actions and the pre-commit hook: their files are sound, and their scripts do what they say.

The scripts run here as GitHub runs them, in bash, against the sandbox; only `gh` is a stand-in that writes down what it
is asked for.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fal_sandbox import Sandbox

yaml: Any = importlib.import_module("yaml")

ROOT = Path(__file__).parents[2]
FLUX = "fal-ai/flux/dev"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the scripts are for bash")


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


ACTIONS = (".github/actions/refresh/action.yml", ".github/actions/check/action.yml")


@pytest.mark.parametrize("path", ACTIONS)
def test_an_action_is_sound(path: str) -> None:
    action = load(path)
    assert action["runs"]["using"] == "composite"
    ids = {step["id"] for step in action["runs"]["steps"] if "id" in step}
    for step in action["runs"]["steps"]:
        if "uses" in step:
            assert step["uses"].startswith("actions/")
            continue
        assert step["shell"] == "bash"
        # What comes from outside is in the environment: inside a script, it would be part of it.
        assert "${{" not in step["run"]
        used = set(re.findall(r"\$\{?([A-Z_]+)", step["run"]))
        given = {"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "RUNNER_TEMP", "GIT_AUTHOR_EMAIL", *step.get("env", {})}
        assert used <= given
    text = (ROOT / path).read_text()
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == action["inputs"].keys()
    assert set(re.findall(r"steps\.([\w-]+)\.", text)) <= ids
    assert all(given["description"] for given in action["inputs"].values())


def test_the_workflow_uses_the_action_as_it_is() -> None:
    workflow = load(".github/workflows/schemas.yml")
    steps = workflow["jobs"]["refresh"]["steps"]
    assert [step["uses"] for step in steps] == ["actions/checkout@v4", "./.github/actions/refresh"]
    assert steps[1]["with"].keys() <= load(ACTIONS[0])["inputs"].keys()
    assert (ROOT / steps[1]["with"]["schemas"] / "endpoints.lock").is_file()
    assert workflow["permissions"] == {"contents": "write", "pull-requests": "write"}


def test_the_hook_installs_what_the_generator_needs_and_runs() -> None:
    (hook,) = load(".pre-commit-hooks.yaml")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert sorted(hook["additional_dependencies"]) == sorted(extras["generator"])
    assert all(re.search(hook["files"], name) for name in ("a/endpoints.lock", "pyproject.toml", "a/b.json", "a/b.py"))
    command, *arguments = shlex.split(hook["entry"])
    assert command == "fal-bindings"
    done = subprocess.run([sys.executable, "-m", "fal_codegen", *arguments, "--help"], capture_output=True, check=True)
    assert b"Exit codes" in done.stdout


# --- The scripts ------------------------------------------------------------------------------------------------------

GH = """#!/usr/bin/env bash
printf '%s\\n' "$*" >> "$GH_LOG"
while [ $# -gt 0 ]; do
  if [ "$1" = --body-file ]; then cp "$2" "$GH_LOG.body"; fi
  shift
done
case "$(tail -n 1 "$GH_LOG")" in
  "pr view"*) cat "$GH_LOG.open" 2>/dev/null ;;
  "pr create"*) echo https://github.example/pull/1 | tee "$GH_LOG.open" ;;
esac
"""


def filled(text: str, known: Mapping[str, str]) -> str:
    """A text with the values of GitHub's expressions in it."""
    return re.sub(r"\$\{\{ (.+?) \}\}", lambda found: known[found[1]], text)


class Runner:
    """Runs an action's steps in a project, as GitHub does."""

    def __init__(self, folder: Path, server: Sandbox) -> None:
        self.folder = folder
        self.project = folder / "project"
        self.log = folder / "gh.log"
        tools = folder / "bin"
        tools.mkdir()
        command = f'#!/usr/bin/env bash\nexec {shlex.quote(sys.executable)} -m fal_codegen "$@"\n'
        for name, text in (("gh", GH), ("fal-bindings", command)):
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        self.environment = {
            **os.environ,
            **server.environment(),
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "GH_LOG": str(self.log),
            "RUNNER_TEMP": str(folder),
            "GITHUB_OUTPUT": str(folder / "output"),
            "GITHUB_STEP_SUMMARY": str(folder / "summary"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        self.project.mkdir()

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=self.project, capture_output=True, text=True, check=True
        )
        return done.stdout

    def run(self, action: str, **given: str) -> tuple[int, dict[str, str], str]:
        """Run the steps that are scripts, but for the installation; give the exit code, the outputs and what was said."""
        inputs = {name: str(each.get("default", "")) for name, each in load(action)["inputs"].items()}
        inputs |= {name.replace("_", "-"): value for name, value in given.items()}
        outputs: dict[str, str] = {}
        said = ""
        for step in load(action)["runs"]["steps"]:
            if "uses" in step or "pip install" in step["run"]:
                continue
            (self.folder / "output").write_text("")
            environment = dict(self.environment)
            known = {f"inputs.{name}": value for name, value in inputs.items()}
            known |= {
                f"steps.{each}.outputs.{name}": outputs[name] for name in outputs for each in ("compare", "propose")
            }
            environment |= {name: filled(text, known) for name, text in step.get("env", {}).items()}
            # Source: GitHub docs, "Workflow syntax", `shell: bash`.
            script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            done = subprocess.run(
                script, cwd=self.project, env=environment, capture_output=True, text=True, check=False
            )
            said += done.stdout + done.stderr
            lines = (self.folder / "output").read_text().splitlines()
            outputs |= dict(line.split("=", 1) for line in lines)
            if done.returncode:
                return done.returncode, outputs, said
        return 0, outputs, said


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The platform's catalogue."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("dev", "schnell"):
        shutil.copy(ROOT / f"generated/schemas/fal-ai/flux/{name}.json", folder / f"{name}.json")
    return folder


@pytest.fixture
def runner(tmp_path: Path, files: Path) -> Iterator[Runner]:
    """A project with one endpoint, generated and committed; the platform has changed since then."""
    with Sandbox(files) as server:
        runner = Runner(tmp_path, server)
        (runner.project / "pyproject.toml").write_text('[tool.fal-bindings]\nendpoints = ["fal-ai/flux/*"]\n')
        (runner.project / "src").mkdir()
        (runner.project / "src/app.py").write_text(
            "from fal_models.fal_ai import flux_dev\nflux_dev.run(flux_dev.Input(prompt='a', num_images=4))\n"
        )
        for command in (("pull",), ("generate",)):
            done = subprocess.run(
                [sys.executable, "-m", "fal_codegen", *command], cwd=runner.project, env=runner.environment, check=False
            )
            assert done.returncode == 0
        remote = tmp_path / "remote.git"
        subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
        runner.git("init", "--quiet", "--initial-branch", "main")
        runner.git("add", "--all")
        runner.git("commit", "--quiet", "--message", "first")
        runner.git("remote", "add", "origin", str(remote))
        runner.git("push", "--quiet", "origin", "main")
        yield runner


def narrow(files: Path, maximum: int) -> None:
    document = json.loads((files / "dev.json").read_text())
    document["openapi"]["components"]["schemas"]["FluxDevInput"]["properties"]["num_images"]["maximum"] = maximum
    (files / "dev.json").write_text(json.dumps(document))


def changed(runner: Runner, files: Path, maximum: int) -> Sandbox:
    """The platform with another document, to which the runner's environment points."""
    narrow(files, maximum)
    server = Sandbox(files)
    server.start()
    runner.environment |= server.environment()
    return server


def test_nothing_changed(runner: Runner) -> None:
    code, outputs, said = runner.run(ACTIONS[0])
    assert (code, outputs["exit-code"], "pull-request" in outputs) == (0, "0", False), said
    assert "Nothing changed." in said
    assert not runner.log.exists()


def test_a_change_becomes_a_pull_request_with_the_report_as_its_body(runner: Runner, files: Path) -> None:
    with changed(runner, files, 2):
        code, outputs, said = runner.run(ACTIONS[0], used_by="src")
        assert (code, outputs["exit-code"]) == (0, "2"), said
        assert outputs["pull-request"] == "https://github.example/pull/1"
        create = runner.log.read_text().splitlines()[-1]
        assert create.startswith(
            "pr create --head fal-bindings/refresh --base main --title Refresh the fal schemas: BREAKING"
        )
        body = runner.log.with_name("gh.log.body").read_text()
        assert body.startswith("# Schema changes: 1 breaking\n")
        assert "- input `num_images`: `maximum 4 → maximum 2`\n- used in `src/app.py:1`" in body
        assert (runner.folder / "summary").read_text() == body
        pushed = runner.git("show", "--stat", "--format=%s", "origin/fal-bindings/refresh")
        assert pushed.startswith("Refresh the fal schemas: BREAKING\n")
        assert "fal_models/fal_ai/flux_dev.py" in pushed
        assert "fal-schemas/endpoints.lock" in pushed
        # The next night, the same pull request gets what is new.
        runner.git("switch", "--quiet", "main")
        code, outputs, said = runner.run(ACTIONS[0])
        assert (code, outputs["pull-request"]) == (0, "https://github.example/pull/1"), said
        assert runner.log.read_text().splitlines()[-1].startswith("pr edit https://github.example/pull/1 --title")


def test_an_unreachable_platform_is_an_error_and_no_pull_request(runner: Runner) -> None:
    runner.environment["FAL_API_URL"] = "http://127.0.0.1:9/v1"
    code, outputs, said = runner.run(ACTIONS[0])
    assert (code, outputs["pull-exit-code"], "pull-request" in outputs) == (1, "1", False)
    assert "::error::Not everything could be pulled" in said


def test_check_compares_with_the_platform_as_it_is_now(runner: Runner, files: Path) -> None:
    assert runner.run(ACTIONS[1])[0] == 0
    with changed(runner, files, 2) as server:
        against = f"{server.url}/api/v1"
        code, outputs, _ = runner.run(ACTIONS[1], against=against)
        assert (code, outputs["exit-code"]) == (2, "2")
        assert runner.run(ACTIONS[1], against=against, allow="2")[0] == 0
        (runner.project / "src/app.py").write_text("from fal_models.fal_ai import flux_schnell\n")
        assert runner.run(ACTIONS[1], against=against, used_by="src")[1]["exit-code"] == "0"
    (runner.project / "fal_models/fal_ai/flux_dev.py").unlink()
    assert runner.run(ACTIONS[1])[0] == 1
