"""Evaluations of a project: their definitions, their runs, and what came of each item, as rows of the database."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.api.evals import compared
from sodate.core.errors import UsageError
from sodate.core.ids import new_id
from sodate.core.text import tr
from sodate.db.connection import reading, writing
from sodate.db.tables import Eval, EvalOutput, EvalRun, Work
from sodate.jobs import audit, queue, quotas

KIND = "eval"  # of work
DONE = ("completed", "canceled", "failed")
MOST_COMPARED = 8


def create(
    project: str, actor: str, name: str, config: Mapping[str, Any], criteria: Sequence[Mapping[str, Any]],
    tags: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """A new definition, of a config and criteria that were checked."""
    now = int(time.time())
    row = Eval(id=new_id("eval_"), project=project, name=name, config=json.dumps(config), criteria=json.dumps(criteria),
               tags=json.dumps(tags), created_at=now, updated_at=now, deleted_at=None)  # fmt: skip
    with writing() as session:
        session.add(row)
        audit.note(session, project, actor, "eval.created", row.id)
    return shown(row)


def get(session: Session, id: str, project: str) -> Eval:
    """The project's evaluation of that id; for others it does not exist."""
    row: Eval | None = _named(session, Eval, id, project)
    if row is None or row.deleted_at is not None:
        raise _nothing(tr(f"No such eval: {id[:100]}", f"評価 {id[:100]} はありません。"))
    return row


def run_of(session: Session, eval: str, id: str, project: str) -> EvalRun:
    """A run of the project's evaluation."""
    get(session, eval, project)
    row: EvalRun | None = _named(session, EvalRun, id, project)
    if row is None or row.deleted_at is not None or row.eval != eval:
        raise _nothing(tr(f"No such eval run: {id[:100]}", f"評価の実行 {id[:100]} はありません。"))
    return row


def _named(session: Session, table: Any, id: str, project: str) -> Any:
    if not re.fullmatch("[a-z]{4,10}_[A-Za-z0-9]{24}", id):
        return None
    return session.scalar(sa.select(table).where(table.id == id, table.project == project))


def _nothing(message: str) -> UsageError:
    return UsageError(message, code="not_found", param="id")


def shown(row: Eval) -> dict[str, Any]:
    """A definition as the wire has it."""
    return {
        "id": row.id, "object": "eval", "name": row.name, "created_at": row.created_at,
        "data_source_config": json.loads(row.config), "testing_criteria": json.loads(row.criteria),
        "metadata": json.loads(row.tags), "shared_with_openai": False,
    }  # fmt: skip


def update(id: str, project: str, actor: str, name: str | None, tags: Mapping[str, str] | None) -> dict[str, Any]:
    """Another name or other metadata."""
    with writing() as session:
        row = get(session, id, project)
        row.name = row.name if name is None else name
        row.tags = row.tags if tags is None else json.dumps(tags)
        row.updated_at = int(time.time())
        audit.note(session, project, actor, "eval.updated", id)
        return shown(row)


def delete(id: str, project: str, actor: str) -> None:
    """Deletes a definition with its runs."""
    with writing() as session:
        row = get(session, id, project)
        row.deleted_at = int(time.time())
        runs = session.scalars(sa.select(EvalRun).where(EvalRun.eval == id, EvalRun.deleted_at.is_(None))).all()
        for run in runs:
            _remove(session, run)
        audit.note(session, project, actor, "eval.deleted", id)


def listed(
    project: str, *, after: str | None, limit: int, order: str, by: str = "created_at"
) -> tuple[list[dict[str, Any]], bool]:
    """A page of the project's evaluations. `after` may be one that was deleted meanwhile."""
    with reading() as session:
        wanted = sa.select(Eval).where(Eval.project == project, Eval.deleted_at.is_(None))
        keys = [Eval.updated_at, Eval.number] if by == "updated_at" else [Eval.number]
        rows = _page(session, Eval, wanted, keys, project, after, limit, order)
        return [shown(row) for row in rows[:limit]], len(rows) > limit


