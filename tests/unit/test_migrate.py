"""What `fal-bindings migrate` understands, what it keeps, and what it says: one small file for each case."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from fal_codegen.migrate.files import Migration, migrate

CALL = 'fal_client.subscribe("fal-ai/flux/dev", arguments={"prompt": "a cat"})'


def migrated(tmp_path: Path, text: str, *, untyped: bool = False) -> tuple[str, Migration]:
    file = tmp_path / "program.py"
    file.write_text(text)
    result = migrate([tmp_path], "fal_endpoints", untyped=untyped)
    after = result.changed[file][1].decode() if file in result.changed else text
    file.write_text(after)
    again = migrate([tmp_path], "fal_endpoints", untyped=untyped)
    assert not again.changed
    return after, result


def body(text: str) -> str:
    """A file without its imports."""
    return "\n".join(line for line in text.splitlines() if "import " not in line).strip("\n")


TYPED = {
    "an attribute for each key": (
        f'result = {CALL}\nurl = result["images"][0]["url"]\nseed = result.get("seed")\n',
        'result = flux_dev.subscribe(flux_dev.Input(prompt="a cat"))\nurl = result.images[0].url\nseed = result.seed\n',
    ),
    "at once": (
        f'print({CALL}["images"][-1]["url"])',
        'print(flux_dev.subscribe(flux_dev.Input(prompt="a cat")).images[-1].url)',
    ),
    "loops": (
        f'for n, image in enumerate({CALL}["images"][1:]):\n    print(n, image["width"])\n',
        'for n, image in enumerate(flux_dev.subscribe(flux_dev.Input(prompt="a cat")).images[1:]):\n    print(n, image.width)\n',
    ),
    "several givers": (
        f'def f(x):\n    result = None\n    if x:\n        result = {CALL}\n    else:\n        result = {CALL}\n    return result["seed"]\n',
        (
            'def f(x):\n    result = None\n    if x:\n        result = flux_dev.subscribe(flux_dev.Input(prompt="a cat"))\n    else:\n'
            '        result = flux_dev.subscribe(flux_dev.Input(prompt="a cat"))\n    return result.seed\n'
        ),
    ),
    "a dict made elsewhere": (
        'def f(a):\n    fal_client.run("fal-ai/flux/dev", a)\n',
        "def f(a):\n    flux_dev.run(a)\n",
    ),
    "a spread dict": (
        'def f(a):\n    fal_client.run("fal-ai/flux/dev", {"prompt": "x", **a})\n',
        'def f(a):\n    flux_dev.run({"prompt": "x", **a})\n',
    ),
    "options": (
        'fal_client.subscribe("fal-ai/flux/dev", with_logs=True, arguments={"prompt": "x"}, client_timeout=5, interval=1)',
        'flux_dev.subscribe(flux_dev.Input(prompt="x"), logs=True, timeout=5)',
    ),
    "a path": (
        'fal_client.run("fal-ai/flux", {"prompt": "x"}, path="/dev")',
        'flux_dev.run(flux_dev.Input(prompt="x"))',
    ),
    "another method": (
        'fal_client.run("fal-ai/flux/dev", {"prompt": "x"}, method="PUT", timeout=3)\nfal_client.run("fal-ai/flux/dev", {"prompt": "x"}, method="POST")\n',
        'flux_dev.run(flux_dev.Input(prompt="x"), method="PUT", timeout=3)\nflux_dev.run(flux_dev.Input(prompt="x"))\n',
    ),
    "an update's class by name": (
        's = fal_client.status("fal-ai/flux/dev", "an-id")\nif type(s).__name__ == "Completed":\n    print(s.metrics)\n',
        's = flux_dev.handle("an-id").status()\nif type(s).__name__ == "Completed":\n    print(s.metrics)\n',
    ),
    "by id": (
        'print(fal_client.result("fal-ai/flux/dev", "an-id")["seed"])\nfal_client.cancel("fal-ai/flux/dev", "an-id")\n',
        'print(flux_dev.handle("an-id").result().seed)\nflux_dev.handle("an-id").cancel()\n',
    ),
    "files": (
        (
            'fal_client.run("fal-ai/florence-2-large/caption", {"image_url": fal_client.upload_file("a.png")})\n'
            'fal_client.upload(b"x", "text/plain", lifecycle=fal_client.StorageSettings(expires_in="1d"))\n'
            'fal_client.encode(path.read_bytes(), "image/png")\nfal_client.upload_image(picture, "png")\n'
        ),
        (
            'florence_2_large_caption.run(florence_2_large_caption.Input(image_url=fal_runtime.upload("a.png")))\n'
            'fal_runtime.upload(b"x", content_type="text/plain", lifecycle=fal_runtime.Lifecycle(expires_in="1d"))\n'
            'fal_runtime.data_uri(path.read_bytes(), content_type="image/png")\nfal_runtime.upload(picture)\n'
        ),
    ),
    "a stream": (
        'for event in fal_client.stream("fal-ai/flux/dev", arguments={"prompt": "x"}):\n    print(event["seed"])\n',
        'for event in flux_dev.stream(flux_dev.Input(prompt="x")):\n    print(event.seed)\n',
    ),
    "a stream with a module": (
        'for event in fal_client.stream("fal-ai/flux-lora", arguments={"prompt": "x"}):\n    print(event["seed"])\n',
        'for event in flux_lora_stream.stream(flux_lora_stream.Input(prompt="x")):\n    print(event.seed)\n',
    ),
    "through functions": (
        f'def make():\n    return {CALL}\n\ndef show(result):\n    print(result["seed"])\n\nshow(make())\n',
        (
            'def make():\n    return flux_dev.subscribe(flux_dev.Input(prompt="a cat"))\n\ndef show(result):\n    print(result.seed)\n\n'
            "show(make())\n"
        ),
    ),
    "errors": (
        f"try:\n    {CALL}\nexcept (ValueError, fal_client.FalClientHTTPError) as e:\n    print(e.status_code)\n",
        (
            'try:\n    flux_dev.subscribe(flux_dev.Input(prompt="a cat"))\n'
            "except (ValueError, fal_runtime.errors.InputError, fal_runtime.errors.ServiceError) as e:\n    print(e.status_code)\n"
        ),
    ),
    "names": (
        'flux_dev = 1\nfal_client.run("fal-ai/flux/dev", {"prompt": "x"})\n',
        'flux_dev = 1\nflux_dev_endpoint.run(flux_dev_endpoint.Input(prompt="x"))\n',
    ),
}


@pytest.mark.parametrize("name", TYPED)
def test_becomes_typed(name: str, tmp_path: Path) -> None:
    before, expected = TYPED[name]
    after, result = migrated(tmp_path, f"import fal_client\n\n{before}")
    assert body(after) == expected.strip("\n")
    assert result.kept == result.untyped == 0
    assert "fal_client" not in after
    compile(after, "program.py", "exec")


UNTYPED = {
    "is returned at line 4": f"def f():\n    return {CALL}\n",
    "is passed to json.dumps at line 3": f"json.dumps({CALL})\n",
    "the schema has no field 'colour', which is read at line 4": f'r = {CALL}\nprint(r["colour"])\n',
    "'content_type' may be absent, and gets a value of its own then, at line 4": (
        f'r = {CALL}\nprint(r["images"][0].get("content_type", "?"))\n'
    ),
    "what it gives is changed at line 4": f'r = {CALL}\nr["seed"] = 1\n',
    "'content_type' may be absent, which is caught as an error around line 5": (
        f'r = {CALL}\ntry:\n    print(r["images"][0]["content_type"])\nexcept KeyError:\n    pass\n'
    ),
    "other.make may be a method of something else": (
        f'class A:\n    def make(self):\n        return {CALL}\n\na = A()\nprint(a.make()["seed"], other.make()["seed"])\n'
    ),
    "r is an attribute of a class": f"class A:\n    r = {CALL}\n",
    "gets a type of its own at line 3": f"r: dict[str, object] = {CALL}\n",
    "r is something else as well, at line 4": f'r = {CALL}\nr = {{"seed": 1}}\nprint(r["seed"])\n',
    "`for key in r: print(key)` at line 4": f"r = {CALL}\nfor key in r: print(key)\n",
    "`in r` at line 4": f'r = {CALL}\nprint("seed" in r)\n',
}


@pytest.mark.parametrize("reason", UNTYPED)
def test_becomes_untyped_where_the_output_goes_its_own_way(reason: str, tmp_path: Path) -> None:
    after, result = migrated(tmp_path, f"import fal_client\n\n{UNTYPED[reason]}")
    assert 'fal_runtime.endpoint("fal-ai/flux/dev").subscribe({"prompt": "a cat"})' in after
    assert "fal_client" not in after
    assert after.replace('fal_runtime.endpoint("fal-ai/flux/dev").subscribe({"prompt": "a cat"})', CALL) == (
        f"import fal_runtime\n\n{UNTYPED[reason]}"
    )
    assert any(reason in remark.text and remark.kind == "note" for remark in result.remarks), result.remarks


KEPT = {
    "the endpoint is known only at run time": 'def f(m):\n    fal_client.run(m, {"prompt": "x"})\n',
    "fal_endpoints has no module for 'fal-ai/nothing'": 'fal_client.run("fal-ai/nothing", {})\n',
    "what ** passes on is known only at run time": 'fal_client.run("fal-ai/flux/dev", **{"arguments": {}})\n',
    "its HTTP method is not one of GET, PUT, PATCH, DELETE, or known only at run time": (
        'def f(m):\n    fal_client.run("fal-ai/flux/dev", {"prompt": "x"}, method=m)\n'
    ),
    "known only at run time; --untyped": 'def f(p):\n    fal_client.run("fal-ai/flux", {"prompt": "x"}, path=p)\n',
    "what gets the updates, show, is no function of this file": (
        'from elsewhere import show\nfal_client.subscribe("fal-ai/flux/dev", {"prompt": "x"}, on_queue_update=show)\n'
    ),
    "updates bring new log lines only, but they are counted at line 5": (
        'def show(u):\n    if isinstance(u, fal_client.InProgress):\n        print(u.logs[-1]["message"])\n\n'
        'fal_client.subscribe("fal-ai/flux/dev", {"prompt": "x"}, on_queue_update=show)\n'
    ),
    ".response_url of what it gives is used at line 4": (
        'h = fal_client.submit("fal-ai/flux/dev", {"prompt": "x"})\nprint(h.response_url)\n'
    ),
    "what it gives is put into jobs": 'jobs = {}\njobs["a"] = fal_client.submit("fal-ai/flux/dev", {"prompt": "x"})\n',
    "our errors have no 'response_headers'": (
        f"try:\n    {CALL}\nexcept fal_client.FalClientHTTPError as e:\n    print(e.response_headers)\n"
    ),
    "fal_client.FalClientError is named outside of an except clause": f"{CALL}\nretry(fal_client.FalClientError)\n",
    "fal_client.subscribe is named here, but not called": 'to_thread(fal_client.subscribe, "fal-ai/flux/dev")\n',
    "the client stays: c is an attribute of a class": (
        'class A:\n    c = fal_client.SyncClient()\n\n    def f(self):\n        self.c.run("fal-ai/flux/dev", {"prompt": "x"})\n'
    ),
    "the client stays: who gives this client, or gets it": (
        'class A:\n    c: fal_client.SyncClient\n\n    def f(self):\n        self.c.run("fal-ai/flux/dev", {"prompt": "x"})\n'
    ),
    "the client stays: who gives this client is not known": (
        'def f(c: fal_client.SyncClient = None):\n    c.run("fal-ai/flux/dev", {"prompt": "x"})\n'
    ),
    "may be text, which the bindings take for a path": 'def f(x):\n    fal_client.upload(x, "text/plain")\n',
    "the bindings write pictures as PNG": "def f(x):\n    fal_client.upload_image(x)\n",
    "a realtime connection of the bindings has another face": 'fal_client.realtime("fal-ai/flux/dev")\n',
    "'fal_client' stands for other things as well in this file": f"try:\n    pass\nexcept ImportError:\n    fal_client = None\n{CALL}\n",
}


@pytest.mark.parametrize("reason", KEPT)
def test_is_kept(reason: str, tmp_path: Path) -> None:
    text = f"import fal_client\n\n{KEPT[reason]}"
    after, result = migrated(tmp_path, text)
    assert after == text
    assert any(reason in remark.text and remark.kind == "kept" for remark in result.remarks), result.remarks


def test_a_wildcard_import_is_kept(tmp_path: Path) -> None:
    text = 'from fal_client import *\n\nrun("fal-ai/flux/dev", {"prompt": "x"})\n'
    after, result = migrated(tmp_path, text)
    assert after == text
    assert "it imports everything from fal_client" in result.remarks[0].text


def test_what_another_file_uses_is_not_changed_under_it(tmp_path: Path) -> None:
    """A handle, a client and a callback that others import stay what they are."""
    text = (
        "import fal_client\n\n"
        'handle = fal_client.submit("fal-ai/flux/dev", {"prompt": "x"})\n'
        'client = fal_client.SyncClient()\nclient.run("fal-ai/flux/dev", {"prompt": "x"})\n\n\n'
        "def show(update):\n    print(update.metrics)\n\n\n"
        'fal_client.subscribe("fal-ai/flux/dev", {"prompt": "x"}, on_queue_update=show)\n'
    )
    (tmp_path / "other.py").write_text("import program\nfrom program import client, show\n\nprint(program.handle)\n")
    after, result = migrated(tmp_path, text)
    assert after == text
    reasons = " ".join(remark.text for remark in result.remarks)
    assert "other files read handle" in reasons
    assert "other files read client" in reasons
    assert "show may be called by others" in reasons
    (tmp_path / "other.py").unlink()
    after, result = migrated(tmp_path, text)
    assert "fal_client" not in after
    assert 'flux_dev.run(flux_dev.Input(prompt="x"), client=client)' in after


def test_handlers_catch_both_while_calls_stay_anywhere(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("import fal_client\n\n\ndef f(m):\n    return fal_client.run(m, {})\n")
    after, _ = migrated(
        tmp_path, f"import fal_client\n\ntry:\n    {CALL}\nexcept fal_client.FalClientError:\n    pass\n"
    )
    assert "except (fal_client.FalClientError, fal_runtime.FalError):" in after
    assert after.startswith("import fal_client\nimport fal_runtime\nfrom fal_endpoints.fal_ai import flux_dev\n")


def test_the_guide_names_everything_that_fal_client_offers() -> None:
    guide = (Path(__file__).parents[2] / "runtime" / "MIGRATING.md").read_text()
    fal_client: ModuleType = import_module("fal_client")
    public = {*fal_client.__all__, *(name for name in vars(fal_client) if callable(getattr(fal_client, name)))}
    public |= {name for name in dir(fal_client.SyncClient) if not name.startswith("_")}
    public |= {name for name in dir(fal_client.SyncRequestHandle) if not name.startswith("_")}
    plain = {name.removesuffix("_async") for name in public if not name.startswith("_")}
    unnamed = {name for name in plain if not re.search(rf"\b{name}\b", guide)}
    assert unnamed == {"version_tuple", "sync_client", "client", "from_request_id"} & plain


def test_an_endpoint_whose_types_cannot_be_read_counts_as_one_without_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that left the platform, and models of another library."""
    package = tmp_path / "own_fal"
    (package / "acme").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "acme" / "__init__.py").touch()
    (package / "acme" / "app.py").write_text("class Input: pass\n")
    (package / "index.json").write_text('{"endpoints": [{"id": "acme/app", "module": "acme.app"}]}')
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    file = tmp_path / "program.py"
    file.write_text('import fal_client\n\nfal_client.run("acme/app", {"prompt": "x"})\n')
    result = migrate([file], "own_fal")
    assert not result.changed
    assert "own_fal has no module for 'acme/app'" in result.remarks[0].text


