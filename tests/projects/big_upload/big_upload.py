"""An upload of a large file: with progress, and a second run that sends only what is missing.

    python big_upload.py film.mp4 --expires 7d

How far it came lies beside the file, as `film.mp4.upload`, until all of it has arrived. It prints the file's URL, which
any input takes; a field that takes a file would upload it just so, without a way to go on later.

It needs `pip install fal-bindings`. To try it without a key, run `fal-bindings sandbox` and export what it prints; to run
it live, set FAL_KEY. It exits with 75 where the same command goes on, as programs do by an old custom.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import msgspec

import fal_runtime
from fal_runtime import FalError, Lifecycle, UploadState, errors

GO_ON = 75


class Bar:
    """Tells how far the upload is: in place on a terminal, at every tenth in a pipe."""

    def __init__(self) -> None:
        self._told = -1

    def __call__(self, sent: int, total: int) -> None:
        percent = 100 * sent // total if total else 100
        step = 1 if sys.stderr.isatty() else 10
        if percent // step > self._told:
            self._told = percent // step
            end = "\r" if sys.stderr.isatty() and percent < 100 else "\n"
            print(f"{percent:3} %, {sent / 2**20:.0f} of {total / 2**20:.0f} MiB", end=end, file=sys.stderr)


def load(path: Path) -> UploadState | None:
    """How far an earlier run came, if there was one that can go on."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=UploadState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def keep(path: Path, state: UploadState) -> None:
    """Write down how far this run came. Only its owner may read it: its addresses may be signed."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(state))


def main() -> int:
    parser = argparse.ArgumentParser(description="Upload a large file.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--expires", default="7d", help="30m, 12h, 7d, 1y or never; default: 7d")
    given = parser.parse_args()
    notes = given.file.with_name(given.file.name + ".upload")
    earlier = load(notes)
    try:
        lifecycle = Lifecycle(expires_in=given.expires)
        if earlier is None:
            url = fal_runtime.upload(given.file, on_progress=Bar(), lifecycle=lifecycle)
        else:
            print(f"Going on: {len(earlier.etags)} of {earlier.parts} parts have arrived.", file=sys.stderr)
            url = fal_runtime.upload(given.file, on_progress=Bar(), lifecycle=lifecycle, resume=earlier)
    except errors.UploadInterrupted as interrupted:
        if interrupted.state is not None:
            keep(notes, interrupted.state)
        print(f"{interrupted}\nRun it again: it goes on from there.", file=sys.stderr)
        return GO_ON
    except errors.InputError as error:  # it is not the file of the earlier run any more
        print(f"{error}\nIf the file was changed, delete {notes.name} and begin anew.", file=sys.stderr)
        return 2
    except (FalError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    notes.unlink(missing_ok=True)
    print(url)
    return 0


if __name__ == "__main__":
    sys.exit(main())
