"""The page of a cycle: this month's steps with their reasons, and all months side by side. Nothing is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from sodate.core.files import write_text
from sodate.core.intervals import difference_ci
from sodate.core.manifests import read_manifest
from sodate.core.text import tr, visible

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}"
    "table{border-collapse:collapse;margin:1rem 0}th,td{border-bottom:1px solid #ddd;padding:.35rem .8rem;"
    "text-align:left;vertical-align:top}td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}"
    ".scroll{overflow-x:auto}"
    "small{color:#666}.done{color:#0a6b2d}.stopped{color:#9a3b00}.skipped,.nothing{color:#666}svg{display:block}"
    "@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#141414}th,td{border-color:#333}small{color:#999}"
    ".done{color:#67c98a}.stopped{color:#f0a35e}}"
)
Month = dict[str, Any]


def write(root: Path, month: str) -> Path:
    """Writes the pages of this month and of all months; returns the month's."""
    months = [read_manifest(path) for path in sorted(root.glob("*/cycle.json"))]
    here = next(one for one in months if one["month"] == month)
    rates = [(_stock(one).get("reviewed") or {}) for one in months]
    first = next((rate for rate in rates if rate.get("n")), None)
    for one, rate in zip(months, rates, strict=True):
        if first is not None and rate is not first and rate.get("n"):
            ends = difference_ci(rate["failed"], rate["n"], first["failed"], first["n"])
            one["change"] = {"diff": rate["rate"] - first["rate"], "ci": ends}
    until = [one for one in months if one["month"] <= month]
    write_text(root / month / "page.html", _page(here, until))
    write_text(root / "page.html", _page(months[-1], months))
    return root / month / "page.html"


def _page(here: Month, months: Sequence[Month]) -> str:
    title = f"{here['cycle']} {here['month']}"
    steps = "".join(
        f'<tr><td>{_t(_STEP[one["name"]])}</td><td class="{_t(one["status"])}">{_t(_STATUS[one["status"]])}</td>'
        f"<td>{_t(one['why'])}</td></tr>"
        for one in here["steps"]
    )
    head = "".join(f"<th>{_t(one['month'])}</th>" for one in months)
    body = "".join(_line(name, [figure(one) for one in months]) for name, figure in _FIGURES)
    report = (here.get("measured") or {}).get("report")
    more = f"<p>{_t(tr('The comparison:', '比較:'))} <code>{_t(report)}</code></p>" if report else ""
    wear = (here.get("measured") or {}).get("wear") or {}
    worn = tr(
        f"{wear.get('dataset')} was used {wear.get('uses')} times; luck alone makes the best of so many look "
        f"{100 * wear.get('luck', 0):.1f} points better.",
        f"{wear.get('dataset')} の使用は {wear.get('uses')} 回目。偶然だけで最良のものは "
        f"{100 * wear.get('luck', 0):.1f} ポイント良く見えます。",
    )
    return (
        f'<!doctype html><html lang="{_t(tr("en", "ja"))}"><head><meta charset="utf-8"><title>{_t(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>{_t(title)}</h1>{_curves(months)}"
        f'<h2>{_t(tr("Steps", "手順"))}</h2><div class="scroll"><table>{steps}</table></div>{more}'
        f"<h2>{_t(tr('All months', 'これまでの月'))}</h2>"
        f'<div class="scroll"><table><tr><th></th>{head}</tr>{body}</table></div>'
        f"<p><small>{_t(_LEGEND)}{' ' + _t(worn) if wear else ''}</small></p></body></html>\n"
    )


_STEP = {
    "stock": tr("take stock", "実績の集計"), "propose": tr("new rows", "新しい行"),
    "fresh": tr("train from the base", "ベースから学習"), "continued": tr("train on", "追加学習"),
    "compare": tr("compare", "比較"), "gate": tr("gate", "ゲート"), "promote": tr("promote", "公開"),
}  # fmt: skip
_STATUS = {
    "done": tr("done", "完了"), "nothing": tr("nothing", "なし"), "skipped": tr("skipped", "省略"),
    "stopped": tr("stopped", "中止"), "planned": tr("planned", "予定"),
}  # fmt: skip
_LEGEND = tr(
    "Rates with their 95 % interval. The failure rate is of exchanges drawn at random and reviewed by people. "
    "Differences are in points, the candidate less production, on the same rows.",
    "率の括弧内は 95% 信頼区間。失敗率は、無作為に選んで人が確認したやり取りの割合。"
    "差は、同じ行での候補と現行の差（ポイント）。",
)


def _measured(one: Month) -> dict[str, Any]:
    return one.get("measured") or {}


def _of(one: Month, role: str) -> dict[str, Any]:
    found = _measured(one)
    name = found.get("best" if role == "candidate" else "baseline")
    figures: dict[str, Any] = (found.get("models") or {}).get(name) or {}
    return figures


def _now(one: Month) -> dict[str, Any]:
    """The figures of what is in production when the month ends."""
    return _of(one, "candidate" if one.get("promoted") else "baseline")


def _rate(value: float | None, ci: Sequence[float] | None = None) -> str:
    if value is None:
        return "–"
    between = f" ({_to(ci, '.0f')})" if ci else ""
    return f"{100 * value:.1f} %{between}"


def _to(ci: Sequence[float], form: str) -> str:
    """Two ends in points; one that rounds to nothing has no sign."""
    low, high = (format(round(100 * end) or 0, form if round(100 * end) else ".0f") for end in ci)
    return tr(f"{low} to {high}", f"{low}〜{high}")


