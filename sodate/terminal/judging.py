"""What people's votes say, in the terminal: who is preferred under each viewpoint, and how far raters agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from sodate.core.text import counted, tr
from sodate.terminal import out, shown

ALPHA = 0.05  # a sign test's p below it tells two versions apart


def print_made(done: Mapping[str, Any]) -> None:
    """Where the sheets are, and what to do with them."""
    for sheet in done["sheets"]:
        out.print(shown(sheet), soft_wrap=True)
    out.print(
        tr(
            f"Study {done['study']}: {counted(done['rows'], 'row')}, {done['shared']} of them on every sheet.",
            f"調査 {done['study']}: {done['rows']} 行、うち {done['shared']} 行は全員のシートに入っています。",
        )
    )
    if done["replaced"]:
        out.print(
            tr(
                f"{done['replaced']} characters that CP932 does not have stand as 〓.",
                f"CP932 にない {done['replaced']} 文字を 〓 に置き換えました。",
            ),
            style="yellow",
        )
    out.print(tr("Filled in, they come back by: sodate judge import SHEET",
                 "記入後の取り込み: sodate judge import シート"), style="dim")  # fmt: skip


def print_judged(found: Mapping[str, Any]) -> None:
    """A block for each viewpoint."""
    raters = ", ".join(found["raters"])
    out.print(
        tr(
            f"Study {found['study']}: {counted(found['rows'], 'row')}, judged by {shown(raters)}",
            f"調査 {found['study']}: {found['rows']} 行、評価者 {shown(raters)}",
        ),
        style="bold",
        soft_wrap=True,
    )
    for one in found["viewpoints"]:
        out.print(f"\n[cyan]{shown(one['viewpoint'])}[/]")
        if not one["pairs"]:
            out.print(tr("Nobody has voted on this.", "この観点の票はありません。"), style="dim")
            continue
        out.print(_wins(one["pairs"]))
        if one["strength"]:
            out.print(_strengths(one["strength"]))
        _agreement(one)


def _wins(pairs: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each two versions, the one that won more often first."""
    table = _table(tr("more often", "多く選ばれた方"), tr("rows won", "勝ち"), tr("less often", "相手"),
                   tr("rows won", "勝ち"), tr("ties", "引き分け"), tr("both bad", "両方不可"), "n", "p",
                   "")  # fmt: skip
    for pair in pairs:
        (better, won), (worse, lost) = sorted(pair["wins"].items(), key=lambda one: -one[1])
        clear = pair["p"] < ALPHA
        said = tr("preferred", "有意差あり") if clear else tr("can't be told apart", "差は判定できず")
        table.add_row(
            Text(better), str(won), Text(worse), str(lost), str(pair["ties"]), str(pair["both_bad"]), str(pair["n"]),
            "<0.001" if pair["p"] < 0.001 else f"{pair['p']:.3f}", Text(said, "bold green" if clear else "yellow"),
        )  # fmt: skip
    return table


def _strengths(strength: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table(tr("strength (Bradley–Terry)", "強さ (Bradley–Terry)"), "", tr("95 % interval", "95% 信頼区間"))
    for name, one in sorted(strength.items(), key=lambda item: -item[1]["value"]):
        table.add_row(Text(name), f"{one['value']:+.2f}", _interval(one["ci"]))
    return table


def _agreement(one: Mapping[str, Any]) -> None:
    """κ of every two raters and α of all; nothing of one rater alone."""
    for pair, kappa in one["kappa"].items():
        out.print(Text(f"κ {pair}: {kappa:.2f} ").append_text(_interval(one["kappa_ci"].get(pair))), soft_wrap=True)
    if one["kappa"] and one["alpha"] is not None:
        said = tr("Krippendorff's α of all", "全員の Krippendorff の α")
        out.print(Text(f"{said}: {one['alpha']:.2f} ").append_text(_interval(one["alpha_ci"])), soft_wrap=True)
    if one["at_odds"]:
        names = shown(", ".join(one["at_odds"]))
        out.print(tr(f"At odds with everybody else: {names}", f"ほかの全員と合わない評価者: {names}"), style="yellow",
                  soft_wrap=True)  # fmt: skip


def print_agreement(record: Mapping[str, Any]) -> None:
    """How far a grader chooses as people do."""
    n, agreed, kappa = record["n"], record["agreed"], record["kappa"]
    if agreed is None:
        out.print(tr("Nobody has voted on this.", "この観点の票はありません。"))
        return
    grader, viewpoint = shown(record["grader"]), shown(record["viewpoint"])
    out.print(tr(f"{grader} chooses as people do ({viewpoint}) in {100 * agreed:.0f} % of {n} comparisons.",
                 f"{grader} は {n} 回の比較の {100 * agreed:.0f}% で人 ({viewpoint}) と同じ選択をしました。"),
              soft_wrap=True)  # fmt: skip
    if kappa is None:
        out.print(tr("κ can't be told: all chose alike.", "全員が同じ選択なので κ は計算できません。"), style="dim")
        return
    out.print(Text(f"κ {kappa:.2f} ").append_text(_interval(record["kappa_ci"])), style="bold")
    ci = record["kappa_ci"]
    believed = ci is not None and ci[0] > 0
    out.print(tr("A gate believes it.", "ゲートで使えます。") if believed else
              tr("A gate does not believe it: the interval of κ has to lie above 0.",
                 "ゲートでは使えません。κ の信頼区間が 0 より上にある必要があります。"),
              style="green" if believed else "yellow", soft_wrap=True)  # fmt: skip


def _table(*titles: str) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def _interval(ci: Sequence[float] | None) -> Text:
    """Text, since [ would open markup."""
    return Text("" if ci is None else f"[{_round(ci[0])}, {_round(ci[1])}]", "dim")


def _round(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # no -0.00
