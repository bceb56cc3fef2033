"""What a person sees in the terminal. Results go to stdout; progress goes to stderr and vanishes when it ends."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sodate.core.errors import UsageError
from sodate.core.text import en, ja, tr, visible

if TYPE_CHECKING:
    from sodate.data.split import By

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

SHOWN = 5  # rows of each code that `data check` prints


def shown(text: str) -> str:
    """Text from data, models or files, as print takes it: neither markup nor a command to the terminal."""
    return escape(visible(text))


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        out.print(tr("None yet.", "まだありません。"))
        return
    table = Table(box=None, header_style="bold")
    for key in rows[0]:
        table.add_column(key, overflow="fold")
    for row in rows:
        table.add_row(*(shown("–" if value is None else str(value)) for value in row.values()))
    out.print(table)


def print_tree(value: Mapping[str, Any]) -> None:
    out.print_json(json.dumps(value, ensure_ascii=False), highlight=True)


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


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def print_check(checked: Any, model: str | None) -> None:
    ledger = checked.ledger
    out.print(_rows_line(checked), style="yellow" if ledger.set_aside else "green")
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
    nested = {k: v for k, v in checked.stats.items() if isinstance(v, dict) and v and k not in ("codes", "forecast")}
    out.print("  ".join(f"[dim]{k}[/] {shown(str(v))}" for k, v in flat.items()), soft_wrap=True)
    for key, values in nested.items():
        text = ", ".join(f"{k} {_short(v)}" for k, v in islice(values.items(), 12))
        out.print(f"[dim]{key}[/] {shown(text)}{' …' if len(values) > 12 else ''}", soft_wrap=True)
    if "forecast" in checked.stats:
        from sodate.model.forecast import sentence

        out.print(shown(sentence(str(model), checked.stats["forecast"])), soft_wrap=True)


def _rows_line(checked: Any) -> str:
    rows_in, used, aside = checked.ledger.rows_in, checked.ledger.rows_used, checked.ledger.rows_aside
    counts = tr(
        f"{rows_in} rows in = {used} used + {aside} set aside", f"入力 {rows_in} 行 = 使用 {used} + 除外 {aside}"
    )
    return f"{counts}  ({shown(checked.format)})"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def line_numbers(text: str) -> set[int]:
    """`1-3,7` as {1, 2, 3, 7}."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise UsageError(
                tr(f"--rows {text!r} is not like 1-3,7.", f"--rows {text!r} は 1-3,7 のように指定してください。"),
                code="bad_value",
                param="rows",
            )
        if int(last or first) < int(first):
            raise UsageError(
                tr(f"--rows {part}: the last line comes before the first.", f"--rows {part} は前後が逆です。"),
                code="bad_value",
                param="rows",
            )
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def show_rows(
    file: Path,
    model: str,
    lines: set[int],
    template: str | None,
    columns: Mapping[str, str] | None,
    encoding: str | None,
) -> None:
    """Rows of a file as tokens: trained ones green, context dim."""
    from sodate.data.compare import conversations_of
    from sodate.data.load import Loaded, load
    from sodate.release.lookup import look_up
    from sodate.render.renderer import Renderer

    files = look_up(model)
    renderer = Renderer.from_folder(files.folder, template or files.template)
    found = 0
    for row in load(file, columns, encoding)[1]:
        line = row.row.line if isinstance(row, Loaded) else row.line
        if line not in lines:
            if line > max(lines):
                break
            continue
        found += 1
        if not isinstance(row, Loaded):
            out.print(f"[bold]{shown(str(file))}:{line}[/] [red]{shown(row.message)}[/]")
            continue
        conversations = conversations_of(row.example)
        if not conversations:
            out.print(f"[bold]{shown(str(file))}:{line}[/] {tr('no reply in it', '返答がありません')}")
        for sequence in (sequence for one in conversations for sequence in renderer.render(one)):
            trained = sum(w > 0 for w in sequence.weights)
            count = len(sequence.ids)
            counts = tr(f"{count} tokens, {trained} trained", f"{count} トークン、うち学習 {trained}")
            out.print(f"[bold]{shown(str(file))}:{line}[/]  {counts}")
            out.print(_coloured(renderer, sequence), soft_wrap=True)
    if not found:
        raise UsageError(
            tr(f"{file} has no row {sorted(lines)}.", f"{file} に {sorted(lines)} 行目はありません。"),
            code="no_rows",
            param="rows",
            file=file,
        )


def _coloured(renderer: Any, sequence: Any) -> Text:
    text = Text()
    start = 0
    # Runs of equal weight are decoded together, so that characters made of several tokens stay whole.
    for end in range(1, len(sequence.ids) + 1):
        if end == len(sequence.ids) or (sequence.weights[end] > 0) != (sequence.weights[start] > 0):
            style = "bold green" if sequence.weights[start] > 0 else "dim"
            text.append(visible(renderer.decode(sequence.ids[start:end])), style)
            start = end
    return text


