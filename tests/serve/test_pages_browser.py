"""The pages in a real Chromium: nothing that came from data runs, axe-core finds no fault, and what people do works."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Playwright, sync_playwright

from sodate.core import home as homes
from sodate.core.runs import RunFolder
from sodate.release import aliases
from sodate.serve import logins
from tests.serve import filled
from tests.serve.house import house_of
from tests.serve.running import Running, running, service_of
from tests.serve.test_pages import pages

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
AXE = Path(__file__).parent / "axe" / "axe.min.js"
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"


@pytest.fixture(scope="module")
def house(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, Any]]]:
    with house_of(tiny_folder, tmp_path_factory.mktemp("browser"), long=200_000) as one:
        yield one


@pytest.fixture(scope="module")
def chromium() -> Iterator[Playwright]:
    """Where CI runs these tests it brings Chromium (.ci/run): there, without it they fail."""
    if shutil.which("chromium") is None and not os.environ.get("CI"):
        pytest.skip("no chromium here")
    with sync_playwright() as playwright:
        yield playwright


Opened = Callable[..., Page]


@pytest.fixture
def opened(house: tuple[Running, dict[str, Any]], chromium: Playwright, tmp_path: Path) -> Iterator[Opened]:
    """A page of a new browser of somebody who came by a link."""
    contexts: list[BrowserContext] = []

    def open_page(role: str = "own", name: str = "", **options: Any) -> Page:
        context = chromium.chromium.launch_persistent_context(
            tmp_path / f"profile-{len(contexts)}", executable_path=shutil.which("chromium"), args=FLAGS, **options
        )
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.pages[0]
        page.on("pageerror", lambda error: pytest.fail(f"{page.url}: {error}"))
        page.goto(f"{house[0].url}/login/{logins.new_link(role, name)[0]}")
        page.wait_for_url(lambda url: "/login" not in url)
        return page

    yield open_page
    for context in contexts:
        context.close()


def faults(page: Page) -> list[Any]:
    """What axe-core finds. It is put in from outside the page, whose policy lets no script in."""
    session = page.context.new_cdp_session(page)
    session.send("Runtime.evaluate", {"expression": AXE.read_text("utf-8")})
    told = "axe.run(document).then((found) => found.violations.map((one) => [one.id, one.nodes.map((n) => n.html)]))"
    return page.evaluate(told)  # type: ignore[no-any-return]


def test_axe_is_what_its_publisher_made() -> None:
    assert hashlib.sha256(AXE.read_bytes()).hexdigest() == AXE_SHA256


@pytest.mark.parametrize(
    ("language", "scheme", "width"),
    [("en", "light", 1280), ("ja", "dark", 1280), ("ja", "light", 320), ("en", "dark", 390)],
)
def test_no_page_has_a_fault_that_axe_finds_none_is_too_wide_and_nothing_from_data_runs(
    house: tuple[Running, dict[str, Any]], opened: Opened, language: str, scheme: str, width: int
) -> None:
    server, made = house
    page = opened(color_scheme=scheme, viewport={"width": width, "height": 800})
    page.goto(f"{server.url}/?lang={language}")
    wrong: list[Any] = []
    page.on("console", lambda said: wrong.append((page.url, said.text)) if said.type == "error" else None)
    for path in pages(made):
        page.goto(server.url + path)
        page.wait_for_load_state("networkidle")
        wrong += [(path, one) for one in faults(page)]
        assert page.evaluate("window.canary") is None, path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.evaluate("document.documentElement.lang") == language
    assert wrong == []


def test_a_run_of_a_hundred_thousand_steps_is_drawn_with_its_spike(
    house: tuple[Running, dict[str, Any]], opened: Opened
) -> None:
    server, _ = house
    name = filled.run("done", "sft", 3)
    line = '{"step": %d, "steps": 100000, "loss": %f, "lr": 0.0004, "grad_norm": 1.25, "seconds": 0.4}\n'
    path = homes.runs_dir() / name / "metrics.jsonl"
    path.write_text("".join(line % (n, 1 + 5 * (n == 77_777)) for n in range(1, 100_001)))
    page = opened("look")
    page.goto(f"{server.url}/runs/{name}")
    page.wait_for_selector("[data-drawn] canvas")
    top = page.locator("figure[data-keys='loss eval_loss'] canvas")
    # The spike is one pixel wide: somewhere in the upper half of the plot there is ink beside the axis.
    ink = """(canvas) => { const all = canvas.getContext("2d").getImageData(canvas.width * 0.5, canvas.height * 0.1,
             canvas.width * 0.45, canvas.height * 0.2).data; let n = 0;
             for (let i = 0; i < all.length; i += 4) if (all[i + 3] > 0 && all[i + 2] > all[i] + 40) n++; return n; }"""
    assert top.evaluate(ink) > 0
    assert page.locator("figure[data-keys='loss eval_loss']").is_visible()


def test_what_is_printed_is_dark_on_white_and_has_no_forms(
    house: tuple[Running, dict[str, Any]], opened: Opened
) -> None:
    server, made = house
    page = opened("own", color_scheme="dark")
    for path in (f"/reports/{made['report']}", f"/versions/{made['versions'][1]}"):
        page.goto(server.url + path)
        page.emulate_media(media="print", color_scheme="dark")
        told = "(({ color, backgroundColor }) => [color, backgroundColor])(getComputedStyle(document.body))"
        ink, paper = page.evaluate(told)
        assert sum(map(int, re.findall(r"\d+", ink)[:3])) < 150 and paper == "rgb(255, 255, 255)"
        assert not page.locator("form:visible, nav:visible").count()


def test_curves_and_times_are_in_the_readers_language_and_a_telephone_is_told_of_no_mouse(
    house: tuple[Running, dict[str, Any]], opened: Opened
) -> None:
    server, made = house
    page = opened("look", is_mobile=True, has_touch=True, viewport={"width": 390, "height": 800},
                  timezone_id="Asia/Tokyo")  # fmt: skip
    form = {"en": r"\d{1,2} \w{3,4} \d{4}, \d\d:\d\d", "ja": r"\d{4}年\d{1,2}月\d{1,2}日 \d\d:\d\d"}
    loss = {"en": "held-out loss", "ja": "検証損失"}
    for language in ("en", "ja"):
        page.goto(f"{server.url}/runs/{made['runs'][0]}?lang={language}")
        page.wait_for_selector("[data-drawn]")
        assert loss[language] in (page.locator("figure[data-keys='loss eval_loss']").text_content() or "")
        assert re.fullmatch(form[language], page.locator("time").first.text_content() or "")
        assert not page.locator(".for-mouse").is_visible()


def test_somebody_judges_by_keys_alone(house: tuple[Running, dict[str, Any]], opened: Opened) -> None:
    page = opened("judge", "賀茂", locale="ja-JP", viewport={"width": 390, "height": 800})
    assert page.url.endswith("/judge") and page.locator("nav a").all_text_contents() == ["人の評価"]
    with page.expect_navigation():  # keys pressed before the page's script has run go nowhere
        page.get_by_role("link", name="評価を始める").click()
    for number in range(20):
        done = page.locator(".title .number")
        assert done.text_content() == f"{number} / 24"
        page.keyboard.press("1234"[number % 4])
        with page.expect_navigation():
            page.keyboard.press("Enter")
    assert page.locator(".title .number").text_content() == "20 / 24"
    page.get_by_role("link", name="一つ前を直す").click()
    assert page.locator("input:checked").input_value() == "bad"


def test_a_version_is_promoted_with_its_reason_and_a_second_person_learns_of_it(
    house: tuple[Running, dict[str, Any]], opened: Opened
) -> None:
    server, made = house
    first, second = opened("steer", "aoki"), opened("steer", "baba")
    for page in (first, second):
        page.goto(f"{server.url}/versions/{made['versions'][1]}")
        page.get_by_label("Alias").fill("browser@production")
        page.get_by_label("Why").fill("better by 5 points")
    first.get_by_role("button", name="Promote").click()
    first.wait_for_selector("text=Moves of browser@production")
    second.get_by_role("button", name="Promote").click()
    assert "aoki" in (second.get_by_role("alert").text_content() or "")
    assert [move["by"] for move in aliases.moves("browser@production")] == ["aoki"]


def test_a_question_is_answered_by_two_versions_with_the_odds_of_each_token(
    house: tuple[Running, dict[str, Any]], opened: Opened
) -> None:
    server, _ = house
    page = opened("look")
    page.goto(f"{server.url}/play")
    assert not page.locator(".reply:visible, #hint:visible").count()
    page.get_by_label("Version B").select_option("orders")
    page.get_by_label("Question").fill("twelve apples")
    page.get_by_text("System prompt, sampling, schema").click()
    page.get_by_label("Tokens at most").fill("12")
    page.get_by_role("button", name="Ask").click()
    for side in "AB":
        page.locator(f"#reply-{side} .facts", has_text="orders@1").wait_for()
        assert page.locator(f"#reply-{side} .token").count() > 0
    box = page.locator("#reply-A .answer")
    box.focus()
    page.keyboard.press("ArrowRight")
    assert "%" in (page.locator("#reply-A .token-facts").text_content() or "")


def test_a_file_is_uploaded_checked_and_its_rows_are_looked_at(
    house: tuple[Running, dict[str, Any]], opened: Opened, tmp_path: Path
) -> None:
    server, _ = house
    rows = [{"messages": [{"role": "user", "content": f"{filled.CANARY} 090-1234-5678 {n % 9}"},
                          {"role": "assistant", "content": f"answer {n}"}]} for n in range(12)]  # fmt: skip
    file = tmp_path / 'mails"><img src=x onerror="window.canary=1">.jsonl'
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = opened("steer")
    page.goto(f"{server.url}/data")
    page.get_by_label("Here is my file").set_input_files(file)
    assert page.locator("#chosen").text_content() == file.name
    page.get_by_role("button", name="Upload").click()
    page.wait_for_selector("text=rows in =")
    assert faults(page) == [] and page.evaluate("window.canary") is None
    page.get_by_role("link", name="Look at the rows").click()
    assert page.locator("mark").first.get_attribute("title") == "phone number"
    assert faults(page) == [] and page.evaluate("window.canary") is None
    page.goto(f"{server.url}/data")
    assert page.evaluate("window.canary") is None and faults(page) == []


def test_a_page_left_open_over_a_restart_works_on(
    house: tuple[Running, dict[str, Any]], opened: Opened, tiny_folder: Path
) -> None:
    server, made = house
    page = opened("steer", "haru")
    page.goto(f"{server.url}/versions/{made['versions'][0]}")
    cookies = page.context.cookies()
    assert cookies and all(one["httpOnly"] and one["sameSite"] == "Strict" for one in cookies)
    token = page.locator("form[action$=promote] input[name=csrf]").input_value()
    form = {"alias": "restart@production", "reason": "as before", "csrf": token}
    with running(*service_of(tiny_folder), auth=True) as again:  # over the same home
        client = again.http(cookies={one["name"]: one["value"] for one in cookies})
        assert client.post(f"/versions/{made['versions'][0]}/promote", data=form).status_code == 303


def test_the_overview_tells_by_itself_what_has_happened_and_asks_for_nothing_while_it_is_hidden(
    house: tuple[Running, dict[str, Any]], opened: Opened
) -> None:
    server, made = house
    page = opened("look")
    run = filled.run("running", "sft", 3)
    with RunFolder.find(run).locked():
        page.goto(server.url)
        card = page.locator(f"[data-run='{run}']")
        assert (card.locator(".done").text_content(), card.locator("progress").get_attribute("max")) == ("3", "3")
        RunFolder.find(run).metric({"step": 4, "steps": 1000, "loss": 1.0, "seconds": 60})
        card.locator("progress[max='1000']").wait_for()
        assert card.locator(".done").text_content() == "4" and "left" in (card.locator(".left").text_content() or "")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url.removeprefix(server.url)))
        show = """(hidden) => { Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
                  document.dispatchEvent(new Event("visibilitychange")); }"""
        page.evaluate(show, True)
        with aliases.moving("told@production"):
            aliases.move("told@production", "promote", made["versions"][0], by="aoki", reason="now", override=True)
        page.wait_for_timeout(6000)
        assert asked == []
        page.evaluate(show, False)
        page.get_by_role("heading", name="told@production").wait_for()
        for _ in range(100):  # the new part asks a moment after it is seen
            if len(asked) >= 3:
                break
            page.wait_for_timeout(50)
        page.wait_for_timeout(500)
        assert sorted(asked) == ["/", "/live", "/live"]  # once more by the part that came anew
    page.locator(f"[data-run='{run}']").wait_for(state="detached")
