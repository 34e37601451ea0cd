"""Finding endpoints by words and names, and reading what their modules offer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click.testing
import pytest

from fal_codegen.cli import cli
from fal_codegen.generate import Row
from fal_codegen.lookup import search, shipped

FLUX = "fal-ai/flux/dev"
Run = Callable[..., click.testing.Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str) -> click.testing.Result:
        result = click.testing.CliRunner().invoke(cli, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def row(id_: str, title: str = "", category: str = "") -> Row:
    return Row(id=id_, module="a.b", title=title, category=category, kind="inference", schema="", file="")


def test_the_best_come_first() -> None:
    rows = [
        row("a/video/to/image", "Image of a video"),
        row("a/thing", "Image to Video"),
        row("a/other/image-to-video", "Other", "image-to-video"),
        row("a/kling/v2.5-turbo", "Kling"),
        row("a/imagery", "Videos to go", "x"),
    ]
    assert [each.id for each in search(rows, "Image to  video!")] == [
        "a/other/image-to-video",
        "a/thing",
        "a/video/to/image",
        "a/imagery",
    ]
    assert [each.id for each in search(rows, "kling 2.5")] == ["a/kling/v2.5-turbo"]
    assert [each.id for each in search(rows, "kling nonsense")] == ["a/kling/v2.5-turbo"]
    assert search(rows, "nonsense") == []
    assert search(rows, "!?") == []


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("image to video", "image-to-video"),
        ("fal-ai/flux/dev", FLUX),
        ("flux dev", "flux"),
        ("train a lora", "train"),
        ("text to speech", "text-to-speech"),
        ("upscale", "upscal"),
    ],
)
def test_the_shipped_catalogue_is_searched(query: str, first: str) -> None:
    found = search(shipped().rows, query)
    assert first in f"{found[0].id} {found[0].category}"


def test_search_in_a_pipe_is_tabs(run: Run) -> None:
    result = run("search", "image", "to", "video", "--limit", "3", "--category", "image-to-video")
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert all(line.split("\t")[1] == "image-to-video" for line in lines)
    assert "more; --limit" in result.stderr
    first, *_ = (json.loads(line) for line in run("search", "flux", "--json").stdout.splitlines())
    assert first.keys() == {"id", "module", "title", "category", "kind"}


def test_list(run: Run) -> None:
    rows = shipped().rows
    assert len(run("list").stdout.splitlines()) == len(rows)
    ids = [line.split("\t")[0] for line in run("list", "--category", "vision").stdout.splitlines()]
    assert ids == [each.id for each in rows if each.category == "vision"]
    assert ids
    training = run("list", "--kind", "training", "--json").stdout.splitlines()
    assert {json.loads(line)["kind"] for line in training} == {"training"}
    counts = [line.split() for line in run("list", "--categories").stdout.splitlines()]
    assert sum(int(count) for count, _ in counts) == len(rows)


SHOWN = """\
FLUX.1 [dev]: makes images from a text prompt.

`fal-ai/flux/dev`, category text-to-image: https://fal.ai/models/fal-ai/flux/dev

from fal_endpoints.fal_ai import flux_dev
output = flux_dev.subscribe(flux_dev.Input(prompt=...))  # also run, """


@pytest.mark.parametrize("models", ["msgspec", "pydantic"])
def test_show_reads_either_kind_of_models(run: Run, models: str) -> None:
    Path("pyproject.toml").write_text(f'[tool.fal-bindings]\nendpoints = ["{FLUX}"]\nmodels = "{models}"\n')
    source = Path(__file__).parents[2] / "generated/schemas/fal-ai/flux/dev.json"
    assert run("pull", "--from", str(source)).exit_code == 0
    assert run("generate").exit_code == 0
    assert run("show", FLUX).stdout.startswith(SHOWN.replace("fal_endpoints", "fal_models"))
    assert "    num_images: int = 1\n" in run("show", FLUX).stdout


@pytest.mark.parametrize(
    "name", [FLUX, "flux_dev", "fal_ai.flux_dev", "fal_endpoints.fal_ai.flux_dev", "/fal-ai/flux/dev/"]
)
def test_show_in_a_pipe(run: Run, name: str) -> None:
    result = run("show", name)
    assert result.stdout.startswith(SHOWN)
    lines = result.stdout.splitlines()
    heads = [line for line in lines if line in ("Input", "ImageSize", "Output", "Image")]
    assert heads == ["Input", "ImageSize", "Output", "Image"]
    where = lines.index("    num_images: int = 1")
    assert lines[where + 1].endswith("Range: 1 to 4.")
    assert '    output_format: "jpeg" | "png" = "jpeg"' in lines
    assert "    seed: int | None = None" in lines
    assert "    prompt: str" in lines
    assert "    images: list[Image]" in lines
    assert "Annotated" not in result.stdout
    assert "Meta(" not in result.stdout


def test_show_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    result = run("show", FLUX)
    assert "\x1b[1mInput\x1b[0m" in result.stdout
    assert all(len(line) < 200 for line in result.stdout.splitlines())
    assert "\x1b[" in run("search", "flux").stdout


def test_every_module_of_the_catalogue_can_be_shown(run: Run) -> None:
    from fal_codegen.lookup import read_module

    catalogue = shipped()
    for each in catalogue.rows:
        module = read_module(catalogue, each)
        assert {"Input", "Output"} <= {*module.classes, *module.aliases}, each.id
        for members in module.classes.values():
            assert not any(
                "Annotated" in member.type or "default(" in str(member.default) for member in members
            ), each.id


def test_a_project_s_own_package_is_looked_at_first(run: Run, tmp_path: Path) -> None:
    table = (
        '[tool.fal-bindings]\nendpoints = ["fal-ai/flux/*"]\npackage = "acme.fal"\nout = "src"\nschemas = "schemas"\n'
    )
    Path("pyproject.toml").write_text(table)
    source = Path(__file__).parents[2] / "generated/schemas/fal-ai/flux/dev.json"
    assert run("pull", "--from", str(source), "--schemas", "schemas").exit_code == 0
    assert run("generate", "--schemas", "schemas").exit_code == 0
    assert "from acme.fal.fal_ai import flux_dev\n" in run("show", FLUX).stdout
    assert "from fal_endpoints.fal_ai import flux_schnell\n" in run("show", "flux_schnell").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "fal-ai/flux/devv"], "no endpoint is called 'fal-ai/flux/devv'; did you mean fal-ai/flux/dev"),
        (["show", "?"], "fal-bindings search finds endpoints by words"),
        (["search", "zzzz"], "no endpoint has any word of 'zzzz'"),
        (["list", "--category", "video"], "there are 3d-to-3d, audio-to-audio"),
    ],
)
def test_what_is_not_there_is_named(run: Run, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.output
