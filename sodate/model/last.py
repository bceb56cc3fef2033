"""Full fine-tuning of a model, or of its last blocks alone."""

from __future__ import annotations

from typing import Any

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.model import recompute


def train_blocks(model: Any, count: int) -> None:
    """Makes the last `count` blocks trainable, all else frozen; 0 stands for everything.

    Backward ends where they begin, and nothing below is kept for it. Raises UsageError for more blocks than there are.
    """
    blocks = recompute.blocks(model)
    if count > len(blocks):
        raise UsageError(
            tr(f"last_layers = {count}, but the model has {len(blocks)} layers.",
               f"last_layers = {count} ですが、このモデルは {len(blocks)} 層です。")
        )  # fmt: skip
    for parameter in model.parameters():
        parameter.requires_grad_(not count)
    for block in blocks[-count:] if count else ():
        block.requires_grad_(True)
