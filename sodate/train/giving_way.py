"""Where a job gives way to a server: before each block of the model, and behind it on the way back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from sodate.core import giving_way


@contextlib.contextmanager
def between_blocks(model: Any) -> Iterator[None]:
    """While this lasts, the model's forward and backward give way between two blocks. Nothing is computed otherwise."""

    def before(block: nn.Module, given: tuple[Any, ...]) -> None:
        giving_way.give_way()
        if given and isinstance(given[0], Tensor) and given[0].requires_grad:
            given[0].register_hook(lambda gradient: giving_way.give_way())

    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
    hooks = [block.register_forward_pre_hook(before) for blocks in lists for block in blocks]
    with giving_way.watching():
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
