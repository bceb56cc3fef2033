"""`train` and `resume`: a recipe in, a run folder and an immutable version out."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sodate.api import distilling, trained
from sodate.api.checks import absolute, check_name, refuse_changes
from sodate.api.rewards import load_reward, settled
from sodate.api.training_data import TrainingData, read_data
from sodate.core.errors import SodateError
from sodate.core.recipe import METHODS, Decision, DistillRecipe, Recipe, RolloutRecipe, load_recipe, validated
from sodate.core.runs import ReadOnlyRun, RunFolder, now
from sodate.core.text import tr
from sodate.core.types import ModelFiles
from sodate.release.lookup import look_up

if TYPE_CHECKING:
    import torch

    from sodate.render.renderer import Renderer
    from sodate.train.adaptation import Start
    from sodate.train.methods import Setup
    from sodate.train.resolve import Resolved
    from sodate.train.rewards import Judge
    from sodate.train.speed import SpeedChoice

Listener = Callable[[str, Any], None]
"""Told what happens: "loading" name, "checked" Checked, "run" RunFolder, "decisions" list, "step" metrics line,
"weights" Weights (after each epoch but the last, and when a run was stopped), "warning" text."""


def train(
    recipe: Recipe | str | Path | None = None, *, on_event: Listener = lambda kind, data: None, **keys: Any
) -> dict[str, Any]:
    """Trains by a recipe (or a YAML file, or keys alone) and registers a version; returns the run's summary.

    Raises UsageError for the recipe, SodateError for data or model, Interrupted when stopped with a checkpoint kept.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(Path(recipe) if recipe else None, keys)
    if recipe.name is not None:
        check_name(recipe.name)
    return _execute(absolute(recipe), None, on_event)


def resume(run: str, *, on_event: Listener = lambda kind, data: None) -> dict[str, Any]:
    """Goes on with an interrupted run from its newest sound checkpoint; a finished run is returned as it is."""
    folder = RunFolder.find(run)
    manifest = folder.manifest
    if manifest["status"] in ("done", "no-gain"):
        result: dict[str, Any] = manifest["result"]
        return result
    kind = METHODS[manifest["recipe"]["method"]]
    return _execute(validated(kind, manifest["recipe"], str(folder.path / "run.json")), folder, on_event)


def _execute(recipe: Recipe, run: RunFolder | None, on_event: Listener) -> dict[str, Any]:
    from sodate.data.datasets import count_use, wear_said
    from sodate.model.load import pick_device
    from sodate.release.registry import code_version
    from sodate.render.renderer import Renderer
    from sodate.train import parallel
    from sodate.train.adaptation import begin

    pick_device(recipe.device)  # refused before anything is read
    parallel.join(recipe.device)
    parallel.refuse_unsupported(recipe)
    if not parallel.is_main():
        on_event = _silent
        parallel.wait()  # until the main process has prepared the data
    on_event("loading", recipe.model)
    files = look_up(recipe.model)
    if files.template is not None:  # a version: `orders` may mean another one by the time the run is resumed
        recipe = recipe.model_copy(update={"model": files.name})
    recipe = distilling.settled(settled(recipe))
    start = begin(recipe, files)
    # The day that a template prints is the one the run began on, also when it is resumed, and then the version's.
    day = (
        datetime.date.fromisoformat(run.manifest.get("date") or run.manifest["created_at"][:10])
        if run
        else datetime.date.today()
    )
    renderer = partial(Renderer.from_folder, files.folder, recipe.template or files.template, date=day)
    data = read_data(recipe, files, renderer(), on_event)
    about = {
        "recipe": recipe.model_dump(mode="json"),
        "base": files.base,
        "start": {"model": files.name, "adapter_sha256": start.sha256()},
        "code": code_version(),
        **data.about,
    }
    if parallel.is_main():
        parallel.wait()
    if run is None:
        path = parallel.from_main(RunFolder.create(about).path if parallel.is_main() else None)
        assert path is not None
        run = RunFolder(path)
        if recipe.eval and parallel.is_main() and (wear := count_use(recipe.eval, "validation", run.name)):
            on_event("warning" if wear["worn"] else "wear", wear_said(wear))
    else:
        refuse_changes(run, about)
    if not parallel.is_main():
        run = ReadOnlyRun(run.path)
    on_event("run", run)
    fresh = "decisions" not in run.manifest
    with run.locked():
        try:
            job = TrainingJob(recipe, files, start, renderer, data, run, on_event)
            if fresh:
                for one in data.events:
                    run.event(**one)
                for note in data.notes:
                    job.say(note)
            return _train_locked(job)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt) or getattr(error, "exit_code", 1) == 130
            with contextlib.suppress(OSError, SodateError):  # a full disk: the status is then told by the lock
                run.update(status="interrupted" if stopped else "failed", error=str(error), ended_at=now())
            raise


