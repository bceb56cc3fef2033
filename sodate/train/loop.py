"""The loop all methods share: order of rows, normalisation, clipping, schedule, logging, checkpoints, resume.

A step is a pure function of (weights, optimiser, row numbers, the method's memory), and row numbers are a pure function
of (seed, epoch), so a run that was killed and continued ends bit for bit where an undisturbed one does. A step may make
several optimiser updates (the epochs of PPO over one rollout); checkpoints lie between steps only.
"""

from __future__ import annotations

import functools
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sodate.core import progress
from sodate.core.errors import SodateError
from sodate.core.files import sweep_temporaries
from sodate.core.home import make_folder
from sodate.core.runs import RunFolder
from sodate.core.text import tr
from sodate.train import checkpoint, parallel
from sodate.train.giving_way import between_blocks
from sodate.train.stops import Diverged, Interrupted, diverged, memory_watched, stop_requests


@dataclass(frozen=True, slots=True)
class MicroBatchLoss:
    """One micro-batch's loss, summed and not yet normalised, and what to count of it."""

    loss: Tensor
    tokens: int  # of the rows as rendered
    supervised_tokens: int
    computed_tokens: int  # after shared prefixes
    sums: dict[str, float] = field(default_factory=dict)  # logged divided by the step's weight


@dataclass(frozen=True, slots=True)
class Update:
    """One optimiser update. Each part is backpropagated before the next is made; metrics are logged as they are."""

    weight: float  # what the summed loss is divided by, e.g. the supervised tokens
    parts: Iterable[MicroBatchLoss]
    metrics: dict[str, float] = field(default_factory=dict)  # read once the parts are used up
    rate: float = 1.0  # a share of the learning rate, for an update from less than a whole batch


@dataclass(frozen=True, slots=True)
class Validation:
    """How good the model is on held-out rows: `loss` is what the best checkpoint has least of."""

    loss: float
    metrics: dict[str, float] = field(default_factory=dict)


class Method(Protocol):
    """What a training method gives the loop. Rows are numbers 0 … rows-1."""

    rows: int
    names: Sequence[str]  # of each row, e.g. file:line, for the sentence when training goes wrong
    memory: dict[str, float]
    """Numbers that must survive a resume, e.g. an adaptive coefficient; in every checkpoint. The loop reads two of
    them: `rate`, a share of the learning rate, and `stop`, that ends the run after the step and a last look."""

    def length(self, row: int) -> int:
        """Tokens of a row, to name the longest one when memory runs out."""

    def updates(self, step: int, rows: Sequence[int]) -> Iterator[Update]:
        """The optimiser updates of 0-based `step` on these rows: one, or several after a rollout. The next is asked for
        when the one before has been made; what they need beside the weights is a function of (seed, step, memory)."""

    def validate(self) -> Validation | None:
        """Held-out rows, or None without any."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The resolved numbers of a run. A step is one batch of rows with all its optimiser updates."""

    steps: int
    batch_size: int
    shuffle: bool
    seed: int
    lr: float
    schedule: str
    warmup_steps: int
    weight_decay: float
    max_grad_norm: float
    save_every: int
    eval_every: int
    early_stop: int | None
    keep: str = "best"  # whose weights a run ends with: those of the least held-out loss, or the "last"
    epoch_steps: int = 0  # steps of one pass over the rows
    early: int = 0  # the checkpoint of this step stays beside the last two, for `why`; 0: none does


@dataclass(slots=True)
class State:
    """What a checkpoint carries beside tensors."""

    step: int = 0
    best_loss: float | None = None
    best_step: int | None = None
    evals_without_gain: int = 0
    stopped: bool = False
    tokens: int = 0
    supervised_tokens: int = 0
    train_seconds: float = 0.0


def learning_rate(plan: Plan, step: int) -> float:
    """Rate of 0-based `step`: linear warm-up, then linear or cosine decay to 0 at `plan.steps`, or constant."""
    if step < plan.warmup_steps:
        return plan.lr * step / plan.warmup_steps
    progress = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    if plan.schedule == "linear":
        return plan.lr * (1 - progress)
    if plan.schedule == "cosine":
        return plan.lr * 0.5 * (1 + math.cos(math.pi * progress))
    return plan.lr


