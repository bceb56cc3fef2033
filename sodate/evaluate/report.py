"""One self-contained page that says who won, by how much, how surely, and on which items."""

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
from sodate.core.text import en, ja, language, visible
from sodate.evaluate.items import can_show, where
from sodate.evaluate.run import FORM_ONLY, PASS, VERDICT_JA, Comparison, EvalResult, display_name
from sodate.evaluate.slices import Slice

_FLIPS = (
    ("fixed", "fixed", "新たに正解"),
    ("broken", "broken", "新たに不正解"),
    ("wrong", "both wrong", "どちらも誤り"),
    ("right", "both right", "どちらも正解"),
)
_SHOWN = 3  # examples per kind of flip
_MAX_TEXT = 4000  # characters of one text on the page


def flips(result: EvalResult, comparison: Comparison) -> dict[str, list[int]]:
    """Item indices by what became of them: `fixed`, `broken`, `wrong` (both), `right` (both)."""
    after = result.score(comparison.candidate, comparison.grader).grades
    before = result.score(comparison.baseline, comparison.grader).grades
    kinds = {(False, True): "fixed", (True, False): "broken", (False, False): "wrong", (True, True): "right"}
    groups: dict[str, list[int]] = {name: [] for name, _, _ in _FLIPS}
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        groups[kinds[old.score >= PASS, new.score >= PASS]].append(index)
    return groups


def pick_examples(result: EvalResult, count: int) -> list[int]:
    """Item indices to show: in turn a fixed, a broken, a still wrong and a still right one, each in file order.

    Judged by the first grader, between the last candidate that is no baseline itself and the first baseline.
    """
    if not result.comparisons:
        return list(range(min(count, result.n)))
    pairs = result.pairs()
    last = next(
        (model for model in reversed(list(result.replies)) if model not in result.baselines), result.baselines[-1]
    )
    groups = list(flips(result, pairs[last, result.baselines[0]][0]).values())
    picked: list[int] = []
    for round_ in range(result.n):
        picked += [group[round_] for group in groups if round_ < len(group)]
    return picked[:count]


def _clean(text: str) -> str:
    """What a page can hold: lone surrogates replaced, the rest cut at _MAX_TEXT."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + " …"


def _example(result: EvalResult, index: int, models: list[str], graders: list[str]) -> dict[str, Any]:
    item = result.items[index]
    replies = []
    for model in models:
        grades = []
        for grader in graders:
            grade, form = result.score(model, grader).grades[index], result.score(model, grader).form
            grades.append(
                {
                    "grader": grader,
                    "form": form,
                    "score": f"{grade.score:.2f}",
                    "passed": grade.score >= PASS,
                    "reason": _clean(grade.reason),
                }
            )
        replies.append({"model": model, "text": _clean(result.replies[model][index]), "grades": grades})
    return {
        "where": where(item, index),
        "earlier": len(item.prompt) - 1,
        "prompt": _clean(item.prompt[-1].content) if item.prompt else "",
        "reference": None if item.reference is None else _clean(item.reference),
        "replies": replies,
    }


def sentence(one: Comparison, margin: float, form: bool = False) -> tuple[str, str]:
    """The verdict in words: (English, Japanese); `form` says that only form was looked at."""
    english, japanese = _sentence(one, margin)
    return (f"{english}, in form alone", f"{japanese} (形式のみ)") if form else (english, japanese)


def _sentence(one: Comparison, margin: float) -> tuple[str, str]:
    names = display_name(one.candidate), display_name(one.baseline)
    (new, old), (new_ja, old_ja) = map(en, names), map(ja, names)
    return {
        "better": (f"{new} is better than {old}", f"{new_ja} は {old_ja} より良い"),
        "worse": (f"{new} is worse than {old}", f"{new_ja} は {old_ja} より悪い"),
        "equivalent": (
            f"{new} and {old} are equivalent within ±{100 * margin:g} points",
            f"{new_ja} と {old_ja} は ±{100 * margin:g} ポイントの範囲で同等",
        ),
        "inconclusive": (
            f"These items cannot tell {new} from {old}",
            f"このデータでは {new_ja} と {old_ja} の優劣を判定できない",
        ),
    }[one.verdict]


def signed(value: float) -> str:
    """A difference in points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def _comparison(result: EvalResult, one: Comparison, reach: float) -> dict[str, Any]:
    def x(value: float) -> str:
        """A difference as a position in the plot: 0 in the middle of 200, ±reach at 6 and 194."""
        return f"{100 + 94 * max(-1.0, min(1.0, value / reach)):.1f}"

    en, ja = sentence(one, result.margin, result.only_form(one))
    groups = flips(result, one)
    view: dict[str, Any] = {
        "en": en,
        "ja": ja,
        "verdict": one.verdict,
        "grader": one.grader,
        "form": result.only_form(one),
        "diff": signed(one.diff),
        "p": "<\u00a00.001" if one.p < 0.001 else f"{one.p:.3f}",
        "fixed": one.fixed,
        "broken": one.broken,
        "smallest": "" if one.smallest is None else f"{100 * one.smallest:.1f}",
        "plot": None,
        "flips": [
            {
                "en": english,
                "ja": japanese,
                "count": len(groups[name]),
                "examples": [
                    _example(result, index, [one.baseline, one.candidate], [one.grader])
                    for index in groups[name][:_SHOWN]
                ],
            }
            for name, english, japanese in _FLIPS
        ],
    }
    if one.ci:
        band = 94 * min(1.0, result.margin / reach)
        view |= {
            "low": signed(one.ci[0]),
            "high": signed(one.ci[1]),
            "plot": {
                "low": x(one.ci[0]),
                "high": x(one.ci[1]),
                "diff": x(one.diff),
                "band_x": f"{100 - band:.1f}",
                "band_width": f"{2 * band:.1f}",
            },
        }
    return view


