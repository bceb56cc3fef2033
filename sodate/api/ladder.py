"""`ladder`: every way of doing a job measured on the same held-out rows, and the first that is good enough named.

Rungs (`sodate/api/ladder_ways.py`) are built and measured by commands (`sodate/api/ladder_steps.py`), so that every
number can be had again by the command beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sodate.api import ladder_rows
from sodate.api.ladder_steps import Listener, Stopped, workshop
from sodate.api.ladder_task import A_MONTH, advice, endless, load_task, roles, write_roles
from sodate.api.ladder_ways import Ladder, Way, mean, ways
from sodate.api.structured import json_constraint, schema_in
from sodate.core.errors import SodateError
from sodate.core.files import lock, write_json
from sodate.core.manifests import SCHEMA_VERSION
from sodate.core.signals import ended_as_by_ctrl_c
from sodate.core.text import Sentence, en, ja, tr
from sodate.data.datasets import count_use, wear_said
from sodate.evaluate.ladder import BUSY, EQUAL, Rung, against, disturbed, learning_curve, nothing_to_gain, recommend
from sodate.evaluate.stats import MARGIN
from sodate.release.lookup import look_up

ALONE = 5  # requests that are answered one at a time, for the seconds of one


def ladder(task: str | Path, *, every: bool = False, on_event: Listener = lambda kind, data: None) -> dict[str, Any]:
    """Measures the rungs of a task file until one is enough, or `every` one; returns rungs and recommendation.

    `on_event` is told "advice", "step" (a command begins), "kept" (its result was there), "rung" and "skipped".
    Interrupted, it goes on where it was when it is called again. The task file gets `roles`.
    Raises UsageError for the task, SodateError for data, models and steps that fail.
    """
    given = load_task(Path(task))
    counts = {"step": 0, "kept": 0}

    def heard(kind: str, data: Any) -> None:
        if kind in counts:
            counts[kind] += 1
        on_event(kind, data)

    rows = ladder_rows.read(given)
    free: list[str] = []
    if given.task.structure:
        schema = schema_in(given.beside(given.task.structure))
        json_constraint(schema, "schema")  # one that can't be enforced is refused now, not after the first rung
        free = endless(schema)
    said = advice(given.task, len(rows.train), free)
    for one in said:
        on_event("advice", one)
    shop = workshop(given.name, given.folder, heard)
    with ended_as_by_ctrl_c(), lock(shop.folder / "lock", tr(f"The ladder {given.name}", f"{given.name} の比較")):
        whole = Ladder(given, rows, shop, look_up(given.task.model).name)
        result = _concluded(whole, climb(whole, every, on_event), said)
        result |= {"measured": counts["step"], "kept": counts["kept"]}
        if counts["step"] and (worn := count_use(whole.given.beside(given.task.heldout), "evaluation", given.name)):
            on_event("advice", wear_said(worn))
        write_json(shop.folder / "result.json", {"schema_version": SCHEMA_VERSION, **result})
        try:
            write_roles(given, result["roles"])
        except PermissionError:
            on_event("advice", tr(f"{given.path} may not be written: it keeps its old roles.",
                                  f"{given.path} に書き込めないため、roles は元のままです。"))  # fmt: skip
    return result


@dataclass(slots=True)
class Climb:
    """The rungs measured, what was left out and why, why it ended before the last one, and whether that was for a rung
    that can't be built or measured: what was measured before it is worth its table."""

    rungs: list[Rung] = field(default_factory=list)
    skipped: list[tuple[str, Sentence]] = field(default_factory=list)
    stopped: Sentence | None = None
    failed: bool = False


def climb(whole: Ladder, every: bool, on_event: Listener) -> Climb:
    """Measures one rung after the other. Raises what the first one raises, and what stops the ladder."""
    done = Climb()

    def left_out(name: str, why: Sentence) -> None:
        done.skipped.append((name, why))
        on_event("skipped", done.skipped[-1])

    try:
        done.stopped = _climbed(whole, every, on_event, done.rungs, left_out)
    except SodateError as error:
        if isinstance(error, Stopped) or not done.rungs:
            raise
        name = done.rungs[-1].name
        left_out(str(tr(f"the rung after {name}", f"{name} の次の方法")), tr(en(error.message), ja(error.message)))
        done.failed = True
    return done


