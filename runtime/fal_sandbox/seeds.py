"""Repeatable choices: the same input always leads to the same answer, whatever was asked before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Seed:
    """A source of choices that depend on what it was made from and on the label of the choice, and on nothing else."""

    def __init__(self, *parts: object) -> None:
        self._origin = json.dumps(parts, sort_keys=True, default=str).encode()

    def number(self, label: str, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        digest = hashlib.sha256(self._origin + label.encode("utf-8", "replace")).digest()
        return low + int.from_bytes(digest[:8]) % (high - low + 1)

    def fraction(self, label: str) -> float:
        """A number from 0 to 1, with four digits."""
        return self.number(label, 0, 10_000) / 10_000

    def choice(self, label: str, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.number(label, 0, len(options) - 1)]

    def token(self, label: str) -> str:
        """Thirty-two hexadecimal digits."""
        return hashlib.sha256(label.encode("utf-8", "replace") + self._origin).hexdigest()[:32]
