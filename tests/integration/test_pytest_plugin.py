"""The pytest plugin, as a project sees it that has it: run in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from fal_sandbox import Sandbox

PROJECT = Path(__file__).resolve().parent.parent / "projects" / "plugin_user"
RECORDED = "test_a_poster_as_the_platform_once_made_it"
LIVE_KEY = "11112222-live:aaaabbbbccccdddd"
HEAVY = ("asyncio", "httpx", "jsonschema", "msgspec", "starlette", "uvicorn", "PIL", "av", "fal_runtime")


def run(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a project's tests as its developers would."""
    plugin = () if entry_points(group="pytest11", name="fal_sandbox") else ("-p", "fal_sandbox.pytest_plugin")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FAL_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *plugin, *options],
        cwd=folder,
        env={**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def outcome(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of a run."""
    assert done.stdout, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_a_project_tests_itself_without_key_or_network(options: tuple[str, ...]) -> None:
    done = run(PROJECT, "-q", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 passed" in outcome(done)


def test_the_plugin_costs_nothing_until_it_is_used() -> None:
    code = (
        "import pytest, sys; before = set(sys.modules); import fal_sandbox.pytest_plugin; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "fal_sandbox" in done.stdout.split()
    assert not set(HEAVY) & set(done.stdout.split())


def test_all_tests_can_be_kept_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfal_block_network = true\nfal_network_hosts = *.invalid\n")
    (tmp_path / "test_it.py").write_text(
        "import socket\n\n"
        "def test_blocked():\n    socket.getaddrinfo('www.example.com', 80)\n\n"
        "def test_listed():\n    socket.getaddrinfo('some.invalid', 80)\n"
    )
    done = run(tmp_path)
    assert "NetworkBlockedError: this test reached for www.example.com" in done.stdout
    assert "gaierror" in done.stdout
    assert "2 failed" in outcome(done)


def test_a_project_serves_its_own_catalogue(tmp_path: Path) -> None:
    document = '{"components": {"schemas": {}}, "paths": {}}'
    (tmp_path / "mine.json").write_text(f'{{"endpoint_id": "me/mine", "metadata": {{}}, "openapi": {document}}}')
    (tmp_path / "pytest.ini").write_text("[pytest]\nfal_catalog = mine.json\n")
    (tmp_path / "test_it.py").write_text(
        "def test_it(fal_sandbox):\n    assert [entry.endpoint_id for entry in fal_sandbox.catalog] == ['me/mine']\n"
    )
    done = run(tmp_path)
    assert "1 passed" in outcome(done), done.stdout


def test_what_a_project_configured_comes_back(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import os\n"
        "import fal_runtime\nfrom fal_runtime import client\n"
        "os.environ['FAL_KEY'] = 'mine'\n"
        "fal_runtime.configure(urls={'queue': 'http://127.0.0.1:1'})\n"
        "mine = client._default\n\n"
        "def test_inside(fal_sandbox):\n"
        "    assert client._default.urls['queue'] == fal_sandbox.environment()['FAL_QUEUE_URL']\n"
        "    assert os.environ['FAL_KEY'] == fal_sandbox.key\n"
        "    fal_runtime.configure(key='other')\n\n"
        "def test_outside():\n"
        "    assert client._default is mine\n"
        "    assert os.environ['FAL_KEY'] == 'mine'\n"
        "    assert 'FAL_QUEUE_URL' not in os.environ\n"
    )
    done = run(tmp_path)
    assert "2 passed" in outcome(done), done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project without its recordings."""
    return Path(
        shutil.copytree(PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("cassettes", "__pycache__"))
    )


def test_recordings_are_made_anew_and_hold_no_key(project: Path) -> None:
    with Sandbox(key=LIVE_KEY) as live:
        done = run(project, "--fal-record", "-k", RECORDED, **live.environment())
        assert "1 passed" in outcome(done), done.stdout
        assert [job.input["prompt"] for job in live.admitted] == ["a lighthouse"]
        done = run(project, "-k", RECORDED, FAL_RECORD="1", **live.environment())
        assert "1 passed" in outcome(done), done.stdout
        assert len(live.admitted) == 2
    cassette, picture = sorted(path for path in (project / "cassettes").rglob("*") if path.is_file())
    assert (cassette.suffix, picture.suffix) == (".jpg", ".json")
    assert [part for part in LIVE_KEY.split(":") if part.encode() in cassette.read_bytes() + picture.read_bytes()] == []
    done = run(project, "-k", RECORDED)
    assert "1 passed" in outcome(done), done.stdout


def test_a_recording_that_is_missing_is_named(project: Path) -> None:
    done = run(project, "-k", RECORDED)
    assert f"there is no cassette {project}" in done.stdout
    assert "pytest --fal-record" in done.stdout
    assert "1 error" in outcome(done)


def test_recording_without_a_key_is_refused(project: Path) -> None:
    done = run(project, "--fal-record", "-k", RECORDED)
    assert "recording needs the platform's key; set FAL_KEY" in done.stdout


def test_a_program_that_has_changed_does_not_fit_its_recording(tmp_path: Path) -> None:
    project = Path(shutil.copytree(PROJECT, tmp_path / "project"))
    program = (project / "posters.py").read_text()
    (project / "posters.py").write_text(
        program.replace("prompt=words, image_size=", "prompt=words, seed=7, image_size=")
    )
    done = run(project, "-k", RECORDED)
    assert "POST https://queue.fal.run/fal-ai/flux/dev with this input: seed is new. Record it again" in done.stdout
    assert done.returncode == 1


def test_two_catalogues_are_too_many(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfal_catalog = a.json b.json\n")
    (tmp_path / "test_it.py").write_text("def test_it(fal_sandbox):\n    pass\n")
    assert "fal_catalog takes one folder or file" in run(tmp_path).stdout