def test_untyped_on_request(tmp_path: Path) -> None:
    text = 'import fal_client\n\n\nasync def f(m):\n    return await fal_client.subscribe_async(m, {"a": 1}, with_logs=True)\n'
    after, result = migrated(tmp_path, text, untyped=True)
    assert 'return await fal_runtime.endpoint(m).subscribe_async({"a": 1}, logs=True)' in after
    assert (result.typed, result.untyped, result.kept) == (0, 1, 0)


def test_a_path_that_is_known_only_at_run_time_stays_one_on_request(tmp_path: Path) -> None:
    text = (
        "import fal_client\n\n\ndef f(m, p):\n"
        '    fal_client.run("fal-ai/flux", {"a": 1}, path=p)\n'
        '    fal_client.submit(m, {"a": 1}, path="/dev", priority="low")\n'
    )
    after, result = migrated(tmp_path, text, untyped=True)
    assert '    fal_runtime.endpoint("fal-ai/flux").run({"a": 1}, path=p)\n' in after
    assert '    fal_runtime.endpoint(m).submit({"a": 1}, path="/dev", priority="low")\n' in after
    assert (result.typed, result.untyped, result.kept) == (0, 2, 0)


def test_an_input_that_goes_into_the_address_is_pointed_out(tmp_path: Path) -> None:
    after, result = migrated(
        tmp_path, 'import fal_client\n\nfal_client.run("fal-ai/flux/dev", {"prompt": "x"}, method="GET")\n'
    )
    assert body(after) == 'flux_dev.run(flux_dev.Input(prompt="x"), method="GET")'
    assert "with GET the input becomes the address's query; fal_client sends none of it" in result.remarks[0].text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ('{"prompt": "x", "num_images": 9}', "the schema does not take it: num_images: must be at most 4, not 9"),
        ('{"prompt": "x", "seed": "7"}', "the schema does not take it: seed: must be an integer"),
        ('{"seed": 7}', "the schema requires 'prompt', which is not among the arguments"),
    ],
)
def test_what_the_schema_refuses_is_sent_as_before(arguments: str, reason: str, tmp_path: Path) -> None:
    """The platform may take it: its own checks turn text into numbers, for one."""
    after, result = migrated(tmp_path, f'import fal_client\n\nfal_client.run("fal-ai/flux/dev", {arguments})\n')
    assert body(after) == f'fal_runtime.endpoint("fal-ai/flux/dev").run({arguments})'
    assert next(remark.text for remark in result.remarks).startswith(f"untyped, with dicts as before: {reason}")


