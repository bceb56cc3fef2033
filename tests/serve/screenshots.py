"""The pictures of docs/pages.md: every page over a home with something on it, in Chromium.

    python -m tests.serve.screenshots [FOLDER]

English in light and Japanese in dark, two of them on a telephone. The playground is empty: nothing here is computed.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from sodate.core.runs import RunFolder
from tests.serve import filled
from tests.serve.newcomer import FLAGS

DESK, TELEPHONE = {"width": 1000, "height": 640}, {"width": 390, "height": 780}
NATURAL = ("送料は全国一律 500 円です。", "支払い方法を変更したいです。")  # instead of what tests look for


@contextlib.contextmanager
def house(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A server over what `filled` makes, and a run that goes on."""
    from sodate.api.answering import Service
    from sodate.serve import server
    from sodate.serve.settings import Settings

    filled.CANARY, filled.RIGHT_TO_LEFT = NATURAL
    filled.QUESTIONS[3:5] = NATURAL
    made = filled.fill(folder / "work", long=40)
    made["running"] = filled.run("running", "sft", 240)
    settings = Settings(port=0)
    listening = server.bind(settings)
    ready, servers = threading.Event(), []

    def on_ready(one: Any) -> None:
        servers.append(one)
        ready.set()

    thread = threading.Thread(target=server.run, args=(Service([], {}), settings, listening, on_ready))
    thread.start()
    ready.wait(60)
    with RunFolder.find(made["running"]).locked():
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", made
    servers[0].should_exit = True
    thread.join()


def pages(made: dict[str, Any]) -> dict[str, str]:
    """The address of each picture's page."""
    version, report = f"/versions/{made['versions'][1]}", f"/reports/{made['report']}"
    return {
        "overview": "/", "data": f"/data/sets/{made['dataset']}",
        "runs": f"/runs/{made['runs'][0]}", "report": report,
        "evaluate": "/reports/new", "ladder": f"/ladder/{made['ladder']}", "version": version,
        "gate": f"{version}/gate",
        "judge": f"/judge/{made['study']}", "review": "/review", "index": f"/index/{made['index']}?q=返品",
        "keys": "/keys",
    }  # fmt: skip


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2] / "docs" / "pages")
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"SODATE_HOME": f"{folder}/home", "SODATE_LANG": "ja"}
        from sodate.serve import logins

        with house(Path(folder)) as (url, made), sync_playwright() as playwright:
            for language, scheme, size, names in (
                ("en", "light", DESK, list(pages(made))), ("ja", "dark", DESK, list(pages(made))),
                ("ja", "dark", TELEPHONE, ["version", "judge"]),
            ):  # fmt: skip
                context = playwright.chromium.launch_persistent_context(
                    f"{folder}/{language}-{size['width']}", executable_path=shutil.which("chromium"), args=FLAGS,
                    viewport=size, color_scheme=scheme, locale="ja-JP", timezone_id="Asia/Tokyo",
                )  # fmt: skip
                page = context.pages[0]
                page.goto(f"{url}/login/{logins.new_link('own', '鈴木')[0]}")
                page.wait_for_url(lambda there: "/login" not in there)
                page.goto(f"{url}/?lang={language}")
                for name in names:
                    page.goto(url + pages(made)[name])
                    page.wait_for_timeout(5000 if name == "review" else 500)
                    kind = "-telephone" if size is TELEPHONE else ""
                    # WebP, which is a quarter of the same picture as PNG, is not among what `screenshot` writes.
                    asked = {"format": "webp", "quality": 75}
                    seen = page.context.new_cdp_session(page).send("Page.captureScreenshot", asked)
                    (out / f"{name}{kind}-{language}.webp").write_bytes(base64.b64decode(seen["data"]))
                context.close()


if __name__ == "__main__":
    main()
