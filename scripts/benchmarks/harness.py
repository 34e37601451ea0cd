"""What the sections about calls share: the server, the clients beside each other, in rounds, and the tables."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import pathlib
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import bootstrap
import trustme

HERE = pathlib.Path(__file__).parent
JS_CLIENT = "@fal-ai/client@1.10.1"
NODE_MODULES = bootstrap.ROOT / ".venv" / "node"
WAIT = 300.0
"""Seconds after which a client counts as stuck."""


@dataclass(frozen=True)
class Peer:
    """One row of a table: a kind of client and how it is set up."""

    name: str
    kind: str
    """As in `clients.KINDS`; `js` is the program in JavaScript."""
    env: dict[str, str] = field(default_factory=dict[str, str])
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def ours(self) -> bool:
        return self.kind == "ours"


FAST = Peer("ours [fast]", "ours", {"FAL_HTTP": "pyreqwest"})
PLAIN = Peer("ours, httpx", "ours", {"FAL_HTTP": "httpx"})
FAL_CLIENT = Peer("fal-client", "fal-client")
JS = Peer("@fal-ai/client", "js", options={"mode": "streaming"})
JS_POLLING = Peer("@fal-ai/client, polling", "js", options={"mode": "polling"})
HTTPX = Peer("raw httpx", "httpx")
FLOOR = Peer("floor", "floor")
PEERS = [FAST, PLAIN, FAL_CLIENT, JS, HTTPX, FLOOR]

Outcome = dict[str, Any]
Value = Callable[[Outcome], float]
"""What a column shows of an outcome."""


class Column(NamedTuple):
    """One measured quantity."""

    title: str
    value: Value
    more_is_better: bool = False
    digits: int = 0


def per_second(outcome: Outcome) -> float:
    rate: float = outcome["calls"] / outcome["wall"]
    return rate


def cpu(outcome: Outcome) -> float:
    """Microseconds of CPU time per call."""
    each: float = outcome["cpu"] / outcome["calls"] * 1e6
    return each


CALLS = [Column("calls/s", per_second, more_is_better=True), Column("CPU us/call", cpu)]


@functools.cache
def node_modules() -> pathlib.Path | str:
    """The folder with the JavaScript client, or why there is none."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node or npm is not installed"
    if json.loads(_read(NODE_MODULES / "package.json") or "{}").get("installed") != JS_CLIENT:
        NODE_MODULES.mkdir(parents=True, exist_ok=True)
        (NODE_MODULES / "package.json").write_text('{"private": true}')
        command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", JS_CLIENT]
        done = subprocess.run(command, cwd=NODE_MODULES, capture_output=True, text=True)
        if done.returncode:
            return f"npm cannot install it: {done.stderr.strip().splitlines()[-1:]}"
        (NODE_MODULES / "package.json").write_text(json.dumps({"private": True, "installed": JS_CLIENT}))
    return NODE_MODULES


def _read(path: pathlib.Path) -> str | None:
    return path.read_text() if path.exists() else None


def _pin(core: int) -> Callable[[], None] | None:
    """Keep the server on one core and the client on another, where the system can."""
    if not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2:
        return None
    return lambda: os.sched_setaffinity(0, {core})


def pinned() -> bool:
    return _pin(0) is not None


class Server:
    """A reference server, in a process of its own.

    Args:
        command: What starts it, and has it print its port.
        authority: The file with the certificate that is behind its own, if it speaks TLS.
    """

    def __init__(self, command: list[str], authority: str | None = None) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=_pin(0)
        )
        assert self._process.stdout is not None
        port = int(self._process.stdout.readline())
        self.base = f"{'https' if authority else 'http'}://127.0.0.1:{port}"
        self.env = {"SSL_CERT_FILE": authority, "NODE_EXTRA_CA_CERTS": authority} if authority else {}
        self._context = ssl.create_default_context(cafile=authority) if authority else None

    def count(self) -> dict[str, int]:
        """What the server has counted since this was asked last."""
        with urllib.request.urlopen(f"{self.base}/count", context=self._context) as answer:  # noqa: S310
            counts: dict[str, int] = json.load(answer)
            return counts

    def close(self) -> None:
        self._process.communicate("")


@contextmanager
def serving() -> Generator[Server, None, None]:
    """The server that does as little as it can."""
    server = Server([sys.executable, str(HERE / "server.py")])
    try:
        yield server
    finally:
        server.close()


