"""Looking at a job's files before it is queued for training, and what is to be trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from sodate.api.uploaded import examine
from sodate.core.errors import SodateError
from sodate.core.text import en
from sodate.db.connection import reading, writing
from sodate.db.tables import TuningJob
from sodate.jobs import files, naming, queue, tuning

FEWEST_ROWS = 10
MOST_TRIES = 5  # workers that may end over a job's files
SUPERVISED, DPO, REINFORCEMENT = "supervised", "dpo", "reinforcement"
METHODS = {SUPERVISED: "sft", DPO: "dpo", REINFORCEMENT: "grpo"}
# OpenAI's names for what a file holds, by the first word of ours.
_HOLDS = {"openai": "fine-tune-chat", "prompt": "fine-tune-completion", "preference": "fine-tune-preference",
          "task": "fine-tune-reinforcement", "prompts": "fine-tune-reinforcement"}  # fmt: skip


class Refused(Exception):
    """The files are not such that the job could train on them; `error` is the job's."""

    def __init__(self, code: str, message: str, param: str) -> None:
        super().__init__(message)
        self.error = tuning.failure(code, message, param)


def check(claim: queue.Claim) -> None:
    """Reads the files of a claimed job, which is then queued for training, or has failed."""
    with writing() as session:
        queue.owned(session, claim)
        job = _job(session, claim)
        beside = f" and validation file: {job.validation_file}" if job.validation_file else ""
        tuning.tell_once(session, job, f"Validating training file: {job.training_file}{beside}")
    try:
        if claim.tries > MOST_TRIES:
            said = f"The workers that looked at the files ended {MOST_TRIES} times over them."
            raise Refused("worker_crashed", said, "training_file")
        recipe = _recipe(job)
    except Refused as refused:
        with writing() as session:
            work = queue.owned(session, claim)
            if work.wanted != "cancel":
                job = _job(session, claim)
                tuning.end(session, job, "failed", refused.error["message"], refused.error)
            session.delete(work)
        return
    with writing() as session:
        work = queue.owned(session, claim)
        if work.wanted == "cancel":
            session.delete(work)
            return
        work.kind, work.owner, work.tries = tuning.TRAIN, None, 0
        work.wanted = "pause" if work.wanted == "pause" else ""
        job = _job(session, claim)
        job.recipe = json.dumps(recipe)
        job.status = tuning.PAUSED if work.wanted else "queued"
        tuning.tell(session, job, "Files validated, moving job to queued state")


def _job(session: Session, claim: queue.Claim) -> TuningJob:
    return session.scalars(sa.select(TuningJob).where(TuningJob.id == claim.id)).one()


def _recipe(job: TuningJob) -> dict[str, Any]:
    method = json.loads(job.method)
    train = _examined(job, job.training_file, "training", method["type"])
    held_out = _examined(job, job.validation_file, "validation", method["type"]) if job.validation_file else None
    asked = {
        key: value
        for key, value in (method[method["type"]].get("hyperparameters") or {}).items()
        if value not in ("auto", None)
    }
    name = json.loads(job.asked).get("version") or naming.version_name(job.id)
    made: dict[str, Any] = {
        "method": METHODS[method["type"]], "model": job.base, "data": [str(train)], "name": name,
        "seed": job.seed, "epochs": asked.get("n_epochs", "auto"), "batch_size": asked.get("batch_size", "auto"),
        "lr_multiplier": float(asked.get("learning_rate_multiplier", 1.0)), "early_stop": None, "keep": "last",
    }  # fmt: skip
    if held_out is not None:
        # Who gives the same file twice wants to see its loss all the same.
        leaks = "train" if train == held_out or files_alike(job) else "aside"
        made |= {"eval": str(held_out), "eval_every": asked.get("eval_interval", "epoch"), "leaks": leaks}
    if method["type"] != SUPERVISED:  # who asks for a model gets one; whether it gained is told as an event
        made |= {"register_no_gain": True, "hold_out": 0}
    if method["type"] == DPO and "beta" in asked:
        made["beta"] = asked["beta"]
    if method["type"] == REINFORCEMENT:
        samples = round(8 * asked.get("compute_multiplier", 1.0))
        made |= {"rewards": [json.dumps(method[REINFORCEMENT]["grader"])], "samples": max(2, samples)}
    return made


def files_alike(job: TuningJob) -> bool:
    """Whether the validation file has the training file's very bytes."""
    with reading() as session:
        hashes = [files.get(session, id, job.project).sha256 for id in (job.training_file, job.validation_file) if id]
    return len(set(hashes)) < len(hashes)


def _examined(job: TuningJob, id: str, which: str, method: str) -> Path:
    """The file's path, if it holds enough of what the method learns from."""
    code, param = f"invalid_{which}_file", f"{which}_file"
    try:
        with reading() as session:
            path = files.path(files.get(session, id, job.project))
        found = examine(path)
    except SodateError as error:
        raise Refused(code, f"The job failed due to an invalid {which} file. {en(error.message)}", param) from None
    holds = _HOLDS.get(found.format.partition("-")[0], "fine-tune-chat")
    wants = {SUPERVISED: ("fine-tune-chat", "fine-tune-completion"), DPO: ("fine-tune-preference",),
             REINFORCEMENT: ("fine-tune-reinforcement",)}[method]  # fmt: skip
    if not found.format:
        expected = "Unexpected file format, expected either prompt/completion pairs or chat messages."
        raise Refused(code, f"The job failed due to an invalid {which} file. {expected}", param)
    if holds not in wants and not (method == REINFORCEMENT and holds in ("fine-tune-chat", "fine-tune-completion")):
        right = {"fine-tune-preference": DPO, "fine-tune-reinforcement": REINFORCEMENT}.get(holds, SUPERVISED)
        raise Refused(
            code, f"Input file {id} is in the {holds} format, but the specified fine-tuning job is not using "
            f"'{right}' as the training method (provided method={method}).", param,
        )  # fmt: skip
    if found.line is not None:
        said = f"Invalid file format. Example {found.line}: {found.complaint}"
        raise Refused(code, f"The job failed due to an invalid {which} file. {said}", param)
    if which == "training" and found.rows < FEWEST_ROWS:
        said = f"Training file has {found.rows} example(s), but must have at least {FEWEST_ROWS} examples"
        raise Refused("invalid_n_examples", said, param)
    return path
