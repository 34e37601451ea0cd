"""A local stand-in for the platform: a real server on loopback that speaks its protocol and costs nothing.

    with Sandbox() as sandbox:
        os.environ.update(sandbox.environment())

Answers are made from the endpoints' own schemas: valid, seeded by the input, with files that open. Needs the extra
`fal-bindings[sandbox]`; its parts are imported when a sandbox starts, so importing this package costs little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fal_sandbox.cassettes import CassetteError
    from fal_sandbox.catalog import Catalog, CatalogError, default_catalog_path
    from fal_sandbox.examples import example
    from fal_sandbox.fault_table import FAULTS, SCOPES
    from fal_sandbox.faults import Fault
    from fal_sandbox.ledger import AdmittedJob, ReceivedRequest
    from fal_sandbox.network import NetworkBlockedError
    from fal_sandbox.sandbox import DEFAULT_KEY, Sandbox
    from fal_sandbox.storage import StoredFile
    from fal_sandbox.webhooks import Delivery, WebhookRequest

__all__ = [
    "DEFAULT_KEY",
    "FAULTS",
    "SCOPES",
    "AdmittedJob",
    "CassetteError",
    "Catalog",
    "CatalogError",
    "Delivery",
    "Fault",
    "NetworkBlockedError",
    "ReceivedRequest",
    "Sandbox",
    "StoredFile",
    "WebhookRequest",
    "default_catalog_path",
    "example",
]

_HOMES = {
    "AdmittedJob": "ledger",
    "CassetteError": "cassettes",
    "Catalog": "catalog",
    "CatalogError": "catalog",
    "DEFAULT_KEY": "sandbox",
    "Delivery": "webhooks",
    "FAULTS": "fault_table",
    "Fault": "faults",
    "NetworkBlockedError": "network",
    "ReceivedRequest": "ledger",
    "SCOPES": "fault_table",
    "Sandbox": "sandbox",
    "StoredFile": "storage",
    "WebhookRequest": "webhooks",
    "default_catalog_path": "catalog",
    "example": "examples",
}
"""The module of each name: it is loaded when the name is first used, since pytest loads this package for its plugin."""


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
