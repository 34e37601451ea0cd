"""What a person sees in an editor while typing a call, by the language server that most editors run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .lsp import Editor

IMPORT = "from fal_endpoints.fal_ai import flux_dev\n\n"
FIELDS = [
    "prompt",
    "image_size",
    "num_inference_steps",
    "seed",
    "guidance_scale",
    "sync_mode",
    "num_images",
    "enable_safety_checker",
    "output_format",
    "acceleration",
]
NUM_IMAGES = "How many images to make in one call. Each one usually adds to the price. Range: 1 to 4. Default: 1."


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    try:
        editor = Editor(tmp_path_factory.mktemp("editor"))
    except (OSError, RuntimeError) as error:
        pytest.skip(f"pyright's language server does not start: {error}")
    yield editor
    editor.close()


def labels(completion: dict[str, Any]) -> list[str]:
    return [item["label"] for item in completion["items"]]


def test_an_open_bracket_offers_each_field_in_the_order_of_the_form(editor: Editor) -> None:
    offered = labels(editor.ask("completion", f"{IMPORT}flux_dev.Input(|"))
    assert [label for label in offered if label.endswith("=")] == [f"{name}=" for name in FIELDS]


@pytest.mark.parametrize("typed", ["num_images=|", "num_images=|)", 'prompt="a cat", num_images=|'])
def test_the_signature_explains_the_field_that_is_being_typed(editor: Editor, typed: str) -> None:
    (signature,) = editor.ask("signatureHelp", f"{IMPORT}flux_dev.Input({typed}")["signatures"]
    parameter = signature["parameters"][signature["activeParameter"]]
    assert "num_images: int" in parameter["label"]
    assert parameter["documentation"]["value"] == f"num_images: {NUM_IMAGES}"


def test_hovering_a_keyword_shows_the_words_under_its_field(editor: Editor) -> None:
    shown = editor.ask("hover", f'{IMPORT}flux_dev.Input(prompt="a cat", num_im|ages=2)')["contents"]["value"]
    assert "num_images: int" in shown
    assert NUM_IMAGES in shown


def test_hovering_an_attribute_of_an_output_shows_its_words(editor: Editor) -> None:
    text = f'{IMPORT}output = flux_dev.run(flux_dev.Input(prompt="a cat"))\noutput.images[0].wid|th\n'
    shown = editor.ask("hover", text)["contents"]["value"]
    assert "width: int" in shown
    assert "Width in pixels." in shown


def test_hovering_a_module_shows_what_the_endpoint_does(editor: Editor) -> None:
    shown = editor.ask("hover", f"{IMPORT}flux|_dev")["contents"]["value"]
    assert "makes images from a text prompt" in shown
    assert "`fal-ai/flux/dev`" in shown


def test_hovering_a_verb_shows_its_types_and_its_words(editor: Editor) -> None:
    shown = editor.ask("hover", f"{IMPORT}flux_dev.sub|scribe")["contents"]["value"]
    assert "input: Input" in shown
    assert "-> Output" in shown
    assert "Submit a request, wait for its end and return its output." in shown


@pytest.mark.parametrize("typed", ['image_size="|', 'image_size="|")', 'prompt="a cat", image_size="|"'])
def test_an_open_quote_offers_the_literals(editor: Editor, typed: str) -> None:
    offered = labels(editor.ask("completion", f"{IMPORT}flux_dev.Input({typed}"))
    sizes = ["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]
    assert [label.strip('"') for label in offered][: len(sizes)] == sizes


def test_a_dot_after_the_module_offers_the_types_and_the_verbs(editor: Editor) -> None:
    offered = labels(editor.ask("completion", f"{IMPORT}flux_dev.|"))
    verbs = [f"{verb}{twin}" for verb in ("run", "submit", "subscribe", "realtime") for twin in ("", "_async")]
    more = ["handle", "parse_webhook", "parse_webhook_async", "stream", "stream_async", "with_result"]
    public = ["Image", "ImageSize", "Input", "Output", "endpoint", *verbs, *more]
    assert [label for label in offered if not label.startswith("__")] == public


def test_the_options_of_a_verb_are_offered(editor: Editor) -> None:
    offered = labels(
        editor.ask("completion", f"{IMPORT}request = flux_dev.Input(prompt='')\nflux_dev.subscribe(request, |)")
    )
    options = "client headers extra validate timeout start_timeout hint webhook_url priority logs on_enqueue"
    assert {f"{name}=" for name in options.split()} <= set(offered)


def test_an_import_offers_the_endpoints(editor: Editor) -> None:
    offered = labels(editor.ask("completion", "from fal_endpoints.fal_ai import flux_|"))
    assert {"flux_dev", "flux_schnell"} <= set(offered)
