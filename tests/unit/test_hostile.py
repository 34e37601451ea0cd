"""No document stops a run, gives code that is none, makes a text into code, or writes outside of its folder."""

from __future__ import annotations

import ast
import json
import sys
import types
from pathlib import Path
from typing import Any, get_args

import click.testing
import msgspec
import pydantic
import pytest

import hostile
from fal_codegen.cli import cli
from fal_codegen.emit import Emitted, emit
from fal_codegen.prepare import ModelKind
from fal_codegen.write import existing

SHA = "0123456789abcdef" * 4

KINDS: tuple[ModelKind, ...] = get_args(ModelKind)
IMPORTED = frozenset({"typing", "fal_runtime", "fal_runtime.pydantic_models", "msgspec", "pydantic"})
NODES = (
    *(ast.Module, ast.Expr, ast.Constant, ast.ImportFrom, ast.alias, ast.ClassDef, ast.AnnAssign, ast.Assign, ast.Name),
    *(ast.Load, ast.Store, ast.Call, ast.keyword, ast.Attribute, ast.Subscript, ast.Tuple, ast.List, ast.Dict),
    *(ast.BinOp, ast.BitOr, ast.UnaryOp, ast.USub, ast.Lambda, ast.arguments),
)
VERBS = frozenset(
    [
        "run",
        "run_async",
        "submit",
        "submit_async",
        "subscribe",
        "subscribe_async",
        "stream",
        "stream_async",
        "handle",
        "with_result",
        "parse_webhook",
        "parse_webhook_async",
        "realtime",
        "realtime_async",
    ]
)
CALLED = frozenset({"default", "field", "tag", "Field", "Meta", "Endpoint"})
NAMES = CALLED.union(
    [
        "Annotated",
        "Any",
        "ClassVar",
        "FileInput",
        "InputModel",
        "Literal",
        "MediaFile",
        "OneOf",
        "OutputModel",
        "TypeAlias",
        "bool",
        "dict",
        "endpoint",
        "float",
        "int",
        "list",
        "str",
        "tuple",
        "Input",
        "Output",
    ]
)


def emitted(entry: dict[str, Any], models: ModelKind = "msgspec") -> Emitted:
    parts = (entry["endpoint_id"], entry["metadata"], entry["openapi"])
    return emit(*parts, module="hostile.module", sha256=SHA, models=models)


