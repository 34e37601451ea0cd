"""Snapshots of what a person sees in an editor and in a notebook, to be read in review: `snapshots/*.md`.

After a change that is meant, write them anew with FAL_BINDINGS_SNAPSHOTS=write.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from fal_endpoints.fal_ai import flux_dev
from fal_runtime.values import mapping, sequence

from .lsp import CURSOR, Editor

SNAPSHOTS = Path(__file__).resolve().parent / "snapshots"
IMPORT = "from fal_endpoints.fal_ai import flux_dev\n\n"
OUTPUT = 'output = flux_dev.run(flux_dev.Input(prompt="a cat"))\n'

PLACES = {
    "completion": [
        "flux_dev.|",
        "flux_dev.Input(|",
        'flux_dev.Input(prompt="a cat", output_format="|")',
        "flux_dev.ImageSize(|",
        'request = flux_dev.Input(prompt="a cat")\nrequest.|',
        'flux_dev.subscribe(flux_dev.Input(prompt="a cat"), |',
        'flux_dev.subscribe(prompt="a cat", output_format="|")',
        f"{OUTPUT}output.|",
        f"{OUTPUT}output.images[0].|",
        'job = flux_dev.submit(flux_dev.Input(prompt="a cat"))\njob.|',
    ],
    "signatureHelp": [
        "flux_dev.Input(|",
        "flux_dev.Input(num_images=|",
        'flux_dev.Input(prompt="a cat", image_size=|)',
        'flux_dev.subscribe(prompt="a cat", num_images=|)',
    ],
    "hover": [
        "flux|_dev",
        "flux_dev.Inp|ut",
        'flux_dev.Input(prompt="a cat", num_im|ages=2)',
        'flux_dev.Input(prompt="a cat").guidance_|scale',
        "flux_dev.sub|scribe",
        "flux_dev.subscribe_|async",
        f"{OUTPUT}out|put",
        f"{OUTPUT}output.images[0].wid|th",
        f"{OUTPUT}output.images[0].sa|ve",
    ],
    "definition": [
        "flux|_dev",
        "flux_dev.Inp|ut",
        'flux_dev.Input(prompt="a cat", num_im|ages=2)',
        f"{OUTPUT}output.images[0].wid|th",
    ],
}

WRONG = [
    'flux_dev.Input(promt="a cat")',
    "flux_dev.Input()",
    'flux_dev.Input(prompt="a cat", output_format="gif")',
    'flux_dev.Input(prompt="a cat", num_images="2")',
    'flux_dev.Input(prompt="a cat", num_images=None)',
    "flux_dev.Input(prompt=None)",
    'flux_dev.run(flux_dev.Input(prompt="a cat")).image',
    'flux_dev.run(flux_dev.Input(prompt="a cat")).images[0].uri',
    'flux_dev.submit(flux_dev.Input(prompt="a cat")).images',
    'flux_dev.subscribe(flux_dev.Input(prompt="a cat"), logs="yes")',
    'flux_dev.subscribe(flux_dev.Input(prompt="a cat"), log=True)',
    'flux_dev.subscribe(promt="a cat")',
    'flux_dev.subscribe(prompt="a cat", output_format="gif")',
    'flux_dev.subscribe("a cat")',
]


def snapshot(name: str, parts: list[str]) -> None:
    """Hold a text against the one that is kept."""
    file = SNAPSHOTS / name
    text = "\n\n".join(parts) + "\n"
    if os.environ.get("FAL_BINDINGS_SNAPSHOTS") == "write":
        file.write_text(text, encoding="utf-8")
    kept = file.read_text(encoding="utf-8")
    changes = "\n".join(difflib.unified_diff(kept.splitlines(), text.splitlines(), "kept", "seen", lineterm=""))
    assert not changes, f"{name} has changed; if that is meant, set FAL_BINDINGS_SNAPSHOTS=write\n{changes}"


def seen(place: str, what: str) -> str:
    return f"```python\n{place}\n```\n\n{what or '(nothing)'}"


def bullets(items: list[str]) -> str:
    return "\n".join(f"- `{item}`" for item in items)


# --- Pyright's language server ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    try:
        editor = Editor(tmp_path_factory.mktemp("editor"))
    except (OSError, RuntimeError) as error:
        pytest.skip(f"pyright's language server does not start: {error}")
    yield editor
    editor.close()


def completion(answer: Any) -> str:
    labels: list[str] = [item["label"] for item in answer["items"]]
    named = [label for label in labels if label.endswith("=")]
    return bullets(named or [label for label in labels if not label.startswith("_")])


def signature_help(answer: Any) -> str:
    lines: list[str] = []
    for each in answer["signatures"]:
        lines.append(f"```python\n{each['label']}\n```")
        active: int = each.get("activeParameter", len(each["parameters"]))  # past the end if there is none
        for parameter in each["parameters"][active : active + 1]:
            words: str = mapping(parameter.get("documentation")).get("value", "")
            lines.append(f"At `{parameter['label']}`: {words or '(no words)'}")
    return "\n\n".join(lines)


def hover(answer: Any) -> str:
    # The server writes indents as entities.
    text: str = mapping(mapping(answer).get("contents")).get("value", "")
    return "\n".join(f"> {line}".rstrip() for line in text.replace("&nbsp;", " ").splitlines())


def definition(answer: Any) -> str:
    return bullets(
        [line_at(unquote(urlsplit(str(each["uri"])).path), each["range"]["start"]["line"]) for each in sequence(answer)]
    )


def line_at(path: str, line: int) -> str:
    """A line of a file, without its number, which changes with every text above it."""
    file = Path(path)
    if line == 0:
        return f"{file.parent.name}/{file.name}"
    return f"{file.parent.name}/{file.name}: {file.read_text(encoding='utf-8').splitlines()[line].strip()}"


SHOWN: dict[str, Callable[[Any], str]] = {
    "completion": completion,
    "signatureHelp": signature_help,
    "hover": hover,
    "definition": definition,
}


def test_what_pyright_shows(editor: Editor) -> None:
    parts = ["# What an editor with pyright's language server shows", "`|` is where the cursor is."]
    for what, places in PLACES.items():
        parts.append(f"## {what}")
        parts += [seen(place, SHOWN[what](editor.ask(what, IMPORT + place))) for place in places]
    snapshot("pyright.md", parts)


def test_what_pyright_says_about_wrong_code(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(IMPORT + "\n".join(WRONG) + "\n")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    found: dict[int, list[str]] = {}
    for each in json.loads(done.stdout)["generalDiagnostics"]:
        if each["severity"] == "error":
            found.setdefault(each["range"]["start"]["line"] - 2, []).append(
                f"> {each['message']}".replace("\n", "\n> ")
            )
    parts = ["# What pyright says about wrong code"]
    parts += [seen(line, "\n>\n".join(found.get(number, []))) for number, line in enumerate(WRONG)]
    snapshot("pyright-errors.md", parts)


# --- Jedi, which notebooks ask ----------------------------------------------------------------------------------------


def ask_jedi(what: str, place: str, folder: Path) -> str:
    before, _, after = (IMPORT + place).partition(CURSOR)
    # Notebooks give jedi what is alive in them. It carries no types.
    jedi: Any = import_module("jedi")
    script = jedi.Interpreter(before + after, [{"flux_dev": flux_dev}], project=jedi.Project(folder))
    line, column = before.count("\n") + 1, len(before.rpartition("\n")[2])
    if what == "completion":
        names = [each.name_with_symbols for each in script.complete(line, column) if not each.name.startswith("_")]
        return bullets(names if before.endswith(".") else [name for name in names if name.endswith("=")])
    if what == "signatureHelp":
        texts = (re.sub(r"\s+", " ", each.to_string()) for each in script.get_signatures(line, column))
        return "\n\n".join(f"```python\n{text}\n```" for text in texts)
    if what == "hover":
        return "\n\n".join(f"> {each.docstring()}".replace("\n", "\n> ") for each in script.help(line, column)[:1])
    places = script.goto(line, column, follow_imports=True)
    return bullets([line_at(str(each.module_path), (each.line or 1) - 1) for each in places])


def test_what_jedi_shows(tmp_path: Path) -> None:
    parts = ["# What a notebook with jedi shows", "`|` is where the cursor is."]
    for what, places in PLACES.items():
        parts.append(f"## {what}")
        parts += [seen(place, ask_jedi(what, place, tmp_path)) for place in places]
    snapshot("jedi.md", [re.sub(r"[ \t]+$", "", part, flags=re.MULTILINE) for part in parts])
