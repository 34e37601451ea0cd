"""Publishing a folder of files at once: whoever looks, or kills us, finds the old tree or the new one."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Changes", "ForeignFiles", "compare", "publish"]


class ForeignFiles(Exception):
    """The output folder holds files that were not generated. The message names them and the remedy."""


@dataclass(frozen=True)
class Changes:
    """What publishing would do to a folder, by relative paths."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def compare(root: Path, files: Mapping[str, bytes]) -> Changes:
    """Tell what publishing `files` below `root` would change."""
    recover(root)
    present = existing(root)
    return Changes(
        added=tuple(sorted(files.keys() - present)),
        changed=tuple(path for path in sorted(files.keys() & present) if (root / path).read_bytes() != files[path]),
        removed=tuple(sorted(present - files.keys())),
    )


def existing(root: Path) -> set[str]:
    """The files below a folder, by relative path, without what interpreters and systems leave there."""
    found: set[str] = set()
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__"]
        base = Path(folder).relative_to(root)
        found.update((base / name).as_posix() for name in names if name != ".DS_Store")
    return found


def publish(root: Path, files: Mapping[str, bytes], *, owned: Callable[[Path], bool]) -> Changes:
    """Make `root` hold exactly `files`.

    A new tree is prepared beside the old one and put in its place in one step. Files that did not change keep their
    inode and times. Nothing happens if nothing changed.

    Args:
        root: The folder, which may not exist yet.
        files: Contents by relative path.
        owned: Whether a file that would be removed is ours to remove.

    Raises:
        ForeignFiles: if the folder holds files that are not ours. Nothing was changed.
    """
    changes = compare(root, files)
    foreign = [path for path in changes.removed if not owned(root / path)]
    foreign += [path for path in changes.changed if not owned(root / path)]
    if foreign:
        names = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
        raise ForeignFiles(
            f"{root} holds files that were not generated: {names}. Nothing was changed; "
            "move them elsewhere, or choose another folder"
        )
    if not changes:
        return changes
    staging = root.parent / f".{root.name}.new"
    shutil.rmtree(staging, ignore_errors=True)
    unchanged = files.keys() - set(changes.added) - set(changes.changed)
    for path, data in files.items():
        target = staging / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path in unchanged:
            _link(root / path, target)
        else:
            target.write_bytes(data)
    if root.exists():
        _swap(staging, root)
        shutil.rmtree(staging)
    else:
        staging.rename(root)
    return changes


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _old(root: Path) -> Path:
    return root.parent / f".{root.name}.old"


def recover(root: Path) -> None:
    """Undo a swap in two steps that was cut short between them."""
    if not root.exists() and _old(root).exists():
        _old(root).rename(root)


def _swap(new: Path, root: Path) -> None:
    """Exchange two folders, in one step where the system can."""
    if _exchange(os.fsencode(new), os.fsencode(root)):
        return
    old = _old(root)
    shutil.rmtree(old, ignore_errors=True)
    root.rename(old)
    new.rename(root)
    old.rename(new)


def _exchange(one: bytes, other: bytes) -> bool:
    """Swap two paths atomically; False if this system or file system cannot. Source: renameat2(2), renamex_np(2)."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
            return int(libc.renameat2(here, one, here, other, exchange)) == 0
        if sys.platform == "darwin":
            return int(libc.renamex_np(one, other, 2)) == 0  # RENAME_SWAP
    except (AttributeError, OSError, TypeError):
        pass
    return False