def rows_of_step(plan: Plan, rows: int, step: int) -> list[int]:
    """Row numbers of 0-based `step`. Every epoch sees each row once; the last batch of an epoch may be smaller."""
    per_epoch = math.ceil(rows / plan.batch_size)
    epoch, batch = divmod(step, per_epoch)
    start, end = batch * plan.batch_size, min((batch + 1) * plan.batch_size, rows)
    if not plan.shuffle:
        return list(range(start, end))
    order: list[int] = _order(plan.seed, epoch, rows)[start:end].tolist()
    return order


@functools.lru_cache(maxsize=1)
def _order(seed: int, epoch: int, rows: int) -> NDArray[np.int64]:
    """The rows of an epoch in their order, kept while it lasts."""
    return np.random.Generator(np.random.Philox([seed, epoch])).permutation(rows)


def train(model: Any, method: Method, plan: Plan, run: RunFolder, on_step: Callable[[dict[str, Any]], None]) -> State:
    """Trains until the plan ends, an early stop, or an interrupt. The caller holds the run's lock.

    Afterwards the model holds the weights of the best validation loss, or the last ones without validation.
    """
    parameters = list(checkpoint.trainable(model).values())
    fused = parameters[0].device.type in ("cpu", "cuda")
    optimizer = torch.optim.AdamW(parameters, lr=plan.lr, weight_decay=plan.weight_decay, fused=fused)
    folder = run.path / "checkpoints"
    with parallel.main_first():
        make_folder(folder)
        if parallel.is_main():
            sweep_temporaries(folder)
        saved = checkpoint.restore(folder, model, optimizer, lambda text: run.event("warning", text=text))
    state = State(**{k: saved[k] for k in State.__slots__}) if saved else State()
    method.memory.update(saved["memory"] if saved else {})

    def save() -> None:
        keep = {plan.early} | ({state.best_step} if state.best_step is not None else set())
        about = _as_dict(state) | {"memory": dict(method.memory)}
        if parallel.is_main():
            checkpoint.save(folder, state.step, model, optimizer, about, keep)
        parallel.wait()

    with stop_requests() as stop, between_blocks(model):  # first: what is seen to have begun can be stopped
        run.rewind_metrics(state.step)
        run.event("started" if not saved else "resumed", step=state.step)
        progress.report("steps", state.step, plan.steps)
        while state.step < plan.steps and not state.stopped:
            line = _step(method, plan, optimizer, parameters, state, run)
            validated = _maybe_validate(method, plan, state, line)
            run.metric(line)
            on_step(line)
            progress.report("steps", state.step, plan.steps)
            done = state.step >= plan.steps or state.stopped
            stopping = any(parallel.gathered(stop.is_set()))  # a signal to one process stops all
            if done or stopping or state.step % plan.save_every == 0 or (validated and state.best_step == state.step):
                save()
            if stopping and not done:
                run.event("interrupted", step=state.step)
                raise Interrupted(
                    tr(
                        f"Stopped at step {state.step} of {plan.steps}; a checkpoint is kept.",
                        f"{plan.steps} ステップ中 {state.step} で停止しました。チェックポイントは保存済みです。",
                    ),
                    tr(f"Go on with: sodate runs resume {run.name}", f"続けるには: sodate runs resume {run.name}"),
                )
    if plan.keep == "best" and state.best_step is not None and state.best_step != state.step:
        with parallel.main_first():
            _load_best(folder, state.best_step, model, run)
        run.event("best", step=state.best_step, loss=state.best_loss)
    return state


def _load_best(folder: Path, step: int, model: Any, run: RunFolder) -> None:
    """Copies the best checkpoint's weights in. A damaged one is cleared away with all after it, to be made again."""
    path = folder / f"step-{step:06d}"
    try:
        checkpoint.verified(path)
    except SodateError as error:
        run.event("warning", text=str(error))
        for later in folder.glob("step-*"):
            if later.name >= path.name:
                shutil.rmtree(later)
        fix = tr(f"Make it again, the same, with: sodate runs resume {run.name}",
                 f"次のコマンドで同じものを作り直せます: sodate runs resume {run.name}")  # fmt: skip
        raise SodateError(error.message, fix, code=error.code, file=error.file) from None
    checkpoint.load_trainable(path, model)