def _points(found: dict[str, Any] | None) -> str:
    if not found:
        return "–"
    rows = f", n = {found['n']}" if "n" in found else ""
    return f"{100 * found['diff']:+.1f} ({_to(found['ci'] or (found['diff'], found['diff']), '+.0f')}{rows})"


def _cost(figures: dict[str, Any]) -> str:
    cost = figures.get("cost")
    return "–" if cost is None else f"{figures.get('currency') or ''}{cost:.3g}"


def _stock(one: Month) -> dict[str, Any]:
    return one.get("stock") or {}


Figure = Callable[[Month], str]
_FIGURES: tuple[tuple[str, Figure], ...] = (
    (tr("Failure rate, reviewed", "失敗率（人の確認）"),
     lambda one: _rate(*((_stock(one).get("reviewed") or {}).get(key) for key in ("rate", "ci")))),
    (tr("Change since the first month", "最初の月からの変化"), lambda one: _points(one.get("change"))),
    (tr("Failures that show", "表に現れた失敗"),
     lambda one: _rate(*((_stock(one).get("shown") or {}).get(key) for key in ("rate", "ci")))),
    (tr("Exchanges", "やり取り"), lambda one: str(_stock(one).get("exchanges", "–"))),
    (tr("Share answered", "回答した割合"), lambda one: _rate(_stock(one).get("answered"))),
    (tr("New rows: training", "新しい行: 学習"), lambda one: str((one.get("new") or {}).get("training", "–"))),
    (tr("New rows: held out", "新しい行: 評価"), lambda one: str((one.get("new") or {}).get("held_out", "–"))),
    (tr("Dataset", "データセット"), lambda one: str(one.get("dataset") or "–")),
    (tr("Held out", "評価用"), lambda one: str(one.get("held_out") or "–")),
    (tr("In production before", "開始時の公開版"), lambda one: str(one.get("production") or "–")),
    (tr("Candidate", "候補"), lambda one: str(one.get("candidate") or "–")),
    (tr("Score of what was in production", "公開版の点数"),
     lambda one: _rate(*(_of(one, "baseline").get(key) for key in ("mean", "ci")))),
    (tr("Score of the candidate", "候補の点数"),
     lambda one: _rate(*(_of(one, "candidate").get(key) for key in ("mean", "ci")))),
    (tr("Difference, all rows", "差（すべての行）"), lambda one: _points(_measured(one).get("whole"))),
    (tr("Difference, old rows (forgetting)", "差（以前からの行、忘却）"),
     lambda one: _points((_measured(one).get("sides") or {}).get("old"))),
    (tr("Difference, new rows", "差（新しい行）"), lambda one: _points((_measured(one).get("sides") or {}).get("new"))),
    (tr("Verdict", "判定"), lambda one: str(one.get("verdict") or "–")),
    (tr("Promoted", "公開"), lambda one: str(tr("yes", "はい") if one.get("promoted") else tr("no", "いいえ"))),
    (tr("Coverage at 95 % right", "正答率 95% での回答率"), lambda one: _rate(_now(one).get("coverage"))),
    (tr("Cost of a request", "1 件の費用"), lambda one: _cost(_now(one))),
    (tr("Uses of the held-out rows", "評価データの使用回数"),
     lambda one: str((_measured(one).get("wear") or {}).get("uses", "–"))),
)  # fmt: skip


def _line(name: str, figures: Sequence[str]) -> str:
    cells = "".join(f'<td class="n">{_t(one)}</td>' for one in figures)
    return f"<tr><th>{_t(name)}</th>{cells}</tr>"


def _curves(months: Sequence[Month]) -> str:
    """The failure rate of each month, and the score in production at its end, as lines."""
    rates = [(_stock(one).get("reviewed") or {}).get("rate") for one in months]
    scores = [_now(one).get("mean") for one in months]
    names = [one["month"] for one in months]
    return (
        _curve(tr("Failure rate of each month, as reviewed, %", "各月の失敗率、人の確認による（%）"), names, rates)
        + _curve(tr("Score in production at the end of each month, %", "月末の公開版の点数（%）"), names, scores)
    )  # fmt: skip


def _curve(label: str, months: Sequence[str], values: Sequence[float | None]) -> str:
    known = [(month, value) for month, value in zip(months, values, strict=True) if value is not None]
    if len(known) < 2:
        return ""
    width, height, step = 640, 160, 560 / (len(known) - 1)
    places = [(40 + step * number, 130 - 110 * value) for number, (_, value) in enumerate(known)]
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y in places)
    small = 12 if len(known) < 11 else 9
    dots = "".join(
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3"></circle><text x="{x:.0f}" y="{y - 8:.0f}" text-anchor="middle" '
        f'font-size="12">{100 * value:.0f}</text><text x="{x:.0f}" y="150" text-anchor="middle" font-size="{small}">'
        f"{_t(month)}</text>"
        for (x, y), (month, value) in zip(places, known, strict=True)
    )
    return (
        f'<figure><figcaption>{_t(label)}</figcaption><svg viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-label="{_t(label)}" fill="currentColor"><line x1="40" y1="130" x2="600" y2="130" stroke="currentColor" '
        f'stroke-opacity="0.3"></line><polyline points="{line}" fill="none" stroke="currentColor" '
        f'stroke-width="2"></polyline>{dots}</svg></figure>'
    )


def _t(text: object) -> str:
    return escape(visible(str(text)))