def split(
    files: Sequence[Path], train: Path, held_out: Path, by: By, share: float, column: str | None, seed: int,
    columns: Mapping[str, str] | None, encoding: str | None, as_json: bool,
) -> None:  # fmt: skip
    from sodate.data.split import split as split_files

    done = split_files(
        files, train, held_out, by=by, share=share, column=column, seed=seed, columns=columns, encoding=encoding
    )
    if as_json:
        print(json.dumps({"train": done.train, "held_out": done.held_out, "set_aside": done.ledger.rows_aside}))
    else:
        to_train, to_held_out = shown(str(train)), shown(str(held_out))
        out.print(
            tr(
                f"{done.train} rows to {to_train}, {done.held_out} to {to_held_out}.",
                f"{to_train} に {done.train} 行、{to_held_out} に {done.held_out} 行。",
            )
        )
        for problem in done.ledger.set_aside:
            out.print(f"  {shown(problem.file)}:{problem.line}  {shown(problem.message)}", soft_wrap=True)


# ── progress ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _bar(*columns: str) -> Progress:
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), *(TextColumn(c) for c in columns),
        TimeRemainingColumn(), console=err, transient=True,
    )  # fmt: skip


@contextlib.contextmanager
def training(quiet: bool) -> Iterator[Callable[[str, Any], None]]:
    """A listener for `sodate.train` that shows the check, the decisions, and a bar with loss, tokens/s, time left."""
    if quiet:
        yield lambda kind, data: None
        return
    with _bar("{task.completed}/{task.total}", "loss {task.fields[loss]}", "{task.fields[rate]} tok/s") as bar:
        task = bar.add_task(tr("Loading", "読み込み中"), total=None, loss="–", rate="–")
        totals = {"tokens": 0, "seconds": 0.0}

        def listen(kind: str, data: Any) -> None:
            if kind == "checked":
                ledger = data.ledger
                bar.console.print(_rows_line(data))
                for problem in islice(ledger.set_aside, SHOWN):
                    bar.console.print(f"  {shown(problem.file)}:{problem.line} {shown(problem.message)}")
            elif kind == "run":
                bar.console.print(f"[dim]{shown(str(data.path))}[/]")
            elif kind == "decisions":
                for one in data:
                    value = ", ".join(one.value) if isinstance(one.value, tuple) else one.value
                    bar.console.print(f"  [dim]auto[/] {one.key} = {shown(str(value))}  [dim]{shown(one.reason)}[/]")
            elif kind == "warning":
                bar.console.print(f"[yellow]{shown(data)}[/]", soft_wrap=True)
            elif kind == "step":
                totals["tokens"] += data["tokens"]
                totals["seconds"] += data["seconds"]
                rate = f"{totals['tokens'] / totals['seconds']:,.0f}"
                bar.update(task, description=tr("Training", "学習中"), total=data["steps"], completed=data["step"],
                           loss=f"{data['loss']:.4f}", rate=rate)  # fmt: skip
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
    said = tr(f"{steps} steps in {time} ({rate:,.0f} tokens/s), loss {loss}, peak memory {memory}",
              f"{steps} ステップ、{time} ({rate:,.0f} トークン/秒)、損失 {loss}、最大メモリ {memory}")  # fmt: skip
    out.print(f"[bold green]{result['version']}[/]  {said}")
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
    if "reward_model" in result:
        print_reward_model(result["reward_model"])
    else:
        out.print(f"  sodate chat {result['version']}")


def print_reward_model(worth: Mapping[str, Any]) -> None:
    """What held-out pairs say of a reward model, and whether to trust it."""
    if not worth["prompts"]:
        out.print(tr("  no held-out pairs (--eval): nobody knows what its scores are worth",
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


def print_evaluation(done: Any, examples: int) -> None:
    from sodate.evaluate.report import pick_examples
    from sodate.evaluate.run import PASS
    from sodate.evaluate.table import print_result

    result = done.result
    print_result(result, out)
    for index in pick_examples(result, examples):
        item = result.items[index]
        asked = next((m.content for m in reversed(item.prompt) if m.role == "user"), "")
        out.rule(
            shown(f"{item.source.file}:{item.source.line}" if item.source else str(index + 1)),
            align="left",
            style="dim",
        )
        out.print(shown(_clip(asked)), style="dim", soft_wrap=True)
        for model, replies in result.replies.items():
            score = result.results[0].grader
            mark = "✓" if result.score(model, score).grades[index].score >= PASS else "✗"
            out.print(f"[bold]{mark} {shown(model)}[/]  {shown(_clip(replies[index]))}", soft_wrap=True)
        out.print(f"[dim]  {tr('reference', '正解')}  {shown(_clip(item.reference or ''))}[/]", soft_wrap=True)
    out.print(f"\n{tr('Report', 'レポート')}: {shown(str(done.report))}", soft_wrap=True)


def _clip(text: str, size: int = 400) -> str:
    return text if len(text) <= size else text[:size] + " …"
