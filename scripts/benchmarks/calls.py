"""Calls, beside those of other clients: scripts/bench run subscribe many stream realtime upload"""

import pathlib
import tempfile
from dataclasses import replace

from benchmarks.harness import (
    CALLS,
    FAL_CLIENT,
    FAST,
    FLOOR,
    HTTPX,
    JS,
    JS_POLLING,
    PEERS,
    PLAIN,
    Column,
    Outcome,
    Value,
    compare,
    node_modules,
    per_second,
    serving,
    serving_securely,
)

IN_PARTS = replace(HTTPX, name="raw httpx, in parts", options={"parts": True})
BLOCKING = [FAST, PLAIN, FAL_CLIENT, HTTPX, FLOOR]
QUICK = 10
"""By what the work is divided if it only has to be seen that it can be done."""


def run(rounds: int, quick: bool) -> None:
    """Direct runs: so many in flight, in tasks and in threads."""
    with serving() as server:
        for in_flight in (1, 16) if quick else (1, 16, 128, 1000):
            calls = max(2000, 3 * in_flight) // (QUICK if quick else 1)
            options = {"in_flight": in_flight, "calls": calls}
            compare(server, f"run_async, {in_flight} in flight", PEERS, "run_async", CALLS, rounds, **options)
        for in_flight in (1, 16) if quick else (1, 16, 128):
            calls = 2000 // (QUICK if quick else 1)
            options = {"in_flight": in_flight, "calls": calls}
            compare(server, f"run, {in_flight} in flight", BLOCKING, "run", CALLS, rounds, **options)


def _of(name: str, unit: float = 1, *, each: bool = False) -> Value:
    """An outcome's quantity, in some unit, of all calls or of each."""

    def value(outcome: Outcome) -> float:
        whole: float = outcome[name] / unit
        return whole / outcome["calls"] if each else whole

    return value


def _mib_per_second(outcome: Outcome) -> float:
    return per_second(outcome) / 2**20


def _late(share: float) -> Value:
    def value(outcome: Outcome) -> float:
        late: list[float] = sorted(outcome["late"])
        return 1e3 * late[int(share * (len(late) - 1))]

    return value


def subscribe(rounds: int, quick: bool) -> None:
    """Jobs of 300 to 400 ms, one after the other: when their results are there, and with how many requests."""
    columns = [
        Column("late ms", _late(0.5), digits=1),
        Column("p95 ms", _late(0.95), digits=1),
        Column("requests", _of("requests", each=True), digits=1),
    ]
    options = {"milliseconds": 300, "calls": 3 if quick else 20}
    with serving() as server:
        peers = [FAST, PLAIN, FAL_CLIENT, JS, JS_POLLING, HTTPX, FLOOR]
        compare(server, "subscribe_async", peers, "subscribe_async", columns, rounds, **options)
        compare(server, "subscribe", BLOCKING, "subscribe", columns, rounds, **options)
        if not quick:
            options = {"milliseconds": 60_000, "calls": 1}
            compare(server, "subscribe, 60 s", [FAST, PLAIN], "subscribe", columns, 1, **options)


def many(rounds: int, quick: bool) -> None:
    """Many jobs of 5 s at once; then over TLS, where the server speaks HTTP/2 to whoever wants it."""
    columns = [
        Column("wall s", _of("wall"), digits=2),
        Column("CPU s", _of("cpu"), digits=2),
        Column("KiB each", _of("memory", 1024, each=True), digits=1),
    ]
    calls, milliseconds = (100, 500) if quick else (1000, 5000)
    options = {"calls": calls, "milliseconds": milliseconds}
    some = min(rounds, 2)  # they take minutes
    with serving() as server:
        compare(server, f"{calls:,} subscribe_async", PEERS, "many_async", columns, some, **options)
        if not quick:
            more = {"calls": 10_000, "milliseconds": 5000}
            compare(server, "10,000 subscribe_async", [FAST, PLAIN, FLOOR], "many_async", columns, 1, **more)
    reason = node_modules()
    if isinstance(reason, str):
        print(f"\n{calls:,} subscribe_async, TLS: {reason}")
        return
    with serving_securely() as server:
        columns.append(Column("connections", _of("connections")))
        compare(server, f"{calls:,} subscribe_async, TLS", PEERS, "many_async", columns, some, **options)


def stream(rounds: int, quick: bool) -> None:
    """Streams of 500 events, one after the other."""
    columns = [Column("events/s", per_second, more_is_better=True), Column("CPU us/event", CALLS[1].value, digits=1)]
    options = {"calls": 2 if quick else 20}
    with serving() as server:
        compare(server, "stream_async", PEERS, "stream_async", columns, rounds, **options)
        compare(server, "stream", BLOCKING, "stream", columns, rounds, **options)


def realtime(rounds: int, quick: bool) -> None:
    """Messages there and back, one after the other; the raw peer is `websockets` with the same codec and types."""
    ours, raw = [replace(FAST, name="ours")], [replace(HTTPX, name="raw websockets")]
    columns = [Column("round trips/s", per_second, more_is_better=True), CALLS[1]]
    with serving() as server:
        for name, size, calls in (("2 KB", 2_000, 3000), ("512 KB", 512 * 1024, 500)):
            options = {"size": size, "calls": calls // (QUICK if quick else 1)}
            peers = [*ours, FAL_CLIENT, JS, *raw, FLOOR]
            compare(server, f"realtime_async, {name}", peers, "realtime_async", columns, rounds, **options)
            peers = [*ours, FAL_CLIENT, *raw, FLOOR]
            compare(server, f"realtime, {name}", peers, "realtime", columns, rounds, **options)


def upload(rounds: int, quick: bool) -> None:
    """Files from disk; raw httpx streams the whole of it in one request, and once more as ours does, in parts."""
    columns = [
        Column("MiB/s", _mib_per_second, more_is_better=True),
        Column("extra MiB", _of("memory", 2**20)),
    ]
    with serving() as server, tempfile.TemporaryDirectory() as folder:
        for mib in (1, 128) if quick else (16, 256, 1024):
            file = pathlib.Path(folder) / "large.bin"
            with file.open("wb") as opened:
                for _ in range(mib):
                    opened.write(b"\x55" * 2**20)
            options = {"file": str(file), "size": mib * 2**20}
            in_parts = [IN_PARTS] if mib > 90 else []
            compare(server, f"upload_async, {mib} MiB", PEERS + in_parts, "upload_async", columns, rounds, **options)
            compare(server, f"upload, {mib} MiB", BLOCKING + in_parts, "upload", columns, rounds, **options)
