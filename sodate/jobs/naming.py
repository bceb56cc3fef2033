"""Names of tuned models: `ft:BASE:PROJECT:SUFFIX:ID`, as the wire has them, and of the versions that they mean.

The eight letters of a name are made from the job and the step, so that what a resumed job makes again has its old name.
"""

from __future__ import annotations

import hashlib
import re
import string
import time

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.api.weights import OF_A_JOB
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.db.tables import Permission, TunedModel, TuningJob

_LETTERS = string.ascii_letters + string.digits


def letters(job: str, step: int | None = None) -> str:
    """Eight letters and digits for a job's model, or for that of one of its steps."""
    number = int.from_bytes(hashlib.sha256(f"{job}:{step}".encode()).digest())
    made = ""
    for _ in range(8):
        number, rest = divmod(number, len(_LETTERS))
        made += _LETTERS[rest]
    return made


def version_name(job: str, step: int | None = None) -> str:
    """The name under which the weights are registered."""
    return OF_A_JOB + letters(job, step)


def model_name(session: Session, job: TuningJob, step: int | None = None) -> str:
    """The name of a job's model, or of its weights at a step."""
    base = _base(job.model)
    if job.old:
        return _old_name(session, job, base, step)
    name = f"ft:{base}:{plain(job.project)}:{plain(job.suffix or '')}:{letters(job.id, step)}"
    return name if step is None else f"{name}:ckpt-step-{step}"


def plain(text: str) -> str:
    """A suffix or project as a part of a name."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-")


def _base(model: str) -> str:
    if model.startswith("ft:"):
        return model.split(":")[1]
    return re.split(r":ft-", model)[0]


def _old_name(session: Session, job: TuningJob, base: str, step: int | None) -> str:
    """`davinci:ft-PROJECT:SUFFIX-2023-02-15-04-21-04`, the first second that no model is named after yet."""
    suffix = f":{plain(job.suffix)}" if job.suffix else ""
    tail = "" if step is None else f":ckpt-step-{step}"
    for second in range(10_000):
        stamp = time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime(job.created_at + second))
        name = f"{base}:ft-{plain(job.project)}{suffix}-{stamp}{tail}"
        taken = session.get(TunedModel, name)
        if taken is None or taken.job == job.id:
            return name
    raise AssertionError("ten thousand jobs in one second")


def is_tuned(name: str) -> bool:
    """Whether a name is of the form that only jobs give."""
    return name.startswith("ft:") or ":ft-" in name


def is_old(name: str) -> bool:
    """Whether a name is of the form that jobs of the wire of 2023 give."""
    return is_tuned(name) and not name.startswith("ft:")


def find(session: Session, name: str, project: str) -> TunedModel:
    """The tuned model, if it is the project's or was shared with it; for others it does not exist."""
    row = session.get(TunedModel, name)
    if row is not None and row.project != project:
        shared = sa.select(Permission.id).where(Permission.model == name, Permission.project == project)
        row = row if session.scalar(shared) is not None else None
    if row is None:
        raise UsageError(
            tr(f"The model '{name[:150]}' does not exist", f"モデル '{name[:150]}' はありません。"),
            code="model_not_found", param="model",
        )  # fmt: skip
    return row
