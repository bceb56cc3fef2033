"""One-time links: each lets one person in, once."""

from __future__ import annotations

import threading
from pathlib import Path

from sodate.serve import logins


def test_a_link_is_used_once_even_by_two_at_the_same_time(home: Path) -> None:
    secret, _ = logins.new_link("look")
    results: list[bool] = []

    def use() -> None:
        try:
            logins.enter_by_link(secret)
            results.append(True)
        except Exception:
            results.append(False)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 7 + [True]


# ── judging, keys, reports, index ────────────────────────────────────────────────────────────────────────────────────
