"""What the sandbox's page learns of the installed endpoint modules."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fal_sandbox.bindings import Bindings


def test_a_module_is_described_without_being_imported() -> None:
    module = "fal_endpoints.argil.avatars_text_to_video"
    sys.modules.pop(module, None)
    described = Bindings().describe("argil/avatars/text-to-video")
    assert described is not None
    assert (described["package"], described["name"]) == ("fal_endpoints", "argil.avatars_text_to_video")
    assert {"avatar", "text"} <= described["docs"]["Input"].keys()
    assert described["files"] == []  # its video may be absent
    assert module not in sys.modules


def test_files_are_found_alone_and_in_lists_and_meanings_beside_fields() -> None:
    described = Bindings().describe("fal-ai/kling-video/v2/master/text-to-video")
    assert described is not None
    assert described["files"] == ["video"]
    described = Bindings().describe("fal-ai/flux/dev")
    assert described is not None
    assert described["files"] == ["images[0]"]
    assert described["docs"]["ImageSize"]["width"].startswith("Width in pixels.")


def test_what_is_not_installed_or_cannot_be_read_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Bindings("no_such_package").modules == {}
    assert Bindings().describe("acme/nothing") is None
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    package = tmp_path / "some_endpoints"
    package.mkdir()
    (package / "__init__.py").touch()
    assert Bindings("some_endpoints").modules == {}
    (package / "index.json").write_text('{"endpoints": [{"id": "a/b", "module": "a.b"}, {"id": "a/gone"}]}')
    bindings = Bindings("some_endpoints")
    assert bindings.modules == {"a/b": "a.b"}
    assert bindings.describe("a/b") is None
    (package / "a").mkdir()
    (package / "a" / "b.py").write_text("class Input(")
    assert bindings.describe("a/b") is None
