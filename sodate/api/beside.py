"""What an evaluation finds out beside the scores, put together from its replies and from what lies on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sodate.api.answers import Made
from sodate.core import home
from sodate.core.errors import SodateError
from sodate.core.files import sha256_json
from sodate.core.manifests import read_manifest
from sodate.evaluate.aside import Aside, read_prices, seeds, sure
from sodate.evaluate.retention import retained
from sodate.evaluate.run import EvalResult
from sodate.release.registry import find_version

LARGEST = 16 << 20  # bytes of training files that are read again to look for held-out rows


def find(
    result: EvalResult, made: Mapping[str, Made], measured: Mapping[str, str], kept: Mapping[str, Mapping[int, float]],
    below: Mapping[str, str], data: Path, digest: str, prices: str | Path | None, margin: float, seed: int,
) -> Aside:  # fmt: skip
    """`measured` says what each name stood for, `kept` what it said to the rows of retention, `below` which
    of these is its base; `digest` is of `data`."""
    baseline = result.baselines[0]
    before = {name: below.get(name, baseline) for name in measured if name in kept}
    rows = [
        row for name, other in before.items() if name != other and other in kept
        for row in retained(name, other, kept[name], kept[other], margin, seed)
    ]  # fmt: skip
    known = {} if prices is None else read_prices(Path(prices))
    costs = {}
    for name, one in made.items():
        price = known.get(name, known.get(measured.get(name, ""), known.get("")))
        if price is not None and (cost := price.of(one.answered)) is not None:
            costs[name] = cost, price.currency
    return Aside(
        tuple(rows),
        tuple(one for name, each in made.items() for one in sure(result, name, each.sure)),
        tuple(seeds(result, _siblings(measured))),
        costs,
        {exact: _seen(exact, data, digest) for exact in dict.fromkeys(measured.values()) if find_version(exact)},
        1 + _looks(digest),
    )


def _siblings(measured: Mapping[str, str]) -> list[list[str]]:
    """Names whose versions differ by their seed alone."""
    groups: dict[str, list[str]] = {}
    for name, exact in measured.items():
        version = find_version(exact)
        if version is not None and exact not in (measured[other] for group in groups.values() for other in group):
            about: Mapping[str, Any] = version.manifest
            recipe = {key: value for key, value in about["recipe"].items() if key not in ("seed", "name")}
            data = (about.get("data") or {}).get("sha256")
            groups.setdefault(sha256_json([recipe, data, about.get("start")]), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _seen(exact: str, data: Path, digest: str) -> int | None:
    """How many of a version's training rows give a held-out row away; None where its files can't be read again."""
    from sodate.data.check import check
    from sodate.data.datasets import located

    version = find_version(exact)
    assert version is not None
    recipe = version.manifest["recipe"]
    try:
        files = [located(str(file)) for file in recipe.get("data") or ()]
        if not files or sum(file.stat().st_size for file in files) > LARGEST:
            return None
        aside = located(str(recipe["eval"])) if recipe.get("eval") and recipe.get("leaks", "aside") == "aside" else None
        if aside is not None and aside.resolve() == data.resolve():
            return 0  # what would have given it away was set aside
        checked = check(files, against=data, columns=recipe.get("columns") or None, encoding=recipe.get("encoding"))
    except (OSError, SodateError):
        return None
    return checked.ledger.counts["leak"]


def _looks(digest: str) -> int:
    """How many reports there are on the same held-out rows."""
    root = home.reports_dir()
    found = (read_manifest(path) for path in root.glob("*/result.json")) if root.exists() else ()
    return sum((report.get("data") or {}).get("sha256") == digest for report in found)
