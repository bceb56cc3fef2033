"""Does the run fit in memory? Estimated first, then checked by computing the heaviest micro-batch before the start.

What may be chosen is chosen in this order: fewer tokens at once, which costs next to nothing; recomputed blocks, which
cost a forward; then nothing is left but to say what would help. Neither changes a loss beyond rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch

from sodate.core.errors import SodateError
from sodate.core.recipe import Decision, Recipe
from sodate.core.recipe_values import amount_bytes
from sodate.core.runs import RunFolder
from sodate.core.text import en, ja, size, tr
from sodate.core.types import ModelFiles
from sodate.model import forecast, gradient_checkpointing, memory
from sodate.model.forecast import ModelSize
from sodate.model.memory import Memory
from sodate.train import parallel
from sodate.train.loop import Method, MicroBatchLoss, Plan, rows_of_step

if TYPE_CHECKING:
    from sodate.train.resolve import Resolved
    from sodate.train.rollout import Rollouts

SMALLEST = 128  # tokens at once; fewer make a matrix product wait for its weights
EXHAUSTED = 2**63  # measured bytes, where the allocator gave up
UNKNOWN = 0  # measured bytes, where an earlier peak hides them: the estimate decides
LOOKED_AT = 64  # steps whose micro-batches are packed to find the heaviest
SPARE = 0.9  # of a machine's free memory that a run may plan with; the rest is other programs' and the estimate's error


@runtime_checkable
class Resizable(Protocol):
    """A method whose micro-batches can be made smaller, and looked at without being computed. One that is not (its rows
    come to be while it trains) is only estimated."""

    rows: int
    micro_tokens: int

    def heaviest(self, steps: Iterator[Sequence[int]]) -> tuple[int, Callable[[], MicroBatchLoss]]:
        """The computed tokens of the largest micro-batch of these steps' rows, and what computes it."""


