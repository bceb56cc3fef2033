"""A scalar head: the decoder's last hidden state at a token becomes one number (a reward, a value).

It is a part of the model, `model.scalar_head`, so that the optimiser, checkpoints and resume carry it like an adapter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.library import weights
from sodate.model.forward import hidden_states
from sodate.render.renderer import Rendered
from sodate.render.trie import Trie

NAME = "scalar_head"
FILE = "head.safetensors"


class ScalarHead(nn.Module):
    """w · h + b in float32, (N, D) → (N,). Begins at zero: every reply is worth the same."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden_size))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.float() @ self.weight + self.bias


def add(model: Any) -> ScalarHead:
    """Gives the model a trainable head, on the device of its embeddings."""
    head = ScalarHead(model.config.hidden_size).to(model.device)
    model.add_module(NAME, head)
    return head


def save(model: Any, folder: Path) -> None:
    """Writes the model's head to `folder`/head.safetensors."""
    weights.write_tensors(folder / FILE, dict(getattr(model, NAME).state_dict()))


def load(model: Any, folder: Path) -> ScalarHead:
    """Adds the head kept in `folder`; SodateError if it is of another model."""
    head = add(model)
    tensors = weights.read_tensors(folder / FILE)
    if {name: t.shape for name, t in tensors.items()} != {name: t.shape for name, t in head.state_dict().items()}:
        raise SodateError(
            tr(f"The head in {folder} is not for this model.", f"{folder} のヘッドはこのモデル用ではありません。"),
            code="damaged",
            file=folder,
        )
    head.load_state_dict(tensors)
    return head


def at_the_end(sequence: Rendered) -> Rendered:
    """The sequence cut behind its last supervised token (the stop token), and read there.

    A packed row ends with a token that is only a target. What it is does not matter; that it is predicted from the stop
    token tells where the head reads.
    """
    end = max(i for i, weight in enumerate(sequence.weights) if weight) + 1
    return Rendered([*sequence.ids[:end], 0], [0.0] * end + [1.0])


def row_scores(model: Any, trie: Trie) -> Tensor:
    """(rows,) the head's score of each row of a trie built from sequences `at_the_end`."""
    hidden = hidden_states(model, trie)
    where = torch.empty(trie.rows, dtype=torch.long)
    where[torch.as_tensor(trie.entry_row)] = torch.as_tensor(trie.source[trie.entry_prediction])
    scores: Tensor = getattr(model, NAME)(hidden[where.to(hidden.device)])
    return scores
