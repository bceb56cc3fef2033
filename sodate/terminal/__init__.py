"""What a person sees in the terminal. Results go to stdout; progress goes to stderr and vanishes when it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from sodate.core.text import counted, en, ja, json_text, size, tr, visible
from sodate.terminal.words import cell, word

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

FOLDERS = ("path", "run_dir")  # columns that a narrow terminal does without
SHOWN = 5  # rows of each code that `data check` prints


def shown(text: str) -> str:
    """Text from data, models or files, as print takes it: neither markup nor a command to the terminal."""
    return escape(visible(text))


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        out.print(tr("None yet.", "まだありません。"))
        return
    cells = [{key: cell(key, value) for key, value in row.items()} for row in rows]
    wide = {key: max(cell_len(row[key]) for row in ({key: str(word(key))}, *cells)) for key in rows[0]}
    keys, gap = list(wide), 2
    piped = not out.is_terminal and "COLUMNS" not in os.environ  # for a program, which wants one line a row
    room = sum(wide.values()) + gap * len(keys) if piped else out.width
    if sum(wide.values()) + gap * (len(keys) - 1) > room:
        keys = [key for key in keys if key not in FOLDERS] or keys  # they can be worked out, and --json has them
        gap = 2 if sum(wide[key] for key in keys) + 2 * (len(keys) - 1) <= room else 1
    table = Table(box=None, header_style="bold", padding=(0, gap, 0, 0), pad_edge=False)
    for key in keys:
        table.add_column(str(word(key)), overflow="fold", no_wrap=key == keys[0])  # a name is there to be copied
    for row in cells:
        table.add_row(*(shown(row[key]) for key in keys))
    (Console(width=room, highlight=False) if piped else out).print(table)


def print_tree(value: Mapping[str, Any]) -> None:
    out.print(JSONHighlighter()(json_text(value, indent=2)), soft_wrap=True)


def print_export(done: Mapping[str, Any]) -> None:
    """The files of an export, what is to be known of them, and how far they answer as the version does."""
    one = done["agreement"]
    for file in done["files"]:
        out.print(shown(file), soft_wrap=True)
    for note in done["notes"]:
        out.print(f"[dim]{shown(note)}[/]", soft_wrap=True)
    same = round(one["greedy_equal"] * one["conversations"])
    out.print(
        tr(f"{one['engine']} answers as {done['version']} does: token ids of {one['conversations']} conversations "
           f"identical, {same} greedy replies identical, KL {one['kl_mean']:.2g} nats on average and "
           f"{one['kl_max']:.2g} at most, and it stops by itself.",
           f"{one['engine']} は {done['version']} と同じように答えます。会話 {one['conversations']} 件の"
           f"トークン ID が一致、貪欲な返答は {same} 件が一致、KL は平均 {one['kl_mean']:.2g}、"
           f"最大 {one['kl_max']:.2g} ナット。返答は自分で終わります。"),
        soft_wrap=True,
    )  # fmt: skip


def print_plan(rows: Sequence[Mapping[str, Any]]) -> None:
    amounts = ("bytes", "weights", "gradients", "optimizer", "activations")
    print_table([{key: size(v) if key in amounts else v for key, v in row.items()} for row in rows])
    out.print(tr("Worked out from the model's headers; not measured on such a cluster.",
                 "モデルのヘッダーからの計算値で、実際のクラスタでは測定していません。"))  # fmt: skip


def print_problem(problem: Any) -> None:
    """A row that can't be used, on stderr: said, not dropped in silence."""
    err.print(f"{shown(problem.file)}:{problem.line}  {shown(problem.message)}", soft_wrap=True)


def print_models(entries: Sequence[Any]) -> None:
    print_table([{"model": e.id, "architecture": e.architecture, "parameters": f"{e.parameters / 1e6:.0f}M",
                  "licence": e.licence or "?"} for e in entries])  # fmt: skip


def print_model(entry: Any) -> None:
    template = (
        tr("with chat template", "チャットテンプレートあり")
        if entry.chat_template
        else tr("base model without template", "テンプレートなしのベースモデル")
    )
    out.print(f"[bold]{shown(entry.id)}[/]  {entry.parameters / 1e6:.0f}M, {template}, {shown(entry.licence or '?')}")


def rows_line(checked: Any) -> str:
    rows_in, used, aside = checked.ledger.rows_in, checked.ledger.rows_used, checked.ledger.rows_aside
    counts = tr(
        f"{counted(rows_in, 'row')} in = {used} used + {aside} set aside",
        f"入力 {rows_in} 行 = 使用 {used} + 除外 {aside}",
    )
    return f"{counts}  ({shown(checked.format)})" if checked.format else str(counts)


def decision_line(key: str, value: Any, reason: str) -> str:
    """What `auto` became, and why, as print takes it."""
    said = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"  [dim]auto[/] {key} = {shown(said)}  [dim]{shown(reason)}[/]"


