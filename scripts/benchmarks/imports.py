"""What the first call costs: scripts/bench import"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.harness import serving

LOADED = "import sys, time; start, before = time.perf_counter(), len(sys.modules); {0}; print((time.perf_counter() - start) * 1000, len(sys.modules) - before)"
STATEMENTS = {
    "one endpoint": "from fal_endpoints.fal_ai import flux_dev",
    "fal_runtime": "import fal_runtime",
    "the client, on first use": "from fal_runtime import Client; Client(key='k')",
    "fal_client": "import fal_client",
    "httpx": "import httpx",
    "msgspec": "import msgspec",
    "json": "import json",
}
OURS = "from fal_endpoints.fal_ai import flux_dev; print(flux_dev.run(flux_dev.Input(prompt='a cat')).seed)"
THEIRS = """import os, fal_client, fal_client.client
fal_client.client.RUN_URL_FORMAT = os.environ["FAL_RUN_URL"] + "/"
print(fal_client.run("fal-ai/flux/dev", {"prompt": "a cat"})["seed"])"""
RAW = """import os, httpx
print(httpx.post(os.environ["FAL_RUN_URL"] + "/fal-ai/flux/dev", json={"prompt": "a cat"}).json()["seed"])"""
CALLS: dict[str, tuple[str, dict[str, str]]] = {
    "ours [fast]": (OURS, {"FAL_HTTP": "pyreqwest"}),
    "ours, httpx": (OURS, {"FAL_HTTP": "httpx"}),
    "fal-client": (THEIRS, {}),
    "raw httpx": (RAW, {}),
    "an empty program": ("print(7)", {}),
}


def imports(rounds: int, quick: bool) -> None:
    """Time an import, and a whole program with one call, from the interpreter's start to its end."""
    rounds = rounds if quick else 3 * rounds
    with tempfile.TemporaryDirectory() as folder, serving() as server:
        given = {**os.environ, "FAL_RUN_URL": f"{server.base}/run", "FAL_KEY": "id:secret"}
        # All are compiled beforehand, as installed packages are: what is run out of a checkout might not be.
        given["PYTHONPYCACHEPREFIX"] = folder
        given.pop("PYTHONDONTWRITEBYTECODE", None)
        _programs(1, given)
        times, modules, whole = _programs(rounds, given)
    print(f"\n{'import':26}{'ms':>8} {'(min-max)':>17} {'/fal_client':>12} {'modules':>8}")
    for name, found in times.items():
        _row(name, found, times["fal_client"], f"{modules[name]:8}")
    print(f"\n{'a program with one call':26}{'ms':>8} {'(min-max)':>17} {'/fal-client':>12}")
    for name, found in whole.items():
        _row(name, found, whole["fal-client"])


def _programs(
    rounds: int, given: dict[str, str]
) -> tuple[dict[str, list[float]], dict[str, int], dict[str, list[float]]]:
    """The milliseconds of each import, the number of its modules, and the milliseconds of each whole program."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    modules: dict[str, int] = {}
    whole: dict[str, list[float]] = {name: [] for name in CALLS}
    for _ in range(rounds):
        for name, statement in STATEMENTS.items():
            milliseconds, loaded = _output(LOADED.format(statement), given).split()
            times[name].append(float(milliseconds))
            modules[name] = int(loaded)
        for name, (program, environment) in CALLS.items():
            start = time.perf_counter()
            answer = _output(program, {**given, **environment})
            whole[name].append(1000 * (time.perf_counter() - start))
            assert json.loads(answer) == 7
    return times, modules, whole


def _output(program: str, given: dict[str, str]) -> bytes:
    return subprocess.run([sys.executable, "-c", program], env=given, capture_output=True, check=True).stdout


def _row(name: str, found: list[float], other: list[float], more: str = "") -> None:
    median = statistics.median(found)
    span = f"({min(found):.0f}-{max(found):.0f})"
    print(f"  {name:24}{median:8.1f} {span:>17} {median / statistics.median(other):12.2f} {more}", flush=True)