def _climbed(
    whole: Ladder, every: bool, on_event: Listener, rungs: list[Rung], left_out: Callable[[str, Sentence], None]
) -> Sentence | None:
    task = whole.given.task
    for way in ways(whole):
        for structured in (False, True) if task.structure else (False,):
            if structured and not every and rungs[-1].passed == 1:
                why = tr("every reply of the rung before fits the schema already",
                         "一つ前の方法の返答が、すでにすべてスキーマに合っています")  # fmt: skip
                left_out(f"{way.name}+schema", why)
                continue
            rungs.append(measured(whole, way, structured))
            on_event("rung", (rungs[-1], rungs[-1].ci(whole.clusters)))
            why_stop = nothing_to_gain(rungs, task.target)
            if why_stop is not None and not every:
                return why_stop
    return None


def measured(whole: Ladder, way: Way, structured: bool) -> Rung:
    """A way as a rung: its quality, and what it costs."""
    task = whole.given.task
    more = ["--alone", str(ALONE)]
    more += ["--index", way.index] if way.index else []
    more += ["--schema", str(task.structure)] if structured else []
    done = whole.measure(way.model, way.data, *more, needs=[way.index] if way.index else [])
    first, *others = [one["grader"] for one in done.result["results"]]
    (answered,) = done.result["models"].values()
    scores = [float(one[first]) for one in done.kept["scores"]]
    fits = [one[name] == 1 for one in done.kept["scores"] for name in one if name.startswith("json_schema")]
    seconds = float(answered["seconds_alone"])
    each = seconds / 3600 * task.machine_hour
    kept_up = A_MONTH[task.knowledge] * sum(one.seconds for one in way.again) / 3600 * task.machine_hour
    label = way.label + tr(", held to the schema", "、スキーマに従わせる") if structured else way.label
    return Rung(
        name=way.name + ("+schema" if structured else ""),
        label=label,
        scores=tuple(scores),
        replies=tuple(done.kept["replies"]),
        build_seconds=sum(one.seconds for one in way.builds),
        peak_bytes=max(one.peak_bytes for one in (*way.builds, done)),
        answer_bytes=done.peak_bytes,
        tokens_per_request=answered["prompt_tokens"] + answered["reply_tokens"],
        seconds_per_request=seconds,
        cost_per_request=each,
        cost_per_month=each * task.requests_per_month + kept_up,
        build_commands=tuple(dict.fromkeys(one.command for one in way.builds)),
        command=done.command,
        report=done.result["report"],
        passed=sum(fits) / len(fits) if fits else None,
        cut_off=sum(done.result["cut_off"].values()),
        graders={name: mean([one[name] for one in done.kept["scores"]]) for name in others},
        others=float(answered.get("cores_of_others", 0.0)),
    )


# ── what follows from it ─────────────────────────────────────────────────────────────────────────────────────────────


def _concluded(whole: Ladder, done: Climb, said: Sequence[Sentence]) -> dict[str, Any]:
    """Recommendation, roles and page."""
    from sodate.evaluate.ladder_page import write_page

    task, clusters = whole.given.task, whole.clusters
    rungs, skipped, stopped = done.rungs, done.skipped, done.stopped
    chosen = recommend(rungs, task.target, clusters, seed=task.seed)
    if done.failed and not chosen.reached:
        more = tr(f" What comes after {rungs[-1].name} could not be measured, and may be better.",
                  f"{rungs[-1].name} より先は測れなかったため、さらに良い方法があるかもしれません。")  # fmt: skip
        chosen = replace(chosen, because=chosen.because + more)
    curve = None
    shares = [rung for rung in rungs if rung.name.removeprefix("sft-").isdigit()]
    if len(shares) == 2:
        counts = (int(shares[0].name[4:]), int(shares[1].name[4:]))
        curve = learning_curve(shares[0].scores, shares[1].scores, counts, clusters, task.seed)
    found = roles(task, chosen.rung)
    best = next(rung for rung in rungs if rung.name == chosen.best)
    beside = {
        rung.name: against(rung, best, clusters, MARGIN, task.seed).to_json() for rung in rungs if rung is not best
    }
    shown = [
        {**rung.to_json(clusters), "label": str(rung.label), "against_best": beside.get(rung.name)} for rung in rungs
    ]
    spoken = [chosen.because, *said, *(why for _, why in skipped), *(rung.label for rung in rungs)]
    result: dict[str, Any] = {
        "task": whole.given.name,
        "goal": task.goal,
        "folder": str(whole.given.folder),
        "rungs": shown,
        "recommended": chosen.rung,
        "reached": chosen.reached,
        "best": chosen.best,
        "untold": list(chosen.untold),
        "because": str(chosen.because),
        "roles": found,
        "learning_curve": curve and curve.to_json(),
        "advice": [str(one) for one in said],
        "skipped": [{"name": name, "because": str(why)} for name, why in skipped],
        "stopped": stopped and str(stopped),
        "said": _in_both([*spoken, *([] if stopped is None else [stopped])]),
        "n": len(rungs[0].scores),
        "target": task.target,
        "currency": task.currency,
        "requests_per_month": task.requests_per_month,
        "machine_hour": task.machine_hour,
        "rows": {"train": len(whole.rows.train), "develop": len(whole.rows.develop), "aside": whole.rows.aside},
    }
    notes = _notes(whole, curve, skipped, stopped, [*said, *_busy(whole, rungs)])
    page = write_page(
        whole.shop.folder / "report.html", title=task.goal, rungs=rungs, chosen=chosen, target=task.target,
        clusters=clusters, asked=ladder_rows.heldout_tasks(whole.rows), notes=notes,
        roles=found, currency=task.currency, replay=f"sodate ladder {whole.given.path}", folder=str(whole.given.folder),
    )  # fmt: skip
    return {**result, "report": str(page)}