# ── progress ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _bar(*columns: str) -> Progress:
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), *(TextColumn(c) for c in columns),
        TimeRemainingColumn(), console=err, transient=True, disable=not err.is_terminal,
    )  # fmt: skip


@contextlib.contextmanager
def training(quiet: bool) -> Iterator[Callable[[str, Any], None]]:
    """A listener for `sodate.train` that shows the check, the decisions, and a bar with loss, tokens/s, time left."""
    if quiet:
        yield lambda kind, data: None
        return
    with _bar("{task.fields[done]}") as bar:
        task = bar.add_task(tr("Loading", "読み込み中"), total=None, done="")
        totals = {"tokens": 0, "seconds": 0.0}

        def listen(kind: str, data: Any) -> None:
            if kind == "checked":
                ledger = data.ledger
                bar.console.print(rows_line(data))
                for problem in islice(ledger.set_aside, SHOWN):
                    bar.console.print(
                        f"  {shown(problem.file)}:{problem.line} {shown(problem.message)}", soft_wrap=True
                    )
                if (more := ledger.rows_aside - SHOWN) > 0:
                    told = tr(f"  … {more} more (sodate data check)", f"  … 他 {more} 件 (sodate data check)")
                    bar.console.print(shown(told))
            elif kind == "run":
                bar.console.print(f"[dim]{shown(str(data.path))}[/]", soft_wrap=True)
                bar.update(task, description=tr("Preparing", "準備中"))
            elif kind == "decisions":
                for one in data:
                    bar.console.print(decision_line(one.key, one.value, one.reason), soft_wrap=True)
            elif kind == "warning":
                bar.console.print(f"[yellow]{shown(data)}[/]", soft_wrap=True)
            elif kind == "step":
                totals["tokens"] += data["tokens"]
                totals["seconds"] += data["seconds"]
                rate = f"{totals['tokens'] / totals['seconds']:,.0f}"
                done = tr(f"{data['step']}/{data['steps']} loss {data['loss']:.4f} {rate} tokens/s",
                          f"{data['step']}/{data['steps']} 損失 {data['loss']:.4f} {rate} トークン/秒")  # fmt: skip
                bar.update(task, description=tr("Training", "学習中"), total=data["steps"], completed=data["step"],
                           done=done)  # fmt: skip
                if "eval_reward" in data:
                    low, high = data["eval_reward_low"], data["eval_reward_high"]
                    said = tr(f"step {data['step']}: reward {data['reward_mean']:.3f}, held-out reward "
                              f"{data['eval_reward']:.3f} ({low:.3f} to {high:.3f}, {data['eval_items']} items)",
                              f"ステップ {data['step']}: 報酬 {data['reward_mean']:.3f}、評価報酬 "
                              f"{data['eval_reward']:.3f} ({low:.3f}〜{high:.3f}、{data['eval_items']}件)")  # fmt: skip
                    bar.console.print(f"  {said}")
                elif "eval_loss" in data:
                    step, loss, held_out = data["step"], f"{data['loss']:.4f}", f"{data['eval_loss']:.4f}"
                    said = tr(f"step {step}: loss {loss}, held-out loss {held_out}",
                              f"ステップ {step}: 損失 {loss}、検証損失 {held_out}")  # fmt: skip
                    if "eval_margin" in data:
                        margin, right = f"{data['eval_margin']:.3f}", f"{100 * data['eval_accuracy']:.0f} %"
                        said += tr(f", margin {margin}, right {right}", f"、差 {margin}、正答 {right}")
                    bar.console.print(f"  {said}")

        yield listen


@contextlib.contextmanager
def evaluating(quiet: bool) -> Iterator[Callable[[str, Any], None]]:
    """A listener for `sodate.evaluate`: one bar per contestant."""
    if quiet:
        yield lambda kind, data: None
        return
    with _bar("{task.completed}/{task.total}") as bar:
        tasks: dict[str, Any] = {}

        def listen(kind: str, data: Any) -> None:
            if kind == "reply":
                if data["model"] not in tasks:
                    tasks[data["model"]] = bar.add_task(shown(data["model"]), total=data["total"])
                bar.update(tasks[data["model"]], completed=data["done"])
            elif kind == "warning":
                bar.console.print(f"[yellow]{shown(data)}[/]", soft_wrap=True)
            elif kind == "planned":
                bar.console.print(shown(data), style="dim", soft_wrap=True)

        yield listen


@contextlib.contextmanager
def pulling(quiet: bool) -> Iterator[Callable[[float, str], None]]:
    """A listener for `models pull`."""
    if quiet:
        yield lambda fraction, text: None
        return
    with _bar() as bar:
        task = bar.add_task("", total=1.0)
        yield lambda fraction, text: bar.update(task, completed=fraction, description=shown(text))


# ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def print_trained(result: Mapping[str, Any]) -> None:
    minutes, seconds = divmod(int(result["train_seconds"]), 60)
    rate = result["tokens"] / max(result["train_seconds"], 1e-9)
    steps, time = result["steps"], f"{minutes}:{seconds:02d}"
    loss, memory = (
        f"{result['first_loss']:.3f} → {result['final_loss']:.3f}",
        f"{result['peak_rss_bytes'] / 1e9:.1f} GB",
    )
    said = tr(f"{counted(steps, 'step')} in {time} ({rate:,.0f} tokens/s), loss {loss}, peak memory {memory}",
              f"{steps} ステップ、{time} ({rate:,.0f} トークン/秒)、損失 {loss}、最大メモリ {memory}")  # fmt: skip
    if result["version"] is None:
        out.print(tr(f"[bold yellow]no version[/]  {en(said)}", f"[bold yellow]バージョンなし[/]  {ja(said)}"))
    else:
        out.print(f"[bold green]{result['version']}[/]  {said}")
    if result.get("verdict") in ("gain", "unknown"):  # of no gain it was warned
        out.print(f"  {shown(result['said'])}", style="green" if result["verdict"] == "gain" else "dim", soft_wrap=True)
    if result.get("look_seconds"):
        looked, share = f"{result['look_seconds']:.0f}", f"{result['look_share']:.0%}"
        cost = tr(f"  Looking at held-out rows took {looked} s, {share} of the run.",
                  f"  検証用の行の確認には {looked} 秒 (学習全体の {share}) かかりました。")  # fmt: skip
        out.print(cost, style="dim")
    if result["version"] is None:
        out.print(tr("  Nothing was registered; register_no_gain=true keeps the weights all the same.",
                     "  何も登録していません。register_no_gain=true なら重みを残せます。"), soft_wrap=True)  # fmt: skip
        return
    if result.get("best_step") not in (None, result["steps"]):
        rewarded = "reward" in result.get("held_out", {})
        most = (
            tr("the held-out reward was highest", "検証用の報酬が最大")
            if rewarded
            else tr("held-out loss was lowest", "検証損失が最小")
        )
        step = result["best_step"]
        out.print(
            tr(
                f"  kept: the weights of step {step}, where {en(most)}",
                f"  {ja(most)}だったステップ {step} の重みを保存しました",
            )
        )
    for key, one in result.get("spread", {}).items():
        versions, n, spread = " ".join(result["versions"]), len(one["values"]), f"{one['mean']:.4f} ± {one['sd']:.4f}"
        said = tr(f"  {key} of {n} seeds: {spread}; tell luck from gain with: sodate eval {versions}",
                  f"  シード {n} 個の {key}: {spread}。運と改善を見分けるには: sodate eval {versions}")  # fmt: skip
        out.print(shown(said), soft_wrap=True)
    if "reward_model" in result:
        print_reward_model(result["reward_model"])
    else:
        out.print(f"  sodate chat {result['version']}")


def print_reward_model(worth: Mapping[str, Any]) -> None:
    """What held-out pairs say of a reward model, and whether to trust it."""
    if not worth["prompts"]:
        out.print(tr("  no held-out pairs (--eval): it is not known how good its scores are",
                     "  検証用の組 (--eval) がないため、採点の確かさは不明です"), style="yellow")  # fmt: skip
        return
    low, high = worth["accuracy_ci"]
    right, rule = f"{100 * worth['accuracy']:.0f} %", f"{100 * worth['longer_is_better_accuracy']:.0f} %"
    span, tie = f"{100 * low:.0f}–{100 * high:.0f} %", worth["length_correlation"]
    length = "–" if tie is None else f"{tie:+.2f}"
    out.print(
        tr(f"  held-out: right in {right} of {worth['prompts']} prompts ({span}); the longer reply: {rule}; "
           f"calibration error {worth['calibration_error']:.2f}; correlation with length {length}",
           f"  評価: {worth['prompts']} 件中 {right} 正しい ({span})。長い方を選ぶ規則: {rule}。"
           f"較正誤差 {worth['calibration_error']:.2f}、長さとの相関 {length}"),
        soft_wrap=True,
    )  # fmt: skip
    if worth["trustworthy"]:
        out.print(tr("  beats chance and length", "  偶然と長さの規則を上回っています"), style="green")
    else:
        what = tr("chance", "偶然") if not worth["beats_chance"] else tr("the rule that longer is better", "長さの規則")
        out.print(
            tr(
                f"  not shown to beat {en(what)}: reinforcement will refuse it",
                f"  {ja(what)}を上回るとは言えません。強化学習では使えません",
            ),
            style="yellow",
        )


def print_imported(made: Any) -> None:
    """What an import made, and what it left and why."""
    for one in made.made:
        out.print(f"{shown(str(word(one['kind'])))}  [bold]{shown(one['name'])}[/bold]  ← {shown(one['from'])}")
    if made.left:
        out.print()
        out.print(tr("Does not carry over:", "引き継げないもの:"))
    for one in made.left:
        out.print(f"  {shown(one['from'])}: {shown(str(one['why']))}")
