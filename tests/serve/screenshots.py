"""The pictures of docs/pages.md: every page over a home with something on it, in Chromium.

    python -m tests.serve.screenshots [FOLDER] [--apart FOLDER]

A sheet for each page: English and Japanese, light and dark, on a desk and on a telephone. `--apart` keeps every picture
by itself and in its own size, too, to be looked at. Nobody asks in the playground: nothing here is computed.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import itertools
import json
import os
import shutil
import tempfile
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, Playwright, sync_playwright

from sodate.core import home
from sodate.core.files import write_json
from sodate.core.runs import RunFolder
from tests.serve import filled
from tests.serve.newcomer import FLAGS

SIZES = {"desk": (1000, 640), "telephone": (390, 780)}
LANGUAGES, SCHEMES = ("en", "ja"), ("light", "dark")
# Instead of what tests look for.
QUESTIONS = {
    "返品はできますか？": "商品の到着後 7 日以内であれば返品できます。",
    "送料はいくらですか？": "送料は全国一律 500 円です。",
    "Where is my order?": "It left our warehouse this morning.",
    "注文番号はどこで確認できますか？": "注文確認メールの件名に書かれています。",
    "支払い方法を変更したいです。": "発送前であれば、マイページから変更できます。",
    "領収書をください。": "マイページの注文履歴から発行できます。",
}
NATURAL = {
    "error": "メモリが足りません。", "reason": "評価で改善を確認", "warning": "", "file": "", "why": "",
    "wrong": "申し訳ありませんが、分かりません。", "document": "Returns are free within a week.",
    "note": "7 月分の問い合わせ",
    "asked": "発送のお知らせ", "by": "鈴木", "failed": "モデルを読み込めませんでした。",
    "reply": "商品ページをご覧ください。",
    "goal": "問い合わせへの返答", "because": "It is the first that reaches the target of 75 points.",
    "advice": "More examples can be expected to make it better still.", "label prompt": "a prompt alone",
    "label sft": "a trained model",
}  # fmt: skip
JAPANESE = {
    "because": "目標の 75 点に最初に届いた方法です。", "advice": "学習例を増やすと、さらに良くなる見込みがあります。",
    "label prompt": "プロンプトのみ", "label sft": "学習したモデル",
}  # fmt: skip
SHEET = (1492, 728)
# Four windows on the left, four telephones on the right, each at a fraction of its size.
STYLE = """body { margin: 0; background: #888; display: grid; gap: 8px; padding: 8px; box-sizing: border-box;
           width: 1492px; grid-template-columns: repeat(2, 550px) repeat(2, 176px); }
           img { width: 100%; display: block; }"""


def measured(report: str) -> None:
    """Lets the replies, which were only recorded, be those of the versions that they are called after."""
    path = home.reports_dir() / report / "result.json"
    write_json(path, json.loads(path.read_text("utf-8")) | {"measured": {name: name for name in filled.SIDES}})


@contextlib.contextmanager
def house(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A server over what `filled` makes, and a run that goes on."""
    from sodate.api.answering import Service
    from sodate.serve import server
    from sodate.serve.settings import Settings

    filled.NATURAL.update(NATURAL)
    filled.IN_BOTH.update({NATURAL[field]: [NATURAL[field], japanese] for field, japanese in JAPANESE.items()})
    filled.RIGHT_TO_LEFT = NATURAL["reply"]
    filled.QUESTIONS[:], filled.ANSWERS[:] = list(QUESTIONS), list(QUESTIONS.values())
    filled.SIDES[:], filled.KINDS[:] = ["support@1", "support@2"], ["返品", "配送"]
    made = filled.fill(folder / "work", long=0)
    measured(made["report"])
    made["running"] = filled.run("running", "sft", 240, of=600)
    settings = Settings(port=0)
    listening = server.bind(settings)
    ready, servers = threading.Event(), []
    service = Service([], {})
    for name, version in (("support@production", "support@2"), ("support@1", "support@1")):
        service.names[name] = types.SimpleNamespace(id=version, text=False, context=2048)  # type: ignore[assignment]

    def on_ready(one: Any) -> None:
        servers.append(one)
        ready.set()

    thread = threading.Thread(target=server.run, args=(service, settings, listening, on_ready))
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
        "overview": "/", "data": "/data", "file": f"/data/{made['file']}", "rows": f"/data/{made['file']}/rows",
        "dataset": f"/data/sets/{made['dataset']}?only=added", "runs": "/runs", "run": f"/runs/{made['runs'][0]}",
        "reports": "/reports", "report": report, "evaluate": "/reports/new", "ladder": f"/ladder/{made['ladder']}",
        "versions": "/versions", "version": version, "gate": f"{version}/gate", "play": "/play",
        "judge": f"/judge/{made['study']}", "review": "/review", "exchange": "/review/next",
        "index": f"/index/{made['index']}?q=返品", "keys": "/keys",
    }  # fmt: skip


