"""Set-up for the scripts beside this file: a virtual environment in `.venv` with exactly the pinned versions."""

import hashlib
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
REQUIREMENTS = ROOT / "requirements-dev.txt"


def enter() -> None:
    """Go on inside the environment: make it if it is missing or out of date, then start this script again in it."""
    if sys.version_info < (3, 11):
        name = os.path.relpath(sys.argv[0])
        sys.exit(f"This needs Python 3.11 or newer, and this is {sys.version.split()[0]}; run: python3.12 {name}")
    if pathlib.Path(sys.prefix).resolve() == VENV.resolve():
        return
    stamp = VENV / "fal-bindings.stamp"
    wanted = hashlib.sha256(
        b"\0".join(
            [
                sys.version.encode(),
                str(ROOT).encode(),
                REQUIREMENTS.read_bytes(),
                (ROOT / "pyproject.toml").read_bytes(),
            ]
        )
    ).hexdigest()
    if not (stamp.exists() and stamp.read_text() == wanted and PYTHON.exists()):
        print(f"Setting up .venv with the versions of {REQUIREMENTS.name} ...", flush=True)
        _make()
        stamp.write_text(wanted)
    command = [str(PYTHON), *sys.argv]
    if os.name == "nt":
        sys.exit(subprocess.call(command))
    os.execv(str(PYTHON), command)


def _make() -> None:
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)])
    if made.returncode:
        sys.exit("The virtual environment could not be made; on Debian and Ubuntu: apt install python3-venv")
    pip = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    for step in (["-r", str(REQUIREMENTS)], ["--no-deps", "--no-build-isolation", "-e", str(ROOT)]):
        if subprocess.run([*pip, *step]).returncode:
            sys.exit("The packages could not be installed (see above); the set-up needs the package index once")
