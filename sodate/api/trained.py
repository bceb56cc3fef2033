"""What a run leaves: weights as versions, during it and at its end, and the figures that go with them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sodate.core import home
from sodate.core.errors import SodateError
from sodate.core.recipe import PolishRecipe
from sodate.core.runs import now

if TYPE_CHECKING:
    from sodate.api.training import TrainingJob
    from sodate.release.registry import Version
    from sodate.train.loop import Method, State
    from sodate.train.resolve import Resolved
    from sodate.train.speed import SpeedChoice


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights as they are after a step. `register(name)` makes them a version, unless that name has one already."""

    step: int
    register: Callable[[str], str]


def stepped(job: TrainingJob, model: Any, resolved: Resolved, line: dict[str, Any], *, told: bool = False) -> None:
    """Tells of a step, and at the end of an epoch of its weights. `told`: the step itself is known."""
    step, plan = line["step"], resolved.plan
    if not told:
        job.on_event("step", line)
    if told or (step % plan.epoch_steps == 0 and step < plan.steps):

        def register(name: str) -> str:
            return as_version(job, model, resolved, name, {"step": step}).id

        job.on_event("weights", Weights(step, register))


def report(job: TrainingJob, method: Method, state: State, choice: SpeedChoice) -> dict[str, Any]:
    """The figures of a finished run, as the version and the result carry them."""
    from sodate.model import memory
    from sodate.train import gain
    from sodate.train.methods import named

    lines = job.run.metrics()
    own = named(job.recipe.method).report(method)
    if "look_seconds" in own:
        own["look_share"] = gain.cost(own["look_seconds"], state.train_seconds, lines)
    kept, least = state.best_step, state.best_loss
    if job.recipe.keep == "last" and kept is not None:
        kept, least = state.step, lines[-1]["eval_loss"]
    return {
        "steps": state.step, "tokens": state.tokens,
        "supervised_tokens": state.supervised_tokens, "train_seconds": state.train_seconds,
        "peak_rss_bytes": memory.peak_rss_bytes(), **choice.figures(),
        "first_loss": lines[0]["loss"], "final_loss": lines[-1]["loss"],
        "best_step": kept, "best_eval_loss": least, "stopped_early": state.stopped,
        **held_out_figures(lines, kept),
        **own,
    }  # fmt: skip


def finish(job: TrainingJob, model: Any, resolved: Resolved, figures: dict[str, Any]) -> dict[str, Any]:
    """The weights become a version, and the run is done; returns its result.

    The last rungs have to show a gain on held-out rows first: without one no version is registered, unless the recipe
    says so, and the run ends as `no-gain`.
    """
    from sodate.library.store import safe_name
    from sodate.train import gain

    run, recipe = job.run, job.recipe
    name = recipe.name or safe_name(home.DATASET.sub(r"\1", Path(recipe.data[0]).name).split(".")[0])
    wanted = True
    if isinstance(recipe, PolishRecipe):
        found = gain.outcome(run.metrics(), figures["best_step"], job.files.name)
        wanted = found.verdict != "no-gain" or recipe.register_no_gain
        figures |= {"verdict": found.verdict, "said": str(found.said)}
        run.event("outcome", verdict=found.verdict, text=str(found.said))
        if found.verdict == "no-gain":
            job.say(found.said)
    # A run killed between registering and saying so has its version already.
    version = as_version(job, model, resolved, name, figures).id if wanted else None
    result = {"run": run.name, "version": version, "run_dir": str(run.path), **figures}
    run.update(status="done" if wanted else "no-gain", result=result, ended_at=now())
    return result


def as_version(job: TrainingJob, model: Any, resolved: Resolved, name: str, figures: dict[str, Any]) -> Version:
    """The weights as a version of that name; the one that this run has made already, if it has."""
    from sodate.data import known
    from sodate.release import registry

    run = job.run
    manifest: Mapping[str, Any] = run.manifest
    with contextlib.suppress(SodateError, OSError):  # files that changed or went meanwhile: then it isn't known
        known.write(job.data.about["data"]["sha256"], job.data.examples)
    kept = ("recipe", "plan", "base", "start", "renderer", "template_source", "template", "date", "data", "eval")
    about = {"run": run.name, **{k: manifest.get(k) for k in kept}, "adapter": job.start.kind, "report": figures}
    return next(
        (v for v in registry.list_versions(name) if v.manifest.get("run") == run.name), None
    ) or registry.register(name, about, job.data.template, lambda folder: _write_weights(job, model, resolved, folder))


def _write_weights(job: TrainingJob, model: Any, resolved: Resolved, folder: Path) -> None:
    from sodate.adapt import files as adapter_files
    from sodate.model import load, scalar_head
    from sodate.train.methods import named

    if resolved.adapter is not None:
        (folder / "adapter").mkdir()
        adapter_files.save_adapter(model, resolved.adapter, job.files.base, folder / "adapter")
    else:
        (folder / "model").mkdir()
        load.save_full(model, job.files.folder, folder / "model")
    if named(job.recipe.method).keeps_head:
        scalar_head.save(model, folder)


def held_out_figures(lines: list[dict[str, Any]], best_step: int | None) -> dict[str, Any]:
    """What validation measured beside the loss at the step whose weights were kept, under `held_out`."""
    found = next((line for line in lines if line["step"] == best_step), {})
    figures = {key.removeprefix("eval_"): value for key, value in found.items() if key.startswith("eval_")}
    figures.pop("loss", None)
    return {"held_out": figures} if figures else {}
