"""Wrong calls and options: each marked line must be red in both checkers, and no other one."""

from __future__ import annotations

from typing import assert_never

from fal_endpoints.fal_ai import flux_dev, flux_schnell
from fal_runtime import InProgress, Queued, Status

REQUEST = flux_dev.Input(prompt="a cat")

flux_dev.run(flux_schnell.Input(prompt="a cat"))  # error: reportArgumentType
flux_dev.subscribe(flux_schnell.Input(prompt="a cat"))  # error: reportArgumentType
flux_dev.run({1: "a cat"})  # error: reportArgumentType
flux_dev.run("a cat")  # error: reportArgumentType
flux_dev.run(promt="a cat")  # error: reportCallIssue
flux_dev.run(num_images=2)  # error: reportCallIssue
flux_dev.run(prompt="a cat", output_format="gif")  # error: reportArgumentType
flux_dev.run(prompt="a cat", num_images=None)  # error: reportArgumentType
flux_dev.run(prompt="a cat", timeout=60)  # error: reportCallIssue
flux_dev.run()  # error: reportCallIssue
flux_dev.subscribe(REQUEST, log=True)  # error: reportCallIssue
flux_dev.subscribe(REQUEST, logs="yes")  # error: reportArgumentType
flux_dev.subscribe(REQUEST, timeout="60")  # error: reportArgumentType
flux_dev.run(REQUEST, start_timeout=None)  # error: reportArgumentType
flux_dev.run(REQUEST, logs=True)  # error: reportCallIssue
flux_dev.run(REQUEST, None)  # error: reportCallIssue
flux_dev.submit(REQUEST, priority="high")  # error: reportArgumentType
flux_dev.submit(REQUEST, on_enqueue=print)  # error: reportCallIssue
flux_dev.handle(7)  # error: reportArgumentType
flux_schnell.stream(flux_schnell.Input(prompt="a cat"))  # error: reportAttributeAccessIssue


def on_queue_update(status: str) -> None:
    print(status)


flux_dev.subscribe(REQUEST, on_queue_update=on_queue_update)  # error: reportArgumentType


def forgets_a_status(status: Status) -> str:
    match status:
        case Queued() | InProgress():
            return "waiting"
        case _:
            assert_never(status)  # error: reportArgumentType


def knows_the_position(status: InProgress) -> bool:
    return bool(status.position)  # error: reportAttributeAccessIssue
