"""What is installed once for the conformance tests and kept between runs, outside of the repository."""

from __future__ import annotations

import getpass
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def kept(name: str, install: Callable[[Path], None]) -> Path:
    """The folder of this name, filled by `install` if it is not there yet; several processes may ask at once."""
    folder = Path(tempfile.gettempdir()) / f"fal-bindings-{getpass.getuser()}-{name}"
    if not folder.exists():
        fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=tempfile.gettempdir()))
        try:
            install(fresh)
            os.rename(fresh, folder)
        except OSError:
            # Another process was quicker.
            if not folder.exists():
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder
