"""The notebook: it runs from top to bottom, shows pictures, and is committed without what it showed."""

from __future__ import annotations

import base64
import importlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from fal_sandbox import Sandbox
from support import PROJECTS, program_environment

NOTEBOOK = PROJECTS / "notebook" / "pictures.ipynb"


def shown(cells: list[dict[str, Any]], mime: str) -> Iterator[Any]:
    """What cells show, of one kind."""
    for cell in cells:
        for output in cell.get("outputs", []):
            if mime in output.get("data", {}):
                yield output["data"][mime]


def test_it_is_committed_without_outputs() -> None:
    notebook: dict[str, Any] = msgspec.json.decode(NOTEBOOK.read_bytes())
    cells: list[dict[str, Any]] = notebook["cells"]
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []


@pytest.mark.filterwarnings("default")  # what jupyter's own packages warn of
@pytest.mark.skipif(sys.platform == "win32", reason="a kernel's sockets want another event loop there")
def test_it_runs_and_shows_pictures(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient: Any = importlib.import_module("nbclient")
    nbformat: Any = importlib.import_module("nbformat")
    for name, value in program_environment().items():  # the kernel inherits it
        monkeypatch.setenv(name, value)
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()

    cells: list[dict[str, Any]] = [dict(cell) for cell in notebook.cells]
    first, sheet = next(shown(cells, "image/jpeg")), next(shown(cells, "image/png"))
    with Image.open(io.BytesIO(base64.b64decode(first))) as picture:
        assert picture.size == (512, 512)
    with Image.open(io.BytesIO(base64.b64decode(sheet))) as picture:
        assert picture.size == (384, 128)
    printed = "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))
    assert "num_images: must be at most 4, not 9" in printed
    assert {job.input.get("seed") for job in sandbox.admitted} == {None, 1, 2, 3}
    assert len(sandbox.admitted) == 4
