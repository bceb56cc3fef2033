"""Somebody new, in the browser alone: from "here is my file" to "version 2 is in production".

    python -m tests.serve.newcomer LINK TRAIN.jsonl HELD.jsonl MODEL

plays it by hand against `sodate serve MODEL`, LINK being what `sodate link --role steer` prints.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


def upload(page: Page, url: str, file: Path) -> None:
    """A file goes up, is checked, and its page stands there."""
    page.goto(f"{url}/data")
    page.get_by_label("Here is my file").set_input_files(file)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_selector("text=rows in =")


def trained(page: Page, url: str, file: Path, model: str, epochs: int) -> str:
    """Training begins on the page of the file and is watched until it has made a version; its name."""
    before = {one.get_attribute("href") for one in runs(page, url)}
    page.goto(f"{url}/data")
    page.get_by_role("link", name=file.name, exact=True).click()
    page.get_by_label("Base model").select_option(model)
    page.get_by_label("Passes over the rows").fill(str(epochs))
    page.get_by_label("Name of the model").fill("orders")
    page.get_by_role("button", name="Train").click()
    page.wait_for_selector("#waiting")
    until = time.monotonic() + 600
    while not (new := [one for one in runs(page, url) if one.get_attribute("href") not in before]):
        assert time.monotonic() < until
        page.wait_for_timeout(500)
    new[0].click()
    page.wait_for_selector("#state .done", timeout=600_000)  # the page comes anew by itself when the run has ended
    version = page.locator("main p.soft a").first
    name = version.text_content() or ""
    version.click()
    page.wait_for_selector("#lineage")
    return name


def runs(page: Page, url: str) -> list[Any]:
    page.goto(f"{url}/runs")
    return page.locator("tbody th a").all()


def evaluated(page: Page, url: str, version: str, held_out: Path, graders: tuple[str, ...]) -> None:
    """The version is evaluated from its page, and the report is looked at."""
    page.goto(f"{url}/versions/{version}")
    page.get_by_role("link", name="Evaluate it").click()
    page.get_by_label("Held-out rows").select_option(label=held_out.name)
    for box in page.get_by_role("checkbox").all():
        box.set_checked(box.get_attribute("value") in graders)
    page.get_by_role("button", name="Evaluate").click()
    page.get_by_role("link", name="To the report").click(timeout=600_000)
    page.wait_for_selector("#verdicts")
    page.locator("#what ~ dl").get_by_role("link", name=version).click()


def passes(page: Page, grader: str, held_out: Path, margin: int) -> None:
    """From the page of a version: it is held against the gate, which is made where there is none."""
    page.get_by_role("link", name="Hold it against a gate").click()
    if not page.get_by_role("button", name="Check orders").count():
        page.get_by_label("Held-out rows").select_option(label=held_out.name)
        page.get_by_label(grader).select_option("guard")
        page.get_by_label("allows so many points").fill(str(margin))
        page.get_by_role("button", name="Keep the gate").click()
    page.get_by_role("button", name="Check orders").click()
    page.wait_for_selector(".badge.better >> text=passed")


def promoted(page: Page, reason: str) -> None:
    """From the page of a version that passed."""
    section = page.locator("section", has=page.locator("#promote"))
    section.get_by_label("Why").fill(reason)
    section.get_by_role("button", name="Promote").click()
    page.wait_for_selector("text=Moves of orders@production")


def play(page: Page, url: str, train: Path, held_out: Path, model: str, grader: str, margin: int,
         say: Callable[[str], None] = lambda text: None) -> None:  # fmt: skip
    """All of it, twice."""
    for file in (held_out, train):
        upload(page, url, file)
        say(f"{file.name} is uploaded and checked")
    for number in (1, 2):
        version = trained(page, url, train, model, number)
        say(f"{version} is trained")
        assert version == f"orders@{number}"
        evaluated(page, url, version, held_out, (grader,))
        say(f"{version} is evaluated")
        passes(page, grader, held_out, margin)
        say(f"{version} passed the gate")
        promoted(page, f"the {number}. month")
        page.goto(url)
        card = page.locator("article, .card", has_text="orders@production").first
        assert version in (card.text_content() or "")
        say(f"{version} is in production")


def main() -> None:
    link, train, held_out, model = sys.argv[1:5]
    url = link[: link.index("/login/")]
    began = time.monotonic()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=shutil.which("chromium"), args=FLAGS, locale="en-GB"
        )
        page = context.pages[0]
        page.goto(link)
        page.wait_for_url(lambda there: "/login" not in there)
        play(page, url, Path(train), Path(held_out), model, "text_similarity", int(sys.argv[5]),
             lambda text: print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True))  # fmt: skip
        context.close()


if __name__ == "__main__":
    main()
