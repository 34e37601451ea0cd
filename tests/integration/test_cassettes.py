"""Recording and replaying, with one sandbox as the live platform and another in front of it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as websocket_connect

from fal_endpoints.fal_ai import flux_dev, flux_lora_stream
from fal_runtime import Client, FalError, Retry
from fal_sandbox import CassetteError, Catalog, Sandbox, default_catalog_path
from fal_sandbox.addresses import Addresses, without_signature, without_signatures
from fal_sandbox.cassettes import Cassette, differences

LIVE_KEY = "11112222-live:aaaabbbbccccdddd"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    path = default_catalog_path()
    assert path is not None
    return Catalog.read(path)


@pytest.fixture(scope="module")
def live_platform(catalog: Catalog) -> Iterator[Sandbox]:
    with Sandbox(catalog, key=LIVE_KEY) as sandbox:
        yield sandbox


@pytest.fixture
def live(live_platform: Sandbox) -> Sandbox:
    live_platform.reset()
    return live_platform


@pytest.fixture(scope="module")
def front_desk(catalog: Catalog) -> Iterator[Sandbox]:
    with Sandbox(catalog) as sandbox:
        yield sandbox


@pytest.fixture
def here(front_desk: Sandbox) -> Sandbox:
    front_desk.reset()
    return front_desk


def urls(sandbox: Sandbox) -> dict[str, str]:
    variables = sandbox.environment()
    return {name.split("_")[1].lower(): url for name, url in variables.items() if name.endswith("_URL")}


@pytest.fixture
def client(here: Sandbox) -> Iterator[Client]:
    with Client(key=here.key, urls=urls(here), retry=Retry(base=0.01, cap=0.05)) as client:
        yield client


def every_verb(client: Client) -> list[Any]:
    """A program's results, files and all."""
    heard: list[str] = []
    poster = flux_dev.subscribe(
        flux_dev.Input(prompt="a poster", image_size="square"),
        logs=True,
        on_queue_update=lambda status: heard.append(type(status).__name__),
        client=client,
    )
    handle = flux_dev.submit(flux_dev.Input(prompt="a handle"), client=client)
    late = handle.result()
    again = flux_dev.handle(handle.request_id, client=client).status(logs=True)
    direct = asyncio.run(flux_dev.run_async(flux_dev.Input(prompt="direct", sync_mode=True), client=client))
    events = list(flux_lora_stream.endpoint.stream(flux_lora_stream.Input(prompt="a stream"), client=client))
    content = [poster.images[0].read(client=client), events[-1].images[0].read(client=client)]
    return [
        poster.seed,
        late.seed,
        type(again).__name__,
        [image.url for image in direct.images],
        len(events),
        content,
        heard[-1],
    ]


def test_what_is_recorded_is_replayed_without_the_platform(
    tmp_path: Path, here: Sandbox, live: Sandbox, client: Client
) -> None:
    path = tmp_path / "cassettes" / "posters.json"
    with here.record(path, key=LIVE_KEY, urls=urls(live)):
        recorded = every_verb(client)
    paid = len(live.admitted)
    assert paid == 4
    assert here.admitted == []
    received = len(live.requests)
    with here.replay(path):
        replayed = every_verb(client)
    assert replayed == recorded
    assert len(live.requests) == received
    with Image.open(io.BytesIO(replayed[5][0])) as picture:
        assert picture.size == (512, 512)


def test_a_cassette_replays_in_another_process_at_another_port(
    tmp_path: Path, here: Sandbox, live: Sandbox, client: Client, catalog: Catalog
) -> None:
    path = tmp_path / "one.json"
    with here.record(path, key=LIVE_KEY, urls=urls(live)):
        recorded = flux_dev.subscribe(flux_dev.Input(prompt="a cat"), client=client)
        content = recorded.images[0].read(client=client)
    assert "127.0.0.1" not in path.read_text()
    assert '"https://queue.fal.run/fal-ai/flux/dev"' in path.read_text()
    with Sandbox(catalog) as other, Client(key=other.key, urls=urls(other)) as elsewhere, other.replay(path):
        replayed = flux_dev.subscribe(flux_dev.Input(prompt="a cat"), client=elsewhere)
        assert replayed.seed == recorded.seed
        assert replayed.images[0].url.startswith(other.url)
        assert replayed.images[0].read(client=elsewhere) == content