def runs_listed(
    eval: str, project: str, *, after: str | None, limit: int, order: str, status: str | None
) -> tuple[list[dict[str, Any]], bool]:
    """A page of an evaluation's runs."""
    with reading() as session:
        get(session, eval, project)
        wanted = sa.select(EvalRun).where(EvalRun.eval == eval, EvalRun.deleted_at.is_(None))
        if status is not None:
            wanted = wanted.where(EvalRun.status == status)
        rows = _page(session, EvalRun, wanted, [EvalRun.number], project, after, limit, order)
        return [run_shown(session, row) for row in rows[:limit]], len(rows) > limit


def _page(
    session: Session, table: Any, wanted: Any, keys: list[Any], project: str, after: str | None, limit: int, order: str
) -> Sequence[Any]:
    if after is not None:
        last = _named(session, table, after, project)
        if last is None:
            raise no_cursor(after)
        here, there = sa.tuple_(*keys), sa.tuple_(*(sa.literal(getattr(last, key.key)) for key in keys))
        wanted = wanted.where(here > there if order == "asc" else here < there)
    wanted = wanted.order_by(*(key if order == "asc" else key.desc() for key in keys))
    return list(session.scalars(wanted.limit(limit + 1)))


def no_cursor(after: str) -> UsageError:
    return UsageError(
        tr(f"There is nothing of the id {after[:100]!r} to go on after.",
           f"after に指定された ID {after[:100]!r} はありません。"),
        code="invalid_value", param="after",
    )  # fmt: skip


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def start(
    eval: str, project: str, actor: str, name: str, source: Mapping[str, Any], tags: Mapping[str, str]
) -> dict[str, Any]:
    """A new run, put into the queue. Its source was checked."""
    with writing() as session:
        get(session, eval, project)
        quotas.check_waiting(session, project)
        row = EvalRun(id=new_id("evalrun_"), eval=eval, project=project, name=name, model=source.get("model"),
                      source=json.dumps(source), status="queued", tags=json.dumps(tags), usage="{}", error=None,
                      created_at=int(time.time()), deleted_at=None)  # fmt: skip
        session.add(row)
        queue.put(session, row.id, KIND, project)
        audit.note(session, project, actor, "eval.run.created", row.id)
        session.flush()
        return run_shown(session, row)


def cancel(eval: str, id: str, project: str, actor: str) -> dict[str, Any]:
    """Ends a run; what was graded stays."""
    with writing() as session:
        row = run_of(session, eval, id, project)
        if row.status in DONE:
            raise UsageError(
                tr(f"The run is {row.status} already.", f"この実行はすでに {row.status} です。"),
                code="invalid_status", param="run_id",
            )  # fmt: skip
        row.status = "canceled"
        _unqueue(session, id)
        audit.note(session, project, actor, "eval.run.canceled", id)
        return run_shown(session, row)


def delete_run(eval: str, id: str, project: str, actor: str) -> None:
    """Deletes a run with its items; one that is under way ends."""
    with writing() as session:
        _remove(session, run_of(session, eval, id, project))
        audit.note(session, project, actor, "eval.run.deleted", id)


def _remove(session: Session, run: EvalRun) -> None:
    run.deleted_at = int(time.time())
    run.status = run.status if run.status in DONE else "canceled"
    session.execute(sa.delete(EvalOutput).where(EvalOutput.run == run.id))
    _unqueue(session, run.id)


def _unqueue(session: Session, id: str) -> None:
    """Takes the work away from whoever has it: the next thing that he writes finds it gone."""
    session.execute(sa.delete(Work).where(Work.id == id))


