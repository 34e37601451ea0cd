"""`fal-bindings call`: one endpoint, called from a shell."""

from __future__ import annotations

import importlib
import importlib.resources
import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
import msgspec
from click.shell_completion import CompletionItem
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import fal_runtime
from fal_codegen.call_fields import FieldOptions
from fal_runtime import FalError, InProgress, Queued, Result, Status, errors
from fal_runtime.values import mapping

if TYPE_CHECKING:
    from fal_runtime import MediaFile

__all__ = ["EXIT_CODES", "call"]

EXIT_CODES: tuple[tuple[int, str, tuple[type[BaseException], ...]], ...] = (
    (2, "the command line or the input is wrong", (errors.InputError,)),
    (
        3,
        "no key, a wrong one, or one that may not do this",
        (errors.ConfigurationError, errors.AuthenticationError, errors.PermissionDeniedError),
    ),
    (4, "the account is locked or out of balance", (errors.BalanceError,)),
    (5, "the content was refused", (errors.ContentPolicyError,)),
    (6, "the endpoint could not fetch a file of the input", (errors.FileDownloadError,)),
    (7, "too many requests at once", (errors.RateLimitError,)),
    (8, "out of time; the request was cancelled", (errors.TimeoutExpired,)),
    (9, "the endpoint or the platform failed", (errors.ServiceError, errors.OutputError)),
    (10, "no connection; nothing was paid for", (errors.NoConnectionError,)),
    (11, "the connection broke; the request may be running", (errors.SubmissionUnknownError, errors.StreamTruncated)),
    (12, "there is no such endpoint, or no more", (errors.NotFoundError, errors.EndpointRemovedError)),
    (130, "Ctrl-C; the request was cancelled", (KeyboardInterrupt,)),
)
"""The exit codes, what each means, and the errors behind it. Of several that fit, that of the nearest class counts."""


def exit_code(error: type[BaseException]) -> int:
    """The exit code for a class of errors; 1 for one that has none of its own."""
    codes = {cls: code for code, _, classes in EXIT_CODES for cls in classes}
    return next((codes[cls] for cls in error.__mro__ if cls in codes), 1)


def _epilog() -> str:
    rows = [(0, "it worked"), (1, "anything else"), *((code, text) for code, text, _ in EXIT_CODES)]
    table = "\n".join(f"  {code:>3}  {text}" for code, text in rows)
    return f"\b\nExit codes:\n{table}"


class _Endpoints(click.Group):
    """A command for each endpoint, made when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_index(ctx.params.get("package")))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        return _command(cmd_name, _module(ctx.params.get("package"), cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if "/" not in args[0]:
            ctx.fail(f"{args[0]!r} is not an endpoint id; one looks like 'fal-ai/flux/dev'")
        return args[0], self.get_command(ctx, args[0]), args[1:]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        index = _index(ctx.params.get("package"))
        found = [CompletionItem(id_, help=title) for id_, title in index.items() if id_.startswith(incomplete)]
        return found if incomplete[:1] != "-" else click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Not a thousand lines: an endpoint's own help has its fields."""


@click.group(cls=_Endpoints, epilog=_epilog(), subcommand_metavar="ENDPOINT [OPTIONS]...")
@click.option(
    "--package",
    default="fal_endpoints",
    show_default=True,
    is_eager=True,
    help="The package of generated modules, for their types. An endpoint that has no module takes --input.",
)
def call(package: str) -> None:
    """Call an endpoint: fal-bindings call fal-ai/flux/dev --prompt "a cat" -o cat.png

    Each field of the endpoint's input is an option; `fal-bindings call ENDPOINT --help` lists them. What comes out is
    printed as JSON, or saved with -o.

    Bash completes ids and options after: eval "$(_FAL_BINDINGS_COMPLETE=bash_source fal-bindings)"; zsh and fish with
    zsh_source and fish_source.
    """


def _index(package: str | None) -> dict[str, str]:
    """The endpoints of a package, with their titles; none if there is no such package."""
    try:
        text = (importlib.resources.files(package or "fal_endpoints") / "index.json").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError, NotADirectoryError):
        return {}
    return {row["id"]: str(row.get("title") or "") for row in msgspec.json.decode(text)["endpoints"]}