def test_the_official_client_is_recorded_and_replayed(
    tmp_path: Path, here: Sandbox, live: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    fal_client: Any = import_module("fal_client")
    for name, variable in (("RUN", "FAL_RUN_URL"), ("QUEUE", "FAL_QUEUE_URL")):
        monkeypatch.setattr(f"fal_client.client.{name}_URL_FORMAT", here.environment()[variable] + "/")
    path, arguments = tmp_path / "official.json", {"prompt": "a cat", "num_inference_steps": 4}

    def ask() -> tuple[Any, int, list[str]]:
        heard: list[str] = []

        def hear(status: object) -> None:
            heard.append(str(status))

        official = fal_client.SyncClient(key=here.key)
        with closing(official._client):
            result = official.subscribe("fal-ai/flux/dev", arguments, with_logs=True, on_queue_update=hear)
            direct = official.run("fal-ai/flux/dev", arguments)
        return result, direct["seed"], heard[-1:]

    with here.record(path, key=LIVE_KEY, urls=urls(live)):
        recorded = ask()
    assert len(live.admitted) == 2
    with here.replay(path):
        assert ask() == recorded
    assert len(live.admitted) == 2


def test_services_with_ports_of_their_own_are_recorded_and_replayed(
    tmp_path: Path, live: Sandbox, catalog: Catalog
) -> None:
    path = tmp_path / "ports.json"
    with Sandbox(catalog, hosts=True) as here, Client(key=here.key, urls=urls(here)) as client:
        assert urls(here)["queue"].count("/") == 2
        with here.record(path, key=LIVE_KEY, urls=urls(live)):
            recorded = every_verb(client)
        with here.replay(path):
            assert every_verb(client) == recorded
    assert "127.0.0.1" not in path.read_text()


def test_no_secret_is_written_down(tmp_path: Path, here: Sandbox, live: Sandbox) -> None:
    path = tmp_path / "secrets.json"
    signed = "https://bucket.example.com/a.png?X-Amz-Signature=5ecre7&X-Amz-Date=1&page=2"
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"
    live.respond("me/mine", {"url": signed, "echo": LIVE_KEY, "jwt": jwt}, run_seconds=0)
    key = {"authorization": f"Key {here.key}", "cookie": "session=c00k1e"}
    with here.record(path, key=LIVE_KEY, urls=urls(live)), httpx.Client(headers=key, trust_env=False) as http:
        base = here.environment()
        answer = http.post(f"{base['FAL_RUN_URL']}/me/mine?upload_token=t0ken", json={"from": jwt})
        token = http.post(f"{base['FAL_REST_URL']}/storage/auth/token?storage_type=fal-cdn-v3", json={}).json()
    assert answer.json()["echo"] == LIVE_KEY
    assert "X-Amz-Signature=5ecre7" in answer.json()["url"]
    text = path.read_text()
    secrets = [*LIVE_KEY.split(":"), *here.key.split(":"), "5ecre7", "c00k1e", "t0ken", jwt, token["token"]]
    assert [secret for secret in secrets if secret in text] == []
    assert "authorization" not in text
    (request,) = (each for each in live.requests if each.path == "/run/me/mine")
    assert request.headers["authorization"] == f"Key {LIVE_KEY}"


def test_files_elsewhere_are_kept_too(tmp_path: Path, here: Sandbox, live: Sandbox, client: Client) -> None:
    with Sandbox(Catalog(), key="x:y") as bucket:
        link = f"{bucket.url}/cdn/thumbnails/unknown.png"
        live.respond("me/mine", {"image": {"url": link}}, run_seconds=0)
        path = tmp_path / "elsewhere.json"
        key = {"authorization": f"Key {here.key}"}

        def ask() -> tuple[str, int, Any]:
            with httpx.Client(headers=key, trust_env=False) as http:
                url = http.post(f"{here.environment()['FAL_RUN_URL']}/me/mine", json={}).json()["image"]["url"]
                answer = http.get(url)
                return url, answer.status_code, answer.json()

        with here.record(path, key=LIVE_KEY, urls=urls(live)):
            recorded = ask()
        (request,) = bucket.requests
        assert "authorization" not in request.headers
    assert recorded[0].startswith(f"{here.url}/elsewhere/http/")
    assert recorded[1] == 404
    assert link in path.read_text()
    with here.replay(path):
        assert ask() == recorded


def test_uploads_are_replayed(tmp_path: Path, here: Sandbox, live: Sandbox) -> None:
    path, key = tmp_path / "upload.json", {"authorization": f"Key {here.key}"}

    def upload(content: bytes) -> int:
        with httpx.Client(headers=key, trust_env=False) as http:
            body = {"file_name": "a.bin", "content_type": "application/octet-stream"}
            rest = here.environment()["FAL_REST_URL"]
            where = http.post(f"{rest}/storage/upload/initiate?storage_type=fal-cdn-v3", json=body).json()
            assert where["file_url"].startswith(here.url)
            del http.headers["authorization"]
            return http.put(
                where["upload_url"], content=content, headers={"content-type": body["content_type"]}
            ).status_code

    with here.record(path, key=LIVE_KEY, urls=urls(live)):
        assert upload(b"\x00" * 300_000) < 300
    assert [file.size for file in live.uploads] == [300_000]
    with here.replay(path):
        assert upload(b"\x00" * 300_000) < 300
    with pytest.raises(CassetteError, match=r"has no answer to PUT .* with this input: sha256 was"), here.replay(path):
        assert upload(b"\x01" * 300_000) == 400


def test_errors_are_replayed(tmp_path: Path, here: Sandbox, live: Sandbox, client: Client) -> None:
    path = tmp_path / "error.json"
    body = {"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": "content_policy_violation"}]}
    live.respond("fal-ai/flux/dev", body, status=422)

    def ask() -> str:
        with pytest.raises(FalError) as raised:
            flux_dev.run(flux_dev.Input(prompt="a cat"), client=client)
        return repr(raised.value)

    with here.record(path, key=LIVE_KEY, urls=urls(live)):
        recorded = ask()
    live.reset()
    with here.replay(path):
        assert ask() == recorded


