"""What the options of calls and clients must be: one rule for each name, checked before anything is sent.

Checkers say most of this beforehand. What they do not see would else fail late, in words about something else: a header
that cannot be sent would seem to be a lost connection, and a callback that cannot be called would cost a request.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeAlias, cast
from urllib.parse import urlsplit

from fal_runtime.errors import ConfigurationError

__all__ = ["RULES", "check", "is_url"]

Rule: TypeAlias = Callable[[Any], "str | None"]
"""What is wrong with a value, to be read after the option's name; `None` if nothing is."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What the name of a header is made of. Source: RFC 9110."""
_SHOWN = 16
"""Characters of the longest text that a message repeats: a longer one may be a secret."""


def check(options: Mapping[str, Any], known: type | None = None, *, endpoint_id: str | None = None) -> None:
    """Hold options against their rules. `None` stands for an option that is not given.

    Args:
        options: What was given.
        known: The type that names the options of the call. Default: any will do, for Python refuses the others.
        endpoint_id: For error messages.

    Raises:
        TypeError: for a name that the call does not know.
        ConfigurationError: for a value that is not what its option takes.
    """
    names = RULES if known is None else known.__annotations__
    for name, value in options.items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            raise TypeError(f"there is no option {name!r} here" + (f"; did you mean {near[0]!r}?" if near else ""))
        if value is not None and (wrong := RULES[name](value)) is not None:
            raise ConfigurationError(f"{name} {wrong}", endpoint_id=endpoint_id)


def is_url(value: Any, *schemes: str) -> bool:
    """Whether a value is an absolute URL that can be asked for."""
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
        _ = parts.port  # which may be no number
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname)


def _is(holds: Callable[[Any], bool], text: str) -> Rule:
    def wrong(value: Any) -> str | None:
        if holds(value):
            return None
        brief = (
            value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _SHOWN)
        )
        return f"is {text}, not {repr(value) if brief else f'a value of type {type(value).__name__}'}"

    return wrong


def _one_of(*words: str) -> Rule:
    text = f"one of {', '.join(words)}" if len(words) > 2 else " or ".join(map(repr, words))
    return _is(lambda value: value in words, text)


def _instance(module: str, *names: str) -> Rule:
    """Of one of these classes of a module, which is loaded when it comes to that."""

    @functools.cache
    def classes() -> tuple[type, ...]:
        return tuple(getattr(import_module(module), name) for name in names)

    package = module.partition(".")[0]
    return _is(
        lambda value: isinstance(value, classes()), "of type " + " or ".join(f"{package}.{name}" for name in names)
    )


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # NaN is no time


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _carried(value: Any) -> bool:
    """Whether a header can carry a value."""
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _headers(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return f"is a mapping of names to values, not a value of type {type(value).__name__}"
    for name, text in cast("dict[Any, Any]", value).items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            return f"holds {name!r}, which cannot be the name of a header"
        if not _carried(text):
            return f"holds a value for {name!r} that no header can carry; give text in printable ASCII"
    return None


def _functions(value: Any) -> bool:
    return isinstance(value, Sequence) and all(map(callable, cast("list[Any]", value)))


_FLAG = _is(lambda value: value in (True, False), "True or False")
_FUNCTION = _is(callable, "a function")
_SECONDS = _is(_number, "a number of seconds")
_NOT_NEGATIVE = _is(lambda value: _number(value) and value >= 0, "0 seconds or more")
_ABOVE_ZERO = _is(lambda value: _number(value) and value > 0, "a number of seconds above 0")
_TEXT = _is(lambda value: isinstance(value, str), "a text")
_IN_HEADER = _is(_carried, "a text in printable ASCII, which a header can carry")
_MAPPING = _is(lambda value: isinstance(value, Mapping), "a mapping")
_CLIENT = _instance("fal_runtime.client", "Client")
_LIFECYCLE = _instance("fal_runtime.lifecycle", "Lifecycle")

RULES: dict[str, Rule] = {
    # of calls
    "client": _CLIENT,
    "headers": _headers,
    "extra": _MAPPING,
    "validate": _FLAG,
    "timeout": _SECONDS,
    "start_timeout": _is(lambda value: _number(value) and value > 0.1, "a number of seconds above 0.1"),
    "run_timeout": _SECONDS,
    "hint": _IN_HEADER,
    "storage": _LIFECYCLE,
    "path": _TEXT,
    "method": _one_of("POST", "GET", "PUT", "PATCH", "DELETE"),
    "webhook_url": _is(lambda value: is_url(value, "https", "http"), "an absolute URL"),
    "priority": _one_of("normal", "low"),
    "max_queue_length": _is(lambda value: _whole(value) and value >= 0, "a number of requests"),
    "logs": _FLAG,
    "on_enqueue": _FUNCTION,
    "on_queue_update": _FUNCTION,
    # of connections
    "max_buffering": _is(lambda value: _whole(value) and 1 <= value <= 60, "1 to 60"),
    "key_in_header": _FLAG,
    "token_provider": _FUNCTION,
    "token_expiration": _ABOVE_ZERO,
    "token_endpoint": _one_of("/tokens/", "/tokens/realtime"),
    "on_result": _FUNCTION,
    "on_error": _FUNCTION,
    "on_reconnect": _FUNCTION,
    "reconnect": _FLAG,
    "throttle": _NOT_NEGATIVE,
    "send_policy": _one_of("block", "drop_oldest", "latest"),
    "send_queue": _is(lambda value: _whole(value) and value < 2**31, "a number of inputs"),
    "encode": _FUNCTION,
    "decode": _FUNCTION,
    "connection_key": _TEXT,
    # of uploads
    "content_type": _IN_HEADER,
    "file_name": _TEXT,
    "lifecycle": _LIFECYCLE,
    "on_progress": _FUNCTION,
    "repository": _one_of("cdn", "rest", "gcs"),
    "resume": _instance("fal_runtime.storage", "UploadState"),
    # of webhooks
    "jwks": _MAPPING,
    "tolerance": _NOT_NEGATIVE,
    "replay_guard": _is(lambda value: hasattr(value, "first"), "an object with a method `first`"),
    # of clients
    "key": _is(lambda value: isinstance(value, str) or callable(value), "a text, or a function that gives one"),
    "urls": _MAPPING,
    "timeouts": _instance("fal_runtime.settings", "Timeouts"),
    "retry": _instance("fal_runtime.retry", "Retry"),
    "proxy_url": _is(
        lambda value: is_url(value, "https", "http"), "an absolute URL, such as https://example.com/api/fal/proxy"
    ),
    "middleware": _is(_functions, "a list of functions"),
    "http_client": _instance("httpx", "Client", "AsyncClient"),
    "transport": _instance("httpx", "BaseTransport", "AsyncBaseTransport"),
    "strict": _FLAG,
    # of `Timeouts` and `Retry`
    **dict.fromkeys(("connect", "attempt", "start", "run", "total"), _ABOVE_ZERO),
    "attempts": _is(lambda value: _whole(value) and value > 0, "a number above 0"),
    "base": _NOT_NEGATIVE,
    "cap": _NOT_NEGATIVE,
    "resubmit_unknown": _FLAG,
}
"""By the names of the options. One name means the same wherever it is an option."""
