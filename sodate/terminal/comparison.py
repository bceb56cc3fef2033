"""An evaluation in the terminal: each model's mean under each grader, then every pair with its verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sodate.core.intervals import Interval
from sodate.core.text import en, ja, tr
from sodate.evaluate.items import can_show
from sodate.evaluate.run import FORM_ONLY, VERDICT_JA, Comparison, EvalResult, display_name
from sodate.evaluate.slices import Slice
from sodate.evaluate.stats import Verdict
from sodate.terminal import out, shown

if TYPE_CHECKING:
    from sodate.api.evaluation import Evaluation

_STYLE: Mapping[Verdict, str] = {
    "better": "bold green",
    "worse": "bold red",
    "equivalent": "cyan",
    "inconclusive": "yellow",
}
_WIDEST_BAR = 24


def print_result(result: EvalResult, console: Console) -> None:
    """All in points out of 100. Only names are ever broken over lines, and only where the terminal is narrow."""
    console.print(
        tr(
            f"Mean score with 95 % interval, {result.n} held-out items",
            f"平均点と 95% 信頼区間、評価データ {result.n} 件",
        ),
        style="bold",
    )
    console.print(_means(result, console.width))
    for model, one in result.answered.items():
        console.print(Text(f"{model}: {one}", style="dim"))
    for model, count in result.cut_off.items():
        name = display_name(model)
        if count:
            said = tr(f"{en(name)}: {count} of {result.n} replies were cut off (see --max-tokens)",
                      f"{ja(name)}: {result.n} 件中 {count} 件の返答が途中で切れました "
                      "(--max-tokens で延長)")  # fmt: skip
            console.print(Text(said, style="dim"))
    for (candidate, baseline), rows in result.pairs().items():
        console.print()
        new, old = display_name(candidate), display_name(baseline)
        console.print(Text(tr(f"{en(new)} vs {en(old)}", f"{ja(new)} と {ja(old)} の比較"), style="bold"))
        console.print(_pair(result, rows))
    if result.comparisons:
        said = tr(
            "\nPaired item by item; p is Holm-adjusted over the graders of a pair.",
            "\n同じデータどうしの比較。p は一組の採点方法全体で Holm 法により補正。",
        )
        console.print(Text(said, style="dim"))
        console.print(Text(can_show(result.independent), style="dim"))
    if result.form_only:
        console.print(Text(FORM_ONLY, style="yellow"))


def _means(result: EvalResult, width: int) -> Table:
    """A block per grader, a row per model, with a bar where there is room for one."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    longest = max(Text(str(display_name(model))).cell_len for model in result.replies)
    bar = min(_WIDEST_BAR, width - longest - 32)  # what name, mean and interval leave
    for grader in dict.fromkeys(one.grader for one in result.results):
        table.add_row(Text(grader, style="cyan"))
        for model in result.replies:
            one = result.score(model, grader)
            filled = round(bar * one.mean) if bar >= 8 else 0
            style = "dim" if model in result.baselines else "green"
            table.add_row(
                Text(f"  {display_name(model)}"),
                f"{100 * one.mean:.1f}",
                _interval(one.ci, ".1f"),
                Text("━" * filled, style),
            )
            for name, value in one.extra.items():
                table.add_row(Text(f"    {name}", style="dim"), Text(f"{100 * value:.1f}", style="dim"))
    return table


def _pair(result: EvalResult, rows: list[Comparison]) -> Table:
    """A row per grader. The least widths keep the columns of all pairs under one another."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(tr("grader", "採点"), overflow="fold")
    for title, width in ((tr("diff.", "差"), 6), (tr("95 % interval", "95% 信頼区間"), 15), ("p", 6)):
        table.add_column(title, justify="right", no_wrap=True, min_width=width)
    table.add_column(tr("fixed/\nbroken", "新たに\n正解/\n不正解"), justify="right", no_wrap=True)
    table.add_column(tr("verdict", "判定"), no_wrap=True)
    for row in rows:
        form = tr(" (form)", " (形式)") if result.only_form(row) else ""
        table.add_row(
            Text(row.grader + str(form)),
            f"{100 * row.diff:+.1f}",
            _interval(row.ci, "+.1f"),
            "<0.001" if row.p < 0.001 else f"{row.p:.3f}",
            f"{row.fixed}/{row.broken}",
            Text(tr(row.verdict, VERDICT_JA[row.verdict]), style=_STYLE[row.verdict]),
        )
    return table


def _interval(ci: Interval | None, scale: str) -> Text:
    """Text, since [ would open markup."""
    return Text("–" if ci is None else f"[{format(100 * ci[0], scale)}, {format(100 * ci[1], scale)}]")


def _parts(parts: Sequence[Slice]) -> Table:
    """A row for each value of a field, pair and grader; without a verdict where items are too few."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for title in (tr("slice", "区分"), "n", tr("compared", "比較"), tr("grader", "採点"), tr("diff.", "差"),
                  tr("95 % interval", "95% 信頼区間"), tr("verdict", "判定")):  # fmt: skip
        table.add_column(title, overflow="fold")
    for part in parts:
        for one in part.comparisons:
            verdict = tr(one.verdict, VERDICT_JA[one.verdict]) if part.enough else tr("too few rows", "行が足りない")
            table.add_row(
                Text(f"{part.field}={part.value}"), str(part.n),
                Text(f"{display_name(one.candidate)} – {display_name(one.baseline)}"), Text(one.grader),
                f"{100 * one.diff:+.1f}", _interval(one.ci, "+.1f"),
                Text(verdict, style=_STYLE[one.verdict] if part.enough else "dim"),
            )  # fmt: skip
    return table


def print_evaluation(done: Evaluation, examples: int) -> None:
    result = done.result
    print_result(result, out)
    if done.slices:
        out.print()
        out.print(_parts(done.slices))
    if lines := [*done.aside.lines(), *done.remarks]:
        out.print()
        for line in lines:
            out.print(f"· {shown(line)}", soft_wrap=True)
    for index in done.examples(examples):
        item = result.items[index]
        asked = next((m.content for m in reversed(item.prompt) if m.role == "user"), "")
        out.rule(
            shown(f"{item.source.file}:{item.source.line}" if item.source else str(index + 1)),
            align="left",
            style="dim",
        )
        out.print(shown(_clip(asked)), style="dim", soft_wrap=True)
        for model, replies in result.replies.items():
            name = shown(f"{result.mark(model, index)} {display_name(model)}")
            out.print(f"[bold]{name}[/]  {shown(_clip(replies[index]))}", soft_wrap=True)
        out.print(f"[dim]  {tr('reference', '正解')}  {shown(_clip(item.reference or ''))}[/]", soft_wrap=True)
    out.print(f"\n{tr('Report', 'レポート')}: {shown(str(done.report))}", soft_wrap=True)


def _clip(text: str, size: int = 400) -> str:
    return text if len(text) <= size else text[:size] + " …"