def recording(here: Sandbox, live: Sandbox, client: Client, path: Path) -> Path:
    with here.record(path, key=LIVE_KEY, urls=urls(live)):
        flux_dev.run(flux_dev.Input(prompt="a cat", num_images=2), client=client)
    return path


def test_another_input_is_told(tmp_path: Path, here: Sandbox, live: Sandbox, client: Client) -> None:
    path = recording(here, live, client, tmp_path / "one.json")
    expected = (
        rf"{path} has no answer to POST https://fal\.run/fal-ai/flux/dev with this input: "
        r'prompt was "a cat" and is "a dog"; num_images is no longer sent; seed is new\. Record it again'
    )
    with pytest.raises(CassetteError, match=expected), here.replay(path), pytest.raises(FalError, match="prompt was"):
        flux_dev.run(flux_dev.Input(prompt="a dog", seed=1), client=client)


def test_what_costs_is_not_answered_more_often_than_it_was(
    tmp_path: Path, here: Sandbox, live: Sandbox, client: Client
) -> None:
    path = recording(here, live, client, tmp_path / "one.json")

    def twice() -> None:
        with here.replay(path):
            flux_dev.run(flux_dev.Input(prompt="a cat", num_images=2), client=client)
            with pytest.raises(FalError, match="for the second time"):
                flux_dev.run(flux_dev.Input(prompt="a cat", num_images=2), client=client)

    with pytest.raises(CassetteError, match="for the second time"):
        twice()


