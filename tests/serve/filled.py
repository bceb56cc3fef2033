"""A SODATE_HOME with something on every page, made by the functions that make it in life; no model is computed."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from sodate.api import datasets, gates, people, retrieval
from sodate.api.evaluation import evaluate
from sodate.core import home
from sodate.core.files import write_json
from sodate.core.runs import RunFolder
from sodate.jobs import files, measuring
from sodate.learn import recording
from sodate.release import aliases
from sodate.release.lookup import identity
from sodate.release.registry import register
from tests.learn.made import exchange, keep
from tests.tiny import CHATML

# In every field that comes from data, names or models. What of it ran would set `window.canary`.
CANARY = "<img src=x onerror=\"window.canary='img'\"><script>window.canary='script'</script>"
RIGHT_TO_LEFT = "مرحبا بالعالم \u202eevil\u202c"
# What stands in a field instead, in pictures for people.
NATURAL: dict[str, str] = {}
ANSWERS: list[str] = []
IN_BOTH: dict[str, list[str]] = {}  # what the ladder says, in English and in Japanese
KINDS = ["k0", "k1"]
SIDES = ["old", "new"]  # what the two models of the report are called
QUESTIONS = [
    "返品はできますか？",
    "送料はいくらですか？",
    "Where is my order?",
    CANARY,
    RIGHT_TO_LEFT,
    "領収書をください。",
]


def said(field: str) -> str:
    return NATURAL.get(field, CANARY)


def answer(number: int) -> str:
    """The right one to the question of that number."""
    return ANSWERS[number % len(QUESTIONS)] if ANSWERS else f"answer {number}"


def fill(folder: Path, long: int = 1000) -> dict[str, Any]:
    """Runs, versions, a report, an alias, a study and an index in the home that SODATE_HOME names. Their names."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Any] = {"runs": [run("done", "sft", 400), run("failed", "dpo", 120, error=said("error")),
                                     run("interrupted", "grpo", 90)]}  # fmt: skip
    made["versions"] = [version(made["runs"][0], 96), version(made["runs"][0], 120)]
    made["report"], data = report(folder, long)
    with aliases.moving("support@production"):
        aliases.move("support@production", "promote", made["versions"][0], by="鈴木", reason="最初の公開",
                     override=True)  # fmt: skip
        aliases.move("support@production", "promote", made["versions"][1], by="sato", reason=said("reason"),
                     override=False)  # fmt: skip
    made["study"] = study(folder, data)
    made["index"] = index(folder)
    made["dataset"], made["ladder"] = dataset(folder), ladder()
    made["evaluation"], made["file"] = evaluation(folder), file()
    exchanges()
    return made


def run(status: str, method: str, steps: int, of: int = 0, **about: Any) -> str:
    """A run with so many steps (of more, where it is to go on), and what is said of it."""
    planned = of or steps
    recipe = {"method": method, "model": "smollm2-135m", "name": "support", "lr": "auto", "data": ["mails.jsonl"]}
    decisions = [
        {"key": "lr", "value": 0.0004, "reason": "LoRA of rank 16: four times the usual rate of full training"},
        {"key": "batch_size", "value": 16, "reason": "120 rows: about eight steps an epoch"},
    ]
    made = RunFolder.create({"recipe": recipe, "base": "smollm2-135m@b179c9523d0e", "decisions": decisions,
                             "data": {"rows_used": 120, "files": ["mails.jsonl"]}, "code": "0.1.0"})  # fmt: skip
    lines = []
    for step in range(1, steps + 1):
        line = {"step": step, "steps": planned, "epoch": step / 25, "loss": 2.4 * math.exp(-step / 60) + 0.3 + 0.05 *
                math.sin(step), "lr": 4e-4 * (1 - step / planned), "grad_norm": 1 + 0.4 * math.cos(step / 3),
                "tokens": 4000, "seconds": 0.4}  # fmt: skip
        if step % 25 == 0:
            line |= {"eval_loss": 2.2 * math.exp(-step / 70) + 0.5, "eval_accuracy": 1 - math.exp(-step / 80)}
        if method == "grpo":
            line |= {"reward_mean": 1 - math.exp(-step / 40), "kl": 0.002 * step, "entropy": 2 * math.exp(-step / 90)}
        lines.append(json.dumps(line) + "\n")
    (made.path / "metrics.jsonl").write_text("".join(lines))
    made.event("started", step=0)
    if method == "grpo":
        made.event("warning", text="Step 80: the replies hardly vary any more. " + said("warning"))
    write_json(made.path / "run.json", {**made.manifest, "status": status, **about})
    return made.name


def version(run: str, rows: int) -> str:
    """`support@N`, with a gate that it passed."""
    manifest = {"base": "smollm2-135m@b179c9523d0e", "recipe": {"method": "sft"}, "run": run, "adapter": "lora",
                "data": {"rows_used": rows, "files": [file_name()]}, "renderer": "r"}  # fmt: skip

    def weights(folder: Path) -> None:
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text(json.dumps({"rows": rows}))

    made = register("support", manifest, CHATML, weights)
    why = ["Better than the baseline. " + said("why"), "基準より改善しています。" + said("why")]
    tiers = [{"tier": "target", "metric": "string_check", "value": 0.2, "ci": [0.1, 0.3], "passes": True,
              "why": why[0], "said": why}]  # fmt: skip
    record = {
        "schema_version": 1, "at": "2026-01-31T09:30:00+00:00", "version": made.id, "bytes": identity(made.id),
        "gate": {"path": "gate.yaml", "sha256": "0" * 64}, "looks": 1, "passes": True, "tiers": tiers,
    }  # fmt: skip
    write_json(home.gates_dir() / f"20260131-09300{made.number}-000000-aaaa.json", record)
    return made.id


