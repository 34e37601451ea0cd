"""A small client of a language server: what an editor asks about a place in a file that is open."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CURSOR = "|"


class Editor:
    """Pyright's language server, with one folder open.

    Raises:
        RuntimeError: if the server does not start.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ids = itertools.count(1)
        self._files = itertools.count(1)
        self._server = subprocess.Popen(
            [sys.executable, "-m", "pyright.langserver", "--stdio"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        markdown = {"documentationFormat": ["markdown", "plaintext"]}
        text_document = {
            "completion": {"completionItem": markdown},
            "hover": {"contentFormat": ["markdown", "plaintext"]},
            "signatureHelp": {"signatureInformation": {**markdown, "activeParameterSupport": True}},
        }
        try:
            self._request(
                "initialize",
                processId=None,
                rootUri=folder.as_uri(),
                workspaceFolders=[{"uri": folder.as_uri(), "name": folder.name}],
                capabilities={"workspace": {"configuration": True}, "textDocument": text_document},
            )
            self._send(method="initialized", params={})
        except (OSError, RuntimeError):
            self.close()
            raise

    def close(self) -> None:
        """End the server."""
        self._server.kill()
        self._server.communicate()

    def ask(self, what: str, text: str) -> Any:
        """Open a file with this text, and ask `completion`, `hover` or `signatureHelp` where `CURSOR` is in it."""
        before, _, after = text.partition(CURSOR)
        uri = (self._folder / f"user_{next(self._files)}.py").as_uri()
        document = {"uri": uri, "languageId": "python", "version": 1, "text": before + after}
        self._send(method="textDocument/didOpen", params={"textDocument": document})
        position = {"line": before.count("\n"), "character": len(before.rpartition("\n")[2])}
        return self._request(f"textDocument/{what}", textDocument={"uri": uri}, position=position)

    def _request(self, method: str, **params: Any) -> Any:
        number = next(self._ids)
        self._send(id=number, method=method, params=params)
        while True:
            message = self._receive()
            if "method" in message and "id" in message:
                self._send(id=message["id"], result=self._answer(message))
            elif message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def _answer(self, message: dict[str, Any]) -> Any:
        """What the server asks us: only its settings matter."""
        if message["method"] != "workspace/configuration":
            return None
        python = {"pythonPath": sys.executable}
        return [python if item.get("section") == "python" else {} for item in message["params"]["items"]]

    def _send(self, **message: Any) -> None:
        assert self._server.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._server.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._server.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._server.stdout is not None
        length = 0
        while line := self._server.stdout.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if not length:
            raise RuntimeError(f"the language server ended with {self._server.wait()}")
        message: dict[str, Any] = json.loads(self._server.stdout.read(length))
        return message
