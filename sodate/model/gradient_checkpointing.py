"""Gradient checkpointing (arXiv 1604.06174): a decoder block keeps its input only and is computed again in backward.

What backward needs of one block lives at a time, instead of all blocks'. The second computation is the first one,
operation for operation, so that loss and gradients are the same to the last bit; a step takes a forward longer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from sodate.adapt.last_blocks import blocks


def enable(model: nn.Module) -> None:
    """From here on blocks are recomputed where gradients are taken. transformers' own switch asks for a model in
    training mode (dropout); ours never is."""
    for block in blocks(model):
        if not isinstance(block.forward, functools.partial):
            block.forward = functools.partial(_recomputed, block.forward)


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    # Nothing in a block is random, so no generator's state need be kept for the second time.
    return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)