def test_a_cassette_that_no_longer_fits_its_schema_says_so(
    tmp_path: Path, here: Sandbox, live: Sandbox, client: Client
) -> None:
    path = tmp_path / "one.json"
    with here.record(path, key=LIVE_KEY, urls=urls(live)):
        flux_dev.subscribe(flux_dev.Input(prompt="a cat"), client=client)
    document = json.loads(path.read_text())
    (result,) = (each for each in document["exchanges"] if "images" in (each.get("json") or {}))
    del result["json"]["images"][0]["width"]
    result["json"]["seed"] = "seven"
    (submit,) = (each for each in document["exchanges"] if each["method"] == "POST")
    submit["sent"]["num_images"] = 99
    path.write_text(json.dumps(document))
    with pytest.raises(CassetteError) as raised, here.replay(path):
        pass
    assert str(raised.value).splitlines() == [
        f"{path} no longer fits the schemas; record it again:",
        "fal-ai/flux/dev: input.num_images is 99, against maximum 4",
        "fal-ai/flux/dev: output.images[0] has no width",
        'fal-ai/flux/dev: output.seed is "seven", against type "integer"',
    ]


def test_what_departed_from_the_start_is_accepted(tmp_path: Path, here: Sandbox, live: Sandbox, client: Client) -> None:
    live.respond("fal-ai/flux/dev", {"images": [], "note": "the schema says otherwise"}, run_seconds=0)
    path = recording(here, live, client, tmp_path / "odd.json")
    assert "output has no" in path.read_text()
    with here.replay(path):
        assert flux_dev.run(flux_dev.Input(prompt="a cat", num_images=2), client=client).images == []


def test_a_file_that_is_too_large_is_stood_in_for(
    tmp_path: Path, here: Sandbox, live: Sandbox, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fal_sandbox.cassettes.MAX_FILE_BYTES", 100)
    path = tmp_path / "large.json"

    def ask() -> bytes:
        return flux_dev.run(flux_dev.Input(prompt="a cat"), client=client).images[0].read(client=client)

    with here.record(path, key=LIVE_KEY, urls=urls(live)):
        recorded = ask()
    assert not path.with_suffix(".files").exists()
    with here.replay(path):
        stand_in = ask()
    assert stand_in != recorded
    with Image.open(io.BytesIO(stand_in)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (512, 512))


def test_a_cassette_that_is_none_is_named(tmp_path: Path, here: Sandbox) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("[]")
    with pytest.raises(CassetteError, match=r"broken\.json is no cassette; record it"), here.replay(broken):
        pass
    nowhere = tmp_path / "nowhere.json"
    with pytest.raises(CassetteError, match=r"there is no cassette .*nowhere\.json; record it"), here.replay(nowhere):
        pass


def test_recording_needs_a_key_and_a_platform(tmp_path: Path, here: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAL_KEY", raising=False)
    with pytest.raises(CassetteError, match="set FAL_KEY or pass key="), here.record(tmp_path / "a.json"):
        pass
    for name, value in here.environment().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CassetteError, match="platform's key"), here.record(tmp_path / "a.json"):
        pass
    with pytest.raises(CassetteError, match="would record itself"), here.record(tmp_path / "a.json", key=LIVE_KEY):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_platform_that_does_not_answer_looks_like_that(tmp_path: Path, here: Sandbox) -> None:
    gone = dict.fromkeys(urls(here), "http://127.0.0.1:1")
    with here.record(tmp_path / "a.json", key=LIVE_KEY, urls=gone), pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{here.url}/api/v1/models", trust_env=False)


def test_an_answer_that_breaks_off_is_not_recorded(tmp_path: Path, here: Sandbox, live: Sandbox) -> None:
    path, key = tmp_path / "a.json", {"authorization": f"Key {here.key}"}
    live.fail_next("/run/*", status=200, body='{"ima', disconnect=True)
    with here.record(path, key=LIVE_KEY, urls=urls(live)), pytest.raises(httpx.RemoteProtocolError):
        httpx.post(f"{here.environment()['FAL_RUN_URL']}/me/mine", json={}, headers=key, trust_env=False)
    assert json.loads(path.read_text())["exchanges"] == []


def test_a_stream_that_the_client_leaves_is_recorded_as_far_as_it_was_read(
    tmp_path: Path, here: Sandbox, live: Sandbox
) -> None:
    path, key = tmp_path / "a.json", {"authorization": f"Key {here.key}"}
    live.respond("me/mine", {"n": 9}, stream=[{"n": n} for n in range(9)], run_seconds=30)

    def first() -> str:
        with httpx.stream(
            "POST", f"{here.environment()['FAL_RUN_URL']}/me/mine/stream", json={}, headers=key, trust_env=False
        ) as stream:
            return next(stream.iter_lines())

    with here.record(path, key=LIVE_KEY, urls=urls(live)):
        assert first() == 'data: {"n":0}'
    with here.replay(path):
        assert first() == 'data: {"n":0}'


def test_a_realtime_connection_is_refused_while_replaying(tmp_path: Path, here: Sandbox) -> None:
    (tmp_path / "a.json").write_text('{"version": 1, "exchanges": []}')
    realtime = here.environment()["FAL_REALTIME_URL"]

    def connect() -> None:
        with here.replay(tmp_path / "a.json"), pytest.raises(InvalidStatus):
            websocket_connect(f"{realtime}/fal-ai/fast-lcm-diffusion/realtime", proxy=None).close()

    with pytest.raises(CassetteError, match="realtime connections cannot be replayed"):
        connect()


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://x/a?b=2&a=1", "https://x/a?a=1&b=2"),
        ("https://x/a?token=1&logs=1", "https://x/a?logs=1"),
        ("https://x/a?X-Goog-Signature=1&X-Goog-Date=2&name=3", "https://x/a"),
        ("https://x/a?fal_jwt_token=1", "https://x/a"),
        ("https://x/a", "https://x/a"),
    ],
)
def test_signatures_are_taken_out_of_urls(url: str, kept: str) -> None:
    assert without_signature(url) == kept
    assert without_signatures(f'{{"url": "{url}"}}') == f'{{"url": "{kept}"}}'


