"""What a module offers whose endpoint is no longer on the platform: an error that says so, whatever is tried.

Importing such a module raises nothing, so a program that no longer calls the endpoint goes on; checkers mark each use
(PEP 702).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Never

from fal_runtime.errors import EndpointRemovedError

if TYPE_CHECKING:
    from typing_extensions import deprecated
else:

    def deprecated(message):
        """Mark something as deprecated for checkers and editors; using it raises anyway."""

        def mark(marked):
            marked.__deprecated__ = message
            return marked

        return mark


__all__ = ["RemovedEndpoint", "RemovedModel", "deprecated", "removed_names"]


class RemovedEndpoint:
    """In place of the `Endpoint`.

    Args:
        endpoint_id: The platform's id that it had.
        message: Since when it is gone, and what to do.
    """

    def __init__(self, endpoint_id: str, message: str) -> None:
        self.id = endpoint_id
        self.message = message

    def __repr__(self) -> str:
        return f"<RemovedEndpoint {self.id}>"

    def error(self) -> EndpointRemovedError:
        """What any use raises."""
        return EndpointRemovedError(self.message, endpoint_id=self.id)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise self.error()


class RemovedModel:
    """In place of the endpoint's `Input` and `Output`."""

    _endpoint: RemovedEndpoint

    def __init_subclass__(cls, *, endpoint: RemovedEndpoint) -> None:
        cls._endpoint = endpoint

    def __init__(self, **fields: Any) -> None:
        raise self._endpoint.error()


def removed_names(endpoint: RemovedEndpoint) -> Callable[[str], Never]:
    """Make the `__getattr__` of a module, for the names of the types that it had beside these."""

    def getattr_(name: str) -> Never:
        if name.startswith("__"):
            raise AttributeError(name)
        raise endpoint.error()

    return getattr_
