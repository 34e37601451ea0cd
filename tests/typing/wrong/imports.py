"""Modules that do not exist: each marked line must be red in both checkers, and no other one."""

from __future__ import annotations

import fal_endpoints.fal_ai.flux_schnel  # error: reportMissingImports

from fal_endpoints import fal_aj  # error: reportAttributeAccessIssue
from fal_endpoints.fal_ai import flux_devv  # error: reportAttributeAccessIssue
from fal_runtime import Clientt  # error: reportAttributeAccessIssue

__all__ = ["Clientt", "fal_aj", "fal_endpoints", "flux_devv"]