@contextmanager
def serving_securely() -> Generator[Server, None, None]:
    """The server that speaks TLS, and HTTP/2 as well as HTTP/1.1."""
    with tempfile.TemporaryDirectory() as folder:
        authority, certificate, key = (str(pathlib.Path(folder) / name) for name in ("authority", "certificate", "key"))
        made = trustme.CA()
        issued = made.issue_cert("127.0.0.1")
        made.cert_pem.write_to_path(authority)
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        server = Server(["node", str(HERE / "secure.mjs"), certificate, key], authority)
        try:
            yield server
        finally:
            server.close()


def work(server: Server, peer: Peer, task: str, **options: Any) -> Outcome | str:
    """Let a client do a task; its outcome, or why there is none."""
    addresses = {
        f"FAL_{name.upper()}_URL": f"{server.base}/{name}" for name in ("queue", "run", "rest", "cdn", "realtime")
    }
    addresses["FAL_REALTIME_URL"] = addresses["FAL_REALTIME_URL"].replace("http", "ws")
    environment = {**os.environ, "FAL_KEY": "id:secret", **addresses, **server.env, **peer.env}
    given = json.dumps({**options, **peer.options})
    if peer.kind == "js":
        modules = node_modules()
        if isinstance(modules, str):
            return modules
        environment |= {"BENCH_MODULES": str(modules), "NODE_NO_WARNINGS": "1"}
        task = task.removesuffix("_async")
        major = int(subprocess.run(["node", "--version"], capture_output=True, text=True).stdout[1:].split(".")[0])
        flags = ["--experimental-websocket"] if major < 22 else []
        command = ["node", *flags, str(HERE / "clients.mjs"), task, given]
    else:
        command = [sys.executable, str(HERE / "clients.py"), peer.kind, task, given]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=WAIT, preexec_fn=_pin(1)
        )
    except subprocess.TimeoutExpired:
        return f"not done within {WAIT:g} s"
    if done.returncode or not done.stdout:
        return f"failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}"
    outcome: Outcome = json.loads(done.stdout)
    return outcome


def compare(
    server: Server,
    title: str,
    peers: list[Peer],
    task: str,
    columns: list[Column],
    rounds: int,
    **options: Any,
) -> dict[str, list[Outcome]]:
    """Let the clients do a task one after the other, in rounds, and print what came of it as a table."""
    outcomes: dict[str, list[Outcome]] = {peer.name: [] for peer in peers}
    reasons: dict[str, str] = {}
    for _ in range(rounds):
        for peer in peers:
            if peer.name in reasons:
                continue
            server.count()
            outcome = work(server, peer, task, **options)
            if isinstance(outcome, str):
                reasons[peer.name] = outcome
            else:
                outcomes[peer.name].append({**server.count(), **outcome})
    _print(title, peers, columns, outcomes)
    for name, reason in reasons.items():
        print(f"  {name}: {reason}")
    return outcomes


def _print(title: str, peers: list[Peer], columns: list[Column], outcomes: dict[str, list[Outcome]]) -> None:
    """A row for each client, a group of columns for each quantity: median, span, ratios to the best peer and the floor."""
    print(f"\n{title:26}" + "".join(f"{c.title:>15} {'(min-max)':>17} {'/best':>6} {'/floor':>7}" for c in columns))
    for peer in peers:
        mine = outcomes[peer.name]
        if not mine:
            continue
        line = f"  {peer.name:24}"
        for column in columns:
            medians = {name: statistics.median(map(column.value, found)) for name, found in outcomes.items() if found}
            others = [medians[each.name] for each in peers if not each.ours and each != FLOOR and each.name in medians]
            best = (max if column.more_is_better else min)(others, default=None)
            values, median = [column.value(each) for each in mine], medians[peer.name]
            span = f"({min(values):,.{column.digits}f}-{max(values):,.{column.digits}f})"
            ratios = [_ratio(median, best), _ratio(median, medians.get(FLOOR.name))]
            line += f"{median:>15,.{column.digits}f} {span:>17} {ratios[0]:>6} {ratios[1]:>7}"
        print(line, flush=True)


def _ratio(value: float, other: float | None) -> str:
    return f"{value / other:.2f}" if other else "-"


def versions() -> str:
    """What is compared, with versions."""
    names = ("msgspec", "httpx", "pyreqwest", "websockets", "fal-client", "uvloop")
    found = [f"{name} {importlib.metadata.version(name)}" for name in names]
    if not isinstance(node_modules(), str):
        found.append(JS_CLIENT)
        found.append("node " + subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip())
    return ", ".join(found)