def test_errors_of_httpx_are_pointed_out(tmp_path: Path) -> None:
    _, result = migrated(
        tmp_path, f"import fal_client, httpx\n\ntry:\n    {CALL}\nexcept httpx.ConnectError:\n    pass\n"
    )
    assert [(remark.line, remark.kind) for remark in result.remarks] == [(5, "note")]
    assert "NoConnectionError" in result.remarks[0].text


def test_the_imports_of_types_alone_stay_so(tmp_path: Path) -> None:
    text = (
        "from typing import TYPE_CHECKING\n\nimport fal_client\n\nif TYPE_CHECKING:\n    from fal_client import Status\n\n\n"
        "def show(update: Status) -> None:\n    print(update.metrics)\n\n\n"
        'fal_client.subscribe("fal-ai/flux/dev", {"prompt": "x"}, on_queue_update=show)\n'
    )
    after, _ = migrated(tmp_path, text)
    assert after.startswith(
        "from typing import TYPE_CHECKING\n\nimport fal_runtime\nfrom fal_endpoints.fal_ai import flux_dev\n\n"
        "if TYPE_CHECKING:\n    pass\n\n\ndef show(update: fal_runtime.Status) -> None:\n"
    )


def test_layout_and_comments_stay(tmp_path: Path) -> None:
    text = (
        "#!/usr/bin/env python\n"
        "import os, fal_client  # both\n\n"
        "r = fal_client.run(  # first\n"
        '    "fal-ai/flux/dev",  # which\n'
        "    # what\n"
        "    {'prompt': 'x',   # inside\n"
        "     'image_size': {'width': 64,\n"
        "                    'height': 64}},\n"
        "    # how long\n"
        "    timeout=3)  # done\n"
    )
    after, _ = migrated(tmp_path, text)
    assert after == (
        "#!/usr/bin/env python\n"
        "import os  # both\n"
        "from fal_endpoints.fal_ai import flux_dev\n\n"
        "r = flux_dev.run(  # first\n"
        "    # which\n"
        "    # what\n"
        "    flux_dev.Input(prompt='x',   # inside\n"
        "     image_size=flux_dev.ImageSize(width=64,\n"
        "                    height=64)),\n"
        "    # how long\n"
        "    timeout=3)  # done\n"
    )


def test_what_is_no_python_is_reported(tmp_path: Path) -> None:
    after, result = migrated(tmp_path, "import fal_client\nprint 'x'\n")
    assert after == "import fal_client\nprint 'x'\n"
    assert [(remark.line, remark.kind) for remark in result.remarks] == [(2, "failed")]
