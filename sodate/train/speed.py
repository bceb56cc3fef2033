"""The type of a run's products, the library that makes them and its threads: what is fast on this machine, unless the
recipe says, or the run began with another."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from sodate.core.errors import SodateError
from sodate.core.recipe import Decision, Recipe, RolloutRecipe
from sodate.core.text import tr
from sodate.core.types import ModelFiles
from sodate.train.fit_into_memory import refuse_too_large

if TYPE_CHECKING:
    import torch

    from sodate.kernels.machine import SpeedChoice as SpeedChoice


def settle(
    recipe: Recipe, files: ModelFiles, device: torch.device, began: Mapping[str, Any], *, whole: bool, quantised: bool
) -> SpeedChoice:
    """Chooses, and from here on this process makes its products so."""
    from sodate.kernels import machine

    choice = choose(recipe, files, device, began, whole=whole, quantised=quantised)
    machine.use(choice.kind)
    return choice


def adapting(choice: SpeedChoice, model: Any, kind: str) -> AbstractContextManager[None]:
    """Within, a run takes fewer threads while other programs need the cores, where that changes no sum.

    `kind`: a key of ADAPTER_KEYS. A bottleneck's products are torch's own, which split some sums by threads.
    """
    from sodate.kernels import machine, threads
    from sodate.train import parallel

    most, alone = choice.kind.threads, parallel.count() == 1
    shapes = {(len(p), p.shape[1]) for p in model.parameters() if p.dim() == 2 and p.numel() <= machine.NUMBERS}
    able = model.device.type == "cpu" and most > 1 and alone and kind != "bottleneck"
    return threads.adapting(threads.Watch(most) if able and machine.adaptable(choice.kind, shapes) else None)


def choose(
    recipe: Recipe, files: ModelFiles, device: torch.device, began: Mapping[str, Any], *, whole: bool, quantised: bool
) -> SpeedChoice:
    """What products are made by. A resumed run (`began`: its manifest) goes on as it began, whatever is faster now.

    Rollouts stay in float32 on a CPU, where the engine that samples and the forward that learns then agree to rounding.
    `whole`: weights of the model itself are trained, and kept in float32.
    """
    import torch

    from sodate.kernels import machine
    from sodate.model import forecast, load, stored_precision
    from sodate.train import parallel

    usual = machine.usual(torch.get_num_threads())
    if "dtype" in began:
        # With another number of processes sums are split anew anyway.
        threads = began["threads"] if began.get("processes") == parallel.count() else usual.threads
        kind = machine.ProductKind(began["dtype"], began.get("products", usual.library), threads)
        return machine.SpeedChoice(kind, began.get("rates", {}))
    fast = not isinstance(recipe, RolloutRecipe)
    if device.type != "cpu" or recipe.dtype != "auto" or not fast:
        dtype = load.pick_dtype(recipe.dtype, device)
        return machine.SpeedChoice(usual._replace(dtype=str(dtype).removeprefix("torch.")), {})
    wide = torch.float32
    kept = wide if whole else stored_precision.precision(files.folder, wide)
    tried = machine.try_training(forecast.model_size(files.folder).largest, kept)
    choice: SpeedChoice = parallel.from_main(tried)  # all processes make their products alike
    if choice.kind.dtype == "float32" and not whole and not _fits(recipe, files, device, kept, quantised):
        stored = stored_precision.precision(files.folder, torch.bfloat16)
        if _fits(recipe, files, device, stored, quantised):
            return machine.SpeedChoice(
                choice.kind._replace(dtype="bfloat16", library="onednn"), choice.rates, by_memory=True
            )
    return choice


def _fits(recipe: Recipe, files: ModelFiles, device: torch.device, kept: torch.dtype, quantised: bool) -> bool:
    try:
        refuse_too_large(recipe, files, device, kept, quantised)
    except SodateError:
        return False
    return True


def decisions(choice: SpeedChoice, products: str) -> tuple[Decision, ...]:
    """What was chosen, with the rates that decided; `products` is the type that the model could be prepared for."""
    reason = tr("of products; sums and trained weights stay in float32", "積の精度。和と学習する重みは float32")
    if choice.by_memory:
        reason = tr("to fit in memory, though float32 is faster here", "メモリに収めるため (速さは float32 が上)")
    found = [Decision("dtype", products, reason)]
    if choice.rates:
        tried = [(*name.split(), f"{rate:.0f}") for name, rate in choice.rates.items()]
        english = ", ".join(f"{kind} by {library} on {threads}: {rate}" for kind, library, threads, rate in tried)
        japanese = "、".join(f"{kind} {library} {threads} スレッド {rate}" for kind, library, threads, rate in tried)
        said = tr(f"tried on this machine, GFLOP/s by type, library and threads: {english}",
                  f"このマシンで測定 (GFLOP/s): {japanese}")  # fmt: skip
        found += [Decision("products", choice.kind.library, said), Decision("threads", choice.kind.threads, said)]
    return tuple(found)
