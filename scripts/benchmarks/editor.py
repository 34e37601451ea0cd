"""How fast an editor is with one endpoint out of all, beside one giant module of all: scripts/bench editor"""

import ast
import importlib.util
import json
import pathlib
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import bootstrap

ENDPOINTS = bootstrap.ROOT / "generated" / "fal_endpoints"
ROUNDS = 9


def editor() -> None:
    """Print how long pyright's language server takes to answer, in milliseconds, and what it offers."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "pyrightconfig.json").write_text("{}")
        (folder / "giant.py").write_text(giant())
        modules = "from fal_endpoints.fal_ai import flux_dev\n\nflux_dev."
        print(f"{'editor':34} {'cold':>8} {'warm':>8} {'max':>8} {'offered':>8}   milliseconds")
        row("a module: Input(", folder, modules + "Input(|", "completion")
        row("a module: Input(num_images=", folder, modules + "Input(num_images=|", "signatureHelp")
        row("a module: subscribe(", folder, modules + "subscribe(|", "completion")
        row("a package: from ... import", folder, "from fal_endpoints.fal_ai import |", "completion")
        giant_input = "import giant\n\ngiant.FalAiFluxDevInput("
        row("a giant module: Input(", folder, giant_input + "|", "completion")
        row("a giant module: Input(num_images=", folder, giant_input + "num_images=|", "signatureHelp")


def row(name: str, folder: pathlib.Path, text: str, what: str) -> None:
    """Time a question to a new server, then the same after each of some keystrokes."""
    with opened(folder) as ask:
        times: list[float] = []
        answer: Any = None
        for keystroke in range(ROUNDS + 1):
            start = time.perf_counter()
            answer = ask(what, f"{text}\n# {keystroke}\n")
            times.append(1000 * (time.perf_counter() - start))
    cold, warm = times[0], times[1:]
    print(
        f"{name:34} {cold:8.0f} {statistics.median(warm):8.1f} {max(warm):8.1f} {offered(answer, text):8}", flush=True
    )


def offered(answer: Any, text: str) -> int:
    """How many fields were offered, or described; after an `import`, how many names."""
    if answer is None:
        return 0
    if "signatures" in answer:
        signatures: list[dict[str, list[object]]] = answer["signatures"]
        return max((len(each["parameters"]) for each in signatures), default=0)
    labels: list[str] = [item["label"] for item in answer["items"]]
    return len([label for label in labels if label.endswith("=") or "(" not in text])


@contextmanager
def opened(folder: pathlib.Path) -> Generator[Callable[[str, str], Any]]:
    """Start a language server in a folder."""
    spec = importlib.util.spec_from_file_location("lsp", bootstrap.ROOT / "tests" / "typing" / "lsp.py")
    assert spec is not None
    assert spec.loader is not None
    lsp: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lsp)
    server = lsp.Editor(folder)
    try:
        yield server.ask
    finally:
        server.close()


def giant() -> str:
    """All generated modules as one, with the module's name before each class's."""
    parts = ["from __future__ import annotations\n"]
    imports: set[str] = set()
    for row in json.loads((ENDPOINTS / "index.json").read_bytes())["endpoints"]:
        source = (ENDPOINTS / (row["module"].replace(".", "/") + ".py")).read_text()
        prefix = "".join(word.capitalize() for word in re.findall("[a-z0-9]+", row["module"]))
        tree = ast.parse(source)
        names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        names += [
            node.target.id
            for node in tree.body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        ]
        own = re.compile(rf"\b({'|'.join(names)})\b")
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                imports.add(ast.unparse(node))
            text = own.sub(rf"{prefix}\1", ast.get_source_segment(source, node) or "")
            if isinstance(node, ast.ClassDef | ast.AnnAssign):
                parts.append(text)
            elif text.startswith("endpoint = "):
                parts.append(f"{prefix}_{text}")
    return "\n\n".join([parts[0], *sorted(imports), *parts[1:]]) + "\n"
