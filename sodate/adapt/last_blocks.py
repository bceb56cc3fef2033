"""Full fine-tuning of a model, or of its last blocks alone."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from sodate.core.errors import UsageError
from sodate.core.text import tr


def blocks(model: nn.Module) -> list[nn.Module]:
    """The decoder's blocks, in order. transformers marks them by their class."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def train_blocks(model: Any, count: int) -> None:
    """Makes the last `count` blocks trainable, all else frozen; 0 stands for everything.

    Backward ends where they begin, and nothing below is kept for it. Raises UsageError for more blocks than there are.
    """
    found = blocks(model)
    if count > len(found):
        raise UsageError(
            tr(f"last_layers = {count}, but the model has {len(found)} layers.",
               f"last_layers = {count} ですが、このモデルは {len(found)} 層です。")
        , code="bad_value", param="last_layers")  # fmt: skip
    for parameter in model.parameters():
        parameter.requires_grad_(not count)
    for block in found[-count:] if count else ():
        block.requires_grad_(True)