@dataclass(slots=True)
class _Totals:
    """What the updates of one step add up to."""

    loss: float = 0.0
    weight: float = 0.0
    tokens: int = 0
    supervised: int = 0
    computed: int = 0
    grad_norm: float = 0.0
    lr: float = 0.0  # of the last update
    sums: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def _step(
    method: Method,
    plan: Plan,
    optimizer: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
    state: State,
    run: RunFolder,
) -> dict[str, Any]:
    started = time.perf_counter()
    rows = rows_of_step(plan, method.rows, state.step)
    lr = learning_rate(plan, state.step) * method.memory.get("rate", 1.0)
    totals = _Totals()
    with memory_watched(state.step + 1, {method.names[row]: method.length(row) for row in rows}, run):
        for update in method.updates(state.step, rows):
            loss = _backward(update, totals)
            parallel.add_gradients(parameters)
            grad_norm = torch.nn.utils.clip_grad_norm_(parameters, plan.max_grad_norm).item()
            if not math.isfinite(loss) or not math.isfinite(grad_norm):
                raise diverged(state.step + 1, loss, grad_norm, [method.names[row] for row in rows], run)
            for group in optimizer.param_groups:
                group["lr"] = lr * update.rate
            totals.lr = lr * update.rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            totals.grad_norm = max(totals.grad_norm, grad_norm)
            totals.metrics |= update.metrics
    state.step += 1
    seconds = time.perf_counter() - started
    state.tokens += totals.tokens
    state.supervised_tokens += totals.supervised
    state.train_seconds += seconds
    return {
        "step": state.step,
        "steps": plan.steps,
        "epoch": state.step / math.ceil(method.rows / plan.batch_size),
        "loss": totals.loss / totals.weight,
        "tokens": totals.tokens,
        "supervised_tokens": totals.supervised,
        "computed_tokens": totals.computed,
        "seconds": seconds,
        "lr": totals.lr,
        "grad_norm": totals.grad_norm,
        **{key: value / totals.weight for key, value in totals.sums.items()},
        **totals.metrics,
    }


def _backward(update: Update, totals: _Totals) -> float:
    """Gradients of the update's mean loss, which is returned; its figures go to the totals of the step."""
    own = {"loss": 0.0, "tokens": 0, "supervised": 0, "computed": 0}
    sums: dict[str, float] = {}
    for part in update.parts:
        (part.loss / update.weight).backward()
        own["loss"] += part.loss.item()
        own["tokens"] += part.tokens
        own["supervised"] += part.supervised_tokens
        own["computed"] += part.computed_tokens
        for key, value in part.sums.items():
            sums[key] = sums.get(key, 0.0) + value
    counts = parallel.summed(own)
    totals.loss += counts["loss"]
    totals.weight += update.weight
    totals.tokens += int(counts["tokens"])
    totals.supervised += int(counts["supervised"])
    totals.computed += int(counts["computed"])
    for key, value in parallel.summed(sums).items():
        totals.sums[key] = totals.sums.get(key, 0.0) + value
    return counts["loss"] / update.weight


def _maybe_validate(method: Method, plan: Plan, state: State, line: dict[str, Any]) -> bool:
    """Adds `eval_loss` to the line when it is due; remembers the best and decides on an early stop."""
    asked = bool(method.memory.get("stop"))
    state.stopped |= asked
    if state.step % plan.eval_every and state.step != plan.steps and not asked:
        return False
    found = method.validate()
    if found is None:
        return False
    loss = found.loss
    if not math.isfinite(loss):
        raise Diverged(
            tr(f"Step {state.step}: the held-out loss is {loss}.", f"ステップ {state.step}: 検証損失が {loss} です。"),
            tr("Lower lr, or look at the held-out rows.", "lr を下げるか、検証用の行を確かめてください。"),
        )
    line |= {"eval_loss": loss, **found.metrics}
    if state.best_loss is None or loss < state.best_loss:
        state.best_loss, state.best_step, state.evals_without_gain = loss, state.step, 0
    else:
        state.evals_without_gain += 1
        state.stopped |= plan.early_stop is not None and state.evals_without_gain >= plan.early_stop
    state.stopped |= bool(method.memory.get("stop"))
    return True


def _as_dict(state: State) -> dict[str, Any]:
    return {key: getattr(state, key) for key in State.__slots__}
