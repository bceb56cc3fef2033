"""Exchanges, failures and clusters as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from sodate.core.text import en, ja, tr
from sodate.terminal import out, print_table, shown
from sodate.terminal.words import cell

DROPPED: Mapping[str, str] = {
    "queue_full": tr("too many at once", "一度に多すぎた"),
    "too_large": tr("too large", "大きすぎた"),
    "scrub_failed": tr("could not be scrubbed", "個人情報を取り除けなかった"),
    "database_failed": tr("could not be written", "書き込めなかった"),
}
REASONS: Mapping[str, str] = {
    "banned_words": tr("banned words", "禁止語"),
    "broken_schema": tr("broken form", "形式違反"),
    "judged_wrong": tr("judged wrong", "誤り"),
    "corrected": tr("corrected", "修正された"),
    "thumbs_down": tr("thumbs down", "低評価"),
    "answered_differently": tr("answered differently", "回答の揺れ"),
    "no_passage": tr("no passage", "資料なし"),
    "abstained": tr("abstained", "回答できず"),
    "low_confidence": tr("unsure", "低い確信度"),
    "unlike_training": tr("unlike training", "学習にない話題"),
    "slow": tr("slow", "遅い"),
}
_BARS = " ▁▂▃▄▅▆▇█"


def percent(share: float | None, ci: Sequence[float] | None = None) -> str:
    """A share with its interval, as a person says it."""
    if share is None:
        return "–"
    said = f"{100 * share:.1f} %"
    return said if ci is None else f"{said} ({100 * ci[0]:.1f}–{100 * ci[1]:.1f})"


def print_rules(told: Mapping[str, Any]) -> None:
    words = len(told["words"])
    row = {**told, "words": words, "graders": ", ".join(told["graders"]) or "–"}
    print_table([row])


def print_exchanges(told: Mapping[str, Any]) -> None:
    mode = {"off": tr("off", "オフ"), "on": tr("on", "オン"), "sampled": tr("sampled", "抽出")}[told["mode"]]
    out.print(
        tr(
            f"{told['project']}: recording is {en(mode)}; {told['served']:,} kept so far, {told['failed']:,} failed",
            f"{told['project']}: 記録は{ja(mode)}。これまでに {told['served']:,} 件、うち失敗 {told['failed']:,} 件",
        )
    )
    _print_dropped(told["dropped"])
    for one in told["exchanges"]:
        _print_exchange(one)
    if told["next"] is not None:
        out.print(tr(f"more: --before {told['next']}", f"続き: --before {told['next']}"), style="dim")


def print_failures(told: Mapping[str, Any]) -> None:
    found = told["shown"] or {"rate": None, "ci": None}
    out.print(
        tr(
            f"{told['failed']:,} of {told['exchanges']:,} exchanges failed: {percent(found['rate'], found['ci'])}",
            f"{told['exchanges']:,} 件中 {told['failed']:,} 件が失敗: {percent(found['rate'], found['ci'])}",
        )
    )
    fair = told["reviewed"]
    if fair["n"]:
        out.print(
            tr(
                f"of a fair share of {fair['n']} that people looked at: {percent(fair['rate'], fair['ci'])}",
                f"無作為に選んで人が確認した {fair['n']} 件では: {percent(fair['rate'], fair['ci'])}",
            )
        )
    else:
        out.print(
            tr(
                "how many really failed, nobody knows yet: sodate learn review",
                "本当の失敗率はまだ分かりません: sodate learn review",
            ),
            style="dim",
        )
    _print_dropped(told["dropped"])
    for one in told["reasons"]:
        out.print(f"  {one['count']:>8,}  {shown(one['says'])}  [dim]{one['reason']}[/]")
    most = told["feedback"]["most"]
    if most and most[0]["weight"] < 1:
        who, many, weight = most[0]["giver"], most[0]["said"], most[0]["weight"]
        out.print(
            tr(
                f"{who} has given {many:,} thumbs; each of theirs counts {weight:.2g} now",
                f"{who} の評価は {many:,} 件あり、いまは 1 件を {weight:.2g} 件と数えています",
            ),
            style="yellow",
        )
        down, weighed = (told["feedback"][key] for key in ("down_share", "down_share_weighed"))
        if down is not None and weighed is not None:
            out.print(
                tr(
                    f"thumbs down: {100 * down:.0f} % of all, {100 * weighed:.0f} % with each person weighed",
                    f"低評価: 全体の {100 * down:.0f}%。人ごとに重みを付けると {100 * weighed:.0f}%",
                ),
                style="yellow",
            )
    for one in told["failures"]:
        out.print()
        _print_exchange(one)
    if told["next"] is not None:
        out.print(tr(f"more: --after {told['next']}", f"続き: --after {told['next']}"), style="dim")


def print_clusters(told: Mapping[str, Any]) -> None:
    out.print(
        tr(
            f"{told['failures']:,} failures among {told['exchanges']:,} exchanges, {told['scattered']:,} of them "
            "like no others",
            f"やり取り {told['exchanges']:,} 件、失敗 {told['failures']:,} 件 "
            f"(どのまとまりにも入らないもの {told['scattered']:,} 件)",
        ),
        soft_wrap=True,
    )
    table = Table(box=None, header_style="bold")
    for heading in _HEADINGS:
        table.add_column(str(heading), overflow="fold")
    table.add_column(str(tr("id", "ID")), no_wrap=True, style="dim")
    for one in told["clusters"]:
        most = next(iter(one["reasons"]), "")
        weeks = sparkline([week["failures"] for week in one["by_week"]])
        table.add_row(shown(one["name"]), f"{one['failures']:,}", f"{one['exchanges']:,}", weeks,
                      str(REASONS.get(most, most)), str(_MENDS[one["mend"]]), one["id"])  # fmt: skip
    out.print(table)


_HEADINGS = (
    tr("about", "話題"), tr("failures", "失敗"), tr("of", "全体"), tr("by week", "週ごと"),
    tr("why", "理由"), tr("what mends it", "直し方"),
)  # fmt: skip
_MENDS = {
    "prompt": tr("a prompt", "プロンプト"),
    "document": tr("a document", "文書"),
    "examples": tr("examples", "学習用の例"),
    "nothing": tr("nothing", "対応不要"),
}


def sparkline(counts: Sequence[int], most: int = 12) -> str:
    """Counts over time as small bars, the last ones."""
    counts = counts[-most:]
    top = max(counts, default=0)
    return "".join(_BARS[-(-8 * count // top)] if top else " " for count in counts)


def print_progress(told: Mapping[str, Any]) -> None:
    """What review has come to: how much, the failure rate of the fair share, who is at odds."""
    made, fair = told["decisions"], told["failure_rate"]
    out.print(tr(f"{told['exchanges']:,} exchanges reviewed: {made['accept']} accepted, {made['correct']} corrected, "
                 f"{made['reject'] + made['both_bad']} rejected, {made['skip']} skipped",
                 f"確認済み {told['exchanges']:,} 件: 採用 {made['accept']}、修正 {made['correct']}、"
                 f"却下 {made['reject'] + made['both_bad']}、保留 {made['skip']}"))  # fmt: skip
    if fair["n"]:
        rate = percent(fair["rate"], fair["ci"])
        out.print(tr(f"failure rate by a fair share of {fair['n']}: {rate}",
                     f"無作為に選んだ {fair['n']} 件での失敗率: {rate}"))  # fmt: skip
    if odds := ", ".join(told["agreement"]["at_odds"]):
        out.print(shown(tr(f"at odds with the others: {odds}", f"ほかの人と判定が合わない人: {odds}")), style="yellow")


def print_replay(told: Mapping[str, Any]) -> None:
    out.print(
        tr(
            f"{told['candidate']} on {told['n']} exchanges: {told['same']} replies the same, {told['changed']} not",
            f"{told['candidate']}、やり取り {told['n']} 件: 同じ返答 {told['same']} 件、違う返答 {told['changed']} 件",
        )
    )
    print_table(
        [
            {
                "grader": name,
                "n": one["n"],
                "served": percent(one["served"]),
                "candidate": percent(one["candidate"]),
                "better": one["better"],
                "worse": one["worse"],
                "difference": f"{100 * one['ci'][0]:+.1f} … {100 * one['ci'][1]:+.1f}",
            }
            for name, one in told["graders"].items()
        ]
    )
    for one in told["differences"][:5]:
        out.print()
        out.print(f"[dim]{shown(one['id'])}[/]  {shown(one['question'])}", soft_wrap=True)
        out.print(f"  − {shown(one['served'])}", soft_wrap=True)
        out.print(f"  + {shown(one['candidate'])}", soft_wrap=True)


def _print_exchange(one: Mapping[str, Any]) -> None:
    at = cell("created_at", one["created_at"])
    reasons = ", ".join(str(REASONS[reason["reason"]]) for reason in one["reasons"])
    out.print(f"[bold]{shown(one['id'])}[/]  [dim]{at}  {shown(one['version'])}[/]  [red]{reasons}[/]", soft_wrap=True)
    out.print(f"  > {shown(one['question'])}", soft_wrap=True)
    out.print(f"  {shown(one['reply'])}", soft_wrap=True)


def _print_dropped(dropped: Mapping[str, int]) -> None:
    if dropped:
        named = ((DROPPED[why], count) for why, count in dropped.items())
        counted = (tr(f"{en(why)} {count:,}", f"{ja(why)} {count:,}") for why, count in named)
        out.print(tr("not kept: ", "記録できなかったもの: ") + tr(", ", "、").join(counted), style="yellow")
