"""How fast the generator is, beside other generators run once for each endpoint: scripts/bench generate"""

import importlib.metadata
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import bootstrap

SCHEMAS = bootstrap.ROOT / "generated" / "schemas"
SAMPLE = 24
"""Of how many endpoints the others generate a module; all of them would take minutes."""


def generate() -> None:
    """Print seconds for the whole catalogue: cold, after no change, after one change; then what others take for one."""
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        shutil.copytree(SCHEMAS, work / "schemas")
        document = work / "schemas" / "fal-ai" / "flux" / "dev.json"
        original = document.read_text()

        def change() -> None:
            entry = json.loads(original)
            entry["metadata"]["display_name"] = f"Changed {time.perf_counter_ns()}"
            document.write_text(json.dumps(entry))

        def clear() -> None:
            shutil.rmtree(work / "out", ignore_errors=True)

        header("generate: all endpoints")
        row("everything, cold", ours(work, "generate", "--cold"), 3, before=clear)
        row("nothing changed", ours(work, "generate"), 5)
        row("one endpoint changed", ours(work, "generate"), 5, before=change)
        row("check, nothing to find", ours(work, "check"), 5)
        clear()
        row("everything, cold, Pydantic models", ours(work, "generate", "--cold", "--models", "pydantic"), 1)
        beside_others(work)


def beside_others(work: pathlib.Path) -> None:
    """Print seconds for one endpoint, one after the other from the same sample, and what that makes for all."""
    documents = written(work / "documents")
    total = len(list(SCHEMAS.rglob("*.json")))
    header(f"generate: one endpoint of {len(documents)}")
    config = work / "config.json"
    config.write_text(json.dumps({"post_hooks": []}))  # its formatter is not what is to be timed
    row_of("fal-bindings", documents, lambda document: ours(work, "generate", f"--endpoints={endpoint(document)}"))

    def datamodel_code_generator(document: pathlib.Path) -> Callable[[], bool]:
        files = ("--input", str(document), "--output", str(document.with_suffix(".py")))
        options = ("--input-file-type", "openapi", "--output-model-type", "msgspec.Struct", "--disable-timestamp")
        return tool(work, "datamodel_code_generator", *files, *options)

    def openapi_python_client(document: pathlib.Path) -> Callable[[], bool]:
        files = ("generate", "--path", str(document), "--output-path", str(document.with_suffix("")), "--overwrite")
        return tool(work, "openapi_python_client", *files, "--meta", "none", "--config", str(config))

    for name, command in (
        ("datamodel-code-generator", datamodel_code_generator),
        ("openapi-python-client", openapi_python_client),
    ):
        mean = row_of(f"{name} {importlib.metadata.version(name)}", documents, command)
        print(f"{'  for all, one after the other':44} {mean * total:8.0f}   computed, from the mean", flush=True)


def row_of(name: str, documents: list[pathlib.Path], command: Callable[[pathlib.Path], Callable[[], bool]]) -> float:
    """Time a tool on each document, print a row and return the mean."""
    actions = [command(document) for document in documents]
    done = [timed(action) for action in actions]
    failed = sum(not worked for _, worked in done)
    times = [seconds for seconds, _ in done]
    show(name, times, f"   {failed} failed" if failed else "")
    return statistics.mean(times)


def written(folder: pathlib.Path) -> list[pathlib.Path]:
    """The documents of a sample of the endpoints, spread over all of them, as other generators take them."""
    folder.mkdir()
    entries = [json.loads(file.read_text()) for file in sorted(SCHEMAS.rglob("*.json"))]
    usable = [entry for entry in entries if "paths" in entry["openapi"]]
    found: list[pathlib.Path] = []
    for entry in usable[:: len(usable) // SAMPLE + 1]:
        found.append(folder / f"{entry['endpoint_id'].replace('/', '+')}.json")
        for path in entry["openapi"]["paths"].values():
            for operation in path.values():
                for response in operation["responses"].values():
                    response.setdefault("description", "")  # one of them refuses an answer without
        found[-1].write_text(json.dumps(entry["openapi"]))
    return found


def endpoint(document: pathlib.Path) -> str:
    """The endpoint that a document is of."""
    return document.stem.replace("+", "/")


def ours(work: pathlib.Path, *arguments: str) -> Callable[[], bool]:
    """A `fal-bindings` command. Of one endpoint, it makes a package of its own."""
    package = "one" if any(argument.startswith("--endpoints") for argument in arguments) else "everything"
    return tool(work, "fal_codegen", *arguments, "--schemas", "schemas", "--out", "out", "--package", package)


def tool(work: pathlib.Path, module: str, *arguments: str) -> Callable[[], bool]:
    """Run a tool in a process of its own; return whether it worked."""
    command = [sys.executable, "-m", module, *arguments]
    return lambda: subprocess.run(command, cwd=work, capture_output=True).returncode == 0


def header(title: str) -> None:
    """Print the head of a table."""
    print(f"{title:44} {'median':>8} {'min':>8} {'max':>8}   seconds", flush=True)


def row(name: str, action: Callable[[], bool], rounds: int, *, before: Callable[[], None] | None = None) -> None:
    """Time something that must work a few times, and print a row."""
    times: list[float] = []
    for _ in range(rounds):
        if before is not None:
            before()
        seconds, worked = timed(action)
        if not worked:
            sys.exit(f"{name}: it failed")
        times.append(seconds)
    show(name, times)


def timed(action: Callable[[], bool]) -> tuple[float, bool]:
    """The seconds that something takes, and whether it worked."""
    start = time.perf_counter()
    worked = action()
    return time.perf_counter() - start, worked


def show(name: str, times: list[float], note: str = "") -> None:
    """Print a row."""
    print(f"{name:44} {statistics.median(times):8.2f} {min(times):8.2f} {max(times):8.2f}{note}", flush=True)
