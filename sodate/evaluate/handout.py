"""What is handed in: one A4 page (conclusion, evidence, conditions, limits) and a table of every graded reply."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sodate.core.files import write_text
from sodate.core.text import counted, en, ja, language, tr, visible
from sodate.evaluate.items import can_show, where
from sodate.evaluate.report import sentence, signed
from sodate.evaluate.run import FORM_ONLY, EvalResult, display_name

STYLE = """
@page { size: A4; margin: 18mm 16mm; }
body { max-width: 178mm; margin: 0 auto; }
body { font: 10.5pt/1.55 "Hiragino Sans", "Yu Gothic", "Noto Sans CJK JP", sans-serif; }
h1 { font-size: 15pt; margin: 0 0 4mm; } h2 { font-size: 11.5pt; margin: 5mm 0 1.5mm; border-bottom: 0.4mm solid; }
p, ul { margin: 1mm 0; } table { border-collapse: collapse; width: 100%; font-size: 9.5pt; }
th, td { text-align: left; padding: 0.6mm 2mm 0.6mm 0; border-bottom: 0.2mm solid #999; vertical-align: top; }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; } td { overflow-wrap: anywhere; }
"""
MOST = 12  # rows of evidence on the page


def limits(result: EvalResult) -> list[str]:
    """What the numbers do not say, in sentences."""
    found = [can_show(result.independent)]
    if result.form_only:
        found.append(FORM_ONLY)
    for model, count in result.unanswered.items():
        if count:
            name = display_name(model)
            found.append(tr(f"{en(name)}: {count} prompts were too long and count 0.",
                            f"{ja(name)}: 長すぎるプロンプト {count} 件は 0 点と数えています。"))  # fmt: skip
    for model, count in result.cut_off.items():
        if count:
            name = display_name(model)
            found.append(tr(f"{en(name)}: {count} replies were cut off at the longest length.",
                            f"{ja(name)}: 返答 {count} 件が長さの上限で切れています。"))  # fmt: skip
    found += result.notes
    if any(one.verdict == "inconclusive" for one in result.comparisons):
        found.append(tr("Inconclusive means that these rows cannot tell, not that there is no difference.",
                        "「判定できず」は、差がないという意味ではありません。"))  # fmt: skip
    found.append(tr("It holds for requests like these rows, and for nothing else.",
                    "この評価データと同じような入力についてだけ言えることです。"))  # fmt: skip
    return found


def disagreements(result: EvalResult) -> list[str]:
    """Of each model, on how many rows graders that look at content disagree whether its reply is right."""
    found: list[str] = []
    for model in result.replies:
        rows, name = result.at_odds(model), display_name(model)
        if rows:
            first = where(result.items[rows[0]], rows[0])
            found.append(tr(f"{en(name)}: graders disagree on {counted(len(rows), 'row')} whether the reply is right, "
                            f"first on {en(first)}.",
                            f"{ja(name)}: 返答の正誤について、採点方法どうしの判断が {len(rows)} 行で分かれています "
                            f"(最初は {ja(first)})。"))  # fmt: skip
    return found


def write_handout(
    result: EvalResult, path: Path, *, title: str, meta: Mapping[str, str] | None = None, replay: str = "",
    aside: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Writes the A4 page to `path`, in the reader's language, and returns it. Nothing is loaded from outside. `aside`
    are sentences about what was found beside the scores."""
    rows = [
        {
            "models": f"{display_name(one.candidate)} – {display_name(one.baseline)}",
            "grader": one.grader,
            "diff": signed(one.diff),
            "ci": f"{signed(one.ci[0])} … {signed(one.ci[1])}" if one.ci else "–",
            "p": "< 0.001" if one.p < 0.001 else f"{one.p:.3f}",
            "flips": f"{one.fixed} / {one.broken}",
        }
        for one in result.comparisons
    ]
    conclusions = [
        tr(*sentence(one, result.margin, result.only_form(one))) + f" ({one.grader})" for one in result.comparisons
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    page = environment.get_template(
        "handout.html.jinja"
    ).render(
        language=language(),
        style=Markup(STYLE),  # our own text; the hash below is of exactly these bytes
        style_hash="sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode(),
        title=title.encode("utf-8", "replace").decode(),
        tr=lambda english, japanese: str(tr(english, japanese)),
        conclusions=[str(one) for one in conclusions[:MOST]],
        rows=rows[:MOST],
        left=max(0, len(rows) - MOST),
        means=[(str(display_name(one.model)), one.grader, f"{100 * one.mean:.1f}") for one in result.results[:MOST]],
        n=result.n,
        meta=[(key, value.encode("utf-8", "replace").decode()) for key, value in (meta or {}).items()],
        replay=replay.encode("utf-8", "replace").decode(),
        limits=[str(one) for one in (*limits(result), *aside[:MOST])],
    )
    write_text(path, page)
    return path


def table(result: EvalResult) -> tuple[list[str], list[list[str]]]:
    """Header and rows: every reply of every model under every grader, with its score and why."""
    words: Sequence[Any] = (
        tr("item", "行"), tr("model", "モデル"), tr("grader", "採点"), tr("score", "点"), tr("why", "理由"),
        tr("reply", "返答"), tr("reference", "正解"), tr("prompt", "プロンプト"),
    )  # fmt: skip
    rows = [
        [str(where(item, index)), str(display_name(one.model)), one.grader, f"{one.grades[index].score:g}",
         str(one.grades[index].reason), result.replies[one.model][index], item.reference or "",
         item.prompt[-1].content if item.prompt else ""]
        for index, item in enumerate(result.items)
        for one in result.results
    ]  # fmt: skip
    return [str(word) for word in words], rows
