"""The old tree or the new one, never something between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fal_codegen import write
from fal_codegen.write import ForeignFiles, compare, existing, publish


def everything(_path: Path) -> bool:
    return True


def tree(root: Path) -> dict[str, bytes]:
    return {path: (root / path).read_bytes() for path in existing(root)}


def test_a_folder_holds_exactly_what_was_published(tmp_path: Path) -> None:
    root = tmp_path / "package"
    first = {"a.py": b"1", "sub/b.py": b"2", "sub/c.py": b"3"}
    assert publish(root, first, owned=everything).added == ("a.py", "sub/b.py", "sub/c.py")
    assert tree(root) == first
    second = {"a.py": b"1", "sub/c.py": b"4", "other/d.py": b"5"}
    changes = publish(root, second, owned=everything)
    assert (changes.added, changes.changed, changes.removed) == (("other/d.py",), ("sub/c.py",), ("sub/b.py",))
    assert tree(root) == second
    assert os.listdir(tmp_path) == ["package"]


def test_what_did_not_change_is_not_touched(tmp_path: Path) -> None:
    root = tmp_path / "package"
    publish(root, {"a.py": b"1", "b.py": b"2"}, owned=everything)
    before = {name: (root / name).stat() for name in ("a.py", "b.py")}
    publish(root, {"a.py": b"1", "b.py": b"3"}, owned=everything)
    after = {name: (root / name).stat() for name in ("a.py", "b.py")}
    assert (before["a.py"].st_ino, before["a.py"].st_mtime_ns) == (after["a.py"].st_ino, after["a.py"].st_mtime_ns)
    assert before["b.py"].st_ino != after["b.py"].st_ino
    folder = root.stat().st_ino
    assert not publish(root, {"a.py": b"1", "b.py": b"3"}, owned=everything)
    assert root.stat().st_ino == folder


def test_files_that_are_not_ours_stop_it_before_anything_changes(tmp_path: Path) -> None:
    root = tmp_path / "package"
    root.mkdir()
    (root / "mine.py").write_text("by hand")
    with pytest.raises(ForeignFiles, match=r"mine\.py.*Nothing was changed"):
        publish(root, {"a.py": b"1"}, owned=lambda path: path.name != "mine.py")
    assert tree(root) == {"mine.py": b"by hand"}


@pytest.mark.parametrize("one_step", [True, False])
def test_swapping_works_with_and_without_the_systems_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_step: bool
) -> None:
    if not one_step:
        monkeypatch.setattr(write, "_exchange", lambda one, other: False)  # pyright: ignore
    root = tmp_path / "package"
    for data in (b"1", b"2", b"3"):
        publish(root, {"a.py": data}, owned=everything)
        assert tree(root) == {"a.py": data}
    assert os.listdir(tmp_path) == ["package"]


def test_a_swap_cut_short_between_its_two_steps_is_undone(tmp_path: Path) -> None:
    root = tmp_path / "package"
    publish(root, {"a.py": b"old"}, owned=everything)
    root.rename(tmp_path / ".package.old")
    assert not compare(root, {"a.py": b"old"})
    assert tree(root) == {"a.py": b"old"}


def test_killed_at_any_moment_it_leaves_the_old_tree_or_the_new_one(tmp_path: Path) -> None:
    root = tmp_path / "package"
    names = [f"m{number}.py" for number in range(60)]
    program = (
        "import sys; from pathlib import Path; from fal_codegen.write import publish\n"
        f"root, names = Path(sys.argv[1]), {names!r}\n"
        "for turn in range(10**6):\n"
        "    publish(root, {name: b'%d' % turn for name in names}, owned=lambda path: True)\n"
        "    print('there', flush=True)\n"
    )
    seen: set[bytes] = set()
    for attempt in range(12):
        with subprocess.Popen([sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.02 + 0.013 * attempt)
            process.send_signal(signal.SIGKILL)
        found = tree(root)
        assert sorted(found) == sorted(names)
        assert len(set(found.values())) == 1
        seen |= set(found.values())
    assert len(seen) > 1