def run_shown(session: Session, row: EvalRun) -> dict[str, Any]:
    """A run as the wire has it, counted from its items."""
    statuses = sa.select(EvalOutput.status, sa.func.count()).where(EvalOutput.run == row.id).group_by(EvalOutput.status)
    counts: dict[str, int] = {}
    for status, count in session.execute(statuses):
        counts[status] = count
    criteria = json.loads(session.scalars(sa.select(Eval.criteria).where(Eval.id == row.eval)).one())
    usage = json.loads(row.usage)
    tally = usage.pop("", {})
    return {
        "id": row.id, "object": "eval.run", "eval_id": row.eval, "name": row.name, "model": row.model,
        "status": row.status, "created_at": row.created_at, "metadata": json.loads(row.tags),
        "report_url": f"/v1/evals/{row.eval}/report?run={row.id}", "data_source": json.loads(row.source),
        "error": json.loads(row.error) if row.error else None,
        "result_counts": {
            "total": sum(counts.values()), "passed": counts.get("pass", 0), "failed": counts.get("fail", 0),
            "errored": counts.get("error", 0),
        },
        "per_model_usage": [{"model_name": model, **own} for model, own in usage.items()],
        "per_testing_criteria_results": [
            {"testing_criteria": one["id"], **tally.get(one["id"], {"passed": 0, "failed": 0})} for one in criteria
        ],
    }  # fmt: skip


# ── items ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def outputs(
    eval: str, run: str, project: str, *, after: str | None, limit: int, order: str, status: str | None
) -> tuple[list[dict[str, Any]], bool]:
    """A page of what came of a run's items."""
    with reading() as session:
        run_of(session, eval, run, project)
        wanted = sa.select(EvalOutput).where(EvalOutput.run == run)
        if status is not None:  # on the wire an item that could not be graded has failed
            wanted = wanted.where(EvalOutput.status == "pass" if status == "pass" else EvalOutput.status != "pass")
        if after is not None:
            last = session.scalar(sa.select(EvalOutput).where(EvalOutput.id == after, EvalOutput.run == run))
            if last is None:
                raise no_cursor(after)
            wanted = wanted.where(EvalOutput.item > last.item if order == "asc" else EvalOutput.item < last.item)
        wanted = wanted.order_by(EvalOutput.item if order == "asc" else EvalOutput.item.desc()).limit(limit + 1)
        rows = list(session.scalars(wanted))
        return [output_shown(eval, row) for row in rows[:limit]], len(rows) > limit


def output(eval: str, run: str, id: str, project: str) -> dict[str, Any]:
    """What came of one item."""
    with reading() as session:
        run_of(session, eval, run, project)
        row = session.scalar(sa.select(EvalOutput).where(EvalOutput.id == id, EvalOutput.run == run))
        if row is None:
            raise _nothing(tr(f"No such output item: {id[:100]}", f"出力項目 {id[:100]} はありません。"))
        return output_shown(eval, row)


def output_shown(eval: str, row: EvalOutput) -> dict[str, Any]:
    return {
        "id": row.id, "object": "eval.run.output_item", "run_id": row.run, "eval_id": eval,
        "status": "pass" if row.status == "pass" else "fail", "datasource_item_id": row.item, **json.loads(row.body),
    }  # fmt: skip


def report(eval: str, runs: Sequence[str], project: str) -> dict[str, Any]:
    """Runs compared in pairs on the items that all of them graded, the first one being the baseline."""
    if not 1 <= len(set(runs)) <= MOST_COMPARED:
        raise UsageError(
            tr(f"Name 1 to {MOST_COMPARED} runs: ?run=…&run=…",
               f"実行を 1〜{MOST_COMPARED} 個指定してください: ?run=…&run=…"),
            code="invalid_value", param="run",
        )  # fmt: skip
    scores: dict[str, dict[int, dict[str, float]]] = {}
    with reading() as session:
        criteria = [one["id"] for one in json.loads(get(session, eval, project).criteria)]
        for run in dict.fromkeys(runs):
            run_of(session, eval, run, project)
            rows = session.scalars(sa.select(EvalOutput).where(EvalOutput.run == run, EvalOutput.status != "error"))
            scores[run] = {
                row.item: {one["name"]: float(one["score"]) for one in json.loads(row.body)["results"]} for row in rows
            }
    common = sorted(set.intersection(*(set(own) for own in scores.values())))
    if not common:
        raise UsageError(
            tr("No item was graded in all of these runs.", "すべての実行で採点された項目がありません。"),
            code="no_rows", param="run",
        )  # fmt: skip
    return {
        "object": "eval.report", "eval_id": eval, "items": common,
        **compared(list(scores), criteria, {run: [own[item] for item in common] for run, own in scores.items()}),
    }  # fmt: skip
