"""What an epoch of LoRA will take on this machine, from the work it is made of and a quick measure of the machine.

    operations = 4 · B · computed tokens + 4 · V · D · predictions

B parameters in the frozen matrices of the blocks: 2 operations each forward, 2 for the gradient of the inputs. The head
(V × D, frozen too) is computed where there is loss. Attention and the adapter are left out: they are small for rows
of a few hundred tokens. `EFFICIENCY` stands for everything that is no large matrix product.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from sodate.library.checks import read_shapes, weight_files

# Measured on two cores. To measure again: sodate train examples/orders/recipe.yaml max_steps=8 --json gives
# train_seconds and peak_rss_bytes; sodate data check examples/orders/train.jsonl --model smollm2-135m --json, the rest.
EFFICIENCY = 0.75


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Sizes of a decoder. `width` is Σ (in + out) over the matrices of its `blocks` blocks."""

    parameters: int
    block_parameters: int
    blocks: int
    width: int
    vocabulary: int
    hidden: int
    largest: tuple[int, int] = (0, 0)  # matrix of a block, (out, in)


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be trained: `computed` tokens and `predictions` in all."""

    computed: int
    predictions: int


def model_size(folder: Path) -> ModelSize:
    """Read from the headers of the weights; nothing is loaded."""
    named = [item for file in weight_files(folder) for item in read_shapes(file).items()]
    shapes = [shape for _, shape in named]
    matrices = [shape for shape in shapes if len(shape) == 2]
    # Embedding and head have a row per token of the vocabulary, and that is more than any matrix of a block has.
    vocabulary, hidden = max(matrices)
    blocks = [shape for shape in matrices if shape[0] != vocabulary]
    numbers = {found[1] for name, _ in named if (found := re.search(r"\.(\d+)\.", name))}
    return ModelSize(
        parameters=sum(math.prod(shape) for shape in shapes),
        block_parameters=sum(math.prod(shape) for shape in blocks),
        blocks=len(numbers),
        width=sum(sum(shape) for shape in blocks),
        vocabulary=vocabulary,
        hidden=hidden,
        largest=max(blocks, key=math.prod, default=(0, 0)),
    )


def seconds(model: ModelSize, work: Work, gflops: float) -> float:
    """Time for the work at a measured rate of 10⁹ operations a second."""
    operations = 4 * model.block_parameters * work.computed + 4 * model.vocabulary * model.hidden * work.predictions
    return operations / (EFFICIENCY * gflops * 1e9)


def measure_gflops(hidden: int, budget: float = 0.2) -> float:
    """10⁹ float32 operations a second in products of shape (512, hidden) · (hidden, 4 · hidden), on the CPU."""
    a, b = torch.ones(512, hidden), torch.ones(hidden, 4 * hidden)
    torch.mm(a, b)
    count = 0
    start = time.perf_counter()
    while (spent := time.perf_counter() - start) < budget or not count:
        torch.mm(a, b)
        count += 1
    return 2 * 512 * hidden * 4 * hidden * count / spent / 1e9