@runtime_checkable
class Decoding(Protocol):
    """A method that makes replies in between."""

    rollouts: Rollouts


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """What the recipe asks. `limit` is the budget in bytes, None for what the machine has."""

    limit: int | None
    micro_tokens_given: bool
    recompute: bool | None  # None: may be chosen
    longest: int  # tokens of the longest row
    adapter: str


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What was chosen, the estimate, and the measured need in bytes (None where it left half free or decides alone)."""

    micro_tokens: int
    slots: int | None  # of a method that decodes
    recompute: bool
    estimate: Memory
    measured: int | None
    decisions: tuple[Decision, ...]


def refuse_too_large(
    recipe: Recipe, files: ModelFiles, device: torch.device, dtype: torch.dtype, quantised: bool
) -> None:
    """SodateError, before anything is loaded, for a model whose weights alone do not fit."""
    facts = forecast.model_size(files.folder)
    blocks = 0.6 if quantised else dtype.itemsize  # NF4: four bits and their scales; the embedding stays as it is
    weights = int(blocks * facts.block_parameters) + dtype.itemsize * (facts.parameters - facts.block_parameters)
    limit = amount_bytes(recipe.memory)
    limit = int(SPARE * memory.available(device)) if limit is None else limit
    if weights + (memory.PROCESS_BYTES if device.type == "cpu" else 0) > limit:
        raise SodateError(
            tr(
                f"The weights alone take {size(weights)}, and the run may use {size(limit)}.",
                f"重みだけで {size(weights)} になり、使える {size(limit)} に収まりません。",
            ),
            tr("Use adapter=qlora, dtype=bfloat16 or a smaller base model.",
               "adapter=qlora か dtype=bfloat16、またはより小さなベースモデルを使ってください。"),
            code="out_of_memory", param="memory",
        )  # fmt: skip


def plan_memory(
    recipe: Recipe, files: ModelFiles, model: Any, products: torch.dtype, method: Method, resolved: Resolved,
    longest: int, run: RunFolder,
) -> MemoryPlan | None:  # fmt: skip
    """Chooses and checks what the recipe leaves open. A resumed run keeps what it began with: None."""
    began = parallel.from_main(run.manifest.get("fit"))
    if began:
        if recipe.memory and model.device.type == "cpu":
            memory.return_freed_memory()
        if isinstance(method, Resizable):
            method.micro_tokens = began["micro_tokens"]
        if isinstance(method, Decoding):
            method.rollouts.slots = began["slots"]
        if began["gradient_checkpointing"]:
            gradient_checkpointing.enable(model)
        return None
    again = None if recipe.gradient_checkpointing == "auto" else recipe.gradient_checkpointing
    options = MemoryOptions(amount_bytes(recipe.memory), recipe.micro_tokens != "auto", again, longest, recipe.adapter)
    facts = forecast.model_size(files.folder)
    chosen = choose_sizes(model, products, method, resolved.plan, resolved.micro_tokens, facts, options)
    run.update(fit={
        "micro_tokens": chosen.micro_tokens, "slots": chosen.slots, "gradient_checkpointing": chosen.recompute,
        "estimate": asdict(chosen.estimate), "estimated_bytes": chosen.estimate.total,
        "measured_bytes": chosen.measured,
    })  # fmt: skip
    return chosen


def choose_sizes(
    model: Any, products: torch.dtype, method: Method, plan: Plan, whole: int, facts: ModelSize, options: MemoryOptions
) -> MemoryPlan:
    """Chooses, checks, and sets the method's micro_tokens (`whole` at most) and recomputation; SodateError where
    nothing fits."""
    device = model.device
    limit = parallel.from_main(int(SPARE * memory.available(device)) if options.limit is None else options.limit)
    if options.limit and device.type == "cpu":
        memory.return_freed_memory()
    element = memory.activation_element(torch.promote_types(model.dtype, products), device)
    weights, trained = memory.weight_bytes(model)
    # Whatever is loaded by now stays: a reference and a reward model, too.
    process = 0 if device.type != "cpu" else max(memory.PROCESS_BYTES, memory.resident() - weights)
    decoding = 0
    if isinstance(method, Decoding):
        decoding = _choose_slots(model, method.rollouts, facts, limit - process - weights - 3 * trained)

    def estimate(tokens: int, again: bool) -> Memory:
        return memory.need(
            facts, weights=weights, trained=trained, element=element, tokens=tokens, recompute=again, process=process,
            decoding=decoding,
        )  # fmt: skip

    least = options.longest if isinstance(method, Resizable) and not options.micro_tokens_given else whole
    smallest = found_to_need = None
    for again in (False, True) if options.recompute is None else (options.recompute,):
        for micro in _halves(whole, least):
            tokens, compute = max(micro, options.longest), None
            if isinstance(method, Resizable):  # others make rows while they train
                method.micro_tokens = micro
                found, compute = method.heaviest(_first_steps(plan, method.rows))
                found = max(parallel.gathered(found))
                later = min(tokens, plan.batch_size * options.longest) if plan.steps > LOOKED_AT else 0
                tokens = max(found, later)
            smallest = estimate(tokens, again)
            tight = options.limit is not None or 2 * smallest.total > limit
            if smallest.total > limit:
                continue
            if again:
                gradient_checkpointing.enable(model)
            measured = None
            if tight and compute:
                measured = max(parallel.gathered(_measured(model, compute, device))) or None
            if measured is not None:
                measured += 2 * trained + smallest.activations * (tokens - found) // tokens  # of steps not looked at
                found_to_need = measured
                if measured > limit:
                    continue
            slots = method.rollouts.slots if isinstance(method, Decoding) else None
            decisions = _decisions(whole, micro, again, smallest, limit, options)
            return MemoryPlan(micro, slots, again, smallest, measured, decisions)
    assert smallest is not None
    raise _too_large(
        smallest, found_to_need, limit, whole, options, lambda tokens, again: estimate(tokens, again).total
    )


def _choose_slots(model: Any, rollouts: Rollouts, facts: ModelSize, free: int) -> int:
    """Halves the replies made at once until they fit in `free` bytes; returns what they then take."""
    copied = facts.block_parameters * model.dtype.itemsize  # decoding.prepared
    one = rollouts.reach * memory.cache_bytes(model)
    while rollouts.slots > 1 and copied + rollouts.slots * one > free:
        rollouts.slots //= 2
    return int(copied + rollouts.slots * one)


def _halves(tokens: int, longest: int) -> Iterator[int]:
    """tokens, tokens/2, … down to the longest row: below it nothing becomes smaller, as a row is computed whole."""
    least = min(tokens, max(longest, SMALLEST))
    while tokens > least:
        yield tokens
        tokens //= 2
    yield least


def _first_steps(plan: Plan, rows: int) -> Iterator[Sequence[int]]:
    return (rows_of_step(plan, rows, step) for step in range(min(plan.steps, LOOKED_AT)))


def _measured(model: Any, compute: Callable[[], MicroBatchLoss], device: torch.device) -> int:
    """Peak memory after the micro-batch's forward and backward, UNKNOWN where an earlier peak hides it. Gradients are
    dropped, generators put back."""
    state = torch.get_rng_state()
    anew, before = memory.restart_peak(device), memory.peak(device)
    try:
        compute().loss.backward()
        after = memory.peak(device)
        return after if anew or after > before else UNKNOWN
    except (MemoryError, RuntimeError) as error:
        if not memory.is_exhausted(error):
            raise
        return EXHAUSTED
    finally:
        model.zero_grad(set_to_none=True)
        torch.set_rng_state(state)


def _decisions(
    whole: int, micro: int, again: bool, need: Memory, limit: int, options: MemoryOptions
) -> tuple[Decision, ...]:
    reason = tr(f"to stay below {size(limit)}", f"{size(limit)} に収めるため")
    out = [Decision("memory", size(need.total), tr("estimated: ", "見積もり: ") + need.sentence())]
    if micro != whole:
        out.append(Decision("micro_tokens", micro, reason))
    if options.recompute is None and again:
        out.append(Decision("gradient_checkpointing", True, reason))
    return tuple(out)


def _too_large(
    need: Memory,
    measured: int | None,
    limit: int,
    whole: int,
    options: MemoryOptions,
    total: Callable[[int, bool], int],
) -> SodateError:
    """The refusal, with every change that would help and how far it goes."""
    ways = []
    if options.micro_tokens_given and whole > options.longest:
        fewer = next((m for m in _halves(whole, options.longest) if total(m, False) <= limit), options.longest)
        ways.append(f"micro_tokens={fewer}")
    if options.recompute is False:
        ways.append("gradient_checkpointing=auto")
    if total(options.longest, True) > limit:  # even one row alone
        shorter = next(
            (n for n in (4096, 2048, 1024, 512, 256) if n < options.longest and total(n, True) <= limit), None
        )
        ways += [f"max_length={shorter}"] if shorter else []
    if options.adapter == "full":
        ways.append("adapter=lora")
    if need.weights > limit // 4 and options.adapter != "qlora":
        ways.append("adapter=qlora")
    ways.append(tr("a smaller base model", "より小さなベースモデル"))
    amount = tr(f"{size(need.total)} of memory", f"約 {size(need.total)}")
    if measured is not None and measured > need.total:
        known = measured < EXHAUSTED
        amount = tr(
            f"{size(measured)} of memory, measured; estimated" if known else "more memory than there is; estimated",
            f"{size(measured)}（実測）" if known else "空きメモリ以上（実測）",
        )
    return SodateError(
        tr(
            f"This run needs about {en(amount)} ({need.sentence().en}) and may use {size(limit)}.",
            f"メモリが足りません。必要量 {ja(amount)}、上限 {size(limit)}（見積もりの内訳: {need.sentence().ja}）。",
        ),
        tr("What would help: ", "メモリを減らす方法: ") + tr(", ", "、").join(ways),
        code="out_of_memory",
        param="memory",
    )