@pytest.mark.parametrize("models", KINDS)
@pytest.mark.parametrize("name", hostile.CORPUS)
def test_a_document_becomes_a_module_of_expected_parts_or_a_diagnostic(
    name: str, models: ModelKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = emitted(hostile.CORPUS[name], models)
    if result.source is None:
        (fatal,) = [diagnostic for diagnostic in result.diagnostics if diagnostic.fatal]
        assert fatal.message
        assert fatal.remedy
        assert fatal.code not in ("bad-module", "bad-types"), str(fatal)[:500]
        return
    check_parts(ast.parse(result.source))
    run(result.source)
    assert list(tmp_path.iterdir()) == []


def check_parts(tree: ast.Module) -> None:
    """A generated module imports from three packages, defines classes and aliases, and calls a handful of functions."""
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    aliases = {
        node.target.id for node in tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    fields = {
        node.target.id
        for item in tree.body
        if isinstance(item, ast.ClassDef)
        for node in item.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    rebuilt = {f"{name}.model_rebuild()" for name in classes}  # pydantic's classes that refer to later ones
    for node in ast.walk(tree):
        assert isinstance(node, NODES), ast.dump(node)[:200]
        if isinstance(node, ast.ImportFrom):
            assert node.module in IMPORTED
        elif isinstance(node, ast.Expr):
            assert is_text(node.value) or ast.unparse(node.value) in rebuilt
        elif isinstance(node, ast.Call) and ast.unparse(node) not in rebuilt:
            assert isinstance(node.func, ast.Name), ast.dump(node)[:200]
            assert node.func.id in CALLED | classes
        elif isinstance(node, ast.Attribute):
            assert ast.unparse(node).removeprefix("endpoint.") in VERBS or f"{ast.unparse(node)}()" in rebuilt
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            assert node.id in NAMES | classes | aliases, node.id
        elif isinstance(node, ast.Name):
            assert node.id in VERBS | aliases | fields | {"endpoint"}, node.id


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def run(source: str) -> None:
    """The module can be imported, and msgspec or pydantic can decode what it describes."""
    module: Any = types.ModuleType("hostile_module")
    sys.modules[module.__name__] = module  # msgspec resolves forward references through it
    try:
        exec(compile(source, "hostile_module.py", "exec", dont_inherit=True), module.__dict__)  # noqa: S102
        for root in (module.Input, module.Output):
            if "fal_runtime.pydantic_models" in source:
                pydantic.TypeAdapter(root)
            else:
                msgspec.json.Decoder(root)
    finally:
        del sys.modules[module.__name__]


def test_texts_are_still_there() -> None:
    """What is told of texts in this file is worth something only if they do come through."""
    source = emitted(hostile.CORPUS["texts-everywhere"]).source
    assert source is not None
    texts = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    assert sum(isinstance(text, str) and hostile.HACKED in text for text in texts) > 10


def test_the_corpus_is_worth_its_name() -> None:
    assert len(hostile.CORPUS) >= 40
    assert sum(emitted(entry).source is not None for entry in hostile.CORPUS.values()) >= 40


@pytest.mark.parametrize("id_", hostile.ids_that_are_none())
def test_an_id_that_is_none_names_no_module(id_: str) -> None:
    entry = hostile.entry(id_, hostile.obj(x=hostile.TEXT))
    result = emitted(entry)
    assert result.source is None
    assert [diagnostic.code for diagnostic in result.diagnostics] == ["bad-id"]


def test_a_whole_run_over_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pull, generate, check, compare and look around: nothing crashes, and nothing is written elsewhere."""
    work = tmp_path / "deep/work"
    (work / "files").mkdir(parents=True)
    monkeypatch.chdir(work)
    for number, entry in enumerate(hostile.CORPUS.values()):
        (work / f"files/{number}.json").write_text(json.dumps(entry))
    for number, id_ in enumerate(hostile.ids_that_are_none()):
        text = json.dumps(hostile.entry(id_, hostile.obj(x=hostile.TEXT)))
        (work / f"files/id{number}.json").write_text(text)
    (work / "files/fine.json").write_text(json.dumps(hostile.entry("fine/one", hostile.obj(x=hostile.TEXT))))

    def invoke(*arguments: str) -> click.testing.Result:
        result = click.testing.CliRunner().invoke(cli, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    pulled = invoke("pull", "--from", "files", "--schemas", "schemas")
    assert pulled.exit_code == 1  # some ids are none, and are named
    assert pulled.output.count("[bad-id]") == len(hostile.ids_that_are_none())
    assert pulled.output.count("[bad-entry]") == 4  # what is nested more deeply than pydantic reads JSON
    made = invoke("generate", "--schemas", "schemas", "--out", "out", "--jobs", "1")
    assert made.exit_code == 0, made.output[-2000:]
    assert "Traceback" not in made.output
    assert invoke("check", "--schemas", "schemas", "--out", "out", "--jobs", "1").exit_code == 0
    compared = made
    for style in ("table", "markdown", "json"):
        compared = invoke("diff", "schemas", "files", "--format", style)
        assert compared.exit_code == 1
    # What is nested too deeply for pydantic was named, and is not there.
    new = [change for change in json.loads(compared.output)["changes"] if change["severity"] != "none"]
    assert {change["endpoint"].partition("/deep-")[0] for change in new} == {"hostile"}
    assert {change["kind"] for change in new} == {"endpoint-added"}
    assert invoke("changelog", "schemas", "files").exit_code == 0
    report = invoke("doctor", "--schemas", "schemas", "--all")
    assert "endpoints, " in report.output
    assert "\x1b" not in report.output + made.output + pulled.output
    modules = existing(work / "out/fal_endpoints")
    assert "fine/one.py" in modules
    for path in modules:
        assert path.partition("/")[0] in ("fine", "hostile", "__init__.py", "py.typed", "index.json")
        if path.endswith(".py"):
            compile((work / "out/fal_endpoints" / path).read_bytes(), path, "exec", dont_inherit=True)
    assert {path.partition("/")[0] for path in existing(work)} == {"files", "schemas", "out"}
    assert {path.parts[0] for path in tmp_path.rglob("*") for path in [path.relative_to(tmp_path)]} == {"deep"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"work"}
