"""The pytest plugin, as a project sees it that has it: run in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent / "projects" / "plugin_user"
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
    assert "9 passed" in outcome(done)


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
