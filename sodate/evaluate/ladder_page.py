"""The page of a ladder: a plot of quality over cost, a table, what each rung fixed, the command of every number.

Nothing is loaded from outside and nothing runs, as in a report. Every text from models, data and files is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sodate.core.files import write_text
from sodate.core.text import Sentence, en, ja, language, size, tr, visible
from sodate.evaluate.ladder import Recommendation, Rung
from sodate.evaluate.run import PASS

WIDTH, HEIGHT = 860, 380  # of the plot, with room for labels at its right
LEFT, RIGHT, TOP, BOTTOM = 46, 190, 16, 44
APART = 15  # between two labels
SHOWN = 2  # examples of what a rung fixed
LONGEST = 1500  # characters of an example's text

PURPOSES = {
    "task": tr("what the job is", "仕事の内容"), "knowledge": tr("facts", "知識"), "accuracy": tr("accuracy", "正確さ"),
    "consistency": tr("consistency", "一貫性"), "banned_words": tr("banned words", "禁止語"),
    "format": tr("format", "形式"), "tone": tr("tone", "口調"),
}  # fmt: skip
LAYERS = {
    "prompt": tr("prompt", "プロンプト"), "retrieval": tr("retrieval", "検索"), "training": tr("training", "学習")
}  # fmt: skip
"""What a layer is called, and what it can be for (`roles` of a task)."""


def write_page(
    path: Path, *, title: str, rungs: Sequence[Rung], chosen: Recommendation, target: float | None,
    clusters: Sequence[str] | None, asked: Sequence[tuple[str, str]], notes: Sequence[Sentence],
    roles: Mapping[str, Sequence[str]], currency: str, replay: str, folder: str,
) -> Path:  # fmt: skip
    """Writes the page to `path` and returns it. `asked` are question and right reply of every held-out row; `replay`
    is the command that makes all of it again, run in `folder` as the commands of the rungs are."""
    here = Path(__file__).parent
    style = (here / "report.css").read_text("utf-8") + (here / "ladder.css").read_text("utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )  # fmt: skip
    page = environment.get_template(
        "ladder.html.jinja"
    ).render(
        language=language(),
        style=Markup(style),  # our own files; the hash below is of exactly these bytes
        style_hash="sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        title=_clean(title),
        chosen=_both(next(rung.label for rung in rungs if rung.name == chosen.rung)),
        reached=chosen.reached,
        missed=target is not None and not chosen.reached,
        because=_both(chosen.because),
        n=len(asked),
        plot=_plot(rungs, chosen, target, clusters),
        rows=[_row(rung, chosen, clusters) for rung in rungs],
        roles=[
            {"layer": _both(LAYERS[layer]), "for": [_both(PURPOSES[purpose]) for purpose in purposes]}
            for layer, purposes in roles.items()
        ],
        fixes=[_fixes(new, _before(rungs, new), asked) for new in rungs[1:]],
        notes=[_both(note) for note in notes],
        currency=currency,
        replay=_clean(replay),
        folder=_clean(folder),
    )
    write_text(path, page)
    return path


def _both(text: str) -> dict[str, str]:
    return {"en": en(text), "ja": ja(text)}


def _clean(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


def money(value: float) -> str:
    """An amount with two digits that mean something, and no fewer than two after the point below 100."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(2, 1 - math.floor(math.log10(value)))}f}" if value else "0"


def seconds(value: float) -> str:
    """A span of time as a person says it."""
    if value < 10:
        return f"{value:.2g} s"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.1f} min"


def _row(rung: Rung, chosen: Recommendation, clusters: Sequence[str] | None) -> dict[str, Any]:
    interval = rung.ci(clusters)
    return {
        "name": rung.name,
        "label": _both(rung.label),
        "chosen": rung.name == chosen.rung,
        "untold": rung.name in chosen.untold and not chosen.reached,
        "mean": f"{100 * rung.mean:.1f}",
        "low": f"{100 * interval[0]:.1f}" if interval else "",
        "high": f"{100 * interval[1]:.1f}" if interval else "",
        "cut_off": rung.cut_off,
        "others": [(name, f"{100 * value:.1f}") for name, value in (rung.graders or {}).items()],
        "build": seconds(rung.build_seconds) if rung.build_seconds else "–",
        "memory": size(rung.peak_bytes),
        "answer_memory": size(rung.answer_bytes),
        "tokens": f"{rung.tokens_per_request:,.0f}",
        "latency": seconds(rung.seconds_per_request),
        "request": money(rung.cost_per_request),
        "month": money(rung.cost_per_month),
        "commands": [one.encode("utf-8", "replace").decode() for one in (*rung.build_commands, rung.command)],
        "report": rung.report,
    }


