"""`train` and `resume`: a recipe in, a run folder and an immutable version out."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sodate.api.checks import absolute, check_name, nothing_to_train, refuse_changes
from sodate.api.rewards import load_reward, settled
from sodate.core.errors import SodateError
from sodate.core.recipe import METHODS, Decision, Recipe, RolloutRecipe, load_recipe, validated
from sodate.core.runs import Follower, RunFolder, now
from sodate.core.text import en, ja, tr
from sodate.core.types import ModelFiles
from sodate.release.lookup import look_up
from sodate.train.memory_check import fit_run, refuse_hopeless, refuse_parallel, silent

if TYPE_CHECKING:
    from sodate.render.renderer import Renderer
    from sodate.train.adaptation import Start
    from sodate.train.rewards import Judge
    from sodate.train.rows import Rows

Listener = Callable[[str, Any], None]
"""Told what happens: "loading" name, "checked" Checked, "run" RunFolder, "decisions" list, "step" metrics line,
"warning" text."""


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
    if manifest["status"] == "done":
        result: dict[str, Any] = manifest["result"]
        return result
    kind = METHODS[manifest["recipe"]["method"]]
    return _execute(validated(kind, manifest["recipe"], str(folder.path / "run.json")), folder, on_event)


@dataclass(frozen=True, slots=True)
class Material:
    """What the files of a recipe became. The renderer that made it is not held: it is 0.1 GB for 262,144 tokens."""

    rows: Rows
    held_out: Rows
    template: str
    about: dict[str, Any]  # for the run's manifest


def _execute(recipe: Recipe, run: RunFolder | None, on_event: Listener) -> dict[str, Any]:
    from sodate.model.load import pick_device
    from sodate.release.registry import code_version
    from sodate.render.renderer import Renderer
    from sodate.train import parallel
    from sodate.train.adaptation import begin

    pick_device(recipe.device)  # refused before anything is read
    parallel.join(recipe.device)
    refuse_parallel(recipe)
    if not parallel.is_main():
        on_event = silent
        parallel.wait()  # until the main process has prepared the data
    on_event("loading", recipe.model)
    files = look_up(recipe.model)
    if files.template is not None:  # a version: `orders` may mean another one by the time the run is resumed
        recipe = recipe.model_copy(update={"model": files.name})
    recipe = settled(recipe)
    start = begin(recipe, files)
    # The day that a template prints is the one the run began on, also when it is resumed, and then the version's.
    day = (
        datetime.date.fromisoformat(run.manifest.get("date") or run.manifest["created_at"][:10])
        if run
        else datetime.date.today()
    )
    renderer = partial(Renderer.from_folder, files.folder, recipe.template or files.template, date=day)
    material = _prepare(recipe, files, renderer(), on_event)
    about = {
        "recipe": recipe.model_dump(mode="json"),
        "base": files.base,
        "start": {"model": files.name, "adapter_sha256": start.sha256()},
        "code": code_version(),
        **material.about,
    }
    if parallel.is_main():
        parallel.wait()
    if run is None:
        path = parallel.from_main(RunFolder.create(about).path if parallel.is_main() else None)
        assert path is not None
        run = RunFolder(path)
    else:
        refuse_changes(run, about)
    if not parallel.is_main():
        run = Follower(run.path)
    on_event("run", run)
    with run.locked():
        try:
            return _train_locked(recipe, files, start, renderer, material, run, on_event)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt) or getattr(error, "exit_code", 1) == 130
            with contextlib.suppress(OSError, SodateError):  # a full disk: the status is then told by the lock
                run.update(status="interrupted" if stopped else "failed", error=str(error), ended_at=now())
            raise


def _prepare(recipe: Recipe, files: ModelFiles, renderer: Renderer, on_event: Listener) -> Material:
    """Checks, renders and caches the rows to train on and those held out; raises SodateError where none are left."""
    from sodate.data.prepare import prepare
    from sodate.train.methods import named
    from sodate.train.rows import measure, rows_of

    method = named(recipe.method)
    held_out = Path(recipe.eval) if recipe.eval else None
    shared: dict[str, Any] = {
        "renderer": renderer,
        "columns": recipe.columns or None,
        "encoding": recipe.encoding,
        "max_length": _context_length(files.folder) if recipe.max_length == "auto" else recipe.max_length,
        "measure": measure(method, renderer),
        "method": recipe.method,
    }
    prepared = prepare([Path(p) for p in recipe.data], against=held_out, **shared)
    checked = prepared.checked
    on_event("checked", checked)
    if checked.ledger.counts["tool-form"]:
        why = renderer.why_no_tool_form
        english = f"Tool calls are written as text, not in the form of the chat template: {en(why)}."
        on_event("warning", tr(english, f"ツール呼び出しは、テンプレートの形式ではなく文字列で書きます: {ja(why)}"))
    rows = rows_of(method, prepared)
    if not rows.sequences:
        raise nothing_to_train(recipe.method, method.wants(), recipe.data, checked)
    watched = prepare([held_out], **shared) if held_out else None
    if watched and watched.checked.ledger.set_aside:
        on_event("checked", watched.checked)
    held = rows_of(method, watched)
    if watched and not held.sequences:
        raise nothing_to_train(recipe.method, method.wants(), (str(held_out),), watched.checked)
    about = {
        "renderer": renderer.digest,
        "template_source": renderer.source,
        "template": renderer.about,
        "date": renderer.date.isoformat() if renderer.date else None,
        "data": {
            "sha256": prepared.sha256,
            "rows_in": checked.ledger.rows_in,
            "rows_used": checked.ledger.rows_used,
        },
        "eval": {"sha256": watched.sha256, "rows_used": watched.checked.ledger.rows_used} if watched else None,
    }
    return Material(rows, held, renderer.template, about)


def _train_locked(
    recipe: Recipe,
    files: ModelFiles,
    start: Start,
    renderer: Callable[[], Renderer],
    material: Material,
    run: RunFolder,
    on_event: Listener,
) -> dict[str, Any]:
    import torch

    from sodate.adapt import files as adapter_files
    from sodate.adapt import last_blocks, lora
    from sodate.library.store import safe_name
    from sodate.model import fused, load, memory, scalar_head, stored_precision, traits
    from sodate.release.registry import list_versions, register
    from sodate.train import loop, parallel, speed
    from sodate.train.adaptation import WHOLE, make_trainable
    from sodate.train.alarms import never_better
    from sodate.train.methods import Setup, named
    from sodate.train.resolve import Facts, resolve

    rows, held = material.rows, material.held_out
    memory.return_heap()
    memory.forget_peak()
    device = parallel.device(load.pick_device(recipe.device))
    fast = not isinstance(recipe, RolloutRecipe)
    choice = speed.settle(
        recipe, files, device, run.manifest, whole=start.kind in WHOLE, quantised=start.quantised
    )  # fmt: skip
    dtype: torch.dtype = getattr(torch, choice.kind.dtype)
    # What is trained stays in float32: bfloat16 would round small updates away. What is not stays as its file has it,
    # if that is narrower; replies are sampled faster from what is not.
    loaded = torch.float32 if start.kind in WHOLE else dtype
    frozen = stored_precision.precision(files.folder, dtype) if fast and start.kind not in WHOLE else loaded
    refuse_hopeless(recipe, files, device, frozen, start.quantised)
    model = load.load_base(files.folder, device=device, dtype=loaded, kept=frozen, quantised=start.quantised)
    longest = max(rows.longest, held.longest) + (recipe.max_new_tokens if isinstance(recipe, RolloutRecipe) else 0)
    resolved = resolve(recipe, Facts(
        rows=len(rows.sequences), longest=longest,
        hidden_size=model.config.hidden_size, layers=model.config.num_hidden_layers, targets=lora.all_targets(model),
        cuda=device.type == "cuda", has_eval=bool(held.sequences), kind=start.kind,
        start=None if start.kind in WHOLE else start.config,
    ))  # fmt: skip
    make_trainable(model, recipe, start, resolved)
    adapter = resolved.adapter
    products = fused.prepare(model, dtype)
    decisions = resolved.decisions
    if recipe.dtype == "auto":
        decisions += speed.decisions(choice, str(products).removeprefix("torch."))
    if not traits.of(model).shares:
        reason = tr(
            "this architecture mixes packed rows: each is computed alone",
            "この構造は行をまとめると混ざるため、1 行ずつ計算",
        )
        decisions += (Decision("shared_prefixes", "off", reason),)
    on_event("decisions", decisions)
    run.update(
        status="running",
        plan=asdict(resolved.plan),
        decisions=[asdict(d) for d in decisions],
        device=str(device),
        processes=parallel.count(),
        products=choice.kind.library,
        **choice.figures(),
    )

    def say(text: str) -> None:
        run.event("warning", text=text)
        on_event("warning", text)

    def judge(name: str) -> Judge:
        return load_reward(name, device=str(device), dtype=str(dtype).removeprefix("torch.")).score

    setup = Setup(recipe, model, renderer, run, rows, held, resolved.micro_tokens, say, judge)
    kind = named(recipe.method)
    method = kind.build(setup)
    if fitted := fit_run(recipe, files, model, products, method, resolved, longest, run):
        on_event("decisions", fitted.decisions)
    if recipe.parallel == "fsdp" and parallel.count() > 1:
        parallel.shard(model, last_blocks.blocks(model))
    state = loop.train(model, method, resolved.plan, run, lambda line: on_event("step", line))
    if not parallel.is_main():
        return parallel.from_main({})
    lines = run.metrics()
    if (text := never_better(lines)) is not None:
        say(text)

    def write_weights(folder: Path) -> None:
        if adapter is not None:
            (folder / "adapter").mkdir()
            adapter_files.save_adapter(model, adapter, files.base, folder / "adapter")
        else:
            (folder / "model").mkdir()
            load.save_full(model, files.folder, folder / "model")
        if kind.keeps_head:
            scalar_head.save(model, folder)

    manifest: Mapping[str, Any] = run.manifest
    kept = ("recipe", "plan", "base", "start", "renderer", "template_source", "template", "date", "data", "eval")
    name = recipe.name or safe_name(Path(recipe.data[0]).name.split(".")[0])
    # A run killed between registering and saying so has its version already.
    report = {
        "steps": state.step, "tokens": state.tokens,
        "supervised_tokens": state.supervised_tokens, "train_seconds": state.train_seconds,
        "peak_rss_bytes": memory.peak_rss_bytes(), **choice.figures(),
        "first_loss": lines[0]["loss"], "final_loss": lines[-1]["loss"],
        "best_step": state.best_step, "best_eval_loss": state.best_loss, "stopped_early": state.stopped,
        **held_out_figures(lines, state.best_step), **kind.report(method),
    }  # fmt: skip
    about = {"run": run.name, **{k: manifest.get(k) for k in kept}, "adapter": start.kind, "report": report}
    version = next((v for v in list_versions(name) if v.manifest.get("run") == run.name), None) or register(
        name, about, material.template, write_weights
    )
    result = {"run": run.name, "version": version.id, "run_dir": str(run.path), **report}
    run.update(status="done", result=result, ended_at=now())
    return parallel.from_main(result)


def _context_length(folder: Path) -> int:
    from sodate.library.config import folder_config
    from sodate.model import attention

    return attention.context_length(folder_config(folder))


def held_out_figures(lines: list[dict[str, Any]], best_step: int | None) -> dict[str, Any]:
    """What validation measured beside the loss at the step whose weights were kept, under `held_out`."""
    found = next((line for line in lines if line["step"] == best_step), {})
    figures = {key.removeprefix("eval_"): value for key, value in found.items() if key.startswith("eval_")}
    figures.pop("loss", None)
    return {"held_out": figures} if figures else {}
