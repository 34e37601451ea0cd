"""The sandbox's page in a real browser: Chromium without a screen, on the real catalogue."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Response,
    expect,
    sync_playwright,
)

from fal_sandbox import Catalog, Sandbox
from fal_sandbox.bindings import Bindings
from fal_sandbox.catalog import Entry
from fal_sandbox.state import SERVICES
from fal_sandbox.validation import input_errors
from support import endpoint_modules

FLUX = "fal-ai/flux/dev"
GENERAL = "fal-ai/flux-general"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_PATIENCE = 60_000
"""How many milliseconds to wait for what is sure to come, on a busy machine too."""
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c636060f85f0f00038601803f6d4dd10000000049454e44ae426082"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium is installed; Debian's package is chromium")
    expect.set_options(timeout=_PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """A page of the sandbox's, with what went wrong on it and what it loaded."""

    def __init__(self, context: BrowserContext, sandbox: Sandbox) -> None:
        context.set_default_timeout(_PATIENCE)
        self.page: Page = context.new_page()
        self.sandbox = sandbox
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._heard)
        self.page.on("response", self._answered)
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _heard(self, said: ConsoleMessage) -> None:
        # A browser complains of every answer from 400 on, those that a model gives included.
        if said.type == "error" and not said.text.startswith("Failed to load resource"):
            self.errors.append(said.text)

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and not urlsplit(response.url).path.startswith(("/queue/", "/rest/")):
            self.errors.append(f"{response.status} for {response.url}")

    def catalogue(self) -> Page:
        self.page.goto(self.sandbox.url)
        expect(self.page.locator(".card")).not_to_have_count(0)
        return self.page

    def endpoint(self, endpoint_id: str) -> Page:
        self.page.goto(f"{self.sandbox.url}/#/{endpoint_id}")
        expect(self.page.locator(".title > .mono").first).to_have_text(endpoint_id)
        return self.page

    def run(self, outcome: str | re.Pattern[str] = "Completed") -> Page:
        self.page.get_by_role("button", name="Run on the sandbox").click()
        expect(self.page.locator(".result .pill")).to_have_text(outcome)
        return self.page

    def input(self) -> Any:
        """The input of the last job."""
        return self.sandbox.admitted[-1].input

    def wide(self) -> int:
        """By how many pixels it is wider than the window, or something on it that can be used is."""
        script = """() => {
            const right = [...document.querySelectorAll("a, button, input, select, textarea, pre, td, img, video, audio")]
                .filter((one) => one.checkVisibility() && !one.matches(".skip"))
                .map((one) => one.getBoundingClientRect().right);
            return Math.ceil(Math.max(document.documentElement.scrollWidth, ...right)) - innerWidth;
        }"""
        return int(self.page.evaluate(script))

    def overlaps(self) -> list[str]:
        """What can be used and lies on something else that can be."""
        script = """() => {
            const boxes = [...document.querySelectorAll("main a, main button, main input, main select, main textarea")]
                .filter((one) => one.checkVisibility() && one.type !== "file")
                .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()]);
            return boxes.flatMap(([name, box], index) => boxes.slice(index + 1)
                .filter(([, other]) => box.left < other.right - 1 && other.left < box.right - 1
                    && box.top < other.bottom - 1 && other.top < box.bottom - 1)
                .map(([other]) => `${name} on ${other}`));
        }"""
        return list(self.page.evaluate(script))


@pytest.fixture
def visit(browser: Browser, sandbox: Sandbox) -> Iterator[Visit]:
    with browser.new_context(viewport={"width": DESKTOP["width"], "height": DESKTOP["height"]}) as context:
        visit = Visit(context, sandbox)
        yield visit
        assert visit.errors == []
        assert visit.hosts == {urlsplit(sandbox.url).netloc}


@pytest.fixture
def phone(browser: Browser, sandbox: Sandbox) -> Iterator[Visit]:
    with browser.new_context(
        viewport={"width": PHONE["width"], "height": PHONE["height"]}, has_touch=True, is_mobile=True
    ) as context:
        visit = Visit(context, sandbox)
        yield visit
        assert visit.errors == []


