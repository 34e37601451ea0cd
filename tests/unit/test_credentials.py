"""Keys that are not in the environment: the login that `fal auth login` saved, and a notebook's secret."""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs

import pytest

from fal_runtime import Client, credentials, errors


def token(seconds: float) -> str:
    """A JWT that ends in so many seconds; nobody here looks at its signature."""
    claims = json.dumps({"exp": time.time() + seconds}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2ln"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET", "FAL_FORCE_AUTH_BY_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAL_HOME_DIR", str(tmp_path))
    return tmp_path


class Login:
    """The service that renews logins: what it was sent, and what it answers."""

    def __init__(self) -> None:
        self.forms: list[dict[str, list[str]]] = []
        self.status, self.answer = 200, {"access_token": token(3600), "refresh_token": "refresh-2"}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.forms.append(parse_qs(self.rfile.read(int(self.headers["content-length"])).decode()))
                content = json.dumps(outer.answer).encode()
                self.send_response(outer.status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/oauth/token"


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> Iterator[Login]:
    login = Login()
    thread = threading.Thread(target=login.server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("FAL_AUTH_URL", login.url)
    yield login
    login.server.shutdown()
    thread.join()
    login.server.server_close()


def test_a_saved_login_is_used_and_the_key_goes_before_it(
    home: Path, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = token(3600)
    (home / "auth0_token").write_text(f"refresh-1\n{access}")
    assert Client().authorization() == f"Bearer {access}"
    monkeypatch.setenv("FAL_KEY", "a:b")
    assert Client().authorization() == "Key a:b"
    monkeypatch.setenv("FAL_FORCE_AUTH_BY_USER", "1")
    assert Client().authorization() == f"Bearer {access}"
    assert Client(key="c:d").authorization() == "Key c:d"
    assert login.forms == []


def test_a_login_that_is_about_to_end_is_renewed_and_saved(home: Path, login: Login) -> None:
    file = home / "auth0_token"
    file.write_text(f"refresh-1\n{token(200)}")
    renewed = login.answer["access_token"]
    assert [Client().authorization() for _ in range(2)] == [f"Bearer {renewed}"] * 2
    assert file.read_text() == f"refresh-2\n{renewed}"
    assert [path.name for path in home.iterdir()] == ["auth0_token"]
    (form,) = login.forms
    assert (form["grant_type"], form["refresh_token"]) == (["refresh_token"], ["refresh-1"])


def test_a_login_that_cannot_be_renewed_says_what_to_do(home: Path, login: Login) -> None:
    (home / "auth0_token").write_text("refresh-1\nnot a token")
    login.status = 403
    with pytest.raises(errors.MissingCredentialsError, match="run `fal auth login` again"):
        Client().authorization()
    (home / "auth0_token").write_bytes(b"\xff\xfe")
    with pytest.raises(errors.MissingCredentialsError, match="no key was found"):
        Client().authorization()


def test_a_secret_of_colab(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def get(name: str) -> str:
        asked.append(name)
        return "from:colab\n"

    google, colab, userdata = ModuleType("google"), ModuleType("google.colab"), ModuleType("google.colab.userdata")
    vars(userdata)["get"], vars(colab)["userdata"] = get, userdata
    for module in (google, colab, userdata):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    credentials._colab.cache_clear()  # pyright: ignore[reportPrivateUsage]
    try:
        assert [Client().authorization() for _ in range(2)] == ["Key from:colab"] * 2
    finally:
        credentials._colab.cache_clear()  # pyright: ignore[reportPrivateUsage]
    assert asked == ["FAL_KEY"], "the user is asked once"