def _module(package: str | None, endpoint_id: str) -> ModuleType | None:
    """The generated module of an endpoint, if there is one."""
    package = package or "fal_endpoints"
    try:
        text = (importlib.resources.files(package) / "index.json").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError, NotADirectoryError):
        return None
    names = {row["id"]: row["module"] for row in msgspec.json.decode(text)["endpoints"]}
    name = names.get(endpoint_id)
    return importlib.import_module(f"{package}.{name}") if name is not None else None


_OWN = [
    click.Option(
        ["-o", "--save", "save"],
        metavar="FILE|FOLDER/",
        type=click.Path(path_type=str),
        help="Save the files of the output: to FILE (several as FILE-1, FILE-2, ...), or into FOLDER/. Where the "
        "endpoint offers formats, the ending of FILE chooses one.",
    ),
    click.Option(
        ["--input", "input_"],
        metavar="JSON|@FILE|-",
        help="The input, or a part of it, as JSON: here, in a file, or from the standard input. Options go before it.",
    ),
    click.Option(["--json", "as_json"], is_flag=True, help="Print the output as JSON, also on a terminal."),
    click.Option(["--run", "direct"], is_flag=True, help="Without the queue, on one connection. For quick endpoints."),
    click.Option(["--detach"], is_flag=True, help="Do not wait: print the request's id."),
    click.Option(["--timeout"], type=float, metavar="SECONDS", help="Give up, and cancel, after so long."),
    click.Option(["--priority"], type=click.Choice(["normal", "low"]), help="The request's priority in the queue."),
    click.Option(["--validate/--no-validate"], default=True, help="Whether to check the input before it is sent."),
    click.Option(["-q", "--quiet"], is_flag=True, help="Show nothing while waiting."),
]
_RESERVED = frozenset({"save", "input", "json", "run", "detach", "timeout", "priority", "validate", "quiet", "help"})


def _command(endpoint_id: str, module: ModuleType | None) -> click.Command:
    """The command of one endpoint."""
    model: Any = getattr(module, "Input", None)
    fields: FieldOptions | None = None
    if isinstance(model, type) and issubclass(model, msgspec.Struct):
        fields = FieldOptions(model, _RESERVED)
    summary = (module.__doc__ or "").strip().partition("\n")[0] if module is not None else ""
    text = summary or f"{endpoint_id}, which has no module here: its input is given with --input and not checked."

    def run(**given: Any) -> None:
        ctx = click.get_current_context()
        with _explained():
            _call(endpoint_id, module, fields, given, ctx)

    options = fields.options if fields is not None else []
    return _Command(
        endpoint_id,
        callback=run,
        params=[*options, *_OWN],
        help=text,
        epilog=_epilog(),
        fields=len(options),
        context_settings={"token_normalize_func": _dashes},
    )


def _dashes(option: str) -> str:
    """Options may be written with the underscores of the fields' names."""
    return option.replace("_", "-")


class _Command(click.Command):
    """A command whose help tells the endpoint's fields from its own options."""

    def __init__(self, *args: Any, fields: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self._fields = fields

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        params = self.get_params(ctx)
        for title, some in (("Fields", params[: self._fields]), ("Options", params[self._fields :])):
            rows = [row for param in some if (row := param.get_help_record(ctx)) is not None]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=34)


def _call(
    endpoint_id: str, module: ModuleType | None, fields: FieldOptions | None, given: dict[str, Any], ctx: click.Context
) -> None:
    body = _input(given["input_"], fields.values(given) if fields is not None else {})
    if fields is not None and given["save"] and "output_format" not in body:
        wanted = Path(given["save"]).suffix.lower().lstrip(".")
        words = [word for word in fields.words("output_format") if word in (wanted, _SAME.get(wanted))]
        if words:
            body["output_format"] = words[0]
    endpoint = module.endpoint if module is not None else fal_runtime.endpoint(endpoint_id)
    verbs = endpoint.with_result
    options: dict[str, Any] = {"validate": given["validate"]}
    if given["timeout"] is not None:
        options["timeout"] = given["timeout"]
    if given["priority"] is not None and not given["direct"]:
        options["priority"] = given["priority"]
    if given["detach"]:
        click.echo(verbs.submit(body, **options).request_id)
        return
    if given["direct"]:
        with _Watch(given["quiet"]):
            result: Result[Any] = verbs.run(body, **options)
    else:
        with _Watch(given["quiet"]) as watch:
            result = verbs.subscribe(
                body, logs=watch.shown, on_enqueue=watch.on_enqueue, on_queue_update=watch.on_update, **options
            )
    for warning in result.warnings:
        click.echo(f"The answer departs from its schema at {warning}", err=True)
    _put_out(result, given, ctx)


