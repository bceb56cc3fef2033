"""What a training process says becomes what the wire shows: events, checkpoints, the model, the result file."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.api.versions import delete_version
from sodate.core import home
from sodate.core.errors import SodateError
from sodate.core.ids import new_id
from sodate.db.tables import JobCheckpoint, JobEvent, TunedModel, TuningJob
from sodate.jobs import audit, files, naming, tuning

KEPT = 3  # checkpoints of a job
BASE64 = "SODATE_RESULTS_BASE64"  # set to 1, result files come as OpenAI gave them
_NAMES = {"epochs": "n_epochs", "batch_size": "batch_size", "beta": "beta", "eval_every": "eval_interval"}
_DEFAULTS = {
    "learning_rate_multiplier": 1.0, "beta": 0.1, "reasoning_effort": "default", "compute_multiplier": 1.0,
    "eval_samples": 1,
}  # fmt: skip


def begun(session: Session, job: TuningJob, said: Mapping[str, Any]) -> None:
    """The run that trains the job."""
    job.run = said["run"]


def resolved(session: Session, job: TuningJob, said: Mapping[str, Any]) -> None:
    """Every `auto` of the request as the number it became."""
    method = json.loads(job.method)
    settings = method[method["type"]]["hyperparameters"]
    numbers = _DEFAULTS | {_NAMES[key]: value for key, value in said["values"].items() if key in _NAMES}
    for key, value in settings.items():
        if value == "auto" and key in numbers:
            settings[key] = numbers[key]
    job.method = json.dumps(method)


def is_new(session: Session, job: TuningJob, said: Mapping[str, Any]) -> bool:
    """Whether a step was not told before."""
    last = session.scalar(sa.select(sa.func.max(JobEvent.step)).where(JobEvent.job == job.id)) or 0
    return bool(said["line"]["step"] > last)


def stepped(session: Session, job: TuningJob, said: Mapping[str, Any]) -> None:
    """A step's metrics, unless a run before this one told them."""
    line = said["line"]
    if not is_new(session, job, said):
        return
    step, steps = line["step"], line["steps"]
    if "reward_mean" in line:
        data: dict[str, Any] = {"step": step, "total_steps": steps, "train_mean_reward": line["reward_mean"]}
        text = f"Step {step}/{steps} , train mean reward={line['reward_mean']:.2f}"
        if "eval_reward" in line:
            data["full_valid_mean_reward"] = line["eval_reward"]
            text += f", full validation mean reward={line['eval_reward']:.2f}"
        tuning.tell(session, job, text, data=data, step=step)
        return
    data = {"step": step, "total_steps": steps, "train_loss": line["loss"],
            "train_mean_token_accuracy": line.get("accuracy")}  # fmt: skip
    text = f"Step {step}/{steps}: training loss={line['loss']:.2f}"
    if "eval_loss" in line:  # every look at held-out rows is at all of them
        loss, accuracy = line["eval_loss"], line.get("eval_accuracy")
        data |= {"valid_loss": loss, "valid_mean_token_accuracy": accuracy, "full_valid_loss": loss,
                 "full_valid_mean_token_accuracy": accuracy}  # fmt: skip
        text += f", validation loss={loss:.2f}, full validation loss={loss:.2f}"
    tuning.tell(session, job, text, data=data, step=step)


def warned(session: Session, job: TuningJob, said: Mapping[str, Any]) -> None:
    """Something that its owner should know."""
    tuning.tell(session, job, said["text"], level="warn")


def weighed(session: Session, job: TuningJob, said: Mapping[str, Any]) -> None:
    """The weights after an epoch, under a name of their own. The oldest of more than KEPT go."""
    step = said["step"]
    name = naming.model_name(session, job, step)
    if not _checkpoint(session, job, step, name):
        return
    _model(session, job, name, said["version"])
    tuning.tell(session, job, f"Checkpoint created at step {step} with Snapshot ID: {name}")