def test_addresses_are_told_apart_to_the_end() -> None:
    addresses = Addresses({"run": "http://h:1/run"}, "http://h:1", {"run": "https://fal.run"}, {"run": "https://w"})
    assert addresses.to_here('"https://fal.run/a" "https://fal.runner/a" "https://fal.run.org"', "live") == (
        '"http://h:1/run/a" "https://fal.runner/a" "https://fal.run.org"'
    )
    assert addresses.to_here('{"url": "https://o.org/a?b=1", "note": "https://o.org"}', "live") == (
        '{"url": "http://h:1/elsewhere/https/o.org/a?b=1", "note": "https://o.org"}'
    )
    assert addresses.from_here("http://h:1/elsewhere/https/o.org/a?b=1", "live") == "https://o.org/a?b=1"


def test_differences_name_the_fields() -> None:
    before, after = {"a": {"b": [1, 2], "c": 1}, "d": True}, {"a": {"b": [1, 3], "c": 1}, "d": 1, "e": None}
    assert list(differences(before, after)) == ["a.b was [1, 2] and is [1, 3]", "d was true and is 1", "e is new"]


def test_what_is_kept_is_written_over(tmp_path: Path) -> None:
    cassette = Cassette(tmp_path / "a.json")
    cassette.keep(b"one", "bin")
    cassette.save([])
    again = Cassette(tmp_path / "a.json")
    file = again.keep(b"two", "bin")
    again.save([])
    assert [each.name for each in (tmp_path / "a.files").iterdir()] == [file["name"]]
    assert again.read(file) == b"two"
    (tmp_path / "a.files" / file["name"]).unlink()
    with pytest.raises(CassetteError, match="misses its file"):
        again.read(file)
