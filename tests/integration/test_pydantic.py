"""Modules with Pydantic models: the face and the wire of the others, from the same templates."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click.testing
import msgspec
import pydantic
import pytest

import fal_endpoints
from fal_codegen.cli import cli
from fal_codegen.emit import emit
from fal_endpoints.fal_ai import flux_dev as of_msgspec
from fal_runtime import Client, Endpoint
from fal_runtime.errors import InputError, OutputError
from fal_runtime.inputs import build_body
from fal_runtime.pydantic_models import read_input, read_output
from fal_sandbox import Sandbox, example
from support import Caller

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "generated" / "schemas"
NAME = "fal_pydantic_models"
CHOSEN = (
    "fal-ai/flux/dev",
    "fal-ai/ffmpeg-api/metadata",
    "fal-ai/fooocus/image-prompt",
    "bria/*",
    "openrouter/*",
    "sonauto/*",
)
EVERY = 40


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A package with Pydantic models of some endpoints, or of all where all are asked for."""
    out = tmp_path_factory.mktemp("pydantic")
    schemas = out / "schemas"
    shutil.copytree(SCHEMAS, schemas)
    index = json.loads((Path(fal_endpoints.__path__[0]) / "index.json").read_bytes())["endpoints"]
    chosen = [*CHOSEN, *(row["id"] for row in index[::EVERY])]
    arguments = ["generate", *chosen, "--schemas", str(schemas), "--out", str(out), "--package", NAME]
    result = click.testing.CliRunner().invoke(cli, [*arguments, "--models", "pydantic"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    sys.path.insert(0, str(out))
    yield out / NAME
    sys.path.remove(str(out))
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def flux(package: Path) -> Any:
    return importlib.import_module(f"{NAME}.fal_ai.flux_dev")


def pairs(package: Path) -> Iterator[tuple[ModuleType, ModuleType]]:
    """Each module and the one of Structs of the same endpoint."""
    for row in json.loads((package / "index.json").read_bytes())["endpoints"]:
        yield importlib.import_module(f"{NAME}.{row['module']}"), importlib.import_module(
            f"fal_endpoints.{row['module']}"
        )


def structs(module: ModuleType) -> dict[str, type[msgspec.Struct]]:
    own = {name: each for name, each in vars(module).items() if isinstance(each, type)}
    return {name: each for name, each in own.items() if each.__module__ == module.__name__}


def test_the_face_is_the_same(package: Path) -> None:
    compared = 0
    for ours, theirs in pairs(package):
        assert {name for name in vars(theirs) if name[0] != "_"} - {"ClassVar", "Meta", "field"} <= set(vars(ours))
        for name, struct in structs(theirs).items():
            fields = getattr(ours, name).model_fields
            tag = struct.__struct_config__.tag_field
            assert [each for each in fields if each != tag] == list(struct.__struct_fields__), (ours.__name__, name)
            compared += 1
    assert compared > 100


def test_the_wire_is_the_same(package: Path) -> None:
    compared = 0
    for ours, theirs in pairs(package):
        if not hasattr(theirs.Input, "__struct_fields__") or not hasattr(theirs.Output, "__struct_fields__"):
            continue
        endpoint_id = ours.endpoint.id
        for seed in range(3):
            body = build_body(example(theirs.Input, seed=seed), theirs.Input, endpoint_id=endpoint_id)
            built = ours.Input.from_dict(json.loads(body))
            again = build_body(built, ours.Input, endpoint_id=endpoint_id)
            assert json.loads(again) == json.loads(body), endpoint_id
            answer = msgspec.json.encode(example(theirs.Output, seed=seed))
            output, warnings = read_output(answer, ours.Output)
            assert warnings == (), endpoint_id
            struct = msgspec.json.decode(answer, type=theirs.Output)
            assert json.loads(msgspec.json.encode(output.to_dict())) == json.loads(msgspec.json.encode(struct))
            compared += 1
    assert compared > 60


def test_what_was_not_set_is_absent_and_what_was_set_is_sent(flux: Any) -> None:
    def sent(value: Any) -> Any:
        return json.loads(build_body(value, flux.Input, endpoint_id="x"))

    value = flux.Input(prompt="a cat")
    assert sent(value) == {"prompt": "a cat"}
    assert value.num_images == 1
    assert sent(flux.Input(prompt="a cat", num_images=1, seed=None)) == {
        "prompt": "a cat",
        "num_images": 1,
        "seed": None,
    }
    assert sent(flux.Input(prompt="x", image_size=flux.ImageSize(width=64))) == {
        "prompt": "x",
        "image_size": {"width": 64},
    }
    assert sent({"prompt": "x", "image_size": flux.ImageSize(height=64)}) == {
        "prompt": "x",
        "image_size": {"height": 64},
    }
    value.num_images = 1
    assert sent(value) == {"prompt": "a cat", "num_images": 1}
    assert sent(value.replace(prompt="a dog")) == {"prompt": "a dog", "num_images": 1}
    extra = build_body(value, flux.Input, endpoint_id="x", extra={"new": True})
    assert json.loads(extra)["new"] is True


def test_every_problem_of_an_input_is_listed(flux: Any) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        flux.Input(num_images=99, output_format="gif", prompts="x")
    assert {str(each["loc"][0]) for each in caught.value.errors()} == {
        "prompt",
        "num_images",
        "output_format",
        "prompts",
    }
    value = flux.Input.model_construct(prompt=3, num_images=99, image_size={"width": 0}, acceleration="fast")
    with pytest.raises(InputError) as error:
        build_body(value, flux.Input, endpoint_id="fal-ai/flux/dev")
    assert {(each.path, each.rule) for each in error.value.errors} == {
        ("prompt", "string_type"),
        ("num_images", "less_than_equal"),
        ("image_size.width", "greater_than"),
        ("acceleration", "literal_error"),
    }
    assert json.loads(build_body(value, flux.Input, endpoint_id="x", validate=False))["num_images"] == 99
    with pytest.raises(InputError, match=r"flux_dev.Input or a dict, not flux_dev.Input"):
        build_body(of_msgspec.Input(prompt="x"), flux.Input, endpoint_id="x")
    with pytest.raises(InputError) as wrong:
        flux.Input.from_dict({"num_images": 0})
    assert {each.path for each in wrong.value.errors} == {"prompt", "num_images"}


def test_a_branch_of_a_union_is_named_as_callers_name_it(flux: Any) -> None:
    problems = read_input(b'{"prompt": "x", "image_size": "squar"}', flux.Input)
    assert [(each.path, each.rule) for each in problems] == [("image_size", "literal_error")]
    problems = read_input(b'{"prompt": "x", "image_size": {"width": 0, "height": 99999}}', flux.Input)
    assert {each.path for each in problems} == {"image_size.width", "image_size.height"}


PICTURE = {"url": "https://x/1.png", "width": 512, "height": 512.0, "new": 1}
GOOD: dict[str, Any] = {"images": [PICTURE], "timings": {}, "seed": 1, "has_nsfw_concepts": [False], "prompt": "x"}


def test_an_output_that_departs_from_its_schema_is_built_as_well_as_it_can_be(flux: Any) -> None:
    output, warnings = read_output(json.dumps(GOOD).encode(), flux.Output)
    assert warnings == ()
    assert (output.images[0].height, output.images[0].content_type) == (512, "image/jpeg")

    worse = {**GOOD, "seed": None, "images": [{"url": "https://x/1.png", "width": "wide", "height": 1}, 7]}
    del worse["timings"]
    output, warnings = read_output(json.dumps(worse).encode(), flux.Output)
    assert {(each.path, each.rule) for each in warnings} == {
        ("images[0].width", "int_type"),
        ("images[1]", "model_type"),
        ("timings", "missing"),
        ("seed", "int_type"),
    }
    assert isinstance(output, flux.Output)
    assert isinstance(output.images[0], flux.Image)
    assert (output.images[0].url, output.images[0].width, output.images[1]) == ("https://x/1.png", "wide", 7)
    assert (output.timings, output.seed, output.prompt) == ({}, None, "x")


def test_a_call_gives_pydantic_models(
    flux: Any, sandbox: Sandbox, client: Client, call: Caller, tmp_path: Path
) -> None:
    endpoint: Endpoint[Any, Any] = flux.endpoint
    output: Any = call(endpoint, "subscribe", flux.Input(prompt="a cat", output_format="png"), client=client)
    assert type(output) is flux.Output
    assert pydantic.BaseModel in type(output).__mro__
    assert output.images[0].save(tmp_path / "cat.png").read_bytes()[:4] == b"\x89PNG"
    (request,) = [each for each in sandbox.requests if each.method == "POST"]
    assert json.loads(request.body) == {"prompt": "a cat", "output_format": "png"}

    sandbox.respond("fal-ai/flux/dev", {**GOOD, "seed": "many"})
    result = call(endpoint.with_result, "subscribe", flux.Input(prompt="a cat"), client=client)
    assert result.data.seed == "many"
    assert [each.path for each in result.warnings] == ["seed"]
    with Client(strict=True) as strict, pytest.raises(OutputError):
        call(endpoint, "subscribe", flux.Input(prompt="a cat"), client=strict)


def test_files_in_inputs_are_uploaded(
    package: Path, sandbox: Sandbox, client: Client, call: Caller, tmp_path: Path
) -> None:
    module = importlib.import_module(f"{NAME}.fal_ai.fooocus_image_prompt")
    picture = tmp_path / "cat.png"
    picture.write_bytes(b"\x89PNG of a cat")
    output = module.Image(url="https://example.com/dog.png")
    value = module.Input(
        prompt="x",
        inpaint_image_url=picture,
        image_prompt_1=module.ImagePrompt(image_url=b"bytes"),
        mask_image_url=output,
    )
    call(module.endpoint, "subscribe", value, client=client)
    (body,) = [json.loads(each.body) for each in sandbox.requests if each.path == "/queue/fal-ai/fooocus/image-prompt"]
    assert body["mask_image_url"] == "https://example.com/dog.png"
    assert body["inpaint_image_url"].startswith(sandbox.url)
    assert body["image_prompt_1"]["image_url"].startswith(sandbox.url)
    assert body.keys() == {"prompt", "inpaint_image_url", "image_prompt_1", "mask_image_url"}
    assert value.inpaint_image_url == picture
    with pytest.raises(InputError, match=r"looks like a path"):
        call(module.endpoint, "subscribe", value.replace(mask_image_url="~/cat.png"), client=client)
    with pytest.raises(pydantic.ValidationError, match=r"the address of a file, or a file"):
        value.replace(mask_image_url=7)


def document(**components: Any) -> dict[str, Any]:
    def content(name: str) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}

    post = {"requestBody": content("In"), "responses": {"200": content("Out")}}
    return {"paths": {"/acme/thing": {"post": post}}, "components": {"schemas": components}}


def obj(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


TEXT = {"type": "string"}


@pytest.fixture
def odd() -> dict[str, Any]:
    """A module of everything that is seldom."""
    text = {"type": "array", "items": TEXT}
    source = emit(
        "acme/thing",
        {},
        document(
            In=obj(
                "model_config",
                "class",
                "shape",
                **{"class": TEXT, "model_config": TEXT, "copy": {**TEXT, "default": "x"}, "json": TEXT},
                names={**text, "uniqueItems": True, "default": ["a"]},
                step={"type": "number", "multipleOf": 0.1, "default": 0.3},
                large={"type": "integer", "maximum": 2**70},
                pair={"type": "array", "prefixItems": [TEXT, {"type": "integer"}]},
                shape={"anyOf": [{"$ref": "#/components/schemas/A"}, {"$ref": "#/components/schemas/B"}]},
                field={"$ref": "#/components/schemas/Field"},
            ),
            A=obj(kind={"const": "a"}, size={"type": "integer"}),
            B=obj(kind={"const": "b"}, size={"type": "integer"}),
            Field=obj(schema=TEXT),
            Out=obj(
                "read",
                read={**TEXT, "nullable": True},
                items_={**text, "default": ["z"]},
                **{"is": {**text, "default": []}},
            ),
        ),
        module="acme.thing",
        sha256="0" * 64,
        models="pydantic",
    )
    assert source.source is not None, source.diagnostics
    module = ModuleType("odd")
    sys.modules["odd"] = module
    exec(compile(source.source, "odd.py", "exec"), module.__dict__)  # noqa: S102
    del sys.modules["odd"]
    return module.__dict__


def test_seldom_things(odd: dict[str, Any]) -> None:
    Input, A = odd["Input"], odd["A"]  # noqa: N806
    value = Input(model_config_="m", class_="c", shape=A(size=1))
    assert json.loads(build_body(value, Input, endpoint_id="x")) == {
        "model_config": "m",
        "class": "c",
        "shape": {"kind": "a", "size": 1},
    }
    assert Input.from_dict({"model_config": "m", "class": "c", "shape": {"kind": "b"}}).shape == odd["B"](kind="b")
    assert (value.copy_, value.names, value.step, value.json_) == ("x", ["a"], 0.3, None)
    for wrong, rule in (
        ({"names": ["a", "a"]}, "unique_items"),
        ({"step": 0.25}, "multiple_of"),
        ({"large": 2**71}, "less_than_equal"),
        ({"pair": ["a", "b"]}, "int_type"),
        ({"kind": 1}, "extra_forbidden"),
    ):
        body = {"model_config": "m", "class": "c", "shape": {"kind": "a"}, **wrong}
        assert [each.rule for each in read_input(json.dumps(body).encode(), Input)] == [rule]
    fine = {"model_config": "m", "class": "c", "shape": {"kind": "a"}, "step": 0.7, "large": 2**70, "pair": ["a", 1]}
    assert read_input(json.dumps(fine).encode(), Input) == ()
    output, warnings = read_output(b'{"read": null}', odd["Output"])
    assert (output.read, output.items_, output.is_, warnings) == (None, ["z"], [], ())
    other, _ = read_output(b'{"read": null}', odd["Output"])
    assert other.items_ is not output.items_
    assert json.dumps(Input.model_json_schema())


def test_the_runtime_does_not_import_pydantic() -> None:
    code = (
        "import sys\nfrom fal_endpoints.fal_ai import flux_dev\nfrom fal_runtime.inputs import build_body\n"
        "build_body(flux_dev.Input(prompt='x'), flux_dev.Input, endpoint_id='x')\nprint('pydantic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.stdout.strip() == "False", done.stderr


USE = f"""\
from {NAME}.fal_ai import flux_dev

value = flux_dev.Input(prompt="a cat", num_images=2, image_size=flux_dev.ImageSize(width=64))
output = flux_dev.subscribe(value)
pictures: list[flux_dev.Image] = output.images
path = pictures[0].save("cat.png")
flux_dev.Input(prompt=3)  # wrong
flux_dev.Input(num_images=2)  # wrong
flux_dev.Input(prompt="x", num_image=2)  # wrong
flux_dev.Input(prompt="x", output_format="gif")  # wrong
output.image  # wrong
"""


def test_checkers_know_them_as_well(package: Path) -> None:
    folder = package.parent
    (folder / "use.py").write_text(USE)
    extra = [str(ROOT / "runtime")]
    (folder / "pyrightconfig.json").write_text(
        json.dumps(
            {
                "typeCheckingMode": "strict",
                "include": [NAME, "use.py"],
                "extraPaths": extra,
                "reportUnusedExpression": False,
            }
        )
    )
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    report = json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout)
    wrong = {number for number, line in enumerate(USE.splitlines()) if line.endswith("# wrong")}
    found = {(Path(each["file"]).name, each["range"]["start"]["line"]) for each in report["generalDiagnostics"]}
    assert found == {("use.py", number) for number in wrong}, report["generalDiagnostics"]
