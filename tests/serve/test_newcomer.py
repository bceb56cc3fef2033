"""What somebody new does in the browser alone, with a real worker, on a tiny model."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from sodate.api.overview import overview
from sodate.api.serving import open_service
from sodate.jobs.worker import work
from sodate.library.sources import pull
from sodate.serve import logins
from tests.serve import newcomer
from tests.serve.running import Running, running


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server over a tiny model, and a worker."""
    from tests.tiny import llama_folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(tmp_path_factory.mktemp("newcomer")))
        patch.setenv("SODATE_LANG", "en")
        patch.setenv("OMP_NUM_THREADS", "1")
        pull(str(llama_folder(tmp_path_factory.mktemp("model") / "tiny")))
        stopping = threading.Event()
        worker = threading.Thread(target=work, args=(stopping,))
        worker.start()
        try:
            with running(open_service(["tiny"]), None, auth=True) as one:
                yield one
        finally:
            stopping.set()
            worker.join(60)


def rows(path: Path, first: int, count: int) -> Path:
    said = [(f"Order {n} please", f"Done: {n}.") for n in range(first, first + count)]
    turns = [[{"role": "user", "content": asked}, {"role": "assistant", "content": reply}] for asked, reply in said]
    path.write_text("".join(json.dumps({"messages": one}) + "\n" for one in turns))
    return path


def test_a_newcomer_comes_from_a_file_to_version_2_in_production_in_the_browser_alone(
    house: Running, tmp_path: Path
) -> None:
    if shutil.which("chromium") is None and not os.environ.get("CI"):
        pytest.skip("no chromium here")
    train, held_out = rows(tmp_path / "orders.jsonl", 0, 16), rows(tmp_path / "held-out.jsonl", 100, 12)
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=shutil.which("chromium"), args=newcomer.FLAGS, locale="en-GB"
        )
        context.set_default_timeout(60_000)
        page = context.pages[0]
        page.on("pageerror", lambda error: pytest.fail(f"{page.url}: {error}"))
        page.goto(f"{house.url}/login/{logins.new_link('steer', 'hana')[0]}")
        page.wait_for_url(lambda url: "/login" not in url)
        base = next(one for one in page.context.request.get(f"{house.url}/v1/sodate/reports/new").json()["bases"])
        newcomer.play(page, house.url, train, held_out, base, "text_similarity", 100, print)
        context.close()
    (production,) = overview()["production"]
    assert (production["version"], production["by"], production["reason"]) == ("orders@2", "hana", "the 2. month")
    assert not production["override"] and production["quality"][0]["grader"] == "text_similarity"
