"""Each extra brings all that its feature needs, with no other extra beside it; and without it, the error names it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from fal_sandbox import Sandbox

from .installs import EXTRAS, Built, Installed, Venv, output, run

CALLS = {
    "fast": """
import os
os.environ["FAL_HTTP"] = "pyreqwest"
from fal_endpoints.fal_ai import flux_dev
print(len(flux_dev.run(flux_dev.Input(prompt="x")).images))
""",
    "images": """
from fal_endpoints.fal_ai import flux_dev
print(flux_dev.run(flux_dev.Input(prompt="x")).images[0].to_pil().size[0] // 1024)
""",
    "pydantic": """
from fal_runtime.pydantic_models import InputModel
class Input(InputModel):
    n: int
print(Input(n=1).n)
""",
    "realtime": """
from fal_endpoints.fal_ai import fast_lcm_diffusion
with fast_lcm_diffusion.realtime() as connection:
    connection.send(fast_lcm_diffusion.Input(prompt="x"))
    print(len(connection.recv().images))
""",
    "webhooks": """
import time
from fal_endpoints.fal_ai import flux_dev
from fal_runtime.errors import WebhookSignatureError
names = ("request-id", "user-id", "timestamp", "signature")
headers = {f"x-fal-webhook-{name}": str(int(time.time())) if name == "timestamp" else "00" * 64 for name in names}
try:
    flux_dev.parse_webhook(headers, b"{}")
except WebhookSignatureError:
    print(1)
""",
}
"""What each extra for programs is for; it prints 1."""

COMMANDS = {
    "generator": ("generate", "--schemas", "SCHEMAS", "--endpoints", "fal-ai/flux/dev", "--out", "out"),
    "migrate": ("migrate", "old.py"),
    "sandbox": ("sandbox", "--port", "0"),
}
"""What each extra for the command is for, and the beginning of what it prints."""
SAID = {
    "generator": "Generated 1 modules",
    "migrate": "--- a/old.py",
    "sandbox": "The sandbox serves",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what the commands work on."""
    (tmp_path / "old.py").write_text(
        'import fal_client\n\nfal_client.run("fal-ai/flux/dev", arguments={"prompt": "x"})\n'
    )
    return tmp_path


def test_every_extra_is_tried(built: Built) -> None:
    assert set(built.project["optional-dependencies"]) == set(EXTRAS) == {*CALLS, *COMMANDS}


@pytest.mark.parametrize("extra", sorted(CALLS))
def test_a_program_names_the_extra_that_it_needs(
    extra: str, installed: Installed, sandbox: Sandbox, tmp_path: Path
) -> None:
    done = run(installed.venv.python, "-c", CALLS[extra], cwd=tmp_path, env=sandbox.environment())
    assert done.returncode == 1
    assert f"pip install 'fal-bindings[{extra}]'" in done.stderr.splitlines()[-1], done.stderr


@pytest.mark.parametrize("extra", sorted(CALLS))
def test_an_extra_brings_what_a_program_needs(extra: str, built: Built, sandbox: Sandbox, tmp_path: Path) -> None:
    venv = Venv.make(tmp_path / "venv")
    venv.add(f"{built.wheel}[{extra}]")
    assert output(venv.python, "-c", CALLS[extra], cwd=tmp_path, env=sandbox.environment()) == "1\n"


@pytest.mark.parametrize("extra", sorted(COMMANDS))
def test_an_extra_brings_what_its_commands_need(extra: str, built: Built, folder: Path) -> None:
    venv = Venv.make(folder / "venv")
    venv.add(f"{built.wheel}[{extra}]")
    command = venv.script("fal-bindings")
    schemas = str(built.checkout / "generated" / "schemas")
    arguments = [schemas if word == "SCHEMAS" else word for word in COMMANDS[extra]]
    with subprocess.Popen([command, *arguments], cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(SAID[extra])
        process.terminate()
    for other in COMMANDS.keys() - {extra}:
        done = run(command, *COMMANDS[other], cwd=folder)
        assert done.returncode in (1, 3)
        assert f"pip install 'fal-bindings[{other}]'" in done.stderr, done.stderr


def test_help_tells_what_commands_need(built: Built, tmp_path: Path) -> None:
    venv = Venv.make(tmp_path / "venv")
    venv.add(f"{built.wheel}[migrate]")
    command = venv.script("fal-bindings")
    helped = output(command, "--help", cwd=tmp_path)
    assert re.search(r"  migrate +Turn calls of fal_client", helped)
    assert re.search(r"  check +Needs fal-bindings\[generator\]\.", helped)
    for arguments in (["check"], ["check", "--help"], ["check", "--against", "x", "y"]):
        done = run(command, *arguments, cwd=tmp_path)
        assert done.returncode == 3  # a job in CI may let 1 and 2 pass
        assert "pip install 'fal-bindings[generator]'" in done.stderr
