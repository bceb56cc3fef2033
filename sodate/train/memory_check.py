"""Between preparing a run and starting it: does it fit in memory?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sodate.core.errors import SodateError
from sodate.core.recipe import Recipe, amount_bytes
from sodate.core.runs import RunFolder
from sodate.core.text import tr
from sodate.core.types import ModelFiles

if TYPE_CHECKING:
    import torch

    from sodate.train.loop import Method
    from sodate.train.memory_fit import Fitted
    from sodate.train.resolve import Resolved


def silent(kind: str, data: Any) -> None:
    """The listener of a process beside the main one."""


def refuse_parallel(recipe: Recipe) -> None:
    """SodateError for what several processes can't do yet."""
    from sodate.train import parallel

    if parallel.count() == 1:
        return
    if recipe.method != "sft":
        raise SodateError(
            tr(f"{recipe.method} trains in one process.", f"{recipe.method} は 1 プロセスでのみ学習できます。"),
            tr("Start it without torchrun.", "torchrun を使わずに実行してください。"),
            code="bad_value",
            param="parallel",
        )
    if recipe.parallel == "fsdp" and recipe.adapter in ("full", "last"):
        raise SodateError(
            tr("parallel=fsdp shards frozen weights, and full fine-tuning has none.",
               "parallel=fsdp が分割するのは固定された重みで、全パラメータ学習にはありません。"),
            tr("Use parallel=ddp, or an adapter.", "parallel=ddp かアダプターを使ってください。"),
            code="bad_value", param="parallel",
        )  # fmt: skip


def refuse_hopeless(
    recipe: Recipe, files: ModelFiles, device: torch.device, dtype: torch.dtype, quantised: bool
) -> None:
    """SodateError, before anything is loaded, for a model whose weights alone do not fit."""
    from sodate.model import forecast
    from sodate.train import memory_fit

    facts = forecast.facts(files.folder)
    blocks = 0.6 if quantised else dtype.itemsize  # NF4: four bits and their scales; the embedding stays as it is
    weights = int(blocks * facts.block_parameters) + dtype.itemsize * (facts.parameters - facts.block_parameters)
    memory_fit.refuse_weights(weights, device, amount_bytes(recipe.memory))


def fit_run(
    recipe: Recipe, files: ModelFiles, model: Any, products: torch.dtype, method: Method, resolved: Resolved,
    longest: int, run: RunFolder,
) -> Fitted | None:  # fmt: skip
    """Chooses and checks what the recipe leaves open. A resumed run keeps what it began with: None."""
    from sodate.model import forecast, gradient_checkpointing, memory
    from sodate.train import memory_fit, parallel

    began = parallel.from_main(run.manifest.get("fit"))
    if began:
        if recipe.memory and model.device.type == "cpu":
            memory.return_freed_memory()
        if isinstance(method, memory_fit.Sized):
            method.micro_tokens = began["micro_tokens"]
        if isinstance(method, memory_fit.Decoding):
            method.rollouts.slots = began["slots"]
        if began["gradient_checkpointing"]:
            gradient_checkpointing.enable(model)
        return None
    again = None if recipe.gradient_checkpointing == "auto" else recipe.gradient_checkpointing
    wish = memory_fit.Wish(amount_bytes(recipe.memory), recipe.micro_tokens != "auto", again, longest, recipe.adapter)
    facts = forecast.facts(files.folder)
    fitted = memory_fit.fit(model, products, method, resolved.plan, resolved.micro_tokens, facts, wish)
    run.update(fit={
        "micro_tokens": fitted.micro_tokens, "slots": fitted.slots, "gradient_checkpointing": fitted.recompute,
        "estimate": asdict(fitted.estimate), "estimated_bytes": fitted.estimate.total,
        "measured_bytes": fitted.measured,
    })  # fmt: skip
    return fitted
