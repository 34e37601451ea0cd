"""Pulling: from every kind of source, cheaply, and without losing anything that was there before."""

from __future__ import annotations

import copy
import datetime
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click.testing
import pytest

from fal_codegen.catalog import CatalogError, schema_path
from fal_codegen.cli import cli
from fal_codegen.lock import LOCK_NAME, read_lock
from fal_codegen.pull import PullReport, pull
from fal_codegen.selection import Selection
from fal_codegen.sources import BATCH, Source, batches
from fal_codegen.write import existing
from fal_sandbox import Sandbox
from fal_sandbox.catalog import Catalog, Entry
from private_app import DOCUMENT

FLUX = "fal-ai/flux/dev"
COMMITTED = Path(__file__).parents[2] / "generated" / "schemas"
FIRST = datetime.date(2026, 1, 31)


def document(endpoint_id: str, **properties: Any) -> dict[str, Any]:
    """A document as the platform writes it for an endpoint."""

    def content(name: str) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}

    fields = properties or {"prompt": {"type": "string"}}
    text = {"type": "object", "properties": {"text": {"type": "string"}}}
    return {
        "openapi": "3.0.4",
        "info": {"title": endpoint_id, "version": "1.0.0", "x-fal-metadata": {"category": "text-to-image"}},
        "paths": {
            f"/{endpoint_id}": {"post": {"requestBody": content("In"), "responses": {"200": content("Status")}}},
            f"/{endpoint_id}/requests/{{request_id}}": {"get": {"responses": {"200": content("Out")}}},
        },
        "components": {"schemas": {"In": {"type": "object", "properties": fields}, "Out": text, "Status": {}}},
    }


def catalog(*ids: str, **metadata: Any) -> Catalog:
    return Catalog(Entry(id_, {"display_name": id_, **metadata}, document(id_)) for id_ in ids)


def many(count: int) -> list[str]:
    return [f"acme/model-{number:04}" for number in range(count)]


def at_once(*_: object) -> float:
    return 0.0


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    return tmp_path / "schemas"


def bring(schemas: Path, *sources: Source | str, **options: Any) -> PullReport:
    options.setdefault("today", FIRST)
    return pull([Source(each) if isinstance(each, str) else each for each in sources], schemas, **options)


def tree(root: Path) -> dict[str, bytes]:
    return {path: (root / path).read_bytes() for path in existing(root)}


# --- HTTP -------------------------------------------------------------------------------------------------------------


def test_a_second_pull_asks_and_is_told_that_nothing_changed(schemas: Path, tmp_path: Path) -> None:
    ids = many(120)
    with Sandbox(catalog(*ids)) as server:
        bring(schemas, f"{server.url}/api/v1", cache=tmp_path / "cache")
        asked = len(server.requests)
        before = tree(schemas)
        report = bring(schemas, f"{server.url}/api/v1", cache=tmp_path / "cache")
        again = server.requests[asked:]
    assert report.pulled == len(ids)
    assert not report.changes
    assert tree(schemas) == before
    assert all("if-none-match" in request.headers for request in again)
    assert not any("if-none-match" in request.headers for request in server.requests[:asked])

    with Sandbox(catalog(*ids, "acme/new")) as server:
        bring(schemas, f"{server.url}/api/v1", cache=tmp_path / "cache")
        report = bring(schemas, f"{server.url}/api/v1", cache=tmp_path / "cache")
    assert "acme/new" in read_lock(schemas)


def test_a_server_that_knows_dates_only_is_asked_by_date(schemas: Path, tmp_path: Path) -> None:
    date = "Sat, 31 Jan 2026 10:00:00 GMT"
    page = {"models": [{"endpoint_id": "acme/one", "openapi": document("acme/one")}]}
    with Sandbox(catalog("acme/one")) as server:
        where = f"{server.url}/static/page.json"
        server.fail_next("/static/*", status=200, body=page, headers={"last-modified": date})
        server.fail_next("/static/*", status=304)
        assert bring(schemas, where, cache=tmp_path / "cache").pulled == 1
        report = bring(schemas, where, cache=tmp_path / "cache")
        assert [request.headers.get("if-modified-since") for request in server.requests] == [None, date]
    assert report.pulled == 1
    assert not report.changes


