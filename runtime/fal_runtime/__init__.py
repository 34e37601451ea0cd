"""The runtime of generated endpoint modules: queue, runs, streams, connections, files and errors for fal's model endpoints.

Everything that a caller needs is named here. Importing it loads neither `httpx` nor `asyncio`: the first call does.
"""

from typing import TYPE_CHECKING

from fal_runtime import errors
from fal_runtime.endpoint import Endpoint, Handle, endpoint
from fal_runtime.errors import FalError
from fal_runtime.media import File, MediaFile
from fal_runtime.models import FileInput, FileInputs, InputModel, OneOf, OutputModel, default

if TYPE_CHECKING:
    from fal_runtime import webhooks
    from fal_runtime.client import Client, configure
    from fal_runtime.lifecycle import Lifecycle
    from fal_runtime.queue import Completed, InProgress, Queued, Status
    from fal_runtime.realtime import AsyncRealtimeConnection, RealtimeConnection, Reconnected
    from fal_runtime.result import LogEntry, Result
    from fal_runtime.retry import Retry
    from fal_runtime.schema import json_schema
    from fal_runtime.settings import Timeouts
    from fal_runtime.storage import UploadState, data_uri, upload, upload_async
    from fal_runtime.stream import AsyncEventStream, EventStream
    from fal_runtime.webhooks import WebhookEvent
else:  # what a call needs is loaded by the first one, and what nobody names is not
    from fal_runtime.packages import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "client": ("Client", "configure"),
            "lifecycle": ("Lifecycle",),
            "queue": ("Completed", "InProgress", "Queued", "Status"),
            "realtime": ("AsyncRealtimeConnection", "RealtimeConnection", "Reconnected"),
            "result": ("LogEntry", "Result"),
            "retry": ("Retry",),
            "schema": ("json_schema",),
            "settings": ("Timeouts",),
            "storage": ("UploadState", "data_uri", "upload", "upload_async"),
            "stream": ("AsyncEventStream", "EventStream"),
            "webhooks": ("WebhookEvent", "webhooks"),
        },
    )

__all__ = [
    "AsyncEventStream",
    "AsyncRealtimeConnection",
    "Client",
    "Completed",
    "Endpoint",
    "EventStream",
    "FalError",
    "File",
    "FileInput",
    "FileInputs",
    "Handle",
    "InProgress",
    "InputModel",
    "Lifecycle",
    "LogEntry",
    "MediaFile",
    "OneOf",
    "OutputModel",
    "Queued",
    "RealtimeConnection",
    "Reconnected",
    "Result",
    "Retry",
    "Status",
    "Timeouts",
    "UploadState",
    "WebhookEvent",
    "configure",
    "data_uri",
    "default",
    "endpoint",
    "errors",
    "json_schema",
    "upload",
    "upload_async",
    "webhooks",
]