_SAME = {"jpg": "jpeg", "jpeg": "jpg", "tif": "tiff", "mpeg": "mp3"}


def _input(text: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """The input: what `--input` says, and over it what options say."""
    if text is None:
        return given
    source, content = "--input", text
    if text == "-":
        content = sys.stdin.read()
    elif text.startswith("@"):
        source = text[1:]
        try:
            content = Path(source).read_text(encoding="utf-8")
        except OSError as error:
            raise click.UsageError(f"{source}: {error.strerror or error}") from error
    try:
        value: Any = json.loads(content)
    except ValueError as error:
        raise click.UsageError(f"{source} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise click.UsageError(f'{source} is not a JSON object; an input looks like \'{{"prompt": "a cat"}}\'')
    return {**mapping(value), **given}


def _put_out(result: Result[Any], given: dict[str, Any], ctx: click.Context) -> None:
    """Save what is to be saved, and print the rest."""
    saved = _save(result, given["save"]) if given["save"] else []
    terminal = sys.stdout.isatty()
    if given["as_json"] or not given["save"] or not saved:
        text = result.raw.decode(errors="replace")
        if terminal:
            try:
                Console().print_json(text)
            except ValueError:
                click.echo(text)
        else:
            click.echo(text)
    for path in saved:
        click.echo(str(path), err=given["as_json"])
    if given["save"] and not saved:
        click.echo("The output has no files, so nothing was saved.", err=True)
        ctx.exit(1)


def _save(result: Result[Any], target: str) -> list[Path]:
    """Save the files of an output; return where they lie."""
    files = result.files()
    if target.endswith("/") or Path(target).is_dir():
        return result.download(target)
    path = Path(target)
    if len(files) == 1:
        paths = [path]
    else:
        paths = [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, len(files) + 1)]
    saved = [file.save(each) for file, each in zip(files, paths, strict=True)]
    for file, each in zip(files, saved, strict=True):
        _warn_of_ending(file, each)
    return saved


def _warn_of_ending(file: MediaFile, path: Path) -> None:
    """Say so where a file is not what its name says."""
    import mimetypes

    kind = getattr(file, "content_type", None)
    named = mimetypes.guess_type(path.name)[0]
    if isinstance(kind, str) and named is not None and named != kind.partition(";")[0].strip():
        click.echo(f"{path} is of type {kind}, whatever its name says.", err=True)


class _Watch:
    """Shows on a terminal how a request stands: the state, its place in the queue, its log, the seconds."""

    def __init__(self, quiet: bool) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.shown = self._console.is_terminal and not quiet
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not self.shown)
        self._task = self._bar.add_task("sending", total=None)
        self._request_id = ""

    def __enter__(self) -> _Watch:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def on_enqueue(self, request_id: str) -> None:
        self._request_id = request_id
        if self.shown:
            self._bar.console.print(f"request {request_id}", style="dim")

    def on_update(self, status: Status) -> None:
        for line in status.logs:
            if line.message.strip():
                self._bar.console.print(line.message, markup=False, style="dim")
        if isinstance(status, Queued):
            ahead = "" if status.position is None else f", {status.position} ahead"
            self._bar.update(self._task, description=f"waiting{ahead}")
        elif isinstance(status, InProgress):
            self._bar.update(self._task, description="running")
        else:
            self._bar.update(self._task, description="fetching the result")


@contextmanager
def _explained() -> Generator[None, None, None]:
    """End with a message and the exit code of its cause."""
    try:
        yield
    except (FalError, KeyboardInterrupt, ModuleNotFoundError, OSError) as error:
        text = "Interrupted" if isinstance(error, KeyboardInterrupt) else f"Error: {error}"
        click.echo(text, err=True)
        for note in getattr(error, "__notes__", ()):
            click.echo(note, err=True)
        sys.exit(exit_code(type(error)))
