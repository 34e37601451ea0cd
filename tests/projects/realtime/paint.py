"""A realtime loop: a picture that follows what is typed, line by line.

    python paint.py --out canvas.jpg

Each line of the standard input is a prompt. While the connection is busy only the latest waits, and a connection that
breaks off is opened again. Open the picture in a viewer that notices changes.

It needs `pip install 'fal-bindings[realtime]'`. To try it without a key, run `fal-bindings sandbox` and export what it
prints; to run it live, set FAL_KEY.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from fal_endpoints.fal_ai import fast_lcm_diffusion as lcm
from fal_runtime import FalError, errors
from fal_runtime.realtime import Reconnected


def paint(prompts: Iterable[str], out: Path, idle: float) -> int:
    """Send prompts while they come, and show each picture; give the number of pictures.

    Args:
        prompts: What to paint, one after the other.
        out: Where the latest picture lies.
        idle: How many seconds to wait for the last picture, and for a lost one until it is asked for again.

    Raises:
        FalError: if the connection cannot be had, or the app gives up.
    """
    latest = shown = ""
    pictures = 0
    ended = threading.Event()
    lost = threading.Event()
    trouble: list[FalError] = []

    def again(event: Reconnected) -> None:
        print(f"connected again; {event.unanswered} prompts were not answered", file=sys.stderr)
        lost.set()

    # `send_policy` drops prompts that are out of date before they cost anything.
    with lcm.realtime(send_policy="latest", throttle=0.1, on_reconnect=again) as connection:

        def feed() -> None:
            nonlocal latest
            try:
                for prompt in filter(None, map(str.strip, prompts)):
                    latest = prompt
                    connection.send(lcm.Input(prompt=prompt))
            except FalError as error:
                trouble.append(error)
            ended.set()

        threading.Thread(target=feed, daemon=True).start()  # it may be waiting for a line when all else is done
        while not trouble:
            try:
                output = connection.recv(timeout=idle)
            except errors.TimeoutExpired:
                if lost.is_set() and shown != latest:  # our choice: rather paid twice than not seen
                    lost.clear()
                    connection.send(lcm.Input(prompt=latest))
                elif ended.is_set():
                    return pictures
                continue
            except errors.RealtimeClosed:  # idle for long; the next prompt opens a new session, if it came in time
                lost.set()
                continue
            lost.clear()
            pictures += 1
            shown = output.prompt
            path = output.images[0].save(out)
            print(f"{path}: {output.prompt}", flush=True)
            if ended.is_set() and shown == latest:
                return pictures
    raise trouble[0]


def main() -> int:
    parser = argparse.ArgumentParser(description="Paint what is typed.")
    parser.add_argument("--out", type=Path, default=Path("canvas.jpg"))
    parser.add_argument("--idle", type=float, default=10.0, help="seconds to wait for the last picture; default: 10")
    given = parser.parse_args()
    try:
        pictures = paint(sys.stdin, given.out, given.idle)
    except FalError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{pictures} pictures", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
