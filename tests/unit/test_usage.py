"""Which endpoints and fields a code base uses, and which changes therefore concern it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from fal_codegen.catalog import CatalogError
from fal_codegen.diff import Change, Kind, Severity
from fal_codegen.prepare import Side
from fal_codegen.usage import Usage, Use, affects, find_usage

FLUX, KLING = "fal-ai/flux/dev", "fal-ai/kling"
MODULES = {"fal_ai.flux_dev": FLUX, "fal_ai.kling": KLING}
PACKAGES = {"fal_endpoints": MODULES, "acme.fal": MODULES}


def usage(tmp_path: Path, text: str, name: str = "src/app.py") -> Usage:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return find_usage([tmp_path], [FLUX, KLING], PACKAGES)


def use(tmp_path: Path, text: str, name: str = "src/app.py") -> Use:
    """How a file uses the one endpoint that it uses."""
    found = usage(tmp_path, text, name)
    assert found.unreadable == []
    assert list(found.uses) == [FLUX]
    return found.uses[FLUX]


@pytest.mark.parametrize(
    "imports",
    [
        "from fal_endpoints.fal_ai import flux_dev as f",
        "import fal_endpoints.fal_ai.flux_dev as f",
        "import fal_endpoints.fal_ai.flux_dev\nf = fal_endpoints.fal_ai.flux_dev",
        "from fal_endpoints import fal_ai\nf = fal_ai.flux_dev",
        "import fal_endpoints as e\nf = e.fal_ai.flux_dev",
        "from acme.fal.fal_ai import flux_dev as f",
        "from .fal.fal_ai import flux_dev as f",
        "from . import fal\nf = fal.fal_ai.flux_dev",
        "from fal_endpoints.fal_ai import *\nf = flux_dev",
        "try:\n    from fal_endpoints.fal_ai import flux_dev as f\nexcept ImportError:\n    raise",
    ],
)
def test_imports_of_every_kind(tmp_path: Path, imports: str) -> None:
    found = use(tmp_path, f"{imports}\nprint(f.run(f.Input(prompt='a', seed=1)).images[0].url)\n", "src/acme/app.py")
    assert (found.inputs, found.opaque_inputs) == ([frozenset({"prompt", "seed"})], False)
    assert (found.reads, found.opaque_outputs) == ({"images.url"}, False)


@pytest.mark.parametrize(
    ("call", "reads"),
    [
        ("out = flux_dev.subscribe(i)\nprint(out.seed, out.images[0].url)", {"seed", "images.url"}),
        ("out = flux_dev.with_result.run(i)\nprint(out.data.seed, out.request_id)", {"seed"}),
        ("h = flux_dev.submit(i)\nprint(h.request_id, h.result().seed)", {"seed"}),
        ("out = flux_dev.handle('x').result()\nfor image in out.images: image.save('x')", {"images"}),
        ("async def f():\n    out = await flux_dev.subscribe_async(i)\n    return out.seed", {"seed"}),
        ("def f(out: flux_dev.Output) -> int:\n    return out.seed", {"seed"}),
        ("out: flux_dev.Output = flux_dev.run(i)\nprint(out.seed)", {"seed"}),
        ("if (out := flux_dev.run(i)).seed: pass", {"seed"}),
        ("flux_dev.run(i)", set[str]()),
        ("def f():\n    out = flux_dev.run(i)\n    def g():\n        return out.seed\n    return g", {"seed"}),
        ("flux_dev.endpoint.run(i).images[0].save('x')", {"images.save"}),
    ],
)
def test_reads_of_results(tmp_path: Path, call: str, reads: set[str]) -> None:
    found = use(tmp_path, f"from fal_endpoints.fal_ai import flux_dev\ni = flux_dev.Input(prompt='a')\n{call}\n")
    assert (found.reads, found.opaque_outputs) == (reads, False)
    assert (found.inputs, found.opaque_inputs) == ([frozenset({"prompt"})], False)


@pytest.mark.parametrize(
    "call",
    [
        "print(flux_dev.run(i))",
        "out = flux_dev.run(i)\nstore(out)",
        "def f():\n    return flux_dev.run(i)",
        "self.out = flux_dev.run(i)",
        "out, other = flux_dev.run(i), 1",
        "outs = [flux_dev.run(i) for _ in x]",
        "call(flux_dev.run, i)",
        "for event in flux_dev.stream(i): print(event)",
        "f(flux_dev)",
        "h = flux_dev.submit(i)\nqueue(h)",
        "x = decode(data, type=flux_dev.Output)",
        "event = flux_dev.parse_webhook(headers, body)",
        "async def f():\n    return await flux_dev.parse_webhook_async(headers, body)",
        "with flux_dev.realtime(on_result=f) as connection: connection.send(i)",
    ],
)
def test_results_that_go_where_nobody_sees(tmp_path: Path, call: str) -> None:
    text = f"from fal_endpoints.fal_ai import flux_dev\ni = flux_dev.Input(prompt='a')\n{call}\n"
    assert use(tmp_path, text).opaque_outputs


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        ("flux_dev.Input(prompt='a', **{'seed': 1})", [{"prompt", "seed"}]),
        ("flux_dev.Input.from_dict({'prompt': 'a'})", [{"prompt"}]),
        ("i = flux_dev.Input(prompt='a')\nj = i.replace(seed=1)\nflux_dev.run(j)", [{"prompt"}, {"seed"}]),
        ("i = flux_dev.Input(prompt='a')\ni.seed = 1\nflux_dev.run(i)", [{"prompt"}, {"seed"}]),
        ("flux_dev.run(input=flux_dev.Input(prompt='a'))", [{"prompt"}]),
        ("flux_dev.run({'prompt': 'a'}, timeout=3)", [{"prompt"}]),
        ("flux_dev.run(prompt='a', seed=1)", [{"prompt", "seed"}]),
        ("flux_dev.with_result.submit(prompt='a', **{'seed': 1})", [{"prompt", "seed"}]),
    ],
)
def test_inputs_that_can_be_seen(tmp_path: Path, call: str, inputs: list[set[str]]) -> None:
    found = use(tmp_path, f"from fal_endpoints.fal_ai import flux_dev\n{call}\n")
    assert sorted(map(sorted, found.inputs)) == sorted(map(sorted, inputs))
    assert not found.opaque_inputs


@pytest.mark.parametrize(
    "call",
    [
        "flux_dev.Input(**options)",
        "flux_dev.Input(prompt='a', **{key: 1})",
        "flux_dev.Input.from_dict(data)",
        "flux_dev.run(make())",
        "flux_dev.run(prompt='a', **more)",
        "flux_dev.realtime(on_result=print)",
        "flux_dev.run(flux_dev.Input(prompt='a'), extra={'x': 1})",
        "i = flux_dev.Input(prompt='a')\nchange(i)",
        "def f(i: flux_dev.Input): flux_dev.run(i)",
        "make(flux_dev.Input)",
    ],
)
def test_inputs_that_cannot_be_seen(tmp_path: Path, call: str) -> None:
    assert use(tmp_path, f"from fal_endpoints.fal_ai import flux_dev\n{call}\n").opaque_inputs


def test_endpoints_by_their_ids(tmp_path: Path) -> None:
    text = "import fal_runtime\ne = fal_runtime.endpoint('fal-ai/flux/dev')\nout = e.run({'prompt': 'a'})\n"
    found = use(tmp_path, f"{text}print(out['images'][0]['url'])\n")
    assert (found.inputs, found.opaque_inputs) == ([frozenset({"prompt"})], False)
    assert (found.reads, found.opaque_outputs) == ({"images.url"}, False)
    assert [place.rpartition("/")[2] for place in found.places] == ["app.py:2", "app.py:3", "app.py:4"]


@pytest.mark.parametrize(
    "text",
    [
        "import fal_client\nfal_client.subscribe('fal-ai/flux/dev', arguments={})",
        "MODEL = 'fal-ai/flux/dev'",
        "import importlib\nimportlib.import_module('fal_endpoints.fal_ai.flux_dev')",
    ],
)
def test_what_is_only_named_may_do_anything(tmp_path: Path, text: str) -> None:
    found = use(tmp_path, text)
    assert found.opaque_inputs
    assert found.opaque_outputs


def test_what_is_not_the_project_s_own_is_not_read(tmp_path: Path) -> None:
    named = "from fal_endpoints.fal_ai import kling\nkling.run\n"
    for name in (".venv/x.py", "node_modules/x.py", "env/lib/x.py", "site-packages/x.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(named)
    (tmp_path / "env/pyvenv.cfg").touch()
    generated = "# Generated by fal-bindings 1 from x. Do not edit; run `fal-bindings generate`.\n"
    (tmp_path / "src/fal").mkdir(parents=True)
    (tmp_path / "src/fal/kling.py").write_text(generated + named)
    (tmp_path / "old.py").write_text("print 'x'\n")
    (tmp_path / "zero.py").write_bytes(b"\x00")
    found = usage(tmp_path, "from fal_endpoints.fal_ai import flux_dev\n'''fal-ai/kling'''\n")
    assert list(found.uses) == [FLUX]
    assert found.files == 3
    assert [line.partition(": ")[0].rpartition("/")[2] for line in found.unreadable] == ["old.py", "zero.py"]


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no Python files"):
        find_usage([tmp_path], [FLUX], PACKAGES)
    with pytest.raises(CatalogError, match="no such file or folder"):
        find_usage([tmp_path / "nowhere"], [FLUX], PACKAGES)


def test_long_chains_of_calls_take_no_time(tmp_path: Path) -> None:
    start = time.process_time()
    found = usage(tmp_path, f"import fal_runtime\nx = fal_runtime.q{'.result()' * 300}\n")
    assert found.uses == {}
    # Twice the work for each link would take longer than the universe has.
    assert time.process_time() - start < 60


def change(kind: Kind, severity: Severity, side: Side, path: str) -> Change:
    return Change(endpoint=FLUX, kind=kind, severity=severity, side=side, path=path, attribute=path, message="")


SEEN: dict[str, Any] = {"inputs": [frozenset({"prompt"}), frozenset({"prompt", "size"})], "reads": {"images.url"}}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (change("values-removed", "breaking", "input", "prompt"), True),
        (change("values-removed", "breaking", "input", "style"), False),
        (change("field-removed", "breaking", "input", "size"), True),
        (change("field-removed", "breaking", "input", "style"), False),
        (change("range", "breaking", "input", "size.width"), True),
        (change("range", "breaking", "input", "loras[].scale"), False),
        (change("field-added", "breaking", "input", "size.depth"), True),
        (change("field-added", "breaking", "input", "style"), True),
        (change("required", "breaking", "input", "prompt"), False),
        (change("required", "breaking", "input", "size"), True),
        (change("default", "default", "input", "prompt"), False),
        (change("default", "default", "input", "size"), True),
        (change("default", "default", "input", "style"), True),
        (change("field-added", "additive", "input", "style"), True),
        (change("type", "breaking", "output", "images[].url"), True),
        (change("type", "breaking", "output", "images"), True),
        (change("type", "breaking", "output", "images[].width"), False),
        (change("field-removed", "breaking", "output", "seed"), False),
        (change("type", "breaking", "output", ""), True),
        (change("endpoint-removed", "breaking", "input", ""), True),
    ],
)
def test_which_changes_concern_a_code_base(found: Change, expected: bool) -> None:
    assert affects(found, Usage({FLUX: Use(**SEEN)})) is expected
    assert affects(found, Usage({FLUX: Use(opaque_inputs=True, opaque_outputs=True)}))
    assert not affects(found, Usage({KLING: Use(opaque_inputs=True, opaque_outputs=True)}))
