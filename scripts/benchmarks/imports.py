"""What the first call costs: scripts/bench import"""

import json
import os
import statistics
import subprocess
import sys
import time

from benchmarks.harness import Server, serving

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
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    modules: dict[str, int] = {}
    for _ in range(rounds):
        for name, statement in STATEMENTS.items():
            text = subprocess.run([sys.executable, "-c", LOADED.format(statement)], capture_output=True, check=True)
            milliseconds, loaded = text.stdout.split()
            times[name].append(float(milliseconds))
            modules[name] = int(loaded)
    print(f"\n{'import':26}{'ms':>8} {'(min-max)':>17} {'/fal_client':>12} {'modules':>8}")
    for name, found in times.items():
        _row(name, found, times["fal_client"], f"{modules[name]:8}")
    with serving() as server:
        whole: dict[str, list[float]] = {name: [] for name in CALLS}
        for _ in range(rounds):
            for name, (program, environment) in CALLS.items():
                whole[name].append(_timed(server, program, environment))
    print(f"\n{'a program with one call':26}{'ms':>8} {'(min-max)':>17} {'/fal-client':>12}")
    for name, found in whole.items():
        _row(name, found, whole["fal-client"])


def _timed(server: Server, program: str, environment: dict[str, str]) -> float:
    given = {**os.environ, "FAL_RUN_URL": f"{server.base}/run", "FAL_KEY": "id:secret", **environment}
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], env=given, capture_output=True, check=True)
    taken = 1000 * (time.perf_counter() - start)
    assert json.loads(done.stdout) == 7
    return taken


def _row(name: str, found: list[float], other: list[float], more: str = "") -> None:
    median = statistics.median(found)
    span = f"({min(found):.0f}-{max(found):.0f})"
    print(f"  {name:24}{median:8.1f} {span:>17} {median / statistics.median(other):12.2f} {more}", flush=True)