def report(folder: Path, long: int) -> tuple[str, Path]:
    """An evaluation of recorded replies; one of them is a word of `long` letters."""
    data, old, new = folder / "held.jsonl", folder / "old.jsonl", folder / "new.jsonl"
    asked = [{"role": "user", "content": f"{QUESTIONS[n % len(QUESTIONS)]} ({n})"} for n in range(30)]
    rows = [
        {"messages": [question, {"role": "assistant", "content": answer(n)}], "kind": KINDS[n % 2]}
        for n, question in enumerate(asked)
    ]
    write_lines(data, rows)
    write_lines(old, [{"reply": answer(n) if n % 3 == 0 else said("wrong")} for n in range(30)])
    write_lines(
        new, [{"reply": answer(n) if n % 7 else ("w" * long if n == 7 and long else RIGHT_TO_LEFT)} for n in range(30)]
    )
    done = evaluate([], data, ["string_check"], replies=[f"{old}:{SIDES[0]}", f"{new}:{SIDES[1]}"], slices=["kind"])
    return done.report.parent.name, data


def study(folder: Path, data: Path) -> str:
    """Pairs to judge."""
    files = [f"{folder / 'old.jsonl'}:old-secret", f"{folder / 'new.jsonl'}:new-secret"]
    done = people.make_sheets([], data, folder / "sheet.csv", limit=24, viewpoints=["正確性"], replies=files)
    return str(done["study"])


def index(folder: Path) -> str:
    """An index of two documents."""
    documents = folder / "documents"
    documents.mkdir()
    (documents / "返品.md").write_text("# 返品\n\n商品の到着後 7 日以内は返品できます。送料はお客様の負担です。\n")
    (documents / "delivery.md").write_text(f"# Delivery\n\nOrders leave the same day. {said('document')}\n")
    return str(retrieval.build_index([documents], "faq")["index"])


def dataset(folder: Path) -> str:
    """Two versions of a dataset."""
    for count in (3, 5):
        rows = [{"messages": [{"role": "user", "content": f"{QUESTIONS[n]} 090-1234-567{n}"},
                              {"role": "assistant", "content": ANSWERS[n] if ANSWERS else f"答え {n}"}]}
                for n in range(count)]  # fmt: skip
        write_lines(folder / "rows.jsonl", rows)
        added = datasets.add(folder / "rows.jsonl", "mails", by="鈴木", note=said("note"))
    return added.dataset.id


def evaluation(folder: Path) -> str:
    """One that was asked for on held-out rows, and failed."""
    rows = [{"messages": [{"role": "user", "content": f"{said('asked')} 伝票 {n} の控え"},
                          {"role": "assistant", "content": f"控え {n}"}]} for n in range(4)]  # fmt: skip
    write_lines(folder / "kept-out.jsonl", rows)
    held_out = datasets.add(folder / "kept-out.jsonl", "kept-out", role="held-out", by="鈴木").dataset.id
    name = measuring.ask("default", said("by")[:60], ["support@1"], held_out, ["exact"])
    error = {"code": "failed", "message": [said("failed"), said("failed")], "fix": ["", ""]}
    write_json(home.evaluations_dir() / name / "ended.json", {"schema_version": 1, "status": "failed", "error": error})
    gates.keep_gate("support", data=held_out, baseline="support@1", target=["exact"], guard={"tone_ja": 0.02})
    return name


def file() -> str:
    """An uploaded file of rows, some of which are set aside."""
    asked = [*QUESTIONS, "電話番号は 090-1234-5678 です。", QUESTIONS[0]]
    rows = [{"messages": [{"role": "user", "content": f"{text} ({n % 30})"},
                          {"role": "assistant", "content": "はい、承りました。" if n % 7 else ""}]}
            for n, text in enumerate(asked * 5)]  # fmt: skip
    name = file_name()
    with files.written(name) as content:
        content.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    return str(files.keep(content, "default", "鈴木", name, files.TRAINING)["id"])


def file_name() -> str:
    return f"mails {extra}.jsonl" if (extra := said("file")) else "mails.jsonl"


def exchanges() -> None:
    """Served requests, some of which failed."""
    recording.change("default", {"mode": "on"})
    for n, question in enumerate(QUESTIONS * 3):
        reply = (ANSWERS[n % 6] if ANSWERS and n % 2 == 0 else said("reply")) if n % 3 else ""
        one = exchange(f"chatcmpl-{n:04d}", question, reply, created_at=int(time.time()) - 3600 * n,
                       finish="length" if n % 3 == 0 else "stop", confidence=0.2 if n % 2 else 0.95)  # fmt: skip
        keep(one)


def ladder() -> str:
    """The result of a ladder of two rungs."""
    measured = {"build_seconds": 90.0, "peak_bytes": 2_000_000_000, "tokens_per_request": 120.5,
                "seconds_per_request": 0.4}  # fmt: skip
    rungs = [
        {"name": name, "label": said(f"label {name}"), "quality": {"mean": mean, "ci": [mean - 0.1, mean + 0.1]},
         **measured, "cost_per_month": cost}
        for name, mean, cost in (("prompt", 0.5, 10.0), ("sft", 0.8, 14.5))
    ]  # fmt: skip
    about = {
        "task": "support", "goal": said("goal"), "rungs": rungs, "n": 60, "recommended": "sft", "reached": True,
        "because": said("because"), "target": 0.75, "currency": "¥", "advice": [said("advice")],
        "stopped": None, "skipped": [], "said": IN_BOTH,
    }  # fmt: skip
    write_json(home.ladders_dir() / "support" / "result.json", {"schema_version": 1, **about})
    return "support"


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