def test_a_damaged_cache_is_not_believed(schemas: Path, tmp_path: Path) -> None:
    with Sandbox(catalog("acme/one")) as server:
        bring(schemas, f"{server.url}/api/v1", cache=tmp_path / "cache")
        before = tree(schemas)
        for number, file in enumerate((tmp_path / "cache").iterdir()):
            file.write_bytes(file.read_bytes()[:-20] if number % 2 else b"\xff nonsense")
        asked = len(server.requests)
        bring(schemas, f"{server.url}/api/v1", cache=tmp_path / "cache")
        assert not any("if-none-match" in request.headers for request in server.requests[asked:])
    assert tree(schemas) == before


def test_what_one_key_may_see_is_not_kept_for_another(
    schemas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Sandbox(catalog("acme/one")) as server:
        monkeypatch.setenv("FAL_API_URL", f"{server.url}/api/v1")
        monkeypatch.setenv("FAL_KEY", server.key)
        bring(schemas, f"{server.url}/api/v1", cache=tmp_path / "cache")
        monkeypatch.delenv("FAL_KEY")
        asked = len(server.requests)
        bring(schemas, f"{server.url}/api/v1", cache=tmp_path / "cache")
        assert all("authorization" in request.headers for request in server.requests[:asked])
        for request in server.requests[asked:]:
            assert "authorization" not in request.headers
            assert "if-none-match" not in request.headers
        assert server.key.encode() not in b"".join(tree(tmp_path / "cache").values())


def test_batches_hardly_change_when_an_endpoint_comes_or_goes() -> None:
    ids = many(1000)
    before = {tuple(part) for part in batches(ids)}
    assert sorted(id_ for part in before for id_ in part) == ids
    assert max(map(len, before)) <= BATCH
    assert len(before) < 50
    for changed in ([*ids, "acme/new"], ids[1:]):
        assert len({tuple(part) for part in batches(changed)} - before) <= 2
    assert batches([]) == []


def test_a_thousand_endpoints_with_a_tenth_of_the_answers_failing(
    schemas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fal_runtime.retry.Retry.wait", at_once)
    ids = many(1000)
    kinds: list[dict[str, Any]] = [
        {"status": 429, "headers": {"retry-after": "0"}},
        {"status": 500},
        {"status": 503, "body": "busy"},
        {"disconnect": True},
        {"status": 200, "body": {"models": []}, "disconnect": True},
    ]
    with Sandbox(catalog(*ids)) as server:
        for number in range(200):
            proper: dict[str, Any] = {"delay_seconds": 0.001}
            server.fail_next("/api/*", **(kinds[number // 10 % 5] if number % 10 == 4 else proper))
        report = bring(schemas, f"{server.url}/api/v1")
        failed = len(server.requests) - 5 - len(batches(ids))  # five pages of the listing
        assert failed >= len(server.requests) // 10
    assert failed >= 3
    assert report.pulled == 1000
    assert report.diagnostics == []
    assert list(read_lock(schemas)) == ids


def test_what_does_not_come_at_all_is_named_and_the_rest_is_there(
    schemas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fal_runtime.retry.Retry.wait", at_once)
    ids = many(1000)
    with Sandbox(catalog(*ids)) as server:
        server.fail_next("/api/*", delay_seconds=0.001, times=5)  # the listing
        server.fail_next("/api/*", status=500, times=17)
        report = bring(schemas, f"{server.url}/api/v1")
    named = [diagnostic.endpoint_id for diagnostic in report.diagnostics if diagnostic.code == "not-pulled"]
    assert 0 < len(named) <= 4 * BATCH
    assert report.pulled == 1000 - len(named)
    assert sorted([*named, *read_lock(schemas)]) == ids


def test_one_endpoint_that_vanishes_between_listing_and_schemas_costs_itself_alone(schemas: Path) -> None:
    ids = many(120)
    with Sandbox(catalog(*ids)) as server:
        listing = {"models": [{"endpoint_id": id_} for id_ in [*ids, "acme/ghost"]], "has_more": False}
        server.fail_next("/api/*", status=200, body=listing)
        report = bring(schemas, f"{server.url}/api/v1")
    assert report.pulled == 120
    assert report.diagnostics == []
    assert sorted(read_lock(schemas)) == ids


def test_endpoints_that_are_spelled_out_are_asked_for_by_name(schemas: Path) -> None:
    with Sandbox(catalog(*many(300))) as server:
        chosen = Selection(("acme/model-0007", "acme/model-0100"))
        report = bring(schemas, f"{server.url}/api/v1", selection=chosen)
        (request,) = server.requests
    assert request.query["endpoint_id"] == ["acme/model-0007", "acme/model-0100"]
    assert report.pulled == 2
    assert sorted(read_lock(schemas)) == sorted(chosen.endpoints)


def test_filters_go_to_the_api_and_say_nothing_about_the_rest(schemas: Path) -> None:
    entries = [
        Entry(id_, {"category": category, "status": status}, document(id_))
        for id_, category, status in (
            ("acme/a", "vision", "active"),
            ("acme/b", "vision", "deprecated"),
            ("acme/c", "training", "active"),
        )
    ]
    with Sandbox(Catalog(entries)) as server:
        bring(schemas, f"{server.url}/api/v1")
        before = tree(schemas)
        report = bring(schemas, f"{server.url}/api/v1", filters={"category": "vision", "status": "active"})
        assert report.pulled == 1
        assert report.kept == ["acme/b", "acme/c"]
        assert any(request.query.get("category") == ["vision"] for request in server.requests)
    assert tree(schemas) == before
    assert bring(schemas, str(schemas), filters={"status": "deprecated"}).pulled == 1
    with pytest.raises(CatalogError, match=r"no endpoints in there of category fish$"):
        bring(schemas.with_name("other"), str(schemas), filters={"category": "fish"})


def test_a_choice_that_leaves_nothing_is_named(schemas: Path) -> None:
    with Sandbox(catalog(*many(2))) as server:
        chosen = Selection(("acme/model-0000",), exclude=("acme/*",))
        with pytest.raises(CatalogError, match="no endpoints in there that the project, or the command line, chooses"):
            bring(schemas, f"{server.url}/api/v1", selection=chosen)
    assert not schemas.exists()


def test_the_service_of_schemas_gives_one_endpoint_at_a_time(schemas: Path) -> None:
    with Sandbox(catalog(*many(9))) as server:
        where = f"{server.url}/schema/openapi.json"
        assert bring(schemas, where, selection=Selection(("acme/model-0003",))).pulled == 1
        assert bring(schemas, f"{where}?endpoint_id=acme/model-0005").pulled == 1
        assert [request.query["endpoint_id"] for request in server.requests] == [
            ["acme/model-0003"],
            ["acme/model-0005"],
        ]
        with pytest.raises(CatalogError, match="no endpoint matches 'acme/none'"):
            bring(schemas, where, selection=Selection(("acme/none",)))
    rows = read_lock(schemas)
    assert list(rows) == ["acme/model-0003", "acme/model-0005"]
    assert {row.source for row in rows.values()} == {where}
    entry = json.loads((schemas / schema_path("acme/model-0003")).read_text())
    assert entry["metadata"] == {"category": "text-to-image"}


# --- What is missing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["api", "folder"])
def test_what_is_missing_is_marked_then_buried_and_comes_back(schemas: Path, tmp_path: Path, kind: str) -> None:
    def now(*ids: str, day: int = 1) -> PullReport:
        today = datetime.date(2026, 2, day)
        if kind == "api":
            with Sandbox(catalog(*ids)) as server:
                return bring(schemas, f"{server.url}/api/v1", today=today)
        shutil.rmtree(tmp_path / "folder", ignore_errors=True)
        (tmp_path / "folder").mkdir()
        for number, id_ in enumerate(ids):
            entry = {"endpoint_id": id_, "metadata": {}, "openapi": document(id_)}
            (tmp_path / "folder" / f"{number}.json").write_text(json.dumps(entry))
        return bring(schemas, str(tmp_path / "folder"), today=today)

    now("acme/portrait", "acme/video-maker", "acme/video-maker/turbo")
    module = read_lock(schemas)["acme/video-maker"].module
    report = now("acme/portrait", "acme/video-maker/turbo", day=2)
    assert report.missing == ["acme/video-maker"]
    row = read_lock(schemas)["acme/video-maker"]
    assert (row.state, row.missing) == ("active", "2026-02-02")

    assert now("acme/portrait", "acme/video-maker", "acme/video-maker/turbo", day=3).missing == []
    assert read_lock(schemas)["acme/video-maker"].missing is None

    now("acme/portrait", "acme/video-maker/turbo", day=4)
    report = now("acme/portrait", "acme/video-maker/turbo", day=5)
    assert (report.missing, report.tombstones) == ([], ["acme/video-maker"])
    row = read_lock(schemas)["acme/video-maker"]
    assert (row.state, row.missing, row.module, row.near) == (
        "tombstone",
        "2026-02-04",
        module,
        ("acme/video-maker/turbo",),
    )
    assert (schemas / schema_path("acme/video-maker")).is_file()
    assert not now("acme/portrait", "acme/video-maker/turbo", day=6).changes

    now("acme/portrait", "acme/video-maker", "acme/video-maker/turbo", day=7)
    row = read_lock(schemas)["acme/video-maker"]
    assert (row.state, row.missing, row.module, row.near) == ("active", None, module, ())


def test_the_user_may_confirm_at_once(schemas: Path) -> None:
    with Sandbox(catalog("acme/one", "acme/two")) as server:
        bring(schemas, f"{server.url}/api/v1")
    with Sandbox(catalog("acme/one")) as server:
        report = bring(schemas, f"{server.url}/api/v1", confirm_missing=True)
    assert report.tombstones == ["acme/two"]
    assert read_lock(schemas)["acme/two"].missing == "2026-01-31"


def test_an_endpoint_that_never_had_a_schema_leaves_nothing(schemas: Path) -> None:
    broken = Entry("acme/broken", {}, {"error": {"code": "expansion_failed"}})
    with Sandbox(Catalog([*catalog("acme/one"), broken])) as server:
        bring(schemas, f"{server.url}/api/v1")
    assert read_lock(schemas)["acme/broken"].state == "unavailable"
    with Sandbox(catalog("acme/one")) as server:
        bring(schemas, f"{server.url}/api/v1")
        bring(schemas, f"{server.url}/api/v1")
    assert list(read_lock(schemas)) == ["acme/one"]
    assert existing(schemas) == {"acme/one.json", LOCK_NAME}


def test_an_endpoint_asked_for_by_name_that_is_not_there_is_missing(schemas: Path) -> None:
    chosen = Selection(("acme/one", "acme/two"))
    with Sandbox(catalog("acme/one", "acme/two")) as server:
        bring(schemas, f"{server.url}/api/v1", selection=chosen)
    with Sandbox(catalog("acme/one")) as server:
        assert bring(schemas, f"{server.url}/api/v1", selection=chosen).missing == ["acme/two"]
        assert bring(schemas, f"{server.url}/schema/openapi.json", selection=chosen).tombstones == ["acme/two"]


def test_half_a_catalogue_gone_at_once_is_not_believed(schemas: Path) -> None:
    ids = many(40)
    with Sandbox(catalog(*ids)) as server:
        bring(schemas, f"{server.url}/api/v1")
    before = tree(schemas)
    with Sandbox(catalog(*ids[:20])) as server:
        for _ in range(2):
            report = bring(schemas, f"{server.url}/api/v1")
            assert (report.missing, report.tombstones, len(report.kept)) == ([], [], 20)
            assert [diagnostic.code for diagnostic in report.diagnostics] == ["many-missing"]
            assert tree(schemas) == before
        assert len(bring(schemas, f"{server.url}/api/v1", confirm_missing=True).tombstones) == 20


def test_another_source_says_nothing_about_endpoints_of_the_first(schemas: Path, tmp_path: Path) -> None:
    with Sandbox(catalog("acme/one", "acme/two")) as server:
        bring(schemas, f"{server.url}/api/v1")
    extra = tmp_path / "extra.json"
    extra.write_text(json.dumps(document("acme/three")))
    report = bring(schemas, str(extra))
    assert report.missing == []
    assert report.kept == ["acme/one", "acme/two"]
    assert sorted(read_lock(schemas)) == ["acme/one", "acme/three", "acme/two"]


# --- Apps and files ---------------------------------------------------------------------------------------------------


def app() -> dict[str, Any]:
    return copy.deepcopy(DOCUMENT)


def test_each_path_of_an_app_that_can_be_called_becomes_an_endpoint(schemas: Path, tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(app()))
    report = bring(schemas, Source(str(file), "acme/upscaler"))
    rows = read_lock(schemas)
    assert list(rows) == [
        "acme/upscaler",
        "acme/upscaler/fast/x2",
        "acme/upscaler/realtime",
        "acme/upscaler/stream",
    ]
    assert {row.app for row in rows.values()} == {"acme/upscaler"}
    assert {(each.endpoint_id, each.code) for each in report.diagnostics} == {
        ("acme/upscaler/asked", "not-callable"),
        ("acme/upscaler/jobs/{job}", "not-callable"),
        ("acme/upscaler/upload", "not-callable"),
    }
    entry = json.loads((schemas / "acme/upscaler.json").read_text())
    assert entry["metadata"] == {
        "display_name": "Upscaler",
        "description": "Make a picture.",
        "stream_url": "https://fal.run/acme/upscaler/stream",
    }
    assert set(entry["openapi"]["components"]["schemas"]) == {"In", "Out", "Size"}
    assert entry["openapi"]["openapi"] == "3.1.0"
    fast = json.loads((schemas / "acme/upscaler/fast/x2.json").read_text())
    assert fast["metadata"]["status"] == "deprecated"

    out = click.testing.CliRunner().invoke(
        cli, ["generate", "--schemas", str(schemas), "--out", str(tmp_path), "--package", "mine", "--strict"]
    )
    assert "Generated 4 modules" in out.output
    module = (tmp_path / "mine/acme/upscaler.py").read_text()
    assert "prompt: str" in module
    assert "width: Annotated[int, Meta(gt=0, le=4096)] = default(512)" in module
    assert "image: str" in (tmp_path / "mine/acme/upscaler_realtime.py").read_text()
    assert "size: Size | None = default(" in (tmp_path / "mine/acme/upscaler_fast_x2.py").read_text()
    fast_module = (tmp_path / "mine/acme/upscaler_fast_x2.py").read_text()
    assert '@deprecated("acme/upscaler/fast/x2 is deprecated on the platform")\nclass Input(InputModel' in fast_module
    # Whoever pulls for themselves has the documents' own texts, and a snippet for their own package.
    assert '"""What to make. Example: "a cat"."""' in module
    assert "from mine.acme import upscaler\n" in module
    assert 'upscaler.subscribe(upscaler.Input(prompt="a cat"))' in module


def test_a_listing_of_the_platform_says_nothing_about_apps(schemas: Path, tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(app()))
    bring(schemas, Source(str(file), "acme/upscaler"))
    with Sandbox(catalog("acme/one")) as server:
        for _ in range(2):
            assert bring(schemas, f"{server.url}/api/v1").tombstones == []
    smaller = app()
    del smaller["paths"]["/realtime"]
    file.write_text(json.dumps(smaller))
    assert bring(schemas, Source(str(file), "acme/upscaler")).missing == ["acme/upscaler/realtime"]


def test_an_app_over_http(schemas: Path) -> None:
    with Sandbox(catalog("acme/one")) as server:
        server.fail_next("/apps/upscaler/openapi.json", status=200, body=app())
        report = bring(schemas, Source(f"{server.url}/apps/upscaler/openapi.json", "acme/upscaler"))
        assert report.pulled == 4
        assert "authorization" not in server.requests[0].headers
        with pytest.raises(CatalogError, match="404"):
            bring(schemas, Source(f"{server.url}/apps/none/openapi.json", "acme/none"))


def test_an_app_must_be_named(schemas: Path, tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(app()))
    with pytest.raises(CatalogError, match="--app owner/name="):
        bring(schemas, str(file))
    assert not schemas.exists()


def test_files_and_folders_in_any_shape(schemas: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    (folder / "deep").mkdir(parents=True)
    entries = [{"endpoint_id": f"acme/{name}", "metadata": {}, "openapi": document(f"acme/{name}")} for name in "abc"]
    (folder / "page.json").write_text(json.dumps({"models": entries[:2], "next_cursor": None, "has_more": False}))
    (folder / "deep/entry.json").write_text(json.dumps(entries[2]))
    (folder / "deep/openapi.json").write_text(json.dumps(document("acme/d")))
    (folder / "notes.txt").write_text("not a document")
    bring(schemas, str(folder))
    assert list(read_lock(schemas)) == ["acme/a", "acme/b", "acme/c", "acme/d"]


@pytest.mark.parametrize(
    "hostile",
    [
        "../../evil",
        "/etc/cron.d/evil",
        "a/../../evil",
        "a\\..\\evil/x",
        "a/b\x00",
        "a/./b",
        "a/~root",
        "C:/evil",
        "a/" * 150,
    ],
)
def test_no_id_of_any_source_leads_out_of_the_folder(tmp_path: Path, hostile: str) -> None:
    root = tmp_path / "one/two/three"
    schemas = root / "schemas"
    page = {"models": [{"endpoint_id": hostile, "metadata": {}, "openapi": document("acme/one")}]}
    root.mkdir(parents=True)
    (root / "page.json").write_text(json.dumps(page))
    (root / "doc.json").write_text(json.dumps(document(hostile)))
    hostile_app: dict[str, Any] = {"paths": {f"/{hostile}": {"post": {}}, "/": {"post": {}}}}
    (root / "app.json").write_text(json.dumps(hostile_app))
    for source in (
        Source(str(root / "page.json")),
        Source(str(root / "doc.json")),
        Source(str(root / "app.json"), hostile),
    ):
        report = bring(schemas, source)
        assert all(each.code in ("bad-id", "not-callable") and each.fatal for each in report.diagnostics)
        assert report.diagnostics
    assert existing(tmp_path) == {
        f"one/two/three/{name}" for name in ("page.json", "doc.json", "app.json", f"schemas/{LOCK_NAME}")
    }


def test_no_name_of_a_lock_leads_out_of_the_package(tmp_path: Path) -> None:
    schemas = tmp_path / "deep/schemas"
    with Sandbox(catalog("acme/one")) as server:
        bring(schemas, f"{server.url}/api/v1")
    lock = schemas / LOCK_NAME
    for old, new in (('"acme.one"', '"../../evil"'), ('"acme.one"', '"acme.../evil"'), ('"acme/one"', '"../../evil"')):
        text = lock.read_text()
        lock.write_text(text.replace(old, new))
        result = click.testing.CliRunner().invoke(
            cli, ["generate", "--schemas", str(schemas), "--out", str(tmp_path / "deep/out")]
        )
        assert result.exit_code == 1, result.output
        assert "Error" in result.output
        lock.write_text(text)
    assert not any("evil" in path for path in existing(tmp_path))
    assert not (tmp_path / "deep/out").exists()


# --- Choices ----------------------------------------------------------------------------------------------------------


def test_a_pattern_that_matches_nothing_stops_the_pull(schemas: Path) -> None:
    with Sandbox(catalog("acme/one")) as server, pytest.raises(CatalogError, match="did you mean acme/one"):
        bring(schemas, f"{server.url}/api/v1", selection=Selection(("acme/onee*",)))
    assert not schemas.exists()


def test_chosen_endpoints_join_or_are_all_there_is(schemas: Path) -> None:
    with Sandbox(catalog("acme/one", "acme/two", "other/three")) as server:
        where = f"{server.url}/api/v1"
        bring(schemas, where, selection=Selection(("acme/*",), ("acme/two",)))
        assert list(read_lock(schemas)) == ["acme/one"]
        bring(schemas, where, selection=Selection(("other/*",)))
        assert list(read_lock(schemas)) == ["acme/one", "other/three"]
        report = bring(schemas, where, selection=Selection(("acme/*",)), only_chosen=True)
        assert report.dropped == ["other/three"]
    assert existing(schemas) == {"acme/one.json", "acme/two.json", LOCK_NAME}


Run = Callable[..., click.testing.Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAL_BINDINGS_CACHE", str(tmp_path / "cache"))
    return lambda *arguments: click.testing.CliRunner().invoke(cli, arguments, catch_exceptions=False)


def test_the_command_with_its_options(run: Run, tmp_path: Path, sandbox: Sandbox) -> None:
    (tmp_path / "openapi.json").write_text(json.dumps(app()))
    assert run("pull", "--endpoints", FLUX, "--app", "acme/upscaler=openapi.json", "--schemas", "s").exit_code == 0
    assert FLUX in read_lock(tmp_path / "s")
    assert "acme/upscaler/realtime" in read_lock(tmp_path / "s")
    assert "authorization" in sandbox.requests[0].headers
    assert existing(tmp_path / "cache")
    assert run("pull", "--endpoints", FLUX, "--no-cache", "--schemas", "s").exit_code == 0
    assert "if-none-match" not in sandbox.requests[-1].headers
    wrong = run("pull", "--app", "upscaler=openapi.json")
    assert wrong.exit_code == 2
    assert "an app looks like owner/name=" in wrong.output
