"""Corrections as data: applied where they fit, reported where they do not; and the report on a catalogue's quality."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click.testing
import pytest

from fal_codegen.catalog import CatalogError, Entry
from fal_codegen.cli import cli
from fal_codegen.diagnostics import CODES
from fal_codegen.overrides import Override, Overrides, load_overrides, unused

ID = "acme/thing"
FIELD = "/openapi/components/schemas/In/properties/x"
Run = Callable[..., click.testing.Result]


def document(x: Any) -> dict[str, Any]:
    def content(schema: Any) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    post = {
        "requestBody": content({"$ref": "#/components/schemas/In"}),
        "responses": {"200": content({"type": "string"})},
    }
    schema = {"type": "object", "properties": {"x": x, "a/b~c": {"type": "string"}}}
    return {"paths": {f"/{ID}": {"post": post}}, "components": {"schemas": {"In": schema}}}


def override(**parts: Any) -> Override:
    about = {"endpoint": ID, "pointer": f"{FIELD}/default", "reason": "it is wrong", "link": "https://example.com/1"}
    return Override.model_validate({**about, **parts})


def applied(x: Any, **parts: Any) -> tuple[Any, list[str]]:
    """What becomes of the field, and the codes of what is said."""
    entry = Entry(endpoint_id=ID, openapi=document(x))
    before = entry.model_dump_json()
    corrected, notes = Overrides((override(**parts),)).apply(entry)
    assert entry.model_dump_json() == before
    assert corrected.openapi is not None
    return corrected.openapi["components"]["schemas"]["In"]["properties"], [note.code for note in notes]


@pytest.mark.parametrize(
    ("x", "parts", "expected", "code"),
    [
        ({"default": 1}, {"was": 1, "value": "1"}, {"default": "1"}, "overridden"),
        ({"default": 1}, {"was": 1, "remove": True}, {}, "overridden"),
        ({}, {"value": 5}, {"default": 5}, "overridden"),
        ({"default": "1"}, {"was": 1, "value": "1"}, {"default": "1"}, "override-not-needed"),
        ({}, {"was": 1, "remove": True}, {}, "override-not-needed"),
        ({"default": 2}, {"was": 1, "value": "1"}, {"default": 2}, "override-outdated"),
        ({"default": True}, {"was": 1, "value": "1"}, {"default": True}, "override-outdated"),
        ({}, {"was": 1, "value": "1"}, {}, "override-outdated"),
        ({"default": 2}, {"value": "1"}, {"default": 2}, "override-outdated"),
        (
            {"enum": ["a", "b"]},
            {"pointer": f"{FIELD}/enum/1", "was": "b", "value": "c"},
            {"enum": ["a", "c"]},
            "overridden",
        ),
        ({"enum": ["a"]}, {"pointer": f"{FIELD}/enum/1", "value": "c"}, {"enum": ["a"]}, "override-outdated"),
        (
            {"enum": ["a", "b"]},
            {"pointer": f"{FIELD}/enum/0", "was": "a", "remove": True},
            {"enum": ["b"]},
            "overridden",
        ),
        ({}, {"pointer": "/openapi/nowhere/at/all", "value": 1}, {}, "override-outdated"),
    ],
)
def test_an_override_is_applied_where_it_fits(x: Any, parts: dict[str, Any], expected: Any, code: str) -> None:
    properties, codes = applied(x, **parts)
    assert (properties["x"], codes) == (expected, [code])


def test_a_pointer_can_name_any_key() -> None:
    pointer = "/openapi/components/schemas/In/properties/a~1b~0c/default"
    assert applied({}, pointer=pointer, value="d")[0]["a/b~c"] == {"type": "string", "default": "d"}


def test_globs_and_what_is_for_nothing() -> None:
    overrides = Overrides((override(endpoint="acme/*", value=1), override(endpoint="other/*", value=1)))
    assert [note.code for note in overrides.apply(Entry(endpoint_id=ID, openapi=document({})))[1]] == ["overridden"]
    (finding,) = unused(overrides, [ID])
    assert (finding.code, finding.endpoint_id) == ("override-unused", "other/*")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[override]]\nendpoint = 'a/b'", "override.0.pointer: field required"),
        ("override = 5", "override: input should be a valid list"),
        ("[[overrides]]", "overrides: extra inputs are not permitted"),
        ("[[", "not valid TOML"),
        (
            "[[override]]\nendpoint='a/b'\npointer='/openapi/x'\nreason='r'\nlink='https://e.com'",
            "it needs a `value`, or `remove = true`",
        ),
        ("[[override]]\nendpoint='a/b'\npointer='/x'\nvalue=1\nreason='r'\nlink='https://e.com'", "override.0.pointer"),
        ("[[override]]\nendpoint='a/b'\npointer='/openapi/x'\nvalue=1\nreason=''\nlink='https://e.com'", "reason"),
        ("[[override]]\nendpoint='a/b'\npointer='/openapi/x'\nvalue=1\nreason='r'\nlink='see above'", "link"),
    ],
)
def test_a_wrong_file_is_named_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "overrides.toml"
    file.write_text(text)
    with pytest.raises(CatalogError) as caught:
        load_overrides(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="named as the file of overrides"):
        load_overrides(tmp_path / "nowhere.toml")


# --- The commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, in a project with one endpoint whose default is wrong."""
    monkeypatch.chdir(tmp_path)
    entry = {"endpoint_id": ID, "metadata": {}, "openapi": document({"enum": ["4", "8"], "default": 4})}
    Path("page.json").write_text(json.dumps({"models": [entry]}))
    Path("pyproject.toml").write_text(
        '[tool.fal-bindings]\nendpoints = ["acme/*"]\nsource = "page.json"\noverrides = "overrides.toml"\n'
    )
    Path("overrides.toml").write_text("")

    def invoke(*arguments: str) -> click.testing.Result:
        result = click.testing.CliRunner().invoke(cli, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    assert invoke("pull").exit_code == 0
    return invoke


def written(pointer: str = f"{FIELD}/default", was: str = "4", value: str = '"4"') -> str:
    return (
        f'[[override]]\nendpoint = "{ID}"\npointer = "{pointer}"\nwas = {was}\nvalue = {value}\n'
        'reason = "its values are texts"\nlink = "https://example.com/1"\n'
    )


MODULE = Path("fal_models/acme/thing.py")


def test_an_override_changes_the_module_and_check_knows_it(run: Run) -> None:
    assert run("generate").exit_code == 0
    assert "default()" in MODULE.read_text()
    Path("overrides.toml").write_text(written())
    assert run("check").exit_code == 1
    assert run("generate").exit_code == 0
    assert 'default("4")' in MODULE.read_text()
    assert run("check").exit_code == 0
    Path("overrides.toml").write_text("[[override")
    assert run("check").exit_code == 3
    assert run("generate").exit_code == 1


def test_check_holds_the_package_against_the_project_s_kind_of_models(run: Run) -> None:
    assert run("generate", "--models", "pydantic").exit_code == 0
    other = run("check")
    assert other.exit_code == 1
    assert "-from fal_runtime.pydantic_models import" in other.output
    table = Path("pyproject.toml")
    table.write_text(table.read_text() + 'models = "pydantic"\n')
    assert run("check").exit_code == 0


def test_doctor_says_what_is_wrong_and_what_is_corrected(run: Run) -> None:
    before = run("doctor")
    assert before.exit_code == 0
    assert before.output.startswith("1 endpoint, 1 with a document\n2 fields of inputs, 0 of outputs; of both\n")
    assert "  1 (50 %) have an enum, a bound or a pattern\n" in before.output
    assert "dropped-default: a default is against its own schema: 1 in 1 endpoint\n" in before.output
    assert run("doctor", "--strict").exit_code == 1
    listed = run("doctor", "--code", "dropped-default").output
    assert f"  {ID}#{FIELD}: its default 4 is not of its own type, so it has none [dropped-default]" in listed
    Path("overrides.toml").write_text(written())
    after = run("doctor")
    assert after.exit_code == 0
    assert "overridden: an override corrected the document: 1 in 1 endpoint" in after.output
    assert "dropped-default" not in after.output
    data = json.loads(run("doctor", "--json").output)
    assert (data["endpoints"], data["input_fields"], data["findings"][0]["code"]) == (1, 2, "overridden")
    assert "its values are texts (https://example.com/1)" in data["findings"][0]["message"]


@pytest.mark.parametrize("text", ["{", "[]", None])
def test_doctor_names_a_document_that_cannot_be_read(run: Run, text: str | None) -> None:
    (document,) = Path().rglob("thing.json")
    if text is None:
        document.unlink()
    else:
        document.write_text(text)
    done = run("doctor", "--all")
    assert "1 endpoint, 0 with a document" in done.output
    assert f"  {ID}: {document}: " in done.output
    assert "pull again to restore it [bad-entry]" in done.output
    assert run("doctor", "--strict").exit_code == 1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (written(was="5"), "override-outdated"),
        (written(value="4"), "override-not-needed"),
        # Here the document says something else, and nothing that is generated depends on it.
        (written(value="5"), "override-not-needed"),
        (written().replace(ID, "acme/gone"), "override-unused"),
    ],
)
def test_doctor_says_when_an_override_needs_attention(run: Run, text: str, code: str) -> None:
    Path("overrides.toml").write_text(text)
    result = run("doctor")
    assert result.exit_code == 1
    assert f"[{code}]; " in result.output


def test_the_committed_overrides_fit_the_committed_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    result = click.testing.CliRunner().invoke(cli, ["doctor", "--json"])
    assert result.exit_code == 0
    findings = json.loads(result.output)["findings"]
    corrected = [finding for finding in findings if finding["code"] == "overridden"]
    assert len(corrected) == len(load_overrides().items)
    assert {finding["code"] for finding in findings} <= CODES.keys()


def test_every_code_has_a_meaning() -> None:
    folder = Path(__file__).parents[2] / "generator/fal_codegen"
    used: set[str] = set()
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg == "code"), None)
            if name in ("Diagnostic", "note", "_unusable") and isinstance(first, ast.Constant):
                used.add(str(first.value))
    assert len(used) > 20
    assert used <= CODES.keys()