def picture(context: BrowserContext, page: Page, kind: str, quality: int) -> bytes:
    """What is seen of a page. WebP, a quarter of the same as PNG, is not among what `screenshot` writes."""
    asked = {"format": kind, "quality": quality} if kind == "webp" else {"format": kind}
    seen = context.new_cdp_session(page).send("Page.captureScreenshot", asked)
    return base64.b64decode(seen["data"])


def browser(playwright: Playwright, profile: str, size: str, scheme: str = "light") -> BrowserContext:
    """Somebody's in Tokyo."""
    width, height = SIZES.get(size, SHEET)
    return playwright.chromium.launch_persistent_context(
        profile, executable_path=shutil.which("chromium"), args=FLAGS, viewport={"width": width, "height": height},
        color_scheme=scheme, locale="ja-JP", timezone_id="Asia/Tokyo", has_touch=size == "telephone",
        is_mobile=size == "telephone",
    )  # fmt: skip


def taken(playwright: Playwright, folder: Path, url: str, wanted: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """`PAGE-SIZE-LANGUAGE-SCHEME` and the picture."""
    from sodate.serve import logins

    for size, scheme in itertools.product(SIZES, SCHEMES):
        context = browser(playwright, f"{folder}/{size}-{scheme}", size, scheme)
        page = context.pages[0]
        page.goto(f"{url}/login/{logins.new_link('own', '鈴木')[0]}")
        page.wait_for_url(lambda there: "/login" not in there)
        for language in LANGUAGES:
            page.goto(f"{url}/?lang={language}")
            for name, path in wanted.items():
                page.goto(url + path)
                page.wait_for_timeout(400)
                for busy in ("#checking", "#groups progress"):  # what a page waits for
                    page.locator(busy).wait_for(state="detached", timeout=60_000)
                if page.locator("[data-curves]").count():
                    page.wait_for_selector("[data-drawn]")
                yield f"{name}-{size}-{language}-{scheme}", picture(context, page, "png", 0)
        context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parents[2] / "docs" / "pages")
    parser.add_argument("--apart", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"SODATE_HOME": f"{folder}/home", "SODATE_LANG": "ja"}
        with house(Path(folder)) as (url, made), sync_playwright() as playwright:
            wanted = pages(made)
            found = dict(taken(playwright, Path(folder), url, wanted))
            if given.apart:
                given.apart.mkdir(parents=True, exist_ok=True)
                for name, seen in found.items():
                    (given.apart / f"{name}.png").write_bytes(seen)
            context = browser(playwright, f"{folder}/sheets", "sheet")
            page = context.pages[0]
            for name in wanted:
                kinds = [(size, language, scheme) for language in LANGUAGES for size in SIZES for scheme in SCHEMES]
                images = "".join(
                    f'<img class="{size}" src="data:image/png;base64,'
                    f'{base64.b64encode(found[f"{name}-{size}-{language}-{scheme}"]).decode()}">'
                    for size, language, scheme in kinds
                )
                page.set_content(f"<style>{STYLE}</style>{images}")
                page.wait_for_function("[...document.images].every((one) => one.complete)")
                (given.folder / f"{name}.webp").write_bytes(picture(context, page, "webp", 50))
            context.close()


if __name__ == "__main__":
    main()
