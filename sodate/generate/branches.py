"""How likely each of a few replies is: the options are branches of one trie below each prompt, and nothing is sampled.

A prompt is computed once, with others that begin alike. Then branches go on where probability still lies: options are
together no likelier than what they begin with, so that a beginning with hardly any probability is not looked into, and
its bound is what is told. The single way on from a fork is computed along, so that rounds are forks, not tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sodate.generate import scoring
from sodate.generate.prefill import path_of
from sodate.model import attention, forward, traits
from sodate.render.renderer import Rendered
from sodate.render.trie import Ints, build, pack

TOKENS = 4096  # of prompts computed in one forward
AT_ONCE = 256  # places whose logits are held at once


class Likelihoods(NamedTuple):
    """Of one prompt: log-probability (nats) of every option as the whole reply, and whether that is exact. Else it is
    an equal share of what these options have together at most."""

    logp: list[float]
    exact: list[bool]


@dataclass(slots=True)
class _Fork:
    """A node of the options' trie: the tokens that lead to it from the fork before, and where they fork again.

    `options` end here or below; `leaf` is the one whose last token these end with.
    """

    tokens: list[int]
    options: list[int]
    below: list[_Fork] = field(default_factory=list)
    leaf: bool = False


class _Reached(NamedTuple):
    """A fork of a prompt with its first token's log-probability known: `slots` are the kept tokens before it."""

    prompt: int
    fork: _Fork
    logp: float
    slots: Ints


@torch.inference_mode()
def likelihoods(
    model: Any, prompts: Sequence[Sequence[int]], options: Sequence[Sequence[int]], floor: float = 0.0
) -> list[Likelihoods]:
    """Of each prompt (ids) the likelihood of each option (ids, the stop token last; none begins another).

    `floor` is the share of all options' probability below which a beginning is left as a bound; 0 computes all.
    """
    if not traits.of(model).shares:
        return [_whole(model, prompt, options) for prompt in prompts]
    forks = _forks(options, list(range(len(options))), 0)
    found: list[Likelihoods | None] = [None] * len(prompts)
    rows = [Rendered([*prompt, 0], [0.0] * len(prompt) + [1.0]) for prompt in prompts]  # 0 stands for what follows
    for group in pack(rows, TOKENS):
        for number, one in zip(group, _below(model, [rows[n] for n in group], forks, len(options), floor), strict=True):
            found[number] = one
    return [one for one in found if one is not None]


def _forks(options: Sequence[Sequence[int]], among: list[int], depth: int) -> list[_Fork]:
    """The ways on after `depth` tokens that these options share."""
    ways: dict[int, list[int]] = {}
    for number in among:
        ways.setdefault(options[number][depth], []).append(number)
    made = []
    for numbers in ways.values():
        first, end = options[numbers[0]], depth + 1
        while len(first) > end and all(len(options[n]) > end and options[n][end] == first[end] for n in numbers):
            end += 1
        leaf = len(first) == end
        made.append(_Fork(list(first[depth:end]), numbers, [] if leaf else _forks(options, numbers, end), leaf))
    return made


def _below(model: Any, rows: list[Rendered], forks: list[_Fork], options: int, floor: float) -> list[Likelihoods]:
    """Of the prompts of one forward."""
    trie = build(rows)
    kept, head = _Kept(attention.TrieAttention.over(trie)), forward.head(model)
    device = model.device
    tokens, positions = (torch.as_tensor(a, device=device) for a in (trie.tokens, trie.positions))
    hidden = attention.decode(model, tokens, positions, kept)
    slots = [path_of(trie, row) for row in range(len(rows))]
    logps = np.full((len(rows), options), -np.inf)
    exact = np.zeros((len(rows), options), dtype=bool)
    ends = np.repeat([int(each[-1]) for each in slots], len(forks))
    begun = iter(_logp(head, hidden, ends, [fork.tokens[0] for fork in forks] * len(rows)))
    reached = [_Reached(row, fork, next(begun), slots[row]) for row in range(len(rows)) for fork in forks]
    waiting: list[_Reached] = []  # beginnings that had too little; others may turn out to have less still
    while reached or waiting:
        for one in reached:
            logps[one.prompt, one.fork.options] = one.logp - np.log(len(one.fork.options))
            exact[one.prompt, one.fork.options] = one.fork.leaf and len(one.fork.tokens) == 1
        waiting += [one for one in reached if not (one.fork.leaf and len(one.fork.tokens) == 1)]
        least = np.logaddexp.reduce(logps, axis=1) + (np.log(floor) if floor else -np.inf)
        going = [one for one in waiting if one.logp >= least[one.prompt]]
        waiting = [one for one in waiting if one.logp < least[one.prompt]]
        if not going:
            break
        reached = _further(model, kept, head, going, logps, exact)
    return [Likelihoods(logps[row].tolist(), exact[row].tolist()) for row in range(len(rows))]


