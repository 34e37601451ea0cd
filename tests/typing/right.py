"""What users write, as a checker must see it: both checkers accept each line, and `assert_type` holds in both."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, Literal, assert_never, assert_type

import fal_runtime
from fal_endpoints.fal_ai import bytedance_seedance_v1_lite_reference_to_video as seedance
from fal_endpoints.fal_ai import flux_dev
from fal_endpoints.fal_ai import kling_video_v2_6_pro_image_to_video as kling
from fal_runtime import (
    AsyncEventStream,
    Client,
    Completed,
    EventStream,
    FalError,
    Handle,
    InProgress,
    Lifecycle,
    LogEntry,
    MediaFile,
    Queued,
    Result,
    Retry,
    Status,
    UploadState,
    errors,
)
from fal_runtime.realtime import AsyncRealtimeConnection, RealtimeConnection

REQUEST = flux_dev.Input(
    prompt="a cat",
    image_size=flux_dev.ImageSize(width=640, height=480),
    num_inference_steps=28,
    seed=None,
    guidance_scale=3,
    num_images=2,
    output_format="png",
)


def builds_inputs() -> None:
    assert_type(REQUEST, flux_dev.Input)
    assert_type(REQUEST.prompt, str)
    assert_type(REQUEST.num_images, int)
    assert_type(REQUEST.seed, int | None)
    assert_type(REQUEST.guidance_scale, float)
    assert_type(REQUEST.output_format, Literal["jpeg", "png"])
    REQUEST.num_images = 3
    flux_dev.Input(prompt="a cat", image_size="square_hd", seed=7, acceleration="high")


def gives_files(output: flux_dev.Output, urls: list[str], paths: list[Path]) -> None:
    with open("cat.png", "rb") as file:
        for each in ("https://example.com/cat.png", Path("cat.png"), b"cat", file, BytesIO(), output.images[0]):
            kling.Input(prompt="a cat", start_image_url=each)
        seedance.Input(prompt="a cat", reference_image_urls=["https://example.com/cat.png", Path("cat.png"), file])
    seedance.Input(prompt="a cat", reference_image_urls=urls)
    seedance.Input(prompt="a cat", reference_image_urls=paths)
    seedance.Input(prompt="a cat", reference_image_urls=output.images)
    seedance.Input(prompt="a cat", reference_image_urls=[Path(url) for url in urls])
    seedance.Input(prompt="a cat", reference_image_urls=(*urls, *paths))


def uploads(file: Path) -> None:
    assert_type(fal_runtime.upload(file, lifecycle=Lifecycle(expires_in="1d"), on_progress=print), str)
    assert_type(fal_runtime.upload(b"cat", file_name="cat.png", content_type="image/png", repository="cdn"), str)
    assert_type(fal_runtime.data_uri(file), str)
    try:
        fal_runtime.upload(str(file))
    except errors.UploadInterrupted as error:
        assert_type(error.state, UploadState | None)


async def uploads_async(file: Path) -> None:
    assert_type(await fal_runtime.upload_async(file), str)


def changes_inputs() -> None:
    assert_type(flux_dev.Input.from_dict({"prompt": "a cat"}), flux_dev.Input)
    assert_type(flux_dev.Input.from_dict({"prompt": "a cat", "seed": None}, drop_null=True), flux_dev.Input)
    assert_type(REQUEST.replace(num_images=3), flux_dev.Input)
    assert_type(REQUEST.to_dict(), dict[str, Any])
    assert_type(flux_dev.Output.from_dict({}), flux_dev.Output)
    assert_type(fal_runtime.json_schema(flux_dev.Input), dict[str, Any])
    assert_type(fal_runtime.json_schema(flux_dev.Input, dialect="openai"), dict[str, Any])
    match REQUEST:
        case flux_dev.Input(prompt=prompt, image_size=flux_dev.ImageSize(width=width)):
            assert_type(prompt, str)
            assert_type(width, int)
        case _:
            pass


def blocking_verbs() -> None:
    assert_type(flux_dev.run(REQUEST), flux_dev.Output)
    assert_type(flux_dev.subscribe(REQUEST), flux_dev.Output)
    assert_type(flux_dev.submit(REQUEST), Handle[flux_dev.Output])
    assert_type(flux_dev.handle("id"), Handle[flux_dev.Output])
    assert_type(flux_dev.endpoint.id, str)
    assert_type(flux_dev.endpoint.run(REQUEST), flux_dev.Output)


def three_ways_to_call() -> None:
    assert_type(flux_dev.subscribe({"prompt": "a cat", "image_size": {"width": 640}}, logs=True), flux_dev.Output)
    assert_type(flux_dev.subscribe(prompt="a cat", num_images=2, output_format="png"), flux_dev.Output)
    assert_type(flux_dev.run(prompt="a cat", image_size=flux_dev.ImageSize(width=640)), flux_dev.Output)
    assert_type(flux_dev.submit(prompt="a cat", seed=None), Handle[flux_dev.Output])
    assert_type(flux_dev.stream(prompt="a cat"), EventStream[flux_dev.Output, flux_dev.Output])
    assert_type(flux_dev.with_result.run(prompt="a cat"), Result[flux_dev.Output])


async def three_ways_to_call_async() -> None:
    assert_type(await flux_dev.subscribe_async({"prompt": "a cat"}), flux_dev.Output)
    assert_type(await flux_dev.subscribe_async(prompt="a cat"), flux_dev.Output)
    assert_type(await flux_dev.with_result.submit_async(prompt="a cat"), Handle[Result[flux_dev.Output]])


async def async_verbs() -> None:
    assert_type(await flux_dev.run_async(REQUEST), flux_dev.Output)
    assert_type(await flux_dev.subscribe_async(REQUEST), flux_dev.Output)
    assert_type(await flux_dev.submit_async(REQUEST), Handle[flux_dev.Output])


def verbs_with_the_result() -> None:
    result = flux_dev.with_result.run(REQUEST)
    assert_type(result, Result[flux_dev.Output])
    assert_type(result.data, flux_dev.Output)
    assert_type(result.data.images[0].url, str)
    assert_type(result.request_id, str | None)
    assert_type(result.endpoint_id, str)
    assert_type(result.headers, dict[str, str])
    assert_type(result.raw, bytes)
    assert_type(result.metrics, dict[str, Any])
    assert_type(result.logs, tuple[LogEntry, ...])
    assert_type(result.billable_units, float | None)
    assert_type(result.files(), list[MediaFile])
    assert_type(result.download("cats", name="{i}.{ext}"), list[Path])
    assert_type(flux_dev.with_result.subscribe(REQUEST, logs=True), Result[flux_dev.Output])
    assert_type(flux_dev.with_result.submit(REQUEST), Handle[Result[flux_dev.Output]])
    assert_type(flux_dev.with_result.handle("id").result(), Result[flux_dev.Output])


async def async_verbs_with_the_result() -> None:
    assert_type(await flux_dev.with_result.run_async(REQUEST), Result[flux_dev.Output])
    assert_type(await flux_dev.with_result.subscribe_async(REQUEST), Result[flux_dev.Output])
    handle = await flux_dev.with_result.submit_async(REQUEST)
    assert_type(await handle.result_async(), Result[flux_dev.Output])


def streams() -> None:
    with flux_dev.stream(REQUEST) as stream:
        assert_type(stream, EventStream[flux_dev.Output, flux_dev.Output])
        for event in stream:
            assert_type(event, flux_dev.Output)
        assert_type(stream.done(), flux_dev.Output)
    assert_type(flux_dev.with_result.stream(REQUEST).done(), Result[flux_dev.Output])


async def async_streams() -> None:
    async with flux_dev.stream_async(REQUEST) as stream:
        assert_type(stream, AsyncEventStream[flux_dev.Output, flux_dev.Output])
        async for event in stream:
            assert_type(event, flux_dev.Output)
        assert_type(await stream.done(), flux_dev.Output)


def realtime() -> None:
    with flux_dev.realtime() as connection:
        assert_type(connection, RealtimeConnection[flux_dev.Input, flux_dev.Output])
        connection.send(REQUEST)
        assert_type(connection.recv(), flux_dev.Output)
        for output in connection:
            assert_type(output, flux_dev.Output)
    with flux_dev.with_result.realtime() as with_results:
        assert_type(with_results.recv(), Result[flux_dev.Output])


async def async_realtime() -> None:
    async with flux_dev.realtime_async() as connection:
        assert_type(connection, AsyncRealtimeConnection[flux_dev.Input, flux_dev.Output])
        await connection.send(REQUEST)
        assert_type(await connection.recv(), flux_dev.Output)
        async for output in connection:
            assert_type(output, flux_dev.Output)


def webhooks(headers: dict[str, str], body: bytes) -> None:
    event = flux_dev.parse_webhook(headers, body)
    assert_type(event.request_id, str)
    assert_type(event.output, flux_dev.Output | None)
    assert_type(event.error, FalError | None)


async def async_webhooks(headers: dict[str, str], body: bytes) -> None:
    assert_type((await flux_dev.parse_webhook_async(headers, body)).output, flux_dev.Output | None)


def watches(status: Status) -> str:
    match status:
        case Queued():
            assert_type(status.position, int | None)
            return f"{status.position} ahead"
        case InProgress():
            assert_type(status.logs, tuple[LogEntry, ...])
            return "\n".join(line.message for line in status.logs)
        case Completed(error=str(error)):
            return error
        case Completed():
            assert_type(status.metrics, dict[str, Any])
            return status.request_id
        case _:
            assert_never(status)


def handles() -> None:
    handle = flux_dev.submit(REQUEST, priority="low", webhook_url="https://example.com/hook")
    assert_type(handle.request_id, str)
    assert_type(handle.endpoint_id, str)
    assert_type(handle.status(logs=True), Queued | InProgress | Completed)
    for event in handle.events(logs=True, timeout=60):
        assert_type(event, Queued | InProgress | Completed)
        print(watches(event))
    assert_type(handle.result(timeout=60), flux_dev.Output)
    assert_type(handle.cancel(), str)


async def async_handles() -> None:
    handle = await flux_dev.submit_async(REQUEST)
    assert_type(await handle.status_async(), Queued | InProgress | Completed)
    async for event in handle.events_async(logs=True):
        assert_type(event, Queued | InProgress | Completed)
    assert_type(await handle.result_async(), flux_dev.Output)
    assert_type(await handle.cancel_async(), str)


def reads_outputs(output: flux_dev.Output) -> None:
    assert_type(output.seed, int)
    assert_type(output.timings, dict[str, float])
    assert_type(output.images, list[flux_dev.Image])
    image = output.images[0]
    assert_type(image.url, str)
    assert_type(image.width, int)
    assert_type(image.size, int | None)
    assert_type(image.read(), bytes)
    assert_type(image.save("cat.png"), Path)
    assert_type(image.save(Path("cats")), Path)


async def reads_outputs_async(output: flux_dev.Output) -> None:
    assert_type(await output.images[0].read_async(), bytes)
    assert_type(await output.images[0].save_async("cat.png"), Path)


def takes_options() -> None:
    def on_enqueue(request_id: str) -> None:
        print(request_id)

    def on_queue_update(status: Status) -> None:
        print(watches(status))

    with Client(key="key", retry=Retry(attempts=2)) as client:
        assert_type(client, Client)
        flux_dev.run(REQUEST, client=client, timeout=None, start_timeout=30, hint="lora", headers={"x-mine": "1"})
        flux_dev.run(REQUEST, extra={"new_field": [1, 2]}, validate=False)
        flux_dev.subscribe(
            REQUEST,
            client=client,
            logs=True,
            on_enqueue=on_enqueue,
            on_queue_update=on_queue_update,
            timeout=60.0,
            run_timeout=30,
        )
        flux_dev.subscribe(REQUEST, on_enqueue=print, on_queue_update=lambda status: print(status.request_id))
        flux_dev.handle("id", client=client).result()
    fal_runtime.configure(key="id:secret", strict=True)
    fal_runtime.configure()


def catches_errors() -> None:
    try:
        flux_dev.run(REQUEST)
    except errors.InputError as error:
        for problem in error.errors:
            assert_type(problem.path, str)
            assert_type(problem.message, str)
    except FalError as error:
        assert_type(error.request_id, str | None)


def calls_without_types() -> None:
    plain = fal_runtime.endpoint("a/b")
    assert_type(plain, fal_runtime.Endpoint[dict[str, Any], Any])
    assert_type(plain.run({"prompt": "a cat"}), Any)
    assert_type(plain.with_result.run({}), Result[Any])
    assert_type(plain.submit({}), Handle[Any])
