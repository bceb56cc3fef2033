"""Data in the terminal: what a check found, rows as a model sees them, how many rows went where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from rich.text import Text

from sodate.core.text import counted, en, ja, tr, visible
from sodate.terminal import SHOWN, out, rows_line, shown
from sodate.terminal.words import figures, word

if TYPE_CHECKING:
    from sodate.api.data import ShownRow


def print_check(checked: Any, model: str | None) -> None:
    ledger = checked.ledger
    out.print(rows_line(checked), style="yellow" if ledger.set_aside else "green")
    for title, problems in ((tr("set aside", "除外"), ledger.set_aside), (tr("warnings", "警告"), ledger.warnings)):
        by_code: dict[str, list[Any]] = {}
        for problem in problems:
            by_code.setdefault(problem.code, []).append(problem)
        for code, group in by_code.items():
            count = ledger.counts[code]
            out.print(f"[bold]{title}: {code}[/] × {count}")
            for problem in islice(group, SHOWN):
                out.print(f"  {shown(problem.file)}:{problem.line}  {shown(problem.message)}", soft_wrap=True)
            if count > SHOWN:
                out.print(
                    tr(
                        f"  … and {count - SHOWN} more (--json lists {len(group)})",
                        f"  … 他 {count - SHOWN} 件 (--json で {len(group)} 件)",
                    )
                )
    flat = {k: v for k, v in checked.stats.items() if not isinstance(v, dict) and v is not None}
    nested = {
        k: v
        for k, v in checked.stats.items()
        if isinstance(v, dict) and v and k not in ("codes", "forecast", "teaching")
    }
    for key, values in nested.items():
        out.print(f"[dim]{word(key)}[/]  {shown(figures(key, values))}", soft_wrap=True)
    for key, value in flat.items():
        out.print(f"[dim]{word(key)}[/]  {shown(str(value))}", soft_wrap=True)
    if "forecast" in checked.stats:
        out.print(shown(forecast_sentence(str(model), checked.stats["forecast"])), soft_wrap=True)
    if "teaching" in checked.stats:
        print_teaching(checked.stats["teaching"])


def print_teaching(found: Mapping[str, Any]) -> None:
    """What these tasks can teach the model, by what it does with them now."""
    names = {
        "always_right": tr("always right, nothing left to gain", "いつも正解 (伸びる余地なし)"),
        "always_wrong": tr("always the same and not right, nothing to reward", "いつも同じで不正解 (報酬の差がない)"),
        "in_between": tr("in between: these teach", "場合による (ここから学べる)"),
    }
    tried, samples = found["tried"], found["samples"]
    out.print(tr(f"{found['model']} tried {tried} of {found['tasks']} tasks, {samples} replies each; mean reward "
                 f"{found['reward_mean']:.3f}",
                 f"{found['model']} が {found['tasks']} 件中 {tried} 件に {samples} 回ずつ回答。平均報酬 "
                 f"{found['reward_mean']:.3f}"), style="bold", soft_wrap=True)  # fmt: skip
    for key, name in names.items():
        low, high = found[key]["ci"]
        out.print(f"  {found[key]['share']:4.0%}  [{low:.0%}, {high:.0%}]  {name}")
    if found["known"]:
        again = tr(f"  {found['known']} of the {found['tasks']} rows ask what it was trained on already.",
                   f"  {found['tasks']} 行のうち {found['known']} 行は学習済みの質問です。")  # fmt: skip
        out.print(again, style="yellow")
    said = {
        "nothing to learn here": tr("Nothing to learn here: take other tasks, or a finer reward.",
                                    "学べるものがありません。別の問題か、より細かい報酬にしてください。"),
        "little to learn here": tr(f"Little to learn here: at most {found['steps']} steps of {found['batch_size']} "
                                   "tasks.",
                                   f"学べるものはわずかです。{found['batch_size']} 件ずつ最大 {found['steps']} ステップ"
                                   "程度。"),
        "worth training": tr(f"Worth {found['steps']} steps of {found['batch_size']} tasks: one pass over those in "
                             "between.",
                             f"目安は {found['batch_size']} 件ずつ {found['steps']} ステップ (学べる問題を 1 周)。"),
    }  # fmt: skip
    out.print(said[found["verdict"]], style="green" if found["verdict"] == "worth training" else "yellow")


def forecast_sentence(model: str, ahead: Mapping[str, Any]) -> str:
    """What `sodate data check` says of `stats.forecast`."""
    rate, memory = f"{ahead['gemm_gflops']:.0f} GFLOP/s", f"{ahead['bytes'] / 1e9:.1f} GB"
    tokens, computed = f"{ahead['tokens']:,}", f"{ahead['computed_tokens']:,}"
    time_needed = duration(ahead["seconds"])
    return tr(
        f"One epoch of LoRA with {model}: about {en(time_needed)} and {memory} on this machine, now at {rate} "
        f"({tokens} tokens, {computed} computed: shared beginnings once).",
        f"{model} の LoRA 学習 1 エポックの見込み: このマシン (いま {rate}) で約{ja(time_needed)}、"
        f"メモリ {memory}。{tokens} トークン、うち計算するのは {computed} (共通する先頭部分は一度だけ)。",
    )


def duration(spent: float) -> str:
    """Seconds as a person says them."""
    if spent < 90:
        return tr(f"{max(1, round(spent))} s", f" {max(1, round(spent))} 秒")
    if spent < 90 * 60:
        return tr(f"{round(spent / 60)} min", f" {round(spent / 60)} 分")
    return tr(f"{spent / 3600:.1f} h", f" {spent / 3600:.1f} 時間")


def print_rows(rows: Iterable[ShownRow]) -> None:
    """Rows as tokens: trained ones green, context dim."""
    for row in rows:
        place = f"[bold]{shown(row.file)}:{row.line}[/]"
        if row.problem is not None:
            out.print(f"{place} [red]{shown(row.problem)}[/]")
        for one in row.sequences:
            counts = tr(f"{one.tokens} tokens, {one.trained} trained", f"{one.tokens} トークン、うち学習 {one.trained}")
            out.print(f"{place}  {counts}")
            text = Text()
            for piece in one.pieces:
                text.append(visible(piece.text), "bold green" if piece.trained else "dim")
            out.print(text, soft_wrap=True)


def print_added(done: Any) -> None:
    """What an add came to."""
    about = done.dataset.manifest
    rows, name = about["rows"], shown(done.dataset.id)
    if done.new:
        out.print(
            tr(f"{name}: {counted(rows, 'row')} ({done.added} added, {done.changed} changed, {done.removed} removed).",
               f"{name}: {rows} 行（追加 {done.added}、変更 {done.changed}、削除 {done.removed}）。"),
            style="green",
        )  # fmt: skip
    else:
        out.print(tr(f"Nothing is new: {name} stays the newest.", f"新しい行はありません。最新は {name} のままです。"))
    for problem in islice(done.ledger.set_aside, SHOWN):
        out.print(f"  {shown(problem.file)}:{problem.line}  {shown(problem.message)}", soft_wrap=True)
    if (more := done.ledger.rows_aside - SHOWN) > 0:
        out.print(tr(f"  … and {more} more", f"  … 他 {more} 件"))


def print_split(done: Any, train: str, held_out: str) -> None:
    to_train, to_held_out = shown(train), shown(held_out)
    out.print(
        tr(
            f"{counted(done.train, 'row')} to {to_train}, {done.held_out} to {to_held_out}.",
            f"{to_train} に {done.train} 行、{to_held_out} に {done.held_out} 行。",
        )
    )
    for problem in done.ledger.set_aside:
        out.print(f"  {shown(problem.file)}:{problem.line}  {shown(problem.message)}", soft_wrap=True)