def _further(model: Any, kept: _Kept, head: Any, going: list[_Reached], logps: Any, exact: Any) -> list[_Reached]:
    """Computes the tokens of these forks in one forward: the options that end with them, and the forks behind."""
    tokens: list[int] = []
    seen: list[Ints] = []  # of each new token what it sees, itself last
    places: list[int] = []  # after which token each of `asked` is asked for
    asked: list[int] = []
    for one in going:
        inputs = one.fork.tokens[:-1] if one.fork.leaf else one.fork.tokens  # an option's last token is only asked for
        path = one.slots
        places += range(len(tokens), len(tokens) + len(one.fork.tokens) - 1)
        asked += one.fork.tokens[1:]
        for token in inputs:
            path = np.append(path, kept.count + len(tokens))
            seen.append(path)
            tokens.append(token)
        places += [len(tokens) - 1] * len(one.fork.below)
        asked += [fork.tokens[0] for fork in one.fork.below]
    device = model.device
    positions = torch.tensor([len(path) - 1 for path in seen], device=device)
    hidden = attention.decode(model, torch.tensor(tokens, device=device), positions, kept.further(seen))
    found = iter(_logp(head, hidden, places, asked))
    reached, at = [], 0
    for one in going:
        value = one.logp + sum(next(found) for _ in one.fork.tokens[1:])
        logps[one.prompt, one.fork.options] = value - np.log(len(one.fork.options))
        exact[one.prompt, one.fork.options] = one.fork.leaf
        at += len(one.fork.tokens) - one.fork.leaf
        reached += [_Reached(one.prompt, fork, value + next(found), seen[at - 1]) for fork in one.fork.below]
    return reached


def _logp(head: Any, hidden: Tensor, places: Sequence[int] | Ints, tokens: Sequence[int]) -> list[float]:
    """The log-probability of each token after its place in the hidden states (N, D)."""
    distinct, where = np.unique(np.asarray(places), return_inverse=True)
    values = torch.empty(len(tokens))
    for start in range(0, len(distinct), AT_ONCE):
        logp = torch.log_softmax(head.logits(hidden[distinct[start : start + AT_ONCE]]), -1)
        mine = np.flatnonzero((where >= start) & (where < start + AT_ONCE))
        picked = logp[where[mine] - start, [tokens[n] for n in mine.tolist()]]
        values[mine] = picked.float().cpu()
    found: list[float] = values.tolist()
    return found


class _Kept:
    """Attention over what was computed and what comes now; keys and values stay, (1, K, N, D) of each layer."""

    def __init__(self, first: attention.TrieAttention) -> None:
        self._first: attention.TrieAttention | None = first
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._seen = self._mask = torch.empty(0)
        self._windows: dict[int, Tensor] = {}

    @property
    def count(self) -> int:
        """Tokens that are kept."""
        return next(iter(self._keys.values())).shape[2]

    def further(self, seen: list[Ints]) -> _Kept:
        """From here on each token of a forward sees those kept tokens, itself last."""
        self._first, self._windows = None, {}
        longest = max(map(len, seen))
        padded = np.stack([np.pad(path, (longest - len(path), 0)) for path in seen])  # what is nearest stands last
        hidden = np.stack([np.arange(longest) < longest - len(path) for path in seen])
        device = next(iter(self._keys.values())).device
        self._seen, self._mask = torch.as_tensor(padded, device=device), torch.as_tensor(hidden, device=device)
        return self

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        if self._first is not None:
            self._keys[layer], self._values[layer] = key, value
            return self._first(layer, query, key, value, scale, window)
        keys = self._keys[layer] = torch.cat([self._keys[layer], key], 2)
        values = self._values[layer] = torch.cat([self._values[layer], value], 2)
        n, groups = len(self._seen), key.shape[1]
        seen_keys, seen_values = (t[0][:, self._seen].transpose(0, 1) for t in (keys, values))  # (n, K, L, D)
        rows = query[0].transpose(0, 1).reshape(n, groups, query.shape[1] // groups, -1)
        mask = self._additive(window, query).expand(n, 1, rows.shape[2], -1)
        out = F.scaled_dot_product_attention(rows, seen_keys, seen_values, attn_mask=mask, scale=scale)
        return out.reshape(n, query.shape[1], -1).transpose(0, 1)[None]

    def _additive(self, window: int | None, like: Tensor) -> Tensor:
        """(n, 1, 1, L)"""
        reach = window or 0
        if reach not in self._windows:
            hidden = self._mask.clone()
            if reach:
                hidden[:, : max(0, hidden.shape[1] - reach)] = True
            mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
            self._windows[reach] = mask.masked_fill_(hidden, float("-inf"))[:, None, None, :]
        return self._windows[reach]


def _whole(model: Any, prompt: Sequence[int], options: Sequence[Sequence[int]]) -> Likelihoods:
    """For architectures whose keys and values can't be kept: every option written out behind the prompt."""
    scores = scoring.score(model, [[*prompt, *option] for option in options])
    # The score at place i is that of token i + 1.
    sums = [
        sum(one.log_probability for one in row[len(prompt) - 1 : len(prompt) - 1 + len(option)])
        for row, option in zip(scores, options, strict=True)
    ]
    return Likelihoods(sums, [True] * len(options))