def _checkpoint(session: Session, job: TuningJob, step: int, name: str) -> bool:
    known = sa.select(JobCheckpoint.id).where(JobCheckpoint.job == job.id, JobCheckpoint.model == name)
    if session.scalar(known) is not None:
        return False
    event = session.scalar(sa.select(JobEvent).where(JobEvent.job == job.id, JobEvent.step == step))
    measured = json.loads(event.data) if event is not None and event.data else {}
    metrics = {"step": step} | {
        key: measured.get(key)
        for key in ("train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy",
                    "full_valid_loss", "full_valid_mean_token_accuracy", "train_mean_reward", "full_valid_mean_reward")
        if key in measured or "reward" not in key
    }  # fmt: skip
    session.add(
        JobCheckpoint(id=new_id("ftckpt_"), job=job.id, created_at=int(time.time()), step=step, model=name,
                      metrics=json.dumps(metrics))
    )  # fmt: skip
    session.flush()
    return True


def _model(session: Session, job: TuningJob, name: str, version: str) -> None:
    session.merge(TunedModel(name=name, project=job.project, job=job.id, version=version, created_at=int(time.time())))


def forgotten(session: Session, job: TuningJob) -> list[str]:
    """Takes the names of all but the last KEPT checkpoints away; returns the versions that nobody needs any more."""
    wanted = sa.select(JobCheckpoint).where(JobCheckpoint.job == job.id).order_by(JobCheckpoint.step.desc())
    versions = []
    for checkpoint in session.scalars(wanted).all()[KEPT:]:
        model = session.get(TunedModel, checkpoint.model)
        begun_with = sa.select(TuningJob.id).where(
            TuningJob.base == (model.version if model else ""), TuningJob.status.not_in(tuning.ENDED)
        )
        if model is not None and session.scalar(begun_with.limit(1)) is None:
            versions.append(model.version)
            session.delete(model)
            session.delete(checkpoint)
    return versions


def remove(versions: list[str]) -> None:
    """Deletes versions of checkpoints whose names are gone."""
    for version in versions:
        with contextlib.suppress(SodateError):  # somebody is at it
            delete_version(version)


def succeeded(session: Session, job: TuningJob, said: Mapping[str, Any]) -> None:
    """The model, the file of results, and the job's end."""
    result = said["result"]
    name = naming.model_name(session, job)
    _model(session, job, name, result["version"])
    _checkpoint(session, job, result["steps"], name)
    job.tuned_model, job.version, job.trained_tokens = name, result["version"], result["tokens"]
    table = "".join(_table(session, job)).encode()
    if os.environ.get(BASE64) == "1":
        table = base64.b64encode(table)
    job.result_file = files.make(job.project, "step_metrics.csv", files.MADE[0], [table], session=session).id
    tuning.tell(session, job, f"New fine-tuned model created: {name}")
    tuning.end(session, job, "succeeded", "The job has successfully completed")
    audit.note(session, job.project, "worker", "model.created", name)


def _table(session: Session, job: TuningJob) -> Iterator[str]:
    columns: tuple[str, ...] = ("train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy")
    heads: tuple[str, ...] = ("train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
    if json.loads(job.method)["type"] == "reinforcement":
        columns = heads = ("train_mean_reward", "full_valid_mean_reward")
    yield f"step,{','.join(heads)}\n"
    wanted = sa.select(JobEvent.data).where(JobEvent.job == job.id, JobEvent.step.is_not(None)).order_by(JobEvent.step)
    for text in session.scalars(wanted):
        data = json.loads(text or "{}")
        cells = ("" if data.get(column) is None else f"{data[column]:.6g}" for column in columns)
        yield f"{data['step']},{','.join(cells)}\n"


def failed(session: Session, job: TuningJob, code: str, message: str) -> None:
    """The job's end, without the names of this machine's folders in its reason."""
    said = message.replace(f"{home.home()}{os.sep}", "")
    tuning.end(session, job, "failed", said, tuning.failure(code, said))


HEARD = {"run": begun, "decisions": resolved, "step": stepped, "weights": weighed, "warning": warned}