def _in_both(sentences: Sequence[str]) -> dict[str, list[str]]:
    """Each as the result has it, with its English and its Japanese: who reads it may not be who measured."""
    return {str(one): [str(en(one)), str(ja(one))] for one in sentences}


def _busy(whole: Ladder, rungs: Sequence[Rung]) -> list[Sentence]:
    """That times and costs say less, where other programs used the machine meanwhile."""
    most = disturbed(rungs)
    if most < BUSY:
        return []
    folder = whole.shop.folder / "steps"
    return [tr(
        f"Other programs had up to {most:.1f} of the machine's cores while requests were timed: times and costs are "
        f"too high, not all by as much, and costs that differ by less than {EQUAL + most:.1f} times counted as equal. "
        f"For better ones, remove {folder} and measure again when nothing else runs.",
        f"1 件の時間を測っている間、ほかのプログラムが最大 {most:.1f} コアを使っていました。時間と費用は実際より高く、"
        f"度合いも方法ごとに違うため、{EQUAL + most:.1f} 倍未満の費用の差は同じとみなしました。"
        f"正確に測るには、{folder} を削除し、ほかに何も動いていないときに測り直してください。",
    )]  # fmt: skip


def _notes(
    whole: Ladder, curve: Any, skipped: Sequence[tuple[str, Sentence]], stopped: Sentence | None,
    said: Sequence[Sentence],
) -> list[Sentence]:  # fmt: skip
    """What to know beside the table, in sentences."""
    task, rows = whole.given.task, whole.rows
    found = list(said)
    if curve is not None:
        found.append(curve.sentence())
    if stopped is not None:
        found.append(tr(f"It stopped here: {en(stopped)} `--every` measures the rest.",
                        f"ここで終えました。{ja(stopped)}残りも測るには --every を付けます。"))  # fmt: skip
    for name, why in skipped:
        found.append(tr(f"{name} was left out: {en(why)}.", f"{name} は省きました: {ja(why)}。"))
    found.append(tr(
        f"{len(rows.heldout)} held-out rows, which nothing was tuned on; prompts were chosen on {len(rows.develop)} "
        f"others; {len(rows.train)} rows to train on. {rows.aside} rows were set aside, too like a held-out row or not "
        "usable.",
        f"評価用の {len(rows.heldout)} 行は、どの調整にも使っていません。プロンプトは別の {len(rows.develop)} 行で"
        f"選び、学習には {len(rows.train)} 行を使いました。評価用の行に似すぎている、または使えない "
        f"{rows.aside} 行は除きました。",
    ))  # fmt: skip
    found.append(tr(
        f"A request costs the time that it takes by itself, at {task.machine_hour:g} {task.currency} an hour of this "
        f"machine; a month is {task.requests_per_month:,} requests, and building again as often as knowledge changes "
        f"({task.knowledge}). A server that answers many at once is cheaper.",
        f"1 件の費用は、1 件だけを処理したときの時間に、このマシンの 1 時間あたりの料金 "
        f"{task.machine_hour:g} {task.currency} を掛けたものです。1 か月は {task.requests_per_month:,} 件で、"
        "知識が変わるたびの作り直しを含みます。同時に多数を処理するサーバーでは安くなります。",
    ))  # fmt: skip
    return found
