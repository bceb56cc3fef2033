"""Which training rows moved a reply: gradients of the adapter's weights at the checkpoints of a run, projected.

One step of AdamW on a row z changes the log-probability of anything else, log p', to first order by

    η ∇ℓ'ᵀ D ∇ℓ(z) / W        ℓ' = -log p', D = 1 / (√v̂ + ε), W the supervised tokens of the step

TracIn (2002.08484) adds this up over the steps of a run, with the gradients at the checkpoint that is nearest; D is
what LESS (2402.04333, section 3.1) puts in for Adam. The weights before the first step count as a checkpoint.

Kept of a row and checkpoint is S D^½ ∇ℓ(z), where S multiplies by random signs and folds what is as long as all
weights into `wide` numbers. Products with S D^½ ∇ℓ' of a query are those of the gradients, but for noise of a standard
deviation of about ‖row‖ ‖query‖ / √wide; where the weights are no more than `wide` there is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sodate.core.errors import SodateError
from sodate.library.weights import read_tensors
from sodate.model.forward import score
from sodate.render import trie
from sodate.render.renderer import Rendered
from sodate.train import checkpoint, row_gradients
from sodate.train.loop import Plan, learning_rate, rows_of_step
from sodate.train.sft import supervised

BYTES = 180_000_000  # of all vectors, two a number
WIDEST, NARROWEST = 8192, 128  # numbers of a vector
BETA2, EPSILON = 0.999, 1e-8  # AdamW's, as the loop has them
MICRO_TOKENS = 2048  # of a query's rows computed at once


@dataclass(frozen=True, slots=True)
class Moment:
    """A checkpoint: what is trained as it was after `step`, and how gradients there are scaled and signed, flat."""

    step: int
    weights: Mapping[str, Tensor]
    signed: Tensor


def width(rows: int, checkpoints: int) -> int:
    """Numbers kept of each of so many rows at each checkpoint: a power of two."""
    return max(NARROWEST, min(WIDEST, 1 << int(math.log2(max(1, BYTES // (2 * rows * checkpoints))))))


def sound(folder: Path, last: int) -> list[Path]:
    """The sound checkpoints in `folder` up to step `last`, in order."""
    found = []
    for path in sorted(folder.glob("step-*")):
        try:
            if checkpoint.verified(path)["step"] <= last:
                found.append(path)
        except SodateError:
            continue
    return found


def moments(model: Any, checkpoints: Sequence[Path], wide: int) -> list[Moment]:
    """The model's weights as they are, as of step 0, and those of the checkpoints."""
    begun = {name: p.detach().clone() for name, p in checkpoint.trainable(model).items()}
    kept = [(int(path.name[5:]), path) for path in checkpoints]
    made = []
    for step, path in [(0, kept[0][1] if kept else None), *kept]:
        moment = {} if path is None else read_tensors(path / "optimizer.safetensors")
        weights = read_tensors(path / "model.safetensors") if path is not None and step else begun
        scale = torch.cat([_scale(name, tensor, moment).flatten() for name, tensor in begun.items()])
        signs = torch.randint(0, 2, scale.shape, generator=torch.Generator().manual_seed(step), dtype=torch.int8)
        made.append(Moment(step, weights, _padded(scale * (2 * signs - 1), wide).to(model.device)))
    return made


def _scale(name: str, weights: Tensor, moment: Mapping[str, Tensor]) -> Tensor:
    """D^½ of a parameter; 1 where its optimiser was not kept."""
    square = moment.get(f"{name}.exp_avg_sq")
    if square is None:
        return torch.ones(weights.shape)
    corrected = square.float() / (1 - BETA2 ** float(moment[f"{name}.step"]))
    root: Tensor = (corrected.sqrt() + EPSILON).rsqrt()
    return root


def _padded(flat: Tensor, wide: int) -> Tensor:
    return torch.nn.functional.pad(flat, (0, -len(flat) % wide))


