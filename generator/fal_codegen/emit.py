"""All stages in a row: from one catalogue entry to the text of one module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fal_codegen.diagnostics import Diagnostic
from fal_codegen.docs import Glossary, describe, load_glossary
from fal_codegen.model import build_types
from fal_codegen.prepare import ModelKind, Prepared, prepare
from fal_codegen.render import render_module

__all__ = ["Emitted", "emit"]


@dataclass(frozen=True, slots=True)
class Emitted:
    """What came of one endpoint."""

    endpoint_id: str
    module: str
    source: str | None
    """The module's text; `None` if there is none, and then one of the diagnostics is fatal and says why."""
    diagnostics: tuple[Diagnostic, ...]


def emit(
    endpoint_id: str,
    metadata: Mapping[str, Any],
    openapi: Mapping[str, Any],
    *,
    module: str,
    sha256: str,
    package: str = "",
    models: ModelKind = "msgspec",
    listed: bool = True,
    glossary: Glossary | None = None,
) -> Emitted:
    """Make the module of one endpoint. No document makes it raise.

    Args:
        endpoint_id: The platform's id.
        metadata: What the catalogue says about the endpoint.
        openapi: Its document.
        module: The module's name, as `names.assign_modules` gives it.
        sha256: The hash of the document, in hexadecimal.
        package: The package that the module is in, for the snippet of a call in its documentation.
        models: What the types are.
        listed: Whether it is in the platform's catalogue, which has a page about it, and for which the glossary holds.
        glossary: The texts for fields that have none. Default: the project's own.

    Raises:
        OSError: if the installation has lost its templates or its glossary.
    """
    notes: list[Diagnostic] = []
    try:
        prepared = prepare(endpoint_id, metadata, openapi, models)
        if isinstance(prepared, Prepared):
            notes += prepared.diagnostics
            texts = glossary or (load_glossary() if listed and glossary is None else Glossary())
            full_name = f"{package}.{module}" if package else ""
            source = _source(describe(prepared, texts, full_name, listed=listed), module, sha256, models, notes)
        else:
            source = prepared
    except OSError:
        raise  # the installation is broken, not the document
    except Exception as error:  # whatever a stage stumbles over, it costs this endpoint alone
        source = Diagnostic(
            code="bad-module",
            endpoint_id=endpoint_id,
            pointer="/openapi",
            message=f"no module can be made of it: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
            remedy="report it to fal-bindings with the document, and leave the endpoint out until then",
            fatal=True,
        )
    if isinstance(source, Diagnostic):
        return Emitted(endpoint_id, module, None, (*notes, source))
    return Emitted(endpoint_id, module, source, tuple(notes))


def _source(
    described: Prepared, module: str, sha256: str, models: ModelKind, notes: list[Diagnostic]
) -> str | Diagnostic:
    types = build_types(described, notes, models=models)
    if isinstance(types, Diagnostic):
        return types
    source = render_module(described, types, sha256=sha256)
    compile(source, f"{module}.py", "exec", dont_inherit=True)
    return source
