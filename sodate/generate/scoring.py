"""What a model thinks of texts that are there already: log-probabilities of their tokens, and vectors of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sodate.model import forward
from sodate.render.renderer import Rendered
from sodate.render.trie import build, pack

TOKENS = 4096  # computed in one forward
AT_ONCE = 256  # predictions whose logits are held at once


class Score(NamedTuple):
    """A token's log-probability after those before it (nats), and the likeliest ids there with theirs."""

    log_probability: float
    top: tuple[tuple[int, float], ...]


@torch.inference_mode()
def score(model: Any, rows: Sequence[Sequence[int]], top: int = 1) -> list[list[Score]]:
    """For each row of ids the scores of all but its first token, then that of the token that is likeliest to follow.

    Beginnings that rows share are computed once. Rows are not empty, `top` is at least 1.
    """
    found: list[list[Score]] = [[] for _ in rows]
    rendered = [Rendered([*row, 0], [0.0] + [1.0] * len(row)) for row in rows]  # 0 stands for what follows
    for group in pack(rendered, TOKENS):
        trie = build([rendered[number] for number in group])
        states = forward.prediction_states(model, trie)
        scores = _scores(model, states, torch.as_tensor(trie.target, device=states.device), top)
        for row, number in enumerate(group):
            mine = [scores[p] for p in trie.entry_prediction[trie.entry_row == row].tolist()]
            found[number] = [*mine[:-1], Score(mine[-1].top[0][1], mine[-1].top)]
    return found


@torch.inference_mode()
def ending(model: Any, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
    """The log-probability of each row's second part after its first, in nats. Beginnings that rows share are computed
    once, and logits only where an ending is predicted."""
    rendered = [Rendered([*begin, *end], [0.0] * len(begin) + [1.0] * len(end)) for begin, end in rows]
    found = [0.0] * len(rows)
    for group in pack(rendered, TOKENS):
        trie = build([rendered[number] for number in group])
        states = forward.prediction_states(model, trie)
        scores = _scores(model, states, torch.as_tensor(trie.target, device=states.device), 1)
        for row, number in enumerate(group):
            own = trie.entry_prediction[trie.entry_row == row].tolist()
            found[number] = sum(scores[place].log_probability for place in own)
    return found


def _scores(model: Any, states: Tensor, targets: Tensor, top: int) -> list[Score]:
    """Of hidden states (P, D) and what follows each, (P,)."""
    head = forward.head(model)
    scores: list[Score] = []
    for start in range(0, len(states), AT_ONCE):
        logp = torch.log_softmax(head.logits(states[start : start + AT_ONCE]), -1)
        values = logp.gather(1, targets[start : start + AT_ONCE, None])[:, 0].tolist()
        likeliest = logp.topk(top)
        pairs = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
        scores += [Score(v, tuple(zip(*pair, strict=True))) for v, pair in zip(values, pairs, strict=True)]
    return scores


@torch.inference_mode()
def embed(model: Any, rows: Sequence[Sequence[int]]) -> list[list[float]]:
    """A vector of length 1 for each row of ids: the mean of its tokens' last hidden states (D)."""
    found: list[list[float]] = []
    for row in rows:  # one by one: a trie holds its tokens in another order than its rows
        trie = build([Rendered([*row, 0], [0.0] * len(row) + [1.0])])
        mean = forward.hidden_states(model, trie).float().mean(0)
        found.append(torch.nn.functional.normalize(mean, dim=0).tolist())
    return found


@torch.inference_mode()
def following(model: Any, rows: Sequence[Sequence[int]]) -> Tensor:
    """(rows, V) log-probabilities of what follows each row of ids. Beginnings that they share are computed once."""
    found: list[Tensor] = [torch.empty(0)] * len(rows)
    rendered = [Rendered([*row, 0], [0.0] * len(row) + [1.0]) for row in rows]  # 0 stands for what follows
    for group in pack(rendered, TOKENS):
        trie = build([rendered[number] for number in group])
        states = forward.prediction_states(model, trie)
        for owner, prediction in zip(trie.entry_row.tolist(), trie.entry_prediction.tolist(), strict=True):
            logits = forward.head(model).logits(states[prediction : prediction + 1])
            found[group[owner]] = torch.log_softmax(logits[0], -1).cpu()
    return torch.stack(found)
