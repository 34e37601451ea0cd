"""A local stand-in for the platform: a real server on loopback that speaks its protocol and costs nothing.

    with Sandbox() as sandbox:
        os.environ.update(sandbox.environment())

Answers are made from the endpoints' own schemas: valid, seeded by the input, with files that open. Needs the extra
`fal-bindings[sandbox]`; its parts are imported when a sandbox starts, so importing this package costs little.
"""

from __future__ import annotations

from fal_sandbox.catalog import Catalog, CatalogError, default_catalog_path
from fal_sandbox.examples import example
from fal_sandbox.faults import Fault
from fal_sandbox.ledger import AdmittedJob, ReceivedRequest
from fal_sandbox.sandbox import DEFAULT_KEY, Sandbox
from fal_sandbox.storage import StoredFile

__all__ = [
    "DEFAULT_KEY",
    "AdmittedJob",
    "Catalog",
    "CatalogError",
    "Fault",
    "ReceivedRequest",
    "Sandbox",
    "StoredFile",
    "default_catalog_path",
    "example",
]
