"""`fal-bindings call` against the sandbox: typed options, what it prints and saves, how it ends."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click.testing
import pytest

from fal_codegen.call import EXIT_CODES, exit_code
from fal_codegen.cli import cli
from fal_runtime import errors
from fal_sandbox import Sandbox

FLUX = "fal-ai/flux/dev"
CAPTION = "fal-ai/florence-2-large/caption"
Run = Callable[..., click.testing.Result]


@pytest.fixture
def run(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, run in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str, input: str | None = None) -> click.testing.Result:
        result = click.testing.CliRunner().invoke(cli, ["call", *arguments], input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def test_a_picture_is_saved_in_the_format_that_its_name_asks_for(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    result = run(FLUX, "--prompt", "a cat", "-o", "cat.png")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "cat.png\n", "")
    assert (tmp_path / "cat.png").read_bytes().startswith(b"\x89PNG")
    assert sandbox.admitted[0].input == {"prompt": "a cat", "output_format": "png"}
    assert run(FLUX, "--prompt", "a cat", "--output-format", "jpeg", "-o", "cat.png").stderr == (
        "cat.png is of type image/jpeg, whatever its name says.\n"
    )


def test_several_files_are_numbered_or_put_into_a_folder(run: Run, tmp_path: Path) -> None:
    assert run(FLUX, "--prompt", "a cat", "--num-images", "2", "-o", "cat.jpg").stdout == "cat-1.jpg\ncat-2.jpg\n"
    result = run(FLUX, "--prompt", "a cat", "--num-images", "2", "-o", "cats/", "--json")
    assert len(json.loads(result.stdout)["images"]) == 2
    assert [str(path) for path in sorted((tmp_path / "cats").iterdir())] == [
        str(tmp_path / line) for line in result.stderr.splitlines()
    ]


def test_every_kind_of_field(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """Words, numbers, switches, objects whole and by their fields, lists; what is not given is not sent."""
    assert (
        run(
            "fal-ai/flux-lora",
            *(
                "--prompt",
                "-3 degrees",
                "--image-size.width",
                "320",
                "--image_size.height",
                "240",
                "--guidance-scale",
                "2",
            ),
            *(
                "--loras",
                '{"path": "https://example.com/a"}',
                "--loras",
                '[{"path": "https://example.com/b", "scale": 2}]',
            ),
            *("--no-enable-safety-checker", "--seed", "7"),
        ).exit_code
        == 0
    )
    assert sandbox.admitted[-1].input == {
        "prompt": "-3 degrees",
        "image_size": {"width": 320, "height": 240},
        "guidance_scale": 2,
        "loras": [{"path": "https://example.com/a"}, {"path": "https://example.com/b", "scale": 2}],
        "enable_safety_checker": False,
        "seed": 7,
    }
    (tmp_path / "rest.json").write_text('{"prompt": "x", "seed": 1}')
    for source, text in (
        ("@rest.json", None),
        ("-", '{"prompt": "x", "seed": 1}'),
        ('{"prompt": "x", "seed": 1}', None),
    ):
        assert run(FLUX, "--input", source, "--seed", "null", "--image-size", "square", input=text).exit_code == 0
        assert sandbox.admitted[-1].input == {"prompt": "x", "seed": None, "image_size": "square"}


def test_a_file_is_uploaded(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    result = run(CAPTION, "--image-url", "a.png")
    assert isinstance(json.loads(result.stdout)["results"], str)
    assert sandbox.admitted[0].input["image_url"].startswith(sandbox.url)
    missing = run(CAPTION, "--image-url", "b.png")
    assert missing.exit_code == 2
    assert "there is no file 'b.png', and it is no URL" in missing.stderr
    run(CAPTION, "--image-url", "https://example.com/b.png")
    assert sandbox.admitted[1].input == {"image_url": "https://example.com/b.png"}


def test_an_endpoint_without_a_module_takes_its_input_whole(run: Run, sandbox: Sandbox) -> None:
    sandbox.respond("my/own/app", {"answer": 42})
    result = run("my/own/app", "--input", '{"question": "x"}', "--timeout", "20", "--priority", "low")
    assert json.loads(result.stdout) == {"answer": 42}
    assert sandbox.admitted[0].input == {"question": "x"}
    assert "has no module here" in run("my/own/app", "--help").stdout
    assert json.loads(run("--package", "no_such_package", FLUX, "--input", '{"prompt": "x"}').stdout)["images"]


def test_other_ways_to_call(run: Run, sandbox: Sandbox) -> None:
    assert run(FLUX, "--prompt", "x", "--run").exit_code == 0
    detached = run(FLUX, "--prompt", "x", "--detach")
    assert detached.stdout.strip() == sandbox.admitted[1].request_id
    assert [job.service for job in sandbox.admitted] == ["run", "queue"]
    assert run(FLUX, "--input", '{"new_field": 1, "prompt": "x"}', "--no-validate").exit_code == 0
    assert sandbox.admitted[2].input == {"new_field": 1, "prompt": "x"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["flux"], "'flux' is not an endpoint id; one looks like 'fal-ai/flux/dev'"),
        ([FLUX, "--num-images", "many"], "'many' is none of INTEGER"),
        ([FLUX, "--image-size", "Square"], "did you mean 'square'?"),
        ([FLUX, "--colour", "red"], "No such option"),
        ([FLUX, "--input", "@nowhere.json"], "nowhere.json: No such file or directory"),
        ([FLUX, "--input", "{"], "--input is not JSON"),
        ([FLUX, "--input", "[1]"], "--input is not a JSON object"),
        (
            [FLUX, "--num-images", "9", "--guidance-scale", "99"],
            (
                "the input has 3 problems; nothing was sent\n  prompt: is required\n  guidance_scale: must be at most 20, not 99.0\n"
                "  num_images: must be at most 4, not 9\n"
            ),
        ),
    ],
)
def test_a_wrong_line_costs_nothing(run: Run, sandbox: Sandbox, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert not sandbox.admitted


def detail(kind: str) -> Any:
    return {"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": kind, "input": "x"}]}


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, {"detail": "no"}, 3),
        (403, {"detail": "no"}, 3),
        (403, {"detail": "User is locked. Reason: Exhausted balance."}, 4),
        (404, {"detail": "no"}, 12),
        (422, detail("content_policy_violation"), 5),
        (422, detail("file_download_error"), 6),
        (422, detail("value_error"), 2),
        (500, {"detail": "no"}, 9),
    ],
)
def test_the_exit_code_tells_the_cause(run: Run, sandbox: Sandbox, status: int, body: Any, code: int) -> None:
    sandbox.respond(FLUX, body, status=status)
    result = run(FLUX, "--prompt", "x")
    assert result.exit_code == code
    assert result.stderr.startswith(f"Error: {FLUX}: ")
    assert result.stdout == ""


def test_every_error_has_an_exit_code_that_the_help_explains(run: Run) -> None:
    classes = [getattr(errors, name) for name in errors.__all__ if name.endswith(("Error", "Expired", "Timeout"))]
    coded = {cls: exit_code(cls) for cls in classes if issubclass(cls, errors.FalError)}
    assert len(coded) > 15
    assert {cls for cls, code in coded.items() if code == 1} <= {
        errors.FalError,
        errors.RealtimeError,
        errors.WebhookSignatureError,
    }
    assert exit_code(errors.SubmissionUnknownError) == 11
    assert exit_code(errors.StartTimeout) == 8
    text = run(FLUX, "--help").stdout
    for code, meaning, _ in EXIT_CODES:
        assert f"{code:>3}  {meaning}" in text


def test_out_of_time(run: Run, sandbox: Sandbox) -> None:
    sandbox.respond(FLUX, queue_seconds=30)
    result = run(FLUX, "--prompt", "x", "--timeout", "0.5")
    assert result.exit_code == 8
    assert "cancelling it answered OK" in result.stderr


def test_help_shows_the_fields(run: Run) -> None:
    text = " ".join(run(FLUX, "--help").stdout.split())
    assert "--prompt TEXT What to make" in text
    assert "mood. [required]" in text
    assert (
        "--num-images INTEGER How many images to make in one call. Each one usually adds to the price. Range: 1 to 4. Default: 1."
        in text
    )
    assert "--output-format jpeg|png" in text
    assert "--image-size.width INTEGER" in text
    assert "--image-url PATH|URL" in run(CAPTION, "--help").stdout
    assert len(run("--help").stdout.splitlines()) < 40


@pytest.mark.parametrize(
    ("words", "expected", "absent"),
    [
        ("call fal-ai/flux/", FLUX, "fal-ai/kokoro/hindi"),
        (f"call {FLUX} --num", "--num-images", "--prompt"),
        (f"call {FLUX} --image-size landscape", "landscape_4_3", "square"),
        (f"call {CAPTION} --image-url ", "file", "URL"),
    ],
)
def test_the_shell_completes(words: str, expected: str, absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = f"fal-bindings {words}"
    environment = {
        "_FAL_BINDINGS_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    result = click.testing.CliRunner().invoke(cli, prog_name="fal-bindings", env=environment)
    assert expected in result.output
    assert absent not in result.output


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "fal_codegen", "call", *arguments]


def wait_for(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="the signal is another one there")
def test_ctrl_c_cancels_the_request_and_says_so(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.respond(FLUX, queue_seconds=60)
    process = subprocess.Popen(
        command(FLUX, "--prompt", "x"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        wait_for(lambda: any(request.path.endswith("/status/stream") for request in sandbox.requests))
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.startswith("Interrupted\nrequest ")
    assert "was left, and cancelling it answered OK" in stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
def test_on_a_terminal_the_queue_is_shown(sandbox: Sandbox, tmp_path: Path) -> None:
    """The display is on the standard error, so what is piped on is the output alone."""
    sandbox.respond(FLUX, queue_seconds=0.5, run_seconds=0.7, logs=["loading [weights]", "painting"])
    mine, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command(FLUX, "--prompt", "x"), stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    with process:
        while True:
            if select.select([mine], [], [], 60)[0]:
                try:
                    data = os.read(mine, 65536)
                except OSError:  # the other side is closed
                    break
                if not data:
                    break
                shown += data
        assert process.stdout is not None
        output = json.loads(process.stdout.read())
    os.close(mine)
    assert process.returncode == 0
    assert output["images"]
    text = shown.decode()
    assert f"request {sandbox.admitted[0].request_id}" in text
    for part in ("waiting", "running", "loading [weights]", "painting", "0:00:0"):
        assert part in text
