"""Milliseconds of the pages, over a full house.

    python bench/pages.py [--runs 1000] [--lines 100000] [--exchanges 1000000] [--times 60] [--home FOLDER]

Beside these there are 200 versions with a report and a gate record each. A server on SQLite is asked by one client over
HTTP: the median and the 95th percentile of each page, and its bytes over the wire. Where Chromium is installed, what a
reader waits for is measured in it: the first page until it can be used, and a run of so many steps until its curves are
drawn. With `--home` the house is kept in a folder, and is there when it is measured again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
from exchanges import fill as exchanged  # noqa: E402

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


VERSIONS = 200  # each with a report, a gate record, and of ten names an alias


def fill(runs: int, lines: int, exchanges: int) -> str:
    """A home with so many runs, a metrics file of so many lines, and so many exchanges; the name of the long run."""
    from sodate.core import home
    from sodate.core.runs import RunFolder

    recipe = {"method": "sft", "model": "smollm2-135m", "data": ["mails.jsonl"], "name": "mails"}
    first = RunFolder.create({"recipe": recipe, "base": "smollm2-135m@0", "status": "running"})
    line = (
        '{"step": %d, "steps": 100000, "loss": %.6f, "lr": 0.0004, "grad_norm": %.4f, "tokens": 4000, "seconds": 0.4}\n'
    )
    about = json.loads((first.path / "run.json").read_text("utf-8"))
    for n in range(runs):
        folder = home.runs_dir() / f"sft-20260101-{n // 60:02d}{n % 60:02d}00-{n:04x}"
        folder.mkdir()
        said = {**about, "run": folder.name, "status": "done", "created_at": f"2026-01-01T00:{n % 60:02d}:00+00:00"}
        (folder / "run.json").write_text(json.dumps(said), "utf-8")
        (folder / "metrics.jsonl").write_text("".join(line % (k, 2 / k, 1.0) for k in range(1, 21)), "utf-8")
    (first.path / "run.json").write_text(json.dumps({**about, "status": "done"}), "utf-8")
    with (first.path / "metrics.jsonl").open("w") as stream:
        stream.writelines(line % (n, 2 / n + (n == 77_777), 1 + n % 7 / 10) for n in range(1, lines + 1))
    released()
    if exchanges:
        exchanged(exchanges)
    return first.name


def released() -> None:
    """Versions, each measured on 200 rows by two graders and held against a gate; ten aliases."""
    from sodate.core import home
    from sodate.core.files import write_json
    from sodate.release import aliases
    from sodate.release.lookup import identity
    from sodate.release.registry import register

    for n in range(VERSIONS):
        manifest = {"base": "smollm2-135m@0", "recipe": {"method": "sft"}, "run": "r", "adapter": "lora",
                    "data": {"rows_used": n, "files": ["mails.jsonl"]}, "renderer": "r"}  # fmt: skip

        def weights(folder: Path, n: int = n) -> None:
            (folder / "model").mkdir()
            (folder / "model" / "config.json").write_text(json.dumps({"n": n}))

        made = register(f"mails{n % 10}", manifest, "", weights)
        stamp, exact = f"202601{1 + n // 24:02d}-{n % 24:02d}0000", identity(made.id)
        results = [{"model": one, "grader": grader, "mean": 0.8, "ci": [0.7, 0.9], "failures": 40}
                   for one in ("smollm2-135m", made.id) for grader in ("exact", "text_similarity")]  # fmt: skip
        compared = [{"candidate": made.id, "baseline": "smollm2-135m", "grader": one["grader"], "diff": 0.1,
                     "ci": [0.05, 0.15], "p": 0.01, "verdict": "better", "smallest": 0.05, "fixed": 30, "broken": 10}
                    for one in results[:2]]  # fmt: skip
        about = {"n": 200, "independent": 200, "results": results, "comparisons": compared, "margin": 0.03, "notes": [],
                 "slices": [], "measured": {made.id: made.id}, "bytes": {made.id: exact},
                 "data": {"file": "held.jsonl"}}  # fmt: skip
        write_json(home.reports_dir() / f"{stamp}-{n:04x}" / "result.json", {"schema_version": 1, **about})
        record = {"at": "2026-01-31T09:30:00+00:00", "version": made.id, "bytes": exact, "looks": 1, "passes": True,
                  "gate": {"path": "gate.yaml", "sha256": "0" * 64}, "tiers": []}  # fmt: skip
        write_json(home.gates_dir() / f"{stamp}-000000-{n:04x}.json", {"schema_version": 1, **record})
        if n >= VERSIONS - 20:
            with aliases.moving(f"mails{n % 10}@production"):
                aliases.move(f"mails{n % 10}@production", "promote", made.id, by="aoki", reason="better")


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A server that has pages and no model."""
    from sodate.api.answering import Service
    from sodate.serve import server as serving
    from sodate.serve.settings import Settings

    settings = Settings(port=0)
    listening = serving.bind(settings)
    ready, servers = threading.Event(), []

    def on_ready(made: Any) -> None:
        servers.append(made)
        ready.set()

    thread = threading.Thread(target=serving.run, args=(Service([], {}), settings, listening, on_ready))
    thread.start()
    ready.wait(60)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        servers[0].should_exit = True
        thread.join()