def _before(rungs: Sequence[Rung], new: Rung) -> Rung:
    """What a rung is compared with for examples: the rung below it of the same form, or the same rung without form."""
    if new.name.endswith("+schema"):
        plain = next((one for one in rungs if one.name == new.name.removesuffix("+schema")), None)
        if plain is not None:
            return plain
    below = rungs[: list(rungs).index(new)]
    return next((one for one in reversed(below) if not one.name.endswith("+schema")), below[-1])


def _fixes(new: Rung, old: Rung, asked: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """How many rows came right and went wrong from one rung to the other, and the first that came right."""
    pairs = list(zip(old.scores, new.scores, strict=True))
    fixed = [n for n, (before, after) in enumerate(pairs) if before < PASS <= after]
    broken = sum(after < PASS <= before for before, after in pairs)
    return {
        "label": _both(new.label),
        "old": _both(old.label),
        "fixed": len(fixed),
        "broken": broken,
        "examples": [
            {"asked": _clean(asked[n][0]), "right": _clean(asked[n][1]), "before": _clean(old.replies[n]),
             "after": _clean(new.replies[n])}
            for n in fixed[:SHOWN]
        ],
    }  # fmt: skip


# ── the plot ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _plot(
    rungs: Sequence[Rung], chosen: Recommendation, target: float | None, clusters: Sequence[str] | None
) -> dict[str, Any]:
    """Positions of everything in the plot: mean and interval over the cost of a month, on a logarithmic scale where
    costs differ eightfold or more."""
    costs = [rung.cost_per_month for rung in rungs]
    low, high = min(costs), max(costs)
    logarithmic = low > 0 and high / low >= 8
    spans = [rung.ci(clusters) or (rung.mean, rung.mean) for rung in rungs]
    ends = [end for span in spans for end in span] + ([target] if target is not None else [])
    floor, ceiling = math.floor(min(ends) * 10) / 10, min(1.0, math.ceil(max(ends) * 10) / 10)
    ceiling = max(ceiling, floor + 0.1)

    def scaled(cost: float) -> float:
        return math.log10(cost) if logarithmic else cost

    edge = (scaled(high) - scaled(low)) or abs(scaled(high)) or 1.0
    left, right = scaled(low) - 0.06 * edge, scaled(high) + 0.06 * edge
    if not logarithmic:
        left = max(0.0, left)

    def x(cost: float) -> float:
        return LEFT + (scaled(cost) - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def y(quality: float) -> float:
        return HEIGHT - BOTTOM - (quality - floor) / (ceiling - floor) * (HEIGHT - TOP - BOTTOM)

    marks: list[dict[str, Any]] = [
        {
            "x": round(x(rung.cost_per_month), 1), "y": round(y(rung.mean), 1), "low": round(y(span[0]), 1),
            "high": round(y(span[1]), 1), "name": rung.name, "chosen": rung.name == chosen.rung,
            "hollow": rung.name.endswith("+schema"),
        }
        for rung, span in zip(rungs, spans, strict=True)
    ]  # fmt: skip
    for mark, place in zip(marks, _apart([mark["y"] for mark in marks]), strict=True):
        mark["label_y"] = place
    return {
        "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM,
        "labels": WIDTH - RIGHT + 22,
        "marks": marks,
        "levels": [{"y": round(y(level / 10), 1), "said": level * 10}
                   for level in range(round(floor * 10), round(ceiling * 10) + 1)],
        "costs": [{"x": round(x(cost), 1), "said": money(cost)} for cost in _ticks(low, high, logarithmic)],
        "target": None if target is None else round(y(target), 1),
        "logarithmic": logarithmic,
    }  # fmt: skip


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Round amounts between two costs, both ends included where nothing round lies between."""
    if logarithmic:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [step * 10.0**power for power in powers for step in (1, 2, 5)]
        inside = [one for one in found if low <= one <= high]
    elif high > low:
        step = 10.0 ** math.floor(math.log10(high - low))
        inside = [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    else:
        inside = []
    return inside[:: max(1, len(inside) // 6)] or [low]


def _apart(places: Sequence[float]) -> list[float]:
    """The heights of labels beside the plot, near to their marks and nowhere closer than APART."""
    order = sorted(range(len(places)), key=lambda n: places[n])
    found = [0.0] * len(places)
    last = -math.inf
    for n in order:
        last = found[n] = max(places[n], last + APART)
    over = max(found) - (HEIGHT - BOTTOM)
    if over > 0:  # the lowest are pushed back up
        last = math.inf
        for n in reversed(order):
            last = found[n] = min(found[n], HEIGHT - BOTTOM if last is math.inf else last - APART)
    return [round(one, 1) for one in found]
