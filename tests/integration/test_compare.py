"""`diff`, `check --against` and `changelog` as a CI job runs them: what they print, and their exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click.testing
import pytest

from fal_codegen.cli import cli
from fal_codegen.report import Verdict, print_table
from fal_sandbox import Sandbox

FLUX, SCHNELL = "fal-ai/flux/dev", "fal-ai/flux/schnell"
INPUT = ("openapi", "components", "schemas", "FluxDevInput", "properties")
Run = Callable[..., click.testing.Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, run in a folder that has two real documents in `old`, and in `new` to be changed."""
    monkeypatch.chdir(tmp_path)
    committed = Path(__file__).parents[2] / "generated/schemas"
    for id_ in (FLUX, SCHNELL):
        (tmp_path / "files" / id_).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(committed / f"{id_}.json", tmp_path / "files" / f"{id_}.json")

    def invoke(*arguments: str) -> click.testing.Result:
        result = click.testing.CliRunner().invoke(cli, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    for folder in ("old", "new"):
        assert invoke("pull", "--from", "files", "--schemas", folder).exit_code == 0
    return invoke


def edit(folder: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the properties of the input of one document of a folder of schemas."""
    path = Path(folder) / f"{FLUX}.json"
    document = json.loads(path.read_text())
    node = document
    for step in INPUT:
        node = node[step]
    change(node)
    path.write_text(json.dumps(document))


def narrow(properties: dict[str, Any]) -> None:
    properties["num_images"]["maximum"] = 2


def nothing(properties: dict[str, Any]) -> None:
    assert properties


def widen(properties: dict[str, Any]) -> None:
    properties["num_images"]["maximum"] = 8


def another_default(properties: dict[str, Any]) -> None:
    properties["num_images"]["default"] = 2


@pytest.mark.parametrize(
    ("change", "code", "line"),
    [
        (nothing, 0, "nothing that code would notice; 2 endpoints compared."),
        (widen, 1, f"additive {FLUX} input.num_images: maximum 4 → maximum 8"),
        (narrow, 2, f"breaking {FLUX} input.num_images: maximum 4 → maximum 2"),
        (another_default, 1, f"default {FLUX} input.num_images: default 1 → 2"),
    ],
)
def test_exit_codes(run: Run, change: Callable[[dict[str, Any]], None], code: int, line: str) -> None:
    edit("new", change)
    result = run("diff", "old", "new")
    assert (result.exit_code, result.output.splitlines()[0]) == (code, line)
    markdown = run("diff", "old", "new", "--format", "markdown", "--output", "report.md")
    assert (markdown.exit_code, markdown.output) == (code, "")
    assert Path("report.md").read_text().startswith("# Schema changes: ")
    assert json.loads(run("diff", "old", "new", "--format", "json").output)["exit_code"] == code
    assert run("changelog", "old", "new").exit_code == 0


def test_a_changed_default_can_be_breaking(run: Run) -> None:
    edit("new", another_default)
    assert run("diff", "old", "new", "--defaults", "breaking").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["diff", "old", "nowhere"], "nowhere: no such file or folder"),
        (["diff", "http://127.0.0.1:9/v1", "new"], "could not be reached"),
        (["diff", "old", "new", "--used-by", "nowhere"], "--used-by takes the folder of your code"),
        (["diff", "old", "new", "--used-by", "files"], "no Python files in there"),
        (["diff"], "Missing argument 'OLD'"),
        (["diff", "old", "--colour"], "No such option"),
        (["diff", "old", "new", "--format", "html"], "is not one of"),
        (["changelog", "old", "nowhere"], "nowhere: no such file or folder"),
        (["check"], "no generated package here"),
        (["check", "--against", "nowhere"], "no generated package here"),
        (["check", "--used-by", "src"], "for the comparison that --against asks for"),
    ],
)
def test_what_keeps_from_comparing_is_no_verdict(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr("fal_runtime.retry.Retry.wait", lambda self, attempt, headers: 0.0)  # pyright: ignore
    result = run(*arguments)
    assert result.exit_code == 3
    assert message in result.output


def test_a_document_that_cannot_be_read_any_more(run: Run) -> None:
    Path("new", f"{FLUX}.json").write_text("{")
    result = run("diff", "old", "new")
    assert result.exit_code == 3
    assert f"unknown {FLUX} its document cannot be read any more" in result.output
    narrowed = run("diff", "new", "old")
    assert narrowed.exit_code == 1


def test_only_what_a_code_base_uses(run: Run) -> None:
    edit("new", narrow)
    source = Path("src/app.py")
    source.parent.mkdir()
    source.write_text("from fal_endpoints.fal_ai import flux_schnell\nflux_schnell.Input(prompt='a')\n")
    other = run("diff", "old", "new", "--used-by", "src")
    assert (other.exit_code, other.output) == (
        0,
        "nothing that code would notice; 2 endpoints compared, limited to the 1 that src uses (1 file).\n",
    )
    source.write_text("from fal_endpoints.fal_ai import flux_dev\nflux_dev.run(flux_dev.Input(prompt='a'))\n")
    assert run("diff", "old", "new", "--used-by", "src").exit_code == 0
    source.write_text("from fal_endpoints.fal_ai import flux_dev\nflux_dev.run(flux_dev.Input(num_images=4))\n")
    used = run("diff", "old", "new", "--used-by", "src", "--format", "markdown")
    assert used.exit_code == 2
    assert "- input `num_images`: `maximum 4 → maximum 2`\n- used in `src/app.py:1`, `src/app.py:2`\n" in used.output
    assert "limited to the 1 that `src` uses (1 file)" in used.output
    Path("src/bad.py").write_text("print 'x'")
    assert "not read: src/bad.py" in run("diff", "old", "new", "--used-by", "src").output


def test_a_package_of_one_s_own_is_known_by_its_name(run: Run) -> None:
    table = '[tool.fal-bindings]\npackage = "acme.fal"\nout = "src"\nschemas = "new"\nendpoints = ["fal-ai/flux/*"]\n'
    Path("pyproject.toml").write_text(table)
    edit("new", narrow)
    Path("src/acme").mkdir(parents=True)
    Path("src/acme/app.py").write_text("from .fal.fal_ai import flux_dev\nflux_dev.run(flux_dev.Input(num_images=4))\n")
    assert run("diff", "old", "--used-by", "src").exit_code == 2


def test_only_chosen_endpoints(run: Run) -> None:
    edit("new", narrow)
    assert run("diff", "old", "new", "--endpoints", SCHNELL).exit_code == 0
    assert run("diff", "old", "new", "--endpoints", "fal-ai/flux/d*").exit_code == 2


def test_check_tells_drift_and_then_what_the_platform_would_change(run: Run) -> None:
    edit("files", narrow)
    package = ("--schemas", "old", "--out", "src")
    assert run("generate", *package).exit_code == 0
    with Sandbox(Path("files")) as server:
        against = ("--against", f"{server.url}/api/v1")
        assert run("check", *package).exit_code == 0
        result = run("check", *package, *against)
        assert result.exit_code == 2
        assert "2 modules are what would be generated." in result.output
        assert f"breaking {FLUX} input.num_images: maximum 4 → maximum 2" in result.output
        Path("src/fal_endpoints/fal_ai/flux_dev.py").unlink()
        assert run("check", *package).exit_code == 1
        assert run("check", *package, *against).exit_code == 2
        assert run("check", *package, "--against", "old").exit_code == 1


def test_a_vanished_endpoint_is_named_by_whoever_asks_the_platform(run: Run) -> None:
    with Sandbox(Path("files")) as server:
        shutil.rmtree("new")
        assert run("pull", "--from", f"{server.url}/api/v1", "--schemas", "new").exit_code == 0
    Path("files", f"{SCHNELL}.json").unlink()
    with Sandbox(Path("files")) as server:
        result = run("diff", "new", f"{server.url}/api/v1")
        assert result.exit_code == 2
        assert f"breaking {SCHNELL} the endpoint is not there any more" in result.output
        # Named by its id, as a project may.
        assert run("diff", "new", f"{server.url}/api/v1", "--endpoints", SCHNELL).exit_code == 2


def test_git_knows_the_state_before(run: Run) -> None:
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *command], check=True)
    edit("new", narrow)
    assert run("diff", "HEAD:new", "new").exit_code == 2
    assert run("diff", "HEAD:old", "new").exit_code == 2
    assert run("diff", "HEAD:new", "old").exit_code == 0


def test_a_terminal_gets_a_table(run: Run) -> None:
    from rich.console import Console

    from fal_codegen.diff import compare_snapshots
    from fal_codegen.snapshot import read_snapshot

    edit("new", narrow)
    console = Console(force_terminal=True, width=100, record=True, color_system=None)
    with console.capture() as captured:
        print_table(Verdict(compare_snapshots(read_snapshot("old"), read_snapshot("new"))), console)
    lines = [line.split() for line in captured.get().splitlines()]
    assert ["breaking", FLUX, "input.num_images", "maximum", "4", "→", "maximum", "2"] in lines


def test_the_changelog_of_a_catalogue(run: Run) -> None:
    edit("new", narrow)
    result = run("changelog", "old", "new", "--output", "CHANGES.md")
    assert (result.exit_code, result.output) == (0, "")
    assert (
        Path("CHANGES.md")
        .read_text()
        .endswith(f"### `{FLUX}`\n\n- **breaking** input `num_images`: `maximum 4 → maximum 2`\n")
    )