def shares(plan: Plan, weights: Sequence[float], clips: Mapping[int, float], steps: Sequence[int], last: int) -> Any:
    """(rows, checkpoints) a_zc: what the steps of each row weigh, given to the checkpoints (after `steps`) nearest to
    them. `weights` are each row's supervised tokens, `clips` what gradients were multiplied by, by 1-based step."""
    found = np.zeros((len(weights), len(steps)))
    places = np.asarray(steps)
    for step in range(last):
        rows = rows_of_step(plan, len(weights), step)
        total = sum(weights[row] for row in rows)
        nearest = int(np.abs(places - step).argmin())
        found[rows, nearest] += learning_rate(plan, step) * clips.get(step + 1, 1.0) / total
    return found


def vectors(
    model: Any, rows: Sequence[list[Rendered]], numbers: Sequence[int], at: Moment, wide: int
) -> NDArray[np.float32]:
    """(numbers, wide): what is kept of these rows at a checkpoint."""
    found = np.zeros((len(numbers), wide), dtype=np.float32)
    some, most = [rows[number] for number in numbers], row_gradients.at_once(model)
    _put(model, at)
    for group in row_gradients.groups(some, most):
        own = [some[place] for place in group]
        many = row_gradients.gradients(model, own) if most > 1 else [_gradient(model, own[0])]
        for place, gradient in zip(group, many, strict=True):
            found[place] = _folded(gradient, at, wide)
    return found


def query(model: Any, rows: Sequence[list[Rendered]], at: Sequence[Moment], wide: int) -> NDArray[np.float32]:
    """(checkpoints, wide): the same of the summed loss of these rows."""
    found = np.zeros((len(at), wide), dtype=np.float32)
    sequences = [sequence for row in rows for sequence in row]
    for c, moment in enumerate(at):
        _put(model, moment)
        for numbers in trie.pack(sequences, MICRO_TOKENS):
            found[c] += _folded(_gradient(model, [sequences[n] for n in numbers]), moment, wide)
    return found


def blocks(rows: int, done: int, size: int = 64) -> Iterator[range]:
    """The row numbers from `done` on, in blocks."""
    return (range(start, min(start + size, rows)) for start in range(done, rows, size))


def clipped(metrics: Sequence[Mapping[str, Any]], most: float) -> dict[int, float]:
    """What gradients were multiplied by in each step of metrics.jsonl, so that their norm was at most `most`."""
    return {line["step"]: min(1.0, most / (line["grad_norm"] + 1e-6)) for line in metrics}


def supervised_tokens(rows: Sequence[list[Rendered]]) -> list[float]:
    """Of each row."""
    return [sum(supervised(sequence) for sequence in row) for row in rows]


def _put(model: Any, moment: Moment) -> None:
    with torch.no_grad():
        for name, parameter in checkpoint.trainable(model).items():
            parameter.copy_(moment.weights[name])


def _gradient(model: Any, sequences: Sequence[Rendered]) -> Tensor:
    """Of the summed loss of these sequences, flat."""
    loss = score(model, trie.build(list(sequences))).weighted_sum()
    parameters = list(checkpoint.trainable(model).values())
    return torch.cat([part.flatten().float() for part in torch.autograd.grad(loss, parameters)])


def _folded(gradient: Tensor, moment: Moment, wide: int) -> NDArray[np.float32]:
    signed: Tensor = _padded(gradient, wide).mul_(moment.signed)
    folded: NDArray[np.float32] = signed.view(-1, wide).sum(0).cpu().numpy()
    return folded


def pulls(products: Any, norms: Any, size: Any) -> tuple[Any, Any]:
    """Of each row the length of its gradient, and how far it reaches against the gradient of a question, both (rows,)
    in lengths of a typical row's gradient, as means over the checkpoints.

    `products` (rows, checkpoints) are those of both gradients, `norms` the rows' lengths, `size` (checkpoints,) those
    of the question's.
    """
    typical, tiny = norms.mean(axis=0), np.finfo(float).tiny
    against = -(products / np.maximum(typical * size, tiny)).mean(axis=1)
    return (norms / np.maximum(typical, tiny)).mean(axis=1), against
