"""An input, a dict and keywords: whichever way a verb is called, the same is checked and sent."""

from __future__ import annotations

from typing import Any

import pytest

from fal_endpoints.fal_ai import flux_dev
from fal_runtime import Endpoint, FileInput, InputModel, OneOf, Result
from fal_runtime.errors import InputError
from fal_sandbox import Sandbox
from support import ECHO, Caller, Input, Output

WAYS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "an input": ((Input(prompt="x", count=2),), {}),
    "a dict": (({"prompt": "x", "count": 2},), {}),
    "keywords": ((), {"prompt": "x", "count": 2}),
}
TWO: tuple[Any, ...] = ({}, {})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("verb", ["run", "subscribe"])
def test_each_way_sends_the_same(
    way: str, verb: str, echo: Endpoint[Input, Output], call: Caller, sandbox: Sandbox
) -> None:
    given, fields = WAYS[way]
    assert call(echo, verb, *given, **fields).text == "hello"
    result: Result[Output] = call(echo.with_result, verb, *given, **fields)
    assert result.data.text == "hello"
    assert [job.input for job in sandbox.admitted] == [{"prompt": "x", "count": 2}] * 2


@pytest.mark.parametrize("way", WAYS)
def test_each_way_submits(way: str, echo: Endpoint[Input, Output], call: Caller, sandbox: Sandbox) -> None:
    given, fields = WAYS[way]
    assert call(echo, "submit", *given, **fields).endpoint_id == echo.id
    assert [job.input for job in sandbox.admitted] == [{"prompt": "x", "count": 2}]


@pytest.mark.parametrize(
    ("given", "fields"),
    [((Input(prompt=""),), {}), (({"prompt": ""},), {}), ((), {"prompt": ""})],
)
def test_each_way_is_checked_before_anything_is_sent(
    given: tuple[Any, ...], fields: dict[str, Any], echo: Endpoint[Input, Output], call: Caller, sandbox: Sandbox
) -> None:
    wrong: Any = fields or given[0]
    if isinstance(wrong, Input):
        given = (wrong.replace(count="2"),)
    else:
        wrong["count"] = "2"
    with pytest.raises(InputError, match="count: must be an integer, not a string of 1 characters"):
        call(echo, "run", *given, **fields)
    assert sandbox.admitted == []


def test_the_extra_fields_of_a_dict_go_by_option(echo: Endpoint[Input, Output], call: Caller, sandbox: Sandbox) -> None:
    with pytest.raises(InputError, match=r"promt: is not a field of Input; did you mean 'prompt'\?"):
        call(echo, "run", {"prompt": "x", "promt": "y"})
    call(echo, "run", {"prompt": "x"}, extra={"promt": "y"})
    assert [job.input for job in sandbox.admitted] == [{"prompt": "x", "promt": "y"}]


@pytest.mark.parametrize(
    ("given", "named", "message"),
    [
        ((), {}, r"^flux_dev\.Input needs 'prompt'$"),
        ((), {"promt": "x"}, r"^flux_dev\.Input has no field 'promt'; did you mean 'prompt'\? and needs 'prompt'$"),
        (
            (),
            {"prompt": "x", "timeout": 3},
            r"options \(timeout\) go with an input: subscribe\(Input\(\.\.\.\), timeout",
        ),
        (TWO, {}, r"^a verb takes one input, not 2 values; options are given by name$"),
    ],
)
def test_a_wrong_call_says_what_is_right(
    given: tuple[Any, ...], named: dict[str, Any], message: str, call: Caller, sandbox: Sandbox
) -> None:
    with pytest.raises(TypeError, match=message):
        call(flux_dev, "subscribe", *given, **named)
    assert sandbox.admitted == []


def test_types_of_endpoints_can_be_written_with_and_without_keywords() -> None:
    made = Endpoint[Input, Output]("tests/echo", Input, Output)
    assert isinstance(made, Endpoint)
    assert isinstance(Endpoint[Input, Output, ...]("tests/echo", Input, Output), Endpoint)


class ByFile(InputModel, kw_only=True):
    image_url: FileInput


class ByText(InputModel, kw_only=True):
    text: str


class Either(InputModel, kw_only=True):
    source: OneOf[ByFile, ByText]


def test_files_in_a_union_that_msgspec_cannot_tell_apart_are_uploaded(
    echo: Endpoint[Input, Output], call: Caller, sandbox: Sandbox
) -> None:
    endpoint = Endpoint(ECHO, Either, Output)
    call(endpoint, "run", Either(source=ByFile(image_url=b"a cat")))
    call(endpoint, "run", {"source": {"image_url": b"a cat"}})
    call(endpoint, "run", Either(source=ByText(text="a cat")))
    (upload,) = sandbox.uploads
    assert upload.read() == b"a cat"
    assert [job.input for job in sandbox.admitted] == [
        {"source": {"image_url": upload.url}},
        {"source": {"image_url": upload.url}},
        {"source": {"text": "a cat"}},
    ]
    with pytest.raises(InputError, match=r"source\.image_url: .*'cat\.png'|source\.image_url: .*Path"):
        call(endpoint, "run", Either(source=ByFile(image_url="./cat.png")))
