"""Whether what a report says a version has forgotten is true of questions and texts that the report does not ask.

    python bench/forgetting.py VERSION…

`sodate eval --retention` asks the few rows of sodate/evaluate/retention.jsonl. Here other questions and other harmful
requests (bench/forgetting.jsonl), and paragraphs of this project's docs as plain text, are put to the same versions and
their bases, and judged by the same statistics. A line is one kind of rows in one language: what the report's rows say,
and what the fresh ones say. `contradicts` is one of them worse and the other better; `missed` is worse on the fresh
rows alone.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections import Counter
from pathlib import Path

from sodate.api import retaining
from sodate.api.loading import load
from sodate.evaluate import retention
from sodate.evaluate.retention import Probe, Retained
from sodate.release.registry import find_version

MARGIN = 0.02  # of shares of questions, as `eval` has it
PARAGRAPHS = 40  # of each language
DOCS = Path(__file__).parents[1] / "docs"


def fresh() -> tuple[Probe, ...]:
    """The rows that the report does not ask."""
    rows = [json.loads(line) for line in Path(__file__).with_suffix(".jsonl").read_text("utf-8").splitlines()]
    made = [Probe(**{**row, "accept": tuple(row.get("accept", ()))}) for row in rows]
    draw = random.Random(0)
    for language in ("en", "ja"):
        files = sorted(file for file in DOCS.glob("*.md") if (file.name.endswith(".ja.md")) == (language == "ja"))
        found = [part for file in files for part in file.read_text("utf-8").split("\n\n") if _plain(part, language)]
        made += [Probe("perplexity", language, text=one[:600]) for one in draw.sample(found, PARAGRAPHS)]
    return tuple(made)


def _plain(part: str, language: str) -> bool:
    """Whether a paragraph is text: no table, list, heading or code."""
    return len(part) > (100 if language == "ja" else 200) and part[0] not in "|-#`<1*" and "```" not in part


def told(version: str, rows: tuple[Probe, ...]) -> list[Retained]:
    """What these rows say that the version has kept of its base."""
    for module in (retaining, retention):
        module.probes = lambda: rows  # type: ignore[attr-defined]
    found = find_version(version)
    assert found is not None, version
    measured = []
    for name in (version, str(found.manifest["base"])):
        loaded = load(name)
        measured.append(retaining.measure(loaded))
        loaded.engine.close()
    after, before = measured
    return retention.retained(version, "base", after, before, MARGIN)


def main() -> None:
    if not sys.argv[1:]:
        sys.exit(__doc__)
    own, others = retention.probes(), fresh()
    seen: Counter[str] = Counter()
    print(f"{'version':28} {'kind':11} {'':2}  {'the report':>28}    {'fresh rows':>28}")
    for version in sys.argv[1:]:
        for report, again in zip(told(version, own), told(version, others), strict=True):
            pair = {report.verdict, again.verdict}
            word = "contradicts" if pair == {"better", "worse"} else "agrees" if len(pair) == 1 else ""
            if again.verdict == "worse" and report.verdict != "worse":
                word = word or "missed"
            seen[word or "one of them can't tell"] += 1
            print(
                f"{version:28} {report.kind:11} {report.language:2}  {_line(report):>28}    {_line(again):>28}  {word}"
            )
    print(", ".join(f"{word} {count}" for word, count in seen.most_common()))


def _line(one: Retained) -> str:
    if one.kind == "perplexity":
        return f"{math.exp(one.before):.1f} → {math.exp(one.after):.1f} {one.verdict} ({one.n})"
    return f"{one.before:.0%} → {one.after:.0%} {one.verdict} ({one.n})"


if __name__ == "__main__":
    main()