def asked(client: httpx.Client, path: str, times: int) -> dict[str, Any]:
    """Milliseconds of a page and its bytes on the wire; the first request of all is counted apart."""
    taken, size = [], 0
    for _ in range(times + 1):
        began = time.perf_counter()
        with client.stream("GET", path, headers={"accept-encoding": "gzip"}) as answer:
            size = sum(map(len, answer.iter_raw()))
            assert answer.status_code == 200, (path, answer.status_code)
        taken.append(1000 * (time.perf_counter() - began))
    later = sorted(taken[1:])
    return {"page": path, "first_ms": round(taken[0], 1), "median_ms": round(statistics.median(later), 1),
            "p95_ms": round(later[int(0.95 * (len(later) - 1))], 1), "bytes": size}  # fmt: skip


def first_load(client: httpx.Client) -> int:
    """Bytes of the first page with everything that it loads."""
    text = client.get("/").text
    parts = ["/", *re.findall(r'(?:src|href)="(/static/[^"]+)"', text)]
    return sum(int(asked(client, part, 1)["bytes"]) for part in parts)


def in_a_browser(url: str, secret: str, run: str, times: int = 5) -> dict[str, float] | None:
    """Milliseconds in Chromium: the first page until it can be used, and the curves of `run` until they are drawn."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    loaded, drawn = [], []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(profile, executable_path=chromium, args=FLAGS)
        page = context.pages[0]
        page.goto(f"{url}/login/{secret}")
        page.wait_for_url(lambda there: "/login" not in there)
        for _ in range(times):
            page.goto(f"{url}/")
            loaded.append(float(page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive")))
            page.goto(f"{url}/runs/{run}")
            page.wait_for_selector("[data-drawn]")
            drawn.append(float(page.locator("[data-drawn]").get_attribute("data-drawn") or 0))
        context.close()
    return {"interactive_ms": round(statistics.median(loaded), 1), "drawn_ms": round(statistics.median(drawn), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--exchanges", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=60)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SODATE_HOME"] = str(given.home or folder)
        from sodate.core.runs import list_runs
        from sodate.serve import logins

        there = given.home is not None and given.home.exists()
        run = list_runs()[-1].name if there else fill(given.runs, given.lines, given.exchanges)
        with server() as url, httpx.Client(base_url=url, timeout=120) as client:
            assert client.get(f"/login/{logins.new_link('own')[0]}").status_code == 200
            report = client.get("/v1/sodate/reports").json()["reports"][0]["report"]
            pages = ["/", "/data", "/runs", f"/runs/{run}", f"/v1/sodate/runs/{run}/curve", "/reports", "/reports/new",
                     f"/reports/{report}", "/ladder", "/versions", "/versions/mails0@20", "/versions/mails0@20/gate",
                     "/play", "/judge", "/review", "/review/next", "/index", "/keys"]  # fmt: skip
            rows = [asked(client, path, given.times) for path in pages]
            bytes_of_first = first_load(client)
            seen = in_a_browser(url, logins.new_link("own")[0], run)
    if given.json:
        print(json.dumps({"pages": rows, "first_page_bytes": bytes_of_first, "browser": seen}))
        return
    print(f"{'page':60} {'first':>8} {'median':>8} {'p95':>8}  bytes")
    for row in rows:
        print(f"{row['page']:60} {row['first_ms']:8.1f} {row['median_ms']:8.1f} {row['p95_ms']:8.1f}  {row['bytes']}")
    print(f"first page with all it loads: {bytes_of_first} bytes; n = {given.times} requests of each page")
    print(f"in Chromium: {seen}")


if __name__ == "__main__":
    main()
