"""The generator as it is used: pull over HTTP, generate, check; and everything that can go wrong on the way."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click.testing
import pytest

from fal_codegen.cli import cli
from fal_codegen.lock import read_lock
from fal_codegen.write import existing
from fal_sandbox import Sandbox

FLUX = "fal-ai/flux/dev"
Run = Callable[..., click.testing.Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAL_BINDINGS_CACHE", str(tmp_path.parent / f"{tmp_path.name}-cache"))

    def invoke(*arguments: str) -> click.testing.Result:
        result = click.testing.CliRunner().invoke(cli, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture(scope="session")
def committed() -> Path:
    return Path(__file__).parents[2] / "generated"


@pytest.fixture
def few(tmp_path: Path, committed: Path) -> Path:
    """Some real documents as a catalogue of their own."""
    for id_ in (
        FLUX,
        "fal-ai/flux/schnell",
        "fal-ai/kokoro/hindi",
        "fal-ai/hyper-sdxl",
        "openrouter/router/openai/v1/embeddings",
    ):
        target = tmp_path / "few" / f"{id_.replace('/', '_')}.json"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(committed / "schemas" / f"{id_}.json", target)
    return tmp_path / "few"


def tree(root: Path) -> dict[str, bytes]:
    return {path: (root / path).read_bytes() for path in existing(root)}


def edit(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_the_whole_catalogue_comes_over_http(run: Run, sandbox: Sandbox, committed: Path, tmp_path: Path) -> None:
    result = run("pull", "--from", f"{sandbox.url}/api/v1", "--schemas", "schemas")
    assert result.exit_code == 0
    assert "Pulled 768 endpoints, 763 with a schema, into schemas: 769 files added." in result.output
    assert result.output.count("[no-schema]") == 5
    rows, ours = read_lock(tmp_path / "schemas"), read_lock(committed / "schemas")
    assert rows.keys() == ours.keys()
    assert {id_: row.module for id_, row in rows.items()} == {id_: row.module for id_, row in ours.items()}
    for id_, row in ours.items():
        served = json.loads((tmp_path / "schemas" / f"{id_}.json").read_text())
        here = json.loads((committed / "schemas" / f"{id_}.json").read_text())
        assert served["openapi"] == here["openapi"], row.id
    assert all("authorization" in request.headers for request in sandbox.requests)
    again = run("pull", "--from", f"{sandbox.url}/api/v1/models/", "--schemas", "schemas")
    assert "nothing changed" in again.output
    # One small listing, then up to fifty schemas a request; the second time, nothing but "not modified".
    assert len(sandbox.requests) <= 2 * (4 + 26)


def test_the_key_goes_only_to_the_configured_platform(run: Run, sandbox: Sandbox, few: Path) -> None:
    with Sandbox(few) as other:
        assert run("pull", "--from", f"{other.url}/api/v1", "--schemas", "schemas").exit_code == 0
        assert other.requests
        assert all("authorization" not in request.headers for request in other.requests)


def test_a_pull_survives_what_passes(run: Run, few: Path) -> None:
    with Sandbox(few) as server:
        server.fail_next("/api/*", status=429, headers={"retry-after": "0"})
        server.fail_next("/api/*", status=500)
        server.fail_next("/api/*", disconnect=True)
        result = run("pull", "--from", f"{server.url}/api/v1", "--schemas", "schemas")
    assert "Pulled 5 endpoints, 4 with a schema" in result.output
    assert result.exit_code == 0


def test_what_could_not_be_had_keeps_its_last_good_state(run: Run, few: Path, tmp_path: Path) -> None:
    assert run("pull", "--from", str(few), "--schemas", "schemas").exit_code == 0
    before = tree(tmp_path / "schemas")
    edit(few / "fal-ai_flux_dev.json", lambda entry: entry.update(openapi={"error": {"code": "expansion_failed"}}))
    (few / "fal-ai_flux_schnell.json").unlink()
    result = run("pull", "--from", str(few), "--schemas", "schemas")
    assert "its last good document stays" in result.output
    assert "1 endpoints are missing from the listing" in result.output
    after = tree(tmp_path / "schemas")
    assert {path for path in after if after[path] != before[path]} == {"endpoints.lock"}
    assert after.keys() == before.keys()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"status": 200, "body": "<html>a page</html>"}, "not JSON (it starts with '<html>a page</html>')"),
        ({"status": 200, "body": '{"models": [{"endpoi', "headers": {"content-type": "application/json"}}, "not JSON"),
        ({"status": 200, "body": {"items": []}}, "models: field required"),
        ({"status": 200, "body": {"models": "none"}}, "models: input should be a valid array"),
        (
            {"status": 404, "body": {"error": {"type": "not_found", "message": "no such path"}}},
            "no such path (HTTP 404)",
        ),
        (
            {"status": 401, "body": {"error": {"type": "authorization_error", "message": "bad key"}}},
            "bad key (HTTP 401)",
        ),
        ({"status": 200, "body": {"models": []}}, "no endpoints in there"),
        ({"status": 200, "body": {"models": [], "has_more": True, "next_cursor": "x"}, "times": 2}, "go in a circle"),
        ({"status": 200, "body": {"models": [], "has_more": True}}, "there is more, and not where"),
    ],
)
def test_a_catalogue_that_does_not_answer_as_one(
    run: Run, few: Path, tmp_path: Path, fault: dict[str, Any], message: str
) -> None:
    assert run("pull", "--from", str(few), "--schemas", "schemas").exit_code == 0
    before = tree(tmp_path / "schemas")
    with Sandbox(few) as server:
        server.fail_next("/api/*", **fault)
        result = run("pull", "--from", f"{server.url}/api/v1", "--schemas", "schemas")
        assert server.url in result.output
    assert result.exit_code == 1
    assert message in result.output
    assert "nothing was changed" in result.output
    assert tree(tmp_path / "schemas") == before


def test_a_catalogue_that_answers_by_halves_is_named_endpoint_by_endpoint(run: Run, few: Path, tmp_path: Path) -> None:
    with Sandbox(few) as server:
        listing = run("pull", "--from", f"{server.url}/api/v1", "--schemas", "first")
        assert listing.exit_code == 0
        page = {"models": [json.loads((few / "fal-ai_flux_dev.json").read_text()), {"endpoint_id": 7}]}

        server.fail_next("/api/v1/models", delay_seconds=0.01)  # the listing, as it should be
        server.fail_next("/api/v1/models", status=200, body=page)  # the schemas, by halves
        result = run("pull", "--from", f"{server.url}/api/v1", "--schemas", "schemas")
    assert result.exit_code == 1
    assert "models[1]: endpoint_id: input should be a valid string" in result.output
    assert "fal-ai/flux/schnell: it is in the listing, but its schema did not come" in result.output
    assert [id_ for id_, row in read_lock(tmp_path / "schemas").items() if row.state == "active"] == [FLUX]


def test_schemas_whose_pages_go_in_a_circle_end_too(run: Run, few: Path) -> None:
    with Sandbox(few) as server:
        server.fail_next("/api/v1/models", delay_seconds=0.01)  # the listing, as it should be
        circle: dict[str, Any] = {"models": [], "has_more": True, "next_cursor": "x"}
        server.fail_next("/api/v1/models", status=200, body=circle, times=9)
        result = run("pull", "--from", f"{server.url}/api/v1", "--schemas", "schemas")
        assert len(server.requests) == 3
    assert result.exit_code == 1
    assert f"{FLUX}: it is in the listing, but its schema did not come" in result.output
    assert "go in a circle" in result.output


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("http://127.0.0.1:9/v1", "127.0.0.1:9 could not be reached"),
        ("no/such/folder", "no/such/folder: no such file or folder"),
        ("ftp://somewhere", "no such file or folder; a catalogue is at a URL, in a folder or in a file"),
    ],
)
def test_a_source_that_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch, source: str, message: str) -> None:
    monkeypatch.setattr("fal_runtime.retry.Retry.wait", lambda self, attempt, headers: 0.0)  # pyright: ignore
    result = run("pull", "--from", source)
    assert result.exit_code == 1
    assert message in result.output


def test_ids_that_lead_elsewhere_are_refused(run: Run, tmp_path: Path) -> None:
    models: list[dict[str, Any]] = [
        {"endpoint_id": id_, "metadata": {}, "openapi": {}}
        for id_ in ("../../evil", "a/../../evil", "/etc/x", "a\\b/c", "fine/one")
    ]
    (tmp_path / "page.json").write_text(json.dumps({"models": models}))
    result = run("pull", "--from", "page.json", "--schemas", "deep/schemas")
    assert result.exit_code == 1
    assert result.output.count("[bad-id]") == 4
    assert existing(tmp_path) == {"page.json", "deep/schemas/fine/one.json", "deep/schemas/endpoints.lock"}


def test_generate_then_check(run: Run, few: Path, tmp_path: Path) -> None:
    run("pull", "--from", str(few), "--schemas", "schemas")
    result = run("generate", "--schemas", "schemas", "--out", "src", "--package", "mine")
    assert result.exit_code == 0
    assert "Generated 4 modules (4 anew)" in result.output
    assert {path for path in existing(tmp_path / "src/mine") if path.endswith(".py")} == {
        "__init__.py",
        "fal_ai/__init__.py",
        "fal_ai/flux_dev.py",
        "fal_ai/flux_schnell.py",
        "fal_ai/kokoro_hindi.py",
        "openrouter/__init__.py",
        "openrouter/router_openai_v1_embeddings.py",
    }
    arguments = ("--schemas", "schemas", "--out", "src", "--package", "mine")
    assert run("check", *arguments).exit_code == 0
    assert "(0 anew)" in run("generate", *arguments).output
    module = tmp_path / "src/mine/fal_ai/flux_dev.py"
    module.write_text(module.read_text().replace("num_images", "number"))
    drifted = run("check", *arguments)
    assert drifted.exit_code == 1
    assert "--- committed/fal_ai/flux_dev.py\n+++ generated/fal_ai/flux_dev.py\n" in drifted.output
    assert "\n-    number: " in drifted.output
    assert "\n+    num_images: " in drifted.output
    assert "Run `fal-bindings generate`" in drifted.output
    assert "1 files changed" in run("generate", *arguments).output
    module.unlink()
    assert "--- /dev/null\n+++ generated/fal_ai/flux_dev.py" in run("check", *arguments).output


def test_a_change_in_one_schema_touches_one_module(run: Run, few: Path, tmp_path: Path) -> None:
    arguments = ("--schemas", "schemas", "--out", "src", "--package", "mine")
    run("pull", "--from", str(few), "--schemas", "schemas")
    run("generate", *arguments)
    before = tree(tmp_path / "src/mine")

    def widen(entry: Any) -> None:
        properties = entry["openapi"]["components"]["schemas"]["FluxDevInput"]["properties"]
        properties["num_images"]["maximum"] = 8

    edit(few / "fal-ai_flux_dev.json", widen)
    run("pull", "--from", str(few), "--schemas", "schemas")
    assert run("check", *arguments).exit_code == 1
    assert "4 modules (1 anew)" in run("generate", *arguments).output
    after = tree(tmp_path / "src/mine")
    assert {path for path in after if after[path] != before[path]} == {"fal_ai/flux_dev.py", "index.json"}
    assert b"Range: 1 to 8." in after["fal_ai/flux_dev.py"]


def test_the_same_bytes_in_any_order_and_on_any_number_of_processes(run: Run, committed: Path, tmp_path: Path) -> None:
    files = sorted((committed / "schemas").rglob("*.json"))
    chosen = random.Random(7).sample(files, 40)
    trees: list[dict[str, bytes]] = []
    for number, jobs in enumerate(("1", "2", "3")):
        random.Random(number).shuffle(chosen)
        folder = f"schemas{number}"
        sources = [argument for file in chosen for argument in ("--from", str(file))]
        assert run("pull", *sources, "--schemas", folder).exit_code == 0
        result = run("generate", "--schemas", folder, "--out", f"out{number}", "--jobs", jobs, "--cold")
        assert result.exit_code == 0
        trees.append(tree(tmp_path / f"out{number}"))
    assert trees[0] == trees[1] == trees[2]
    assert len(trees[0]) > 40


def test_only_chosen_endpoints(run: Run, committed: Path, tmp_path: Path) -> None:
    schemas = str(committed / "schemas")
    shutil.copytree(schemas, tmp_path / "schemas")
    arguments = ("--schemas", "schemas", "--out", ".", "--package", "mine")
    result = run("generate", "--endpoints", "fal-ai/flux/*", "fal-ai/kokoro/hindi", *arguments)
    assert result.exit_code == 0
    modules = {path for path in existing(tmp_path / "mine") if "/" in path and not path.endswith("__init__.py")}
    assert {"fal_ai/flux_dev.py", "fal_ai/flux_schnell.py", "fal_ai/kokoro_hindi.py"} <= modules
    assert all(path.startswith(("fal_ai/flux_", "fal_ai/kokoro_hindi")) for path in modules)
    assert run("check", *arguments).exit_code == 0
    before = tree(tmp_path / "mine")
    wrong = run("generate", *arguments, "--endpoints", "fal-ai/fluxx/dev")
    assert wrong.exit_code == 1
    assert "no endpoint matches 'fal-ai/fluxx/dev'; did you mean fal-ai/flux/dev" in wrong.output
    assert tree(tmp_path / "mine") == before


def test_one_bad_document_costs_one_endpoint(run: Run, few: Path) -> None:
    edit(few / "fal-ai_flux_dev.json", lambda entry: entry["openapi"].pop("paths"))
    run("pull", "--from", str(few), "--schemas", "schemas")
    result = run("generate", "--schemas", "schemas", "--out", "src")
    assert result.exit_code == 0
    assert "Generated 3 modules" in result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith(FLUX)]
    assert "paths" in line
    assert "1 documents could not be made into a module." in result.output
    assert run("generate", "--schemas", "schemas", "--out", "src", "--cold", "--strict").exit_code == 1


def test_hand_written_files_are_left_alone(run: Run, few: Path, tmp_path: Path) -> None:
    run("pull", "--from", str(few), "--schemas", "schemas")
    mine = tmp_path / "src/fal_endpoints/fal_ai/flux_dev.py"
    mine.parent.mkdir(parents=True)
    mine.write_text("print('mine')\n")
    result = run("generate", "--schemas", "schemas", "--out", "src")
    assert result.exit_code == 1
    assert "holds files that were not generated: fal_ai/flux_dev.py" in result.output
    assert tree(tmp_path / "src") == {"fal_endpoints/fal_ai/flux_dev.py": b"print('mine')\n"}
    (tmp_path / "schemas/notes.txt").write_text("mine")
    refused = run("pull", "--from", str(few), "--schemas", "schemas")
    assert refused.exit_code == 1
    assert "notes.txt" in refused.output
    assert (tmp_path / "schemas/notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate"], "no endpoints.lock here; pull a catalogue first"),
        (["generate", "--package", "not-a-name"], "'not-a-name' cannot be a package's name"),
    ],
)
def test_what_is_missing_is_named(run: Run, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.output


def test_a_damaged_lock_or_document_is_named(run: Run, few: Path, tmp_path: Path) -> None:
    run("pull", "--from", str(few), "--schemas", "schemas")
    document = tmp_path / "schemas/fal-ai/flux/dev.json"
    whole = document.read_bytes()
    document.write_bytes(whole[:100])
    assert (
        f"{Path('schemas/fal-ai/flux/dev.json')}: not an endpoint's document"
        in run("generate", "--schemas", "schemas").output
    )
    document.unlink()
    assert "No such file or directory; pull again" in run("generate", "--schemas", "schemas").output
    document.write_bytes(whole)
    lock = tmp_path / "schemas/endpoints.lock"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([*lines[:2], "<<<<<<< ours", *lines[2:]]))
    result = run("generate", "--schemas", "schemas")
    assert result.exit_code == 1
    assert "endpoints.lock, line 3" in result.output


def test_names_stay_once_they_are_given(run: Run, few: Path, tmp_path: Path) -> None:
    run("pull", "--from", str(few), "--schemas", "schemas")
    lock = tmp_path / "schemas/endpoints.lock"
    lock.write_text(lock.read_text().replace('"fal_ai.flux_dev"', '"fal_ai.flux_dev_first"'))
    run("pull", "--from", str(few), "--schemas", "schemas")
    run("generate", "--schemas", "schemas", "--out", "src")
    assert "fal_ai/flux_dev_first.py" in existing(tmp_path / "src/fal_endpoints")


def test_the_command_from_a_shell(tmp_path: Path) -> None:
    for arguments, code, text in (
        (["--version"], 0, "0."),
        (["--help"], 0, "pull"),
        (["nonsense"], 2, "No such command"),
        (["generate", "--schemas", "nowhere"], 1, "Error: nowhere: no endpoints.lock here"),
    ):
        command = [sys.executable, "-m", "fal_codegen", *arguments]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == code
        assert text in result.stdout + result.stderr
        assert "Traceback" not in result.stderr
