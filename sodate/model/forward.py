"""One forward: a packed trie in, a negative log-likelihood per distinct prediction out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sodate.model import traits
from sodate.model.head import Head
from sodate.render.trie import Trie


@dataclass(frozen=True, slots=True)
class Scores:
    """Per prediction of the trie: nll (P,) in nats, differentiable; right (P,) whether argmax was the target."""

    nll: Tensor
    right: Tensor
    trie: Trie

    def weighted_sum(self) -> Tensor:
        """Σ weight · nll over every row's supervised tokens: the SFT loss before it is normalised."""
        weight = torch.as_tensor(self.trie.weight, dtype=self.nll.dtype, device=self.nll.device)
        return (weight * self.nll).sum()

    def row_log_probabilities(self) -> Tensor:
        """(rows,) Σ weight · log p over each row's supervised tokens."""
        device = self.nll.device
        weight = torch.as_tensor(self.trie.entry_weight, dtype=self.nll.dtype, device=device)
        entries = -self.nll[torch.as_tensor(self.trie.entry_prediction, device=device)] * weight
        return self._by_row(entries)

    def row_right(self) -> Tensor:
        """(rows,) the share of each row's supervised tokens that the model would have chosen itself, by weight."""
        device = self.nll.device
        weight = torch.as_tensor(self.trie.entry_weight, dtype=self.nll.dtype, device=device)
        right = self.right[torch.as_tensor(self.trie.entry_prediction, device=device)].to(weight)
        return self._by_row(right * weight) / self._by_row(weight)

    def _by_row(self, entries: Tensor) -> Tensor:
        rows = torch.zeros(self.trie.rows, dtype=entries.dtype, device=entries.device)
        return rows.index_add(0, torch.as_tensor(self.trie.entry_row, device=entries.device), entries)


def head(model: Any) -> Head:
    """What makes logits of the hidden states below."""
    return Head.of(model, traits.of(model).logit_scale)


def hidden_states(model: Any, trie: Trie) -> Tensor:
    """(N, D): the decoder's last hidden state at every packed token."""
    return traits.packed(model, trie) if traits.of(model).shares else traits.one_by_one(model, trie)


def prediction_states(model: Any, trie: Trie) -> Tensor:
    """(P, D): the last hidden state at the token before each prediction."""
    hidden = hidden_states(model, trie)
    return hidden[torch.as_tensor(trie.source, device=hidden.device)]


def score(model: Any, trie: Trie) -> Scores:
    """Runs the model over a trie. The model must have been loaded by load.py."""
    return scored(model, trie, prediction_states(model, trie))


def scored(model: Any, trie: Trie, states: Tensor) -> Scores:
    """What the head makes of the `prediction_states` (P, D) of a trie."""
    nll, right = head(model).nll(states, torch.as_tensor(trie.target, device=states.device))
    return Scores(nll, right, trie)