def _silent(kind: str, data: Any) -> None:
    """The listener of a process beside the main one."""


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A run that is locked and may begin: the recipe and all that was found and prepared for it."""

    recipe: Recipe
    files: ModelFiles
    start: Start
    renderer: Callable[[], Renderer]
    data: TrainingData
    run: RunFolder
    on_event: Listener

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        from sodate.model.load import pick_device
        from sodate.train import parallel

        return parallel.device(pick_device(self.recipe.device))

    @property
    def longest(self) -> int:
        """Tokens of the longest row, with its reply where one is sampled."""
        sampled = self.recipe.max_new_tokens if isinstance(self.recipe, RolloutRecipe | DistillRecipe) else 0
        return max(self.data.rows.longest, self.data.held_out.longest) + sampled

    def say(self, text: str) -> None:
        """A warning for the person: kept with the run and shown."""
        self.run.event("warning", text=text)
        self.on_event("warning", text)


def _train_locked(job: TrainingJob) -> dict[str, Any]:
    from sodate.adapt import last_blocks
    from sodate.model import fused, memory
    from sodate.train import fit_into_memory, loop, parallel, speed
    from sodate.train.adaptation import WHOLE, make_trainable
    from sodate.train.methods import named
    from sodate.train.stops import Interrupted

    recipe, run, start = job.recipe, job.run, job.start
    memory.return_heap()
    memory.forget_peak()
    choice = speed.settle(
        recipe, job.files, job.device, run.manifest, whole=start.kind in WHOLE, quantised=start.quantised
    )  # fmt: skip
    model = _load_model(job, choice)
    resolved = _resolve(job, model)
    make_trainable(model, recipe, start, resolved)
    products = fused.replace_modules(model, _dtype(choice))
    _write_down(job, model, resolved, choice, products)
    method = named(recipe.method).build(_setup(job, model, resolved, choice))
    if memory_plan := fit_into_memory.plan_memory(
        recipe, job.files, model, products, method, resolved, job.longest, run
    ):  # fmt: skip
        job.on_event("decisions", memory_plan.decisions)
    if recipe.parallel == "fsdp" and parallel.count() > 1:
        parallel.shard(model, last_blocks.blocks(model))
    stepped = partial(trained.stepped, job, model, resolved)
    try:
        with speed.adapting(choice, model, start.kind):
            state = loop.train(model, method, resolved.plan, run, stepped)
    except Interrupted:
        if parallel.is_main():
            stepped(run.metrics()[-1], told=True)
        raise
    if not parallel.is_main():
        return parallel.from_main({})
    return parallel.from_main(trained.finish(job, model, resolved, trained.report(job, method, state, choice)))


def _dtype(choice: SpeedChoice) -> torch.dtype:
    import torch

    dtype: torch.dtype = getattr(torch, choice.kind.dtype)
    return dtype


def _load_model(job: TrainingJob, choice: SpeedChoice) -> Any:
    """The base model in memory; SodateError where its weights alone do not fit.

    What is trained stays in float32: bfloat16 would round small updates away. What is not stays as its file has it, if
    that is narrower; replies are sampled faster from what is not.
    """
    import torch

    from sodate.model import load, stored_precision
    from sodate.train.adaptation import WHOLE
    from sodate.train.fit_into_memory import refuse_too_large

    whole, folder, dtype = job.start.kind in WHOLE, job.files.folder, _dtype(choice)
    loaded = torch.float32 if whole else dtype
    as_stored = not whole and not isinstance(job.recipe, RolloutRecipe)
    frozen = stored_precision.precision(folder, dtype) if as_stored else loaded
    refuse_too_large(job.recipe, job.files, job.device, frozen, job.start.quantised)
    return load.load_base(folder, device=job.device, dtype=loaded, kept=frozen, quantised=job.start.quantised)


def _resolve(job: TrainingJob, model: Any) -> Resolved:
    """Every `auto` of the recipe as a number, with its reason."""
    from sodate.adapt import lora
    from sodate.train.adaptation import WHOLE
    from sodate.train.resolve import RunFacts, resolve

    start = job.start
    return resolve(job.recipe, RunFacts(
        rows=len(job.data.rows.sequences), longest=job.longest,
        hidden_size=model.config.hidden_size, layers=model.config.num_hidden_layers, targets=lora.all_targets(model),
        cuda=job.device.type == "cuda", has_eval=bool(job.data.held_out.sequences), kind=start.kind,
        start=None if start.kind in WHOLE else start.config,
    ))  # fmt: skip


def _write_down(job: TrainingJob, model: Any, resolved: Resolved, choice: SpeedChoice, products: torch.dtype) -> None:
    """Tells what was decided, and keeps it with the run."""
    from sodate.model import traits
    from sodate.train import parallel, speed

    decisions = resolved.decisions
    if job.recipe.dtype == "auto":
        decisions += speed.decisions(choice, str(products).removeprefix("torch."))
    if not traits.of(model).shares:
        reason = tr(
            "this architecture mixes packed rows: each is computed alone",
            "この構造は行をまとめると混ざるため、1 行ずつ計算",
        )
        decisions += (Decision("shared_prefixes", "off", reason),)
    job.on_event("decisions", decisions)
    job.run.update(
        status="running",
        plan=asdict(resolved.plan),
        decisions=[asdict(d) for d in decisions],
        device=str(job.device),
        processes=parallel.count(),
        products=choice.kind.library,
        **choice.figures(),
    )


def _setup(job: TrainingJob, model: Any, resolved: Resolved, choice: SpeedChoice) -> Setup:
    """What the training method is built from."""
    from sodate.api.judging import LocalJudges
    from sodate.train.methods import Setup

    def judge(name: str) -> Judge:
        return load_reward(name, device=str(job.device), dtype=choice.kind.dtype).score

    def teacher(name: str) -> Any:
        return distilling.load_teacher(name, job.files, str(job.device), choice.kind.dtype)

    rows, held_out = job.data.rows, job.data.held_out
    return Setup(
        job.recipe, model, job.renderer, job.run, rows, held_out, resolved.micro_tokens, job.say, judge, LocalJudges(),
        teacher,
    )  # fmt: skip
