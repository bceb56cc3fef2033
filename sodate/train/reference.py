"""The policy a run began with, for its KL divergence: no second model, and nothing to save.

A run prepares its model the same way whenever it starts or resumes, and only then loads a checkpoint. So the weights
that a method is built with are the reference: with a fresh adapter the model without it, otherwise a copy of what is
trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sodate.adapt import adapters
from sodate.train import checkpoint


class ReferenceModel:
    """Remembers the model as it is now; `active()` puts it back for as long as the block lasts."""

    def __init__(self, model: Any) -> None:
        self.model = model
        layers = [layer for _, layer in adapters.layers(model)]
        self.fresh = bool(layers) and all(layer.adds_nothing() for layer in layers)
        self.copy = {} if self.fresh else {n: p.detach().clone() for n, p in checkpoint.trainable(model).items()}

    @contextmanager
    def active(self) -> Iterator[None]:
        if self.fresh:
            adapters.set_enabled(self.model, False)
            try:
                yield
            finally:
                adapters.set_enabled(self.model, True)
            return
        trained = checkpoint.trainable(self.model)
        now = {name: trained[name].data for name in self.copy}
        for name, tensor in self.copy.items():
            trained[name].data = tensor
        try:
            yield
        finally:
            for name, tensor in now.items():
                trained[name].data = tensor