def field(page: Page, name: str) -> Locator:
    return page.get_by_label(name, exact=True)


def run_code(code: str, sandbox: Sandbox, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python as its reader would, in this folder and on this sandbox."""
    # Nobody listens at the address that the code names.
    code = code.replace("https://example.com/hook", sandbox.url)
    paths = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, **sandbox.environment(), "PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_typing_finds_an_endpoint_among_all(visit: Visit) -> None:
    page = visit.catalogue()
    expect(page.get_by_role("status")).to_have_text(f"{len(visit.sandbox.catalog)} endpoints")
    page.evaluate("""() => {
            window.changes = 0;
            new MutationObserver((records) => (window.changes += records.length))
                .observe(document.querySelector(".cards"), { childList: true });
        }""")
    page.keyboard.type("flux dev")
    first = page.locator(".card").first
    expect(first).to_contain_text(FLUX)
    expect(page.get_by_role("status")).to_have_text(re.compile(r"\d+ endpoints"))
    # The list is replaced once for each letter, and never holds all endpoints: that is what makes it quick.
    assert page.evaluate("window.changes") == len("flux dev")
    assert page.locator(".card").count() <= 60
    milliseconds = page.evaluate("performance.getEntriesByName('search').map((entry) => entry.duration)")
    print(f"a letter takes {sorted(milliseconds)[len(milliseconds) // 2]:.1f} ms, at most {max(milliseconds):.1f} ms")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    assert page.url.endswith(f"/#/{FLUX}")


def test_a_search_without_a_hit_says_so_and_all_can_be_shown(visit: Visit) -> None:
    page = visit.catalogue()
    page.get_by_role("button", name="Show all").click()
    assert page.locator(".card").count() == len(visit.sandbox.catalog)
    page.get_by_label("Search endpoints").fill("no such thing anywhere")
    expect(page.locator(".card")).to_have_count(0)
    expect(page.get_by_role("status")).to_contain_text("No endpoint")
    page.keyboard.press("Escape")
    expect(page.get_by_label("Search endpoints")).to_have_value("")
    expect(page.locator(".card")).to_have_count(60)


def test_a_search_has_an_address_that_one_comes_back_to(visit: Visit) -> None:
    page = visit.catalogue()
    page.get_by_label("Category").select_option("speech-to-text")
    expected = sum(entry.metadata["category"] == "speech-to-text" for entry in visit.sandbox.catalog)
    expect(page.locator(".card")).to_have_count(expected)
    page.get_by_label("Search endpoints").fill("whisper")
    found = page.locator(".card").all_inner_texts()
    assert found
    page.locator(".card").first.click()
    expect(page.locator("form")).to_be_visible()
    page.go_back()
    expect(page.get_by_label("Search endpoints")).to_have_value("whisper")
    expect(page.get_by_label("Category")).to_have_value("speech-to-text")
    assert page.locator(".card").all_inner_texts() == found


def test_it_is_used_with_the_keyboard_alone(visit: Visit) -> None:
    page = visit.catalogue()
    search = page.get_by_label("Search endpoints")
    expect(search).to_be_focused()
    page.keyboard.type("flux dev")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    second = page.locator(".card").nth(1)
    expect(second).to_be_focused()
    assert second.evaluate("(one) => getComputedStyle(one).outlineStyle") == "solid"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(search).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.keyboard.press("Tab")
    expect(field(page, "prompt")).to_be_focused()
    page.keyboard.type("a cat")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".result .pill")).to_have_text("Completed")
    page.get_by_role("tab", name="Script").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Async")).to_be_focused()
    expect(page.get_by_role("tabpanel")).to_contain_text("subscribe_async")
    page.locator("body").evaluate("() => document.activeElement.blur()")
    page.keyboard.press("/")
    expect(search).to_be_focused()


def test_the_first_stop_leads_past_the_head(visit: Visit) -> None:
    page = visit.endpoint(FLUX)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    assert page.url.endswith(f"/#/{FLUX}")


@pytest.mark.parametrize("endpoint_id", [FLUX, GENERAL])
def test_everything_that_can_be_used_has_a_name(visit: Visit, endpoint_id: str) -> None:
    page = visit.endpoint(endpoint_id)
    for summary in page.locator("summary").all():
        if summary.is_visible():
            summary.click()
    nameless = page.evaluate("""() => [...document.querySelectorAll("input, select, textarea, button")]
            .filter((one) => !one.labels?.length && !one.getAttribute("aria-label") && !one.textContent)
            .map((one) => one.outerHTML)""")
    assert nameless == []


def test_an_endpoint_shows_its_fields(visit: Visit) -> None:
    page = visit.endpoint(FLUX)
    rows = page.get_by_role("region", name="Input fields").locator("tbody tr")
    shown = {cells[0]: cells[1:] for cells in (row.locator("td").all_inner_texts() for row in rows.all())}
    assert shown["prompt"] == ["string", "", "required"]
    assert shown["num_images"] == ["integer", "1 to 4", "1"]
    assert shown["output_format"] == ["string", '"jpeg", "png"', '"jpeg"']
    assert shown["seed"] == ["integer or null", "", ""]
    assert shown["image_size.width"] == ["integer", "above 0, at most 14142", "512"]
    outputs = page.get_by_role("region", name="Output fields").locator("td.name").all_inner_texts()
    assert outputs[:2] == ["images", "images[].url"]


def test_a_bad_value_is_refused_with_its_field_named(visit: Visit) -> None:
    page = visit.endpoint(FLUX)
    field(page, "num_images").fill("9")
    field(page, "num_inference_steps").fill("2.5")
    page.get_by_role("button", name="Run on the sandbox").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("There are 3 problems")
    for text in (
        "prompt: is required",
        "num_images: must be 1 to 4, and is 9",
        "num_inference_steps: must be a whole number",
    ):
        expect(alert).to_contain_text(text)
        expect(page.locator(".problem:visible", has_text=text)).to_have_count(1)
    expect(field(page, "prompt")).to_be_focused()
    expect(field(page, "num_images")).to_have_attribute("aria-invalid", "true")
    described = field(page, "num_images").get_attribute("aria-describedby") or ""
    assert "and is 9" in " ".join(page.locator(f"#{one}").inner_text() for one in described.split())
    page.get_by_role("link", name="num_images").click()
    expect(field(page, "num_images")).to_be_focused()
    assert visit.sandbox.admitted == []
    field(page, "prompt").fill("a cat")
    field(page, "num_images").fill("2")
    field(page, "num_inference_steps").fill("2")
    visit.run()
    expect(alert).to_be_hidden()
    expect(page.locator(".problem:visible")).to_have_count(0)


def test_a_run_shows_the_queue_the_log_the_answer_and_the_picture(visit: Visit) -> None:
    visit.sandbox.respond(FLUX, queue_seconds=1.0, run_seconds=2.0, logs=["first line", "second line"])
    page = visit.endpoint(FLUX)
    page.evaluate("""() => {
            window.states = [];
            const pill = document.querySelector(".result .pill");
            new MutationObserver(() => window.states.push(pill.textContent)).observe(pill, { childList: true });
        }""")
    field(page, "prompt").fill("a cat on a roof")
    field(page, "num_images").fill("2")
    visit.run()
    assert page.evaluate("window.states") == ["Submitting", "In queue, 0 ahead", "Running", "Completed"]
    assert visit.input() == {"prompt": "a cat on a roof", "num_images": 2}
    log = page.get_by_role("log").inner_text()
    assert re.findall(r"\S+ line", log) == ["first line", "second line"]
    expect(page.locator(".elapsed")).to_have_text(re.compile(r"\d+\.\d s"))
    pictures = page.locator(".media img")
    expect(pictures).to_have_count(2)
    for picture in pictures.all():
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("(one) => one.decode().then(() => one.naturalWidth)") == 1024
    expect(page.locator(".json")).to_contain_text('"prompt": "a cat on a roof"')
    expect(page.locator(".request").first).to_have_text(visit.sandbox.admitted[0].request_id)


@pytest.mark.parametrize(
    ("endpoint_id", "player"),
    [("fal-ai/kling-video/v2/master/text-to-video", "video"), ("beatoven/sound-effect-generation", "audio")],
)
def test_films_and_sounds_can_be_played(visit: Visit, endpoint_id: str, player: str) -> None:
    page = visit.endpoint(endpoint_id)
    page.get_by_role("button", name="Fill in an example").click()
    visit.run()
    seconds = page.locator(f".media {player}").evaluate(
        "(one) => one.duration || new Promise((done) => (one.onloadedmetadata = () => done(one.duration)))"
    )
    assert seconds > 1


def test_what_the_server_refuses_is_shown_at_the_field(visit: Visit) -> None:
    detail = [{"loc": ["body", "image_size", "width"], "msg": "Too wide for today", "type": "value_error"}]
    visit.sandbox.respond(FLUX, {"detail": detail}, status=422)
    page = visit.endpoint(FLUX)
    field(page, "prompt").fill("a cat")
    field(page, "image_size").select_option(label="ImageSize…")
    field(page, "width").fill("640")
    visit.run(re.compile("Refused"))
    assert visit.input() == {"prompt": "a cat", "image_size": {"width": 640}}
    expect(page.locator(".problem:visible")).to_have_text("image_size.width: Too wide for today")
    expect(field(page, "width")).to_be_focused()


def test_a_failure_is_told(visit: Visit) -> None:
    visit.sandbox.respond(FLUX, {"detail": "No runner is free"}, status=503)
    page = visit.endpoint(FLUX)
    field(page, "prompt").fill("a cat")
    visit.run("Failed with 503: No runner is free")
    expect(page.locator(".json")).to_contain_text("No runner is free")


def test_a_stream_that_breaks_off_is_made_good_by_polling(visit: Visit) -> None:
    visit.sandbox.respond(FLUX, run_seconds=1.0)
    visit.sandbox.fail_next("*/status/stream", status=502, body="bad gateway")
    page = visit.endpoint(FLUX)
    field(page, "prompt").fill("a cat")
    visit.run()
    assert any(one.path.endswith("/status") for one in visit.sandbox.requests)


def test_a_run_can_be_cancelled(visit: Visit) -> None:
    visit.sandbox.respond(FLUX, queue_seconds=600)
    page = visit.endpoint(FLUX)
    field(page, "prompt").fill("a cat")
    visit.run("In queue, 0 ahead")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".result .pill")).to_have_text("Cancelled")
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()


def test_lists_nested_objects_and_files(visit: Visit) -> None:
    page = visit.endpoint(GENERAL)
    field(page, "prompt").fill("a cat")
    page.get_by_role("button", name="Add to loras").click()
    page.get_by_role("button", name="Add to loras").click()
    expect(field(page, "path").nth(1)).to_be_focused()
    field(page, "path").nth(0).fill("first/one")
    field(page, "path").nth(1).fill("second/one")
    page.get_by_role("button", name="Remove loras 1").click()
    page.get_by_role("group", name="loras 1").get_by_label("scale", exact=True).select_option(label="number…")
    page.get_by_label("scale, number…").fill("0.5")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a file for reference_image_url").click()
    chooser.value.set_files({"name": "mine.png", "mimeType": "image/png", "buffer": PNG})
    expect(field(page, "reference_image_url")).to_have_value(re.compile("^http"))
    visit.run()
    [uploaded] = visit.sandbox.uploads
    assert (uploaded.read(), uploaded.content_type, uploaded.file_name) == (PNG, "image/png", "mine.png")
    assert visit.input() == {
        "prompt": "a cat",
        "loras": [{"path": "second/one", "scale": 0.5}],
        "reference_image_url": uploaded.url,
    }


def test_what_fields_cannot_say_goes_in_as_json(visit: Visit) -> None:
    page = visit.endpoint(GENERAL)
    page.locator("summary", has_text=re.compile("^More$")).click()
    more = page.get_by_label("More as JSON")
    more.fill('["prompt"]')
    page.get_by_role("button", name="Run on the sandbox").click()
    expect(page.get_by_role("alert")).to_contain_text("more: must be an object")
    more.fill('{"prompt": "a cat"')
    page.get_by_role("button", name="Run on the sandbox").click()
    expect(page.get_by_role("alert")).to_contain_text("more: is not JSON")
    assert visit.sandbox.admitted == []
    field(page, "negative_prompt").fill("dogs")
    more.fill('{"prompt": "a cat", "negative_prompt": "", "sync_mode": true}')
    visit.run()
    assert visit.input() == {"prompt": "a cat", "negative_prompt": "", "sync_mode": True}
    # With sync_mode, the picture is inside the answer.
    picture = page.locator(".media img[src^='data:image/']")
    assert picture.evaluate("(one) => one.decode().then(() => one.naturalWidth)") > 0


@pytest.mark.parametrize("endpoint_id", [FLUX, GENERAL])
@pytest.mark.parametrize("way", ["Script", "Async", "Queue", "Webhook"])
def test_the_python_on_the_page_runs(visit: Visit, tmp_path: Path, endpoint_id: str, way: str) -> None:
    page = visit.endpoint(endpoint_id)
    field(page, "prompt").fill('a "cat" \\ é \U0001f431')
    if endpoint_id == GENERAL:
        page.get_by_role("button", name="Add to loras").click()
        field(page, "path").fill("some/one")
    page.get_by_role("tab", name=way).click()
    code = page.get_by_role("tabpanel").inner_text()
    assert "from fal_endpoints.fal_ai import" in code
    done = run_code(code, visit.sandbox, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert visit.input()["prompt"] == 'a "cat" \\ é \U0001f431'
    assert len(list(tmp_path.iterdir())) == (way != "Webhook")


def test_every_form_takes_its_example(visit: Visit, pytestconfig: pytest.Config) -> None:
    page = visit.catalogue()
    wanted = set(endpoint_modules(pytestconfig, every=8))
    ids = [endpoint_id for endpoint_id, module in Bindings().modules.items() if module in wanted]
    assert ids
    for endpoint_id in ids:
        made = page.evaluate(
            """async (id) => {
                const names = ["form", "service", "schema", "snippets"];
                const [form, service, schema, snippets] =
                    await Promise.all(names.map((name) => import(`/sandbox/page/${name}.js`)));
                const detail = await service.readEndpoint(id);
                const inputs = new form.InputForm(detail.input, detail.definitions, detail.module.docs);
                document.body.append(inputs.element);
                const example = schema.sampleObject(detail.input, detail.definitions);
                inputs.fill(example);
                const value = inputs.check();
                inputs.element.remove();
                return { example, value, code: snippets.snippets(detail, example).map(([, code]) => code) };
            }""",
            endpoint_id,
        )
        contract = visit.sandbox.catalog.contract(endpoint_id)
        assert contract is not None
        assert made["value"] == made["example"], endpoint_id
        assert input_errors(contract, made["value"]) == [], endpoint_id
        for code in made["code"]:
            ast.parse(code)


def test_the_activity_shows_jobs_with_their_pictures_and_requests(visit: Visit) -> None:
    page = visit.endpoint(FLUX)
    assert visit.sandbox.requests == []  # looking is no request that a test would see
    field(page, "prompt").fill("a cat on a roof")
    visit.run()
    page.get_by_role("link", name="Activity").click()
    job = page.locator(".job")
    expect(job).to_contain_text("a cat on a roof")
    expect(job).to_contain_text("Completed")
    picture = job.locator("img")
    assert picture.evaluate("(one) => one.decode().then(() => one.naturalWidth)") == 1024
    expect(page.locator(".requests tbody")).to_contain_text(f"/queue/{FLUX}")
    # What happens elsewhere appears by itself.
    httpx.post(f"{visit.sandbox.url}/run/{FLUX}", json={}, headers={"authorization": f"Key {visit.sandbox.key}"})
    expect(page.locator(".job")).to_have_count(2)
    expect(page.locator(".job").first).to_contain_text("Failed")
    # An endpoint that only a test knows has no page to lead to.
    visit.sandbox.respond("acme/teller", {"text": "hello"})
    header = {"authorization": f"Key {visit.sandbox.key}"}
    httpx.post(f"{visit.sandbox.url}/run/acme/teller", json={}, headers=header)
    expect(page.locator(".job")).to_have_count(3)
    expect(page.locator(".job").first).to_contain_text("acme/teller")
    assert page.locator(".job a").count() == 2


@pytest.mark.parametrize("width", [PHONE["width"], DESKTOP["width"]])
def test_nothing_is_cut_off_or_covered(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 844})
    visit.catalogue()
    assert (visit.wide(), visit.overlaps()) == (0, [])
    for endpoint_id in (FLUX, GENERAL):
        page = visit.endpoint(endpoint_id)
        field(page, "prompt").fill("word" * 60)
        field(page, "image_size").select_option(label="ImageSize…")
        if endpoint_id == GENERAL:
            page.get_by_role("button", name="Add to loras").click()
            field(page, "path").fill("some/one")
        visit.run()
        expect(page.locator(".media img")).not_to_have_count(0)
        assert (visit.wide(), visit.overlaps()) == (0, [])
    visit.page.get_by_role("link", name="Activity").click()
    expect(visit.page.locator(".job")).to_have_count(2)
    assert (visit.wide(), visit.overlaps()) == (0, [])


def test_it_works_by_touch_on_a_phone(phone: Visit) -> None:
    page = phone.catalogue()
    page.get_by_label("Search endpoints").fill("flux dev")
    page.locator(".card").first.tap()
    field(page, "prompt").fill("a cat")
    page.get_by_role("button", name="Run on the sandbox").tap()
    picture = page.locator(".media img")
    expect(picture).to_have_count(1)
    expect(page.locator(".result .pill")).to_be_in_viewport()
    # Smaller text makes a phone zoom in on what is being typed.
    sizes = page.evaluate(
        "[...document.querySelectorAll('form input, form select, form textarea')]"
        ".filter((one) => one.checkVisibility()).map((one) => parseFloat(getComputedStyle(one).fontSize))"
    )
    assert min(sizes) >= 16


def test_it_is_dark_where_one_wants_it_dark(visit: Visit) -> None:
    page = visit.catalogue()
    script = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).reduce((sum, one) => sum + +one, 0)"
    page.emulate_media(color_scheme="light")
    assert page.evaluate(script) > 600
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(script) < 150


HOSTILE = '<img src=x onerror="window.struck=1"><script>window.struck=1</script>'


def test_texts_from_schemas_and_answers_stay_texts(browser: Browser) -> None:
    names = ["prompt", HOSTILE, "__proto__", "constructor"]
    schema = {
        "type": "object",
        "description": HOSTILE,
        "properties": {
            name: {"type": "string", "default": HOSTILE, "description": HOSTILE, "enum": [HOSTILE, "b"]}
            for name in names
        },
    }
    content = {"application/json": {"schema": schema}}
    openapi = {
        "paths": {
            "/me/mine": {"post": {"requestBody": {"content": content}}},
            "/me/mine/requests/{request_id}": {"get": {"responses": {"200": {"content": content}}}},
        }
    }
    entry = Entry("me/mine", {"display_name": HOSTILE, "category": HOSTILE, "description": HOSTILE}, openapi)
    with Sandbox(Catalog([entry])) as sandbox, browser.new_context() as context:
        links = [{"url": "javascript:window.struck=1"}, {"url": f"{sandbox.url}/{HOSTILE}", "content_type": HOSTILE}]
        sandbox.respond("me/mine", {HOSTILE: HOSTILE, "files": links}, logs=[HOSTILE], run_seconds=0.1)
        visit = Visit(context, sandbox)
        page = visit.catalogue()
        expect(page.locator(".card strong")).to_have_text(HOSTILE)
        visit.endpoint("me/mine")
        assert "No module for this endpoint" in page.get_by_role("region", name="Python").inner_text()
        code = page.get_by_role("tabpanel").inner_text()
        assert 'endpoint = fal_runtime.endpoint("me/mine")' in code
        for name in names:
            field(page, name).select_option("b")
        visit.run()
        assert dict(visit.input()) == dict.fromkeys(names, "b")
        expect(page.locator(".json")).to_contain_text("window.struck")
        assert page.locator("a[href^=javascript]").count() == 0
        page.get_by_role("link", name="Activity").click()
        expect(page.locator(".job")).to_have_count(1)
        assert page.evaluate("window.struck") is None
        assert page.locator("img[src=x], script:not([src])").count() == 0


def test_each_service_at_a_port_of_its_own(browser: Browser) -> None:
    with Sandbox(hosts=True) as sandbox, browser.new_context() as context:
        visit = Visit(context, sandbox)
        page = visit.endpoint(FLUX)
        field(page, "prompt").fill("a cat")
        visit.run()
        picture = page.locator(".media img")
        assert picture.evaluate("(one) => one.decode().then(() => one.naturalWidth)") == 1024
        assert visit.errors == []


@pytest.mark.parametrize("way", ["Script", "Async", "Queue", "Webhook"])
def test_an_endpoint_without_a_module_is_called_without_types(browser: Browser, tmp_path: Path, way: str) -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    openapi = {
        "paths": {"/me/mine": {"post": {"requestBody": {"content": {"application/json": {"schema": schema}}}}}},
    }
    with Sandbox(Catalog([Entry("me/mine", {}, openapi)])) as sandbox, browser.new_context() as context:
        sandbox.respond("me/mine", {"said": "yes"})
        visit = Visit(context, sandbox)
        page = visit.endpoint("me/mine")
        field(page, "text").fill("hello")
        page.get_by_role("tab", name=way).click()
        done = run_code(page.get_by_role("tabpanel").inner_text(), sandbox, tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert way == "Webhook" or "yes" in done.stdout
        assert visit.input() == {"text": "hello"}
        assert visit.errors == []


def test_who_would_pay_is_warned(visit: Visit, tmp_path: Path) -> None:
    with Sandbox(visit.sandbox.catalog, key="live:key") as live:
        urls = {name: live.environment()[service.variable] for name, service in SERVICES.items()}
        page = visit.endpoint(FLUX)
        expect(page.locator("form")).to_contain_text("nothing is billed")
        cassette = tmp_path / "one.json"
        with visit.sandbox.record(cassette, key="live:key", urls=urls):
            visit.catalogue()
            page = visit.endpoint(FLUX)
            expect(page.locator(".notice")).to_contain_text("live platform")
            expect(page.locator("form")).not_to_contain_text("nothing is billed")
            field(page, "prompt").fill("a cat")
            visit.run()
            picture = page.locator(".media img")
            assert picture.evaluate("(one) => one.decode().then(() => one.naturalWidth)") == 1024
        assert [job.endpoint_id for job in live.admitted] == [FLUX]
        with visit.sandbox.replay(cassette):
            visit.catalogue()
            page = visit.endpoint(FLUX)
            expect(page.locator(".notice")).to_contain_text("replayed")
            field(page, "prompt").fill("a cat")
            visit.run()
        assert len(live.admitted) == 1


def test_an_address_that_leads_nowhere_says_so(visit: Visit) -> None:
    page = visit.page
    page.goto(f"{visit.sandbox.url}/#/acme/nothing")
    expect(page.get_by_role("alert")).to_contain_text("There is no endpoint acme/nothing")
    assert len(visit.errors) == 1
    visit.errors.clear()


def test_what_has_not_changed_is_not_sent_again(sandbox: Sandbox) -> None:
    paths = ["/", *(f"/sandbox/page/{name}" for name in ("page.css", "page.js", "index.json", f"endpoints/{FLUX}"))]
    with httpx.Client(base_url=sandbox.url) as http:
        for path in paths:
            first = http.get(path)
            assert first.status_code == 200
            assert "default-src 'self'" in first.headers["content-security-policy"]
            again = http.get(path, headers={"if-none-match": first.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        assert len(http.get("/sandbox/page/index.json").content) < 200 * len(sandbox.catalog)
        assert http.get("/sandbox/page/..%2fapp.py").status_code == 404
        assert http.get("/sandbox/page/endpoints/acme/nothing").status_code == 404
    assert sandbox.requests == []
