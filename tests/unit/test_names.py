"""Names are pure functions, never collide silently, and never leave the output folder."""

from __future__ import annotations

import keyword
import random

import pytest

from fal_codegen.names import (
    KEYWORDS,
    assign_modules,
    attribute_name,
    check_id,
    class_name,
    collisions,
    distinct,
    module_name,
)


@pytest.mark.parametrize(
    ("endpoint_id", "module"),
    [
        ("fal-ai/flux/dev", "fal_ai.flux_dev"),
        ("fal-ai/sana/v1.5/1.6b", "fal_ai.sana_v1_5_1_6b"),
        ("Acme/Big_Thing", "acme.big_thing"),
        ("acme/3d-maker", "acme.model_3d_maker"),
        ("302ai/chat", "owner_302ai.chat"),
        ("acme/lambda", "acme.lambda_"),
        ("acme/None", "acme.none"),
        ("import/con", "import_.con_"),
        ("acme/_hidden", "acme.hidden"),
        ("acme/__init__", "acme.init__"),
    ],
)
def test_modules_are_named_after_their_endpoint(endpoint_id: str, module: str) -> None:
    assert module_name(endpoint_id) == module
    for part in module.split("."):
        assert part.isidentifier()
        assert not keyword.iskeyword(part)
        assert not part.startswith("_")


@pytest.mark.parametrize(
    "endpoint_id",
    [
        "",
        "flux",
        "/flux/dev",
        "fal-ai/",
        "fal-ai//dev",
        "fal-ai/../../etc/passwd",
        "../x",
        "fal-ai/..",
        "fal-ai/a..b",
        "fal-ai\\dev/x",
        "fal-ai/a b",
        "fal-ai/a\nb",
        'fal-ai/"; import os',
        "fal-ai/größe",
        "fal-ai/.hidden",
        "fal-ai/_",
        "fal-ai/" + "x" * 300,
    ],
)
def test_other_ids_are_refused(endpoint_id: str) -> None:
    problem = check_id(endpoint_id)
    assert problem is not None
    assert (problem.code, problem.fatal) == ("bad-id", True)
    assert problem.remedy
    with pytest.raises(ValueError, match="not an endpoint id"):
        module_name(endpoint_id)
    assert assign_modules([endpoint_id], {}) == {}


def test_collisions_are_resolved_in_any_order_and_named() -> None:
    ids = ["a/b-c", "a/b_c", "a/b.c", "a/other"]
    assigned = assign_modules(ids, {})
    assert assigned["a/other"] == "a.other"
    assert len(set(assigned.values())) == 4
    shuffled = random.Random(1).sample(ids, 4)
    assert assign_modules(shuffled, {}) == assigned
    assert [item.endpoint_id for item in collisions(assigned)] == ["a/b-c", "a/b.c", "a/b_c"]


def test_known_names_are_kept() -> None:
    assert assign_modules(["a/b-c", "a/b_c"], {"a/b_c": "a.b_c"})["a/b_c"] == "a.b_c"
    assert assign_modules(["a/b-c"], {"a/b_c": "a.b_c"})["a/b-c"].startswith("a.b_c_")
    assert assign_modules(["a/b"], {"a/b": "old.name"}) == {"a/b": "old.name"}
    first = assign_modules(["a/b-c", "a/b_c"], {})
    assert assign_modules(["a/b-c", "a/b_c", "a/b.c"], first).items() >= first.items()


@pytest.mark.parametrize("name", ["../x", "a.b.c", "a", "a.B", "_a.b", "a._b", "a/b.c", ""])
def test_known_names_that_lead_elsewhere_are_not_used(name: str) -> None:
    assert assign_modules(["a/b"], {"a/b": name}) == {"a/b": "a.b"}


@pytest.mark.parametrize(
    ("component", "name"),
    [
        ("Image", "Image"),
        ("SanaV151.6bInput", "SanaV1516bInput"),
        ("fal-ai_flux-2-klein_LoRAInput", "FalAiFlux2KleinLoRAInput"),
        ("Audio-Output", "AudioOutput"),
        ("registry__image__fast_sdxl__models__Image", "Image"),
        ("image", "Image"),
        ("3DModel", "Model3DModel"),
        ("Annotated", "AnnotatedType"),
        ("Output", "OutputType"),
        ("InputModel", "InputModelType"),
        ("None", "NoneType"),
        ('"""; import os', "ImportOs"),
        ("é", "Model"),
        ("", "Model"),
    ],
)
def test_classes_are_named_after_their_component(component: str, name: str) -> None:
    assert class_name(component) == name
    assert class_name(name) == name
    assert name.isidentifier()


@pytest.mark.parametrize(
    ("wire", "name"),
    [
        ("prompt", "prompt"),
        ("TAPose", "TAPose"),
        ("type", "type"),
        ("format", "format"),
        ("class", "class_"),
        ("None", "None_"),
        ("int", "int_"),
        ("Literal", "Literal_"),
        ("default", "default_"),
        ("self", "self_"),
        ("_private", "private"),
        ("__init__", "init"),
        ("2nd", "field_2nd"),
        ("a-b c", "a_b_c"),
        ("größe", "gr__e"),
        ("", "field_"),
        ("日本", "field_"),
        ("__class__", "class_"),
    ],
)
def test_attributes_are_named_after_their_property(wire: str, name: str) -> None:
    assert attribute_name(wire) == name
    assert name.isidentifier()
    assert not keyword.iskeyword(name)


def test_more_names_can_be_reserved() -> None:
    assert attribute_name("size") == "size"
    assert attribute_name("size", frozenset({"size"})) == "size_"


def test_distinct_counts_on() -> None:
    assert [distinct("a", taken) for taken in ([], ["a"], ["a", "a2"], ["a2"])] == ["a", "a2", "a3", "a"]


def test_the_keywords_of_this_interpreter_are_among_ours() -> None:
    assert set(keyword.kwlist) <= KEYWORDS
