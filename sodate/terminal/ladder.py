"""A ladder in the terminal: the questions first, a line for each rung as it is measured, then what is recommended."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from sodate.core.intervals import Interval
from sodate.core.text import size, tr
from sodate.evaluate.ladder import Rung
from sodate.evaluate.ladder_page import LAYERS, PURPOSES, money, seconds
from sodate.terminal import err, out, shown


@contextlib.contextmanager
def climbing(quiet: bool) -> Iterator[Callable[[str, Any], None]]:
    """A listener for `ladder`: what is run now, and each rung when it is measured."""

    def listen(kind: str, data: Any) -> None:
        if kind == "advice":
            err.print(f"[yellow]{shown(data)}[/]", soft_wrap=True)
        elif kind == "step":
            line = re.sub(r"(?<=[ =])/\S*/", "…/", data.partition("\n")[0])
            short = line if len(line) <= 100 else line[:100] + " …"
            err.print(f"[dim]$ {shown(short)}[/]", soft_wrap=True)
        elif kind == "skipped":
            name, why = data
            err.print(f"[dim]{shown(name)}: {shown(why)}[/]", soft_wrap=True)
        elif kind == "rung":
            rung, interval = data
            cut = tr(f"replies cut off: {rung.cut_off}", f"{rung.cut_off} 件の返答が途中で切れた")
            more = f"  [yellow]{cut}[/]" if rung.cut_off else ""
            err.print(f"[bold]{shown(rung.name)}[/]  {quality(rung, interval)}  [dim]{shown(rung.label)}[/]{more}")

    yield (lambda kind, data: None) if quiet else listen


def quality(rung: Rung, interval: Interval | None) -> str:
    """Mean and interval in points."""
    ends = f" ({100 * interval[0]:.1f} – {100 * interval[1]:.1f})" if interval else ""
    return f"{100 * rung.mean:.1f}{ends}"


def print_ladder(result: Mapping[str, Any]) -> None:
    """The table, what is recommended and why, and where the page lies."""
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    heads = (
        tr("rung", "方法"), tr("quality (95 %)", "品質 (95%)"), tr("built", "準備"), tr("memory", "メモリ"),
        tr("tokens", "トークン"), tr("request", "1 件"), tr(f"{result['currency']}/month", f"{result['currency']}/月"),
    )  # fmt: skip
    for number, head in enumerate(heads):
        table.add_column(str(head), justify="right" if number else "left", no_wrap=True)
    for rung in result["rungs"]:
        ends = rung["quality"]["ci"]
        span = f" ({100 * ends[0]:.0f}–{100 * ends[1]:.0f})" if ends else ""
        table.add_row(
            shown(rung["name"]), f"{100 * rung['quality']['mean']:.1f}{span}", seconds(rung["build_seconds"]),
            size(rung["peak_bytes"]), f"{rung['tokens_per_request']:,.0f}", seconds(rung["seconds_per_request"]),
            money(rung["cost_per_month"]), style="bold green" if rung["name"] == result["recommended"] else "",
        )  # fmt: skip
    out.print(table)
    if cut := {one["name"]: one["cut_off"] for one in result["rungs"] if one["cut_off"]}:
        names = ", ".join(f"{name} {count}" for name, count in cut.items())
        told = tr(f"Replies cut off, of {result['n']}: {names}", f"途中で切れた返答 ({result['n']} 件中): {names}")
        out.print(shown(told), style="dim", soft_wrap=True)
    out.print(f"\n[bold green]{shown(result['recommended'])}[/]  {shown(result['because'])}", soft_wrap=True)
    for layer, purposes in result["roles"].items():
        said = ", ".join(str(PURPOSES[purpose]) for purpose in purposes)
        out.print(f"  {LAYERS[layer]}: {said or tr('not used', '使わない')}")
    for text in (result["stopped"], *(one["because"] for one in result["skipped"])):
        if text:
            out.print(shown(text), style="dim", soft_wrap=True)
    out.print(f"{tr('Report', 'レポート')}: {shown(result['report'])}", soft_wrap=True)


def asked(path: Path, ask: Callable[[str, str], str]) -> dict[str, Any]:
    """The answers to what has to be known about a task. `ask(question, default)` asks one of them."""
    answers: dict[str, Any] = {}

    def question(key: str, text: str, default: str = "") -> str:
        value = ask(str(text), default).strip()
        answers[key] = value
        return value

    def choice(key: str, text: str, known: tuple[str, ...], default: str) -> None:
        while question(key, f"{text} ({' | '.join(known)})", default) not in known:
            out.print(str(tr("One of these, please.", "この中から選んでください。")))

    def number(key: str, text: str, default: str, least: float, most: float) -> None:
        while True:
            value = question(key, text, default)
            with contextlib.suppress(ValueError):
                found = float(value)
                if least <= found <= most:
                    answers[key] = int(found) if found == int(found) and key != "target" else found
                    return
            out.print(
                str(tr(f"A number from {least:g} to {most:g}.", f"{least:g} から {most:g} の数で答えてください。"))
            )

    question("goal", tr("What should the model do? One sentence", "モデルにさせたい仕事を一文で"))
    kinds = ("accuracy", "consistency", "banned_words", "format", "tone")
    while True:
        said = question("wrong", tr("What is wrong today? With commas, of", "今どこが問題ですか。カンマ区切りで")
                        + f" {', '.join(kinds)}", "accuracy")  # fmt: skip
        chosen = [part.strip() for part in said.split(",") if part.strip()]
        if chosen and set(chosen) <= set(kinds):
            answers["wrong"] = chosen
            break
    often = ("never", "yearly", "monthly", "weekly", "daily")
    facts = tr("How often do the facts change that replies rest on?", "返答の根拠になる事実が変わる頻度")
    choice("knowledge", facts, often, "never")
    number("target", tr("Mean score that is good enough, 0 to 1", "十分とみなす平均点 (0〜1)"), "0.9", 0, 1)
    question("model", tr("Which model", "使うモデル"), "smollm2-135m")
    question(
        "grader", tr("How is a reply graded (see docs/graders.md)", "返答の採点方法 (docs/graders.ja.md)"), "exact"
    )
    for key, text in (
        ("train", tr("File of right replies to learn from", "学習に使う正しい返答のファイル")),
        ("heldout", tr("File of other rows, to measure with", "評価に使う別の行のファイル")),
    ):
        while not (path.parent / question(key, text)).is_file():
            out.print(
                str(tr("There is no such file beside the task.", "タスクのファイルの隣に、そのファイルはありません。"))
            )
    for key, text in (
        (
            "documents",
            tr("Folder of documents with the facts, or nothing", "事実が書かれた文書のフォルダー (なければ空)"),
        ),
        ("schema", tr("JSON schema of a reply, or nothing", "返答の JSON スキーマ (なければ空)")),
    ):
        while (value := question(key, text)) and not (path.parent / value).exists():
            out.print(str(tr("It is not there.", "見つかりません。")))
        if not value:
            del answers[key]
    number("requests_per_month", tr("Requests a month", "1 か月の件数"), "10000", 1, 1e12)
    number("machine_hour", tr("What an hour of this machine costs", "このマシンの 1 時間の料金"), "0.1", 0, 1e6)
    question("currency", tr("in", "通貨"), "USD")
    return answers


def print_advice(path: Path, said: list[Any]) -> None:
    """What the answers alone say, and what to do next."""
    for one in said:
        out.print(f"[yellow]{shown(one)}[/]", soft_wrap=True)
    out.print(
        tr(f"Written: {path}\n  sodate ladder {path}", f"書き出しました: {path}\n  sodate ladder {path}"),
        soft_wrap=True,
    )
