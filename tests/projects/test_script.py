"""The script: a picture on disk, and an exit code for each kind of trouble."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fal_sandbox import Sandbox
from support import run_program

PROGRAM = "script/poster.py"
FLUX = "fal-ai/flux/dev"


def test_a_picture_is_made_and_saved(sandbox: Sandbox, tmp_path: Path) -> None:
    done = run_program(PROGRAM, "a lighthouse", "--out", "poster.png", "--seed", 7, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "poster.png (seed 7)\n"
    assert "Running fal-ai/flux/dev" in done.stderr
    with Image.open(tmp_path / "poster.png") as picture:
        assert (picture.size, picture.format) == ((768, 1024), "PNG")
    (job,) = sandbox.admitted
    assert job.input == {"prompt": "a lighthouse", "image_size": "portrait_4_3", "output_format": "png", "seed": 7}


@pytest.mark.parametrize(
    ("fault", "code", "words", "admitted"),
    [
        ("unprocessable-list", 2, "The words were not allowed", 1),
        ("close-processed", 2, "look into the dashboard", 1),
        ("runner-disconnected", 1, "The runner has disconnected", 1),
        ("locked", 2, "Exhausted balance", 0),
    ],
)
def test_trouble_is_told(fault: str, code: int, words: str, admitted: int, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.fail(fault, FLUX)
    done = run_program(PROGRAM, "a lighthouse", folder=tmp_path)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert len(sandbox.admitted) == admitted
