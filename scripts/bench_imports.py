"""What an import costs a process, beside the other clients: scripts/bench imports"""

import importlib.util
import re
import statistics
import subprocess
import sys

import bootstrap

ROUNDS = 15
STATEMENTS = {
    "msgspec": "import msgspec",
    "fal_runtime": "import fal_runtime",
    "one endpoint": "from fal_endpoints.fal_ai import flux_dev",
    "the client, as the first call does": "from fal_runtime import Client; Client(key='k')",
    "fal_client": "import fal_client",
    "openai": "import openai",
}


def imports() -> None:
    """Print medians of `python -X importtime` and how many modules beyond a bare interpreter's are loaded."""
    print(f"{'imports':40} {'median':>8} {'modules':>8}   milliseconds")
    for name, statement in STATEMENTS.items():
        package = statement.split()[1].partition(".")[0]
        if importlib.util.find_spec(package) is None:
            print(f"{name:40} {'not installed':>17}")
            continue
        times = [microseconds(statement) - microseconds("pass") for _ in range(ROUNDS)]
        print(f"{name:40} {statistics.median(times) / 1000:8.1f} {modules(statement) - modules('pass'):8}", flush=True)


def microseconds(statement: str) -> int:
    """How long all imports of a statement take themselves, with those of the interpreter's start."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement], capture_output=True, text=True, check=True
    )
    return sum(int(own) for own in re.findall(r"^import time: +(\d+) \|", done.stderr, re.MULTILINE))


def modules(statement: str) -> int:
    """How many modules there are after a statement."""
    code = f"{statement}\nimport sys\nprint(len(sys.modules))"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    bootstrap.enter()
    imports()