def _row(result: EvalResult, model: str, graders: list[str]) -> dict[str, Any]:
    cells = []
    for grader in graders:
        one = result.score(model, grader)
        cells.append(
            {
                "mean": f"{100 * one.mean:.1f}",
                "low": f"{100 * one.ci[0]:.1f}" if one.ci else "",
                "high": f"{100 * one.ci[1]:.1f}" if one.ci else "",
                "parts": [(name, f"{100 * value:.1f}") for name, value in {**one.extra, **one.parts}.items()],
            }
        )
    cut = result.cut_off.get(model, 0)
    none = result.unanswered.get(model, 0)
    return {"model": model, "baseline": model in result.baselines, "cut_off": cut, "unanswered": none, "cells": cells}


def _slices(parts: Sequence[Slice]) -> list[dict[str, Any]]:
    """The tables by field."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        for one in part.comparisons:
            ends = {"low": signed(one.ci[0]), "high": signed(one.ci[1])} if one.ci else {"low": "", "high": ""}
            names = {"candidate": one.candidate, "baseline": one.baseline}
            facts = {"value": _clean(part.value), "n": part.n, "grader": one.grader, "diff": signed(one.diff)}
            rows.setdefault(part.field, []).append(
                {**facts, **names, **ends, "enough": part.enough, "verdict": one.verdict}
            )
    return [{"field": field, "rows": found} for field, found in rows.items()]


def write_report(
    result: EvalResult,
    path: Path,
    *,
    title: str,
    examples: int = 3,
    meta: Mapping[str, str] | None = None,
    replay: str = "",
    parts: Sequence[Slice] = (),
    aside: Sequence[str] = (),
) -> Path:
    """Writes the page to `path` and returns it. `meta` is the table of what was measured with what; `replay` the
    command that makes the result again; `examples` the number of items shown with every model's reply;
    `parts` the slices to show; `aside` sentences about what was found beside the scores.

    Nothing is loaded from outside and nothing runs: the policy allows this page's own style sheet and no script. Every
    text from models, data and files is escaped. Both languages are in the page; the reader's is shown first.
    """
    folder = Path(__file__).parent
    style = (folder / "report.css").read_text("utf-8")
    graders = list(dict.fromkeys(one.grader for one in result.results))
    models = list(result.replies)
    # One scale for all intervals, in steps of 10 points, so that they can be compared by eye.
    extent = max((abs(end) for one in result.comparisons if one.ci for end in (*one.ci, one.diff)), default=0.1)
    reach = min(1.0, max(0.1, math.ceil(extent * 10 - 1e-9) / 10))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.filters |= {"en": lambda model: en(display_name(model)), "ja": lambda model: ja(display_name(model))}
    page = environment.get_template("report.html.jinja").render(
        language=language(),
        style=Markup(style),  # our own file; the hash below is of exactly these bytes
        style_hash="sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        title=_clean(title),
        n=result.n,
        independent=result.independent,
        notes=[{"en": en(note), "ja": ja(note)} for note in result.notes],
        can_show={"en": en(can_show(result.independent)), "ja": ja(can_show(result.independent))},
        margin=f"{100 * result.margin:g}",
        reach=f"{100 * reach:.0f}",
        verdict_ja=VERDICT_JA,
        pairs=[
            {"candidate": new, "baseline": old, "rows": [_comparison(result, one, reach) for one in rows]}
            for (new, old), rows in result.pairs().items()
        ],
        form_only={"en": en(FORM_ONLY), "ja": ja(FORM_ONLY)} if result.form_only else None,
        slices=_slices(parts),
        aside=[{"en": _clean(en(one)), "ja": _clean(ja(one))} for one in aside],
        graders=graders,
        rows=[_row(result, model, graders) for model in models],
        examples=[_example(result, index, models, graders) for index in pick_examples(result, examples)],
        meta=[(key, _clean(value)) for key, value in (meta or {}).items()],
        replay=_clean(replay),
    )
    write_text(path, page)
    return path
