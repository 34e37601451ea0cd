"""The command that serves the sandbox in the foreground."""

from __future__ import annotations

import errno
import re
import signal
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fal_codegen.console import clear_errors

if TYPE_CHECKING:
    from fal_sandbox import Sandbox

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _latency(ctx: click.Context, param: click.Parameter, value: str) -> str | float:
    from fal_sandbox.latency import Latency

    scale = float(value) if re.fullmatch(r"\d+(\.\d+)?", value) else value
    try:
        Latency(scale)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return scale


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
@click.option(
    "--catalog",
    type=click.Path(path_type=Path, exists=True),
    help="A folder or file of endpoints to serve. Default: the catalogue of this distribution.",
)
@click.option(
    "--latency",
    callback=_latency,
    default="fast",
    show_default=True,
    metavar="zero|fast|realistic|FACTOR",
    help="How long things take: a FACTOR is of realistic, which depends on the endpoint and the input.",
)
@click.option(
    "--hosts", is_flag=True, help="Give each service a port of its own besides, for clients that take hosts only."
)
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Pass everything on to the live platform, with the key in FAL_KEY, and write a cassette of it. This costs money.",
)
@click.option(
    "--replay",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Answer from a cassette.",
)
def sandbox(
    host: str,
    port: int,
    catalog: Path | None,
    latency: str | float,
    hosts: bool,
    record: Path | None,
    replay: Path | None,
) -> None:
    """Serve a stand-in for the platform on this machine: no key, no cost. Ctrl-C ends it."""
    from fal_sandbox import CassetteError, Sandbox
    from fal_sandbox import CatalogError as BadCatalog

    if record is not None and replay is not None:
        raise click.UsageError("--record and --replay exclude each other")
    with clear_errors(also=(BadCatalog, CassetteError)):
        server = Sandbox(catalog, port, host=host, latency=latency, hosts=hosts)

        def announce(url: str) -> None:
            click.echo(
                f"The sandbox serves {len(server.catalog)} endpoints at {url}, where a browser shows them. To use it:\n"
            )
            for name, value in server.environment().items():
                click.echo(f"export {name}={value}")
            if host not in _LOOPBACK:
                click.echo(f"\nOther machines can reach it, too: it listens on {host}.", err=True)
            click.echo("\nCtrl-C ends it.")

        try:
            server.start()
        except OSError as error:
            remedy = "; --port 0 takes a free one" if error.errno == errno.EADDRINUSE else ""
            text = f"cannot listen on port {port} of {host}: {error.strerror or error}{remedy}"
            raise click.ClickException(text) from error
        # What ends a process politely (`kill`, a container's stop) ends it in good order, with the cassette written.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with server, _tape(server, record, replay):
            server.serve(announce)


def _tape(server: Sandbox, record: Path | None, replay: Path | None) -> AbstractContextManager[object]:
    if record is not None:
        return server.record(record)
    return server.replay(replay) if replay is not None else nullcontext()
