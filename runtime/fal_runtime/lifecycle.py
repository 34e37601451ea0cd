"""How long a file on the CDN is kept, and who may read it. Source: fal docs, "Media expiration" and CDN pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from fal_runtime.errors import ConfigurationError

__all__ = ["Access", "Lifecycle"]

Access: TypeAlias = Literal["allow", "forbid", "hide"]
"""`forbid` refuses a reader, `hide` lets the file seem not to exist."""

_UNITS = {"m": 60, "h": 3600, "d": 86_400, "y": 31_536_000}


class Lifecycle(msgspec.Struct, frozen=True, kw_only=True):
    """How long a file is kept, and who may read it. What is not said is as the account has it.

    Args:
        expires_in: Seconds, or a text such as `"1h"`, `"7d"`, `"1y"`, after which the file is deleted;
            `"never"` keeps it even where the account's files expire.
        access: What readers may do whom no rule names.
        rules: What certain users may do, by nickname or id. The platform drops users that it does not know.

    Raises:
        ConfigurationError: if something of it is no such time or access.
    """

    expires_in: int | str | None = None
    access: Access | None = None
    rules: Mapping[str, Access] = {}

    def __post_init__(self) -> None:
        self._seconds()
        rules: Any = self.rules
        if not isinstance(rules, Mapping):
            raise ConfigurationError(f"rules is a mapping of users to accesses, not {rules!r}")
        for access in (*self.rules.values(), self.access or "allow"):
            if access not in ("allow", "forbid", "hide"):
                raise ConfigurationError(f"access is 'allow', 'forbid' or 'hide', not {access!r}")

    def _seconds(self) -> int | None:
        given = self.expires_in
        if given is None or given == "never":
            return None
        seconds: int | None = None
        if isinstance(given, int) and not isinstance(given, bool):
            seconds = given
        elif isinstance(given, str) and given[:-1].isdecimal() and given[-1:] in _UNITS:
            seconds = int(given[:-1]) * _UNITS[given[-1]]
        if seconds is None or seconds <= 0:
            raise ConfigurationError(
                f"expires_in is a number of seconds above 0, a text like '30m', '1h', '7d' or '1y', or 'never'; "
                f"not {given!r}"
            )
        return seconds

    def to_json(self) -> str:
        """The value of the headers that carry it."""
        fields: dict[str, Any] = {}
        if self.expires_in is not None:
            fields["expiration_duration_seconds"] = self._seconds()
        if self.access is not None or self.rules:
            rules = [{"user": user, "decision": decision} for user, decision in self.rules.items()]
            fields["initial_acl"] = {"default": self.access or "allow", "rules": rules}
        return msgspec.json.encode(fields).decode()
