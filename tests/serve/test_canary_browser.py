"""A canary from its beginning to its end in Chromium, over versions that answer; and two people at the same thing."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from sodate.api.releasing import promote
from sodate.api.serving import open_service
from sodate.db.connection import reading
from sodate.db.exchange_tables import ReviewRow
from sodate.release import aliases
from sodate.serve import keys, logins
from tests import farm as farms
from tests.serve import filled
from tests.serve.newcomer import FLAGS
from tests.serve.running import Running, running
from tests.serve.test_pages_browser import faults
from tests.versions import register_orders

ALIAS = "orders@production"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that follows orders@production, over adapters of a tiny model; orders@1 is in production."""
    farm = farms.plant(tmp_path_factory.mktemp("farm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(farm.home))
        patch.setenv("SODATE_LANG", "en")
        register_orders(farm)
        promote("orders@1", ALIAS, override="the first", by="a test")
        filled.exchanges()
        with running(open_service([ALIAS]), None, auth=True) as one:  # type: ignore[arg-type]
            yield one


@pytest.fixture
def people(house: Running, tmp_path: Path) -> Iterator[dict[str, Page]]:
    """aoki and baba, each in a browser of their own."""
    if shutil.which("chromium") is None and not os.environ.get("CI"):
        pytest.skip("no chromium here")
    with sync_playwright() as playwright:
        found = {}
        for name in ("aoki", "baba"):
            context = playwright.chromium.launch_persistent_context(
                tmp_path / name, executable_path=shutil.which("chromium"), args=FLAGS
            )
            context.set_default_timeout(60_000)
            page = found[name] = context.pages[0]
            page.on("pageerror", lambda error, page=page: pytest.fail(f"{page.url}: {error}"))
            page.goto(f"{house.url}/login/{logins.new_link('steer', name)[0]}")
            page.wait_for_url(lambda url: "/login" not in url)
            page.goto(f"{house.url}/?lang=en")
        yield found
        for page in found.values():
            page.context.close()


def begin(page: Page, url: str, version: str, percent: str, why: str) -> None:
    page.goto(f"{url}/versions/{version}")
    section = page.locator("section", has=page.locator("#canary"))
    section.get_by_label("Share of users").fill(percent)
    section.get_by_label("Why").fill(why)
    section.get_by_role("checkbox").check()
    section.get_by_role("button", name="Begin the canary").click()
    page.wait_for_url(f"{url}/versions")


def end(page: Page, what: str, button: str, why: str) -> None:
    page.get_by_text(what, exact=True).click()
    part = page.locator("details[open]")
    part.get_by_label("Why").fill(why)
    part.get_by_role("button", name=button).click()


def until(holds: Any) -> None:
    late = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < late
        time.sleep(0.05)


def test_a_canary_is_begun_watched_and_finished_and_whoever_comes_late_is_told_by_whom(
    house: Running, people: dict[str, Page]
) -> None:
    aoki, baba = people["aoki"], people["baba"]
    begin(aoki, house.url, "orders@2", "50", "a first look")
    until(lambda: house.service.canaries)
    for page in (aoki, baba):
        page.goto(f"{house.url}/versions")
        cells = page.locator("[id^=canary-] td")
        assert cells.all_text_contents() == ["0", "0", "–"] * 2
    key, _ = keys.create("default", 10_000, "steer")
    client = house.client(key)
    asked = [
        client.chat.completions.create(model=ALIAS, user=f"user {n}", max_tokens=4,
                                       messages=[{"role": "user", "content": "12 apples"}]).model
        for n in range(24)
    ]  # fmt: skip
    assert set(asked) == {"orders@1", "orders@2"}
    for page in (aoki, baba):  # told by itself, while the page is open
        page.locator("[id^=canary-] td:nth-of-type(1)", has_text=re.compile("^0$")).first.wait_for(state="detached")
        assert faults(page) == []
    found = house.service.canary_figures(ALIAS)
    assert found is not None and sum(one["requests"] for one in found["figures"].values()) == 24
    end(aoki, "Finish: all users", "Promote to all", "it does well")
    aoki.wait_for_url("**/versions/orders%402")
    until(lambda: house.service.find(ALIAS).id == "orders@2")
    baba.get_by_text("This canary has ended").wait_for()
    end(baba, "Abort", "Abort the canary", "it is slow")
    assert "aoki" in (baba.get_by_role("alert").text_content() or "")
    last = aliases.moves(ALIAS)[-1]
    assert (last["kind"], last["version"], last["by"], last["reason"]) == (
        "promote", "orders@2", "aoki", "it does well")  # fmt: skip


def test_a_canary_is_aborted_with_its_reason_while_somebody_else_would_widen_it(
    house: Running, people: dict[str, Page]
) -> None:
    aoki, baba = people["aoki"], people["baba"]
    before = house.service.find(ALIAS).id
    begin(aoki, house.url, "orders@3", "10", "the next one")
    until(lambda: house.service.canaries)
    baba.goto(f"{house.url}/versions")
    end(aoki, "Abort", "Abort the canary", "too polite")
    aoki.wait_for_url(f"{house.url}/versions")
    end(baba, "Another share", "Change the share", "more")
    assert "aoki" in (baba.get_by_role("alert").text_content() or "")
    until(lambda: not house.service.canaries)
    assert house.service.find(ALIAS).id == before
    aoki.goto(f"{house.url}/versions/{before}")
    row = aoki.locator("section", has_text="Moves of").locator("tbody tr").first
    assert "too polite" in (row.text_content() or "") and "aoki" in (row.text_content() or "")


def test_two_people_who_review_the_same_exchange_stand_side_by_side(house: Running, people: dict[str, Page]) -> None:
    aoki, baba = people["aoki"], people["baba"]
    for page in (aoki, baba):
        page.goto(f"{house.url}/review/next?draw=failures")
    ids = [page.locator("input[name=id]").input_value() for page in (aoki, baba)]
    assert ids[0] == ids[1]
    aoki.get_by_role("button", name="Wrong").click()
    aoki.locator(f"input[name=id]:not([value='{ids[0]}'])").wait_for(state="attached")
    baba.get_by_label("What it should have said").fill("Twelve apples are on their way.")
    baba.get_by_role("button", name="Keep this instead").click()
    baba.locator(f"input[name=id]:not([value='{ids[0]}'])").wait_for(state="attached")
    with reading() as session:
        kept = {row.reviewer: row.decision for row in session.query(ReviewRow).all()}
    assert kept == {"aoki": "reject", "baba": "correct"}
