"""`plan`: what training a model on some cluster would need, worked out from its headers. Nothing is loaded or run."""

from __future__ import annotations

import statistics
from typing import Any

from sodate.release.lookup import look_up


def plan(
    model: str,
    *,
    processes: int = 1,
    tokens: int = 8192,
    rank: int = 16,
    element: int = 2,
    link: float = 10e9,
    run: str | None = None,
) -> list[dict[str, Any]]:
    """Memory per process (bytes, by purpose) for LoRA and full fine-tuning under DDP and FSDP, each also recomputed.

    `tokens` are computed at once in a process, `element` is bytes per number of weights and activations, `link` bytes a
    second between processes. With a `run` measured on such a machine, `tokens_per_second` says what to expect of all
    processes: its median step, and the sum of gradients after each.
    """
    from sodate.model import forecast, memory

    facts = forecast.model_size(look_up(model).folder)
    adapter = 4 * rank * facts.width
    rows = []
    for what, how in (("lora", "ddp"), ("lora", "fsdp"), ("full", "ddp")):
        whole = element * facts.parameters if what == "lora" else 4 * facts.parameters
        trained = adapter if what == "lora" else whole
        weights = whole + (adapter if what == "lora" else 0)
        if how == "fsdp":  # blocks in shards; one is gathered while it computes, and the next beside it
            blocks = element * facts.block_parameters
            weights += blocks // processes - blocks + 2 * blocks // facts.blocks
        for again in (False, True):
            need = memory.need(facts, weights=weights, trained=trained, element=element, tokens=tokens, recompute=again)
            row: dict[str, Any] = {"adapter": what, "parallel": how, "gradient_checkpointing": again}
            row |= {"bytes": need.total, "weights": need.weights, "gradients": need.gradients}
            row |= {"optimizer": need.optimizer, "activations": need.activations}
            if run is not None and how == "ddp":
                row["tokens_per_second"] = round(_rate(run, processes, trained, link, again), 1)
            rows.append(row)
    return rows


def _rate(run: str, processes: int, gradients: int, link: float, again: bool) -> float:
    """Tokens a second: a ring moves 2 (n - 1) / n of the gradients (Patarasuk & Yuan 2009); a forward again is a third
    more of the time that a whole forward and backward takes."""
    from sodate.core.runs import RunFolder

    found = RunFolder.find(run)
    lines = found.metrics()
    recomputed = bool(found.manifest.get("fit", {}).get("gradient_checkpointing"))
    seconds = statistics.median(line["seconds"] for line in lines)
    seconds *= {(False, True): 4 / 3, (True, False): 3 / 4}.get((recomputed, again), 1.0)
    seconds += 2 * (processes - 1) / processes * gradients / link
    return float(processes * statistics.median(line["tokens"] for line in lines) / seconds)
