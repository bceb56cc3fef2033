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
from torch import Tensor
from torch.nn import functional

from sodate.generate import scoring
from sodate.generate.prefill import path_of
from sodate.kernels import rows
from sodate.model import attention, forward, traits
from sodate.render.renderer import Rendered
from sodate.render.trie import Ints, Trie, build, pack

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
    """A fork of a prompt with its first token's log-probability known: `path` are the kept segments before it, of
    `depth` tokens."""

    prompt: int
    fork: _Fork
    logp: float
    path: tuple[int, ...]
    depth: int


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
    # A number of its own stands for what follows, so that a prompt is the end of a segment, also of one that goes on.
    asked = [Rendered([*prompt, -1 - n], [0.0] * len(prompt) + [1.0]) for n, prompt in enumerate(prompts)]
    for group in pack(asked, TOKENS):
        below = _below(model, [asked[n] for n in group], forks, len(options), floor)
        for number, one in zip(group, below, strict=True):
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


def _below(model: Any, prompts: list[Rendered], forks: list[_Fork], options: int, floor: float) -> list[Likelihoods]:
    """Of the prompts of one forward."""
    trie = build(prompts)
    kept, head = _Kept(trie), forward.head(model)
    device = model.device
    tokens, positions = (torch.as_tensor(a, device=device) for a in (trie.tokens, trie.positions))
    hidden = attention.decode(model, tokens, positions, kept)
    places = [int(path_of(trie, row)[-1]) for row in range(len(prompts))]
    paths = [kept.path_to(place) for place in places]
    logps = np.full((len(prompts), options), -np.inf)
    exact = np.zeros((len(prompts), options), dtype=bool)
    begun = iter(_logp(head, hidden, np.repeat(places, len(forks)), [fork.tokens[0] for fork in forks] * len(prompts)))
    depths = [len(row.ids) - 1 for row in prompts]  # the last id stands for what follows
    reached = [
        _Reached(row, fork, next(begun), paths[row], depths[row]) for row in range(len(prompts)) for fork in forks
    ]
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
    return [Likelihoods(logps[row].tolist(), exact[row].tolist()) for row in range(len(prompts))]


def _further(model: Any, kept: _Kept, head: Any, going: list[_Reached], logps: Any, exact: Any) -> list[_Reached]:
    """Computes the tokens of these forks: the options that end with them, and the forks behind. As many at once as the
    products of few rows are made for."""
    most = rows.FEW if model.device.type == "cpu" else TOKENS
    reached: list[_Reached] = []
    part: list[_Reached] = []
    tokens = 0
    for one in sorted(going, key=lambda one: one.path):  # those of one prompt beside each other
        if part and tokens + len(_inputs(one)) > most:
            reached += _at_once(model, kept, head, part, logps, exact)
            part, tokens = [], 0
        part.append(one)
        tokens += len(_inputs(one))
    return reached + _at_once(model, kept, head, part, logps, exact)


def _inputs(one: _Reached) -> list[int]:
    """The tokens of a fork that are computed: an option's last one is only asked for."""
    return one.fork.tokens[:-1] if one.fork.leaf else one.fork.tokens


def _at_once(model: Any, kept: _Kept, head: Any, going: list[_Reached], logps: Any, exact: Any) -> list[_Reached]:
    tokens: list[int] = []
    positions: list[int] = []
    places: list[int] = []  # after which token each of `asked` is asked for
    asked: list[int] = []
    for one in going:
        inputs = _inputs(one)
        places += range(len(tokens), len(tokens) + len(one.fork.tokens) - 1)
        asked += one.fork.tokens[1:]
        tokens += inputs
        positions += range(one.depth, one.depth + len(inputs))
        places += [len(tokens) - 1] * len(one.fork.below)
        asked += [fork.tokens[0] for fork in one.fork.below]
    segments = kept.add([(len(_inputs(one)), one.path) for one in going])
    device = model.device
    hidden = attention.decode(
        model, torch.tensor(tokens, device=device), torch.tensor(positions, device=device), kept
    )  # fmt: skip
    found = iter(_logp(head, hidden, places, asked))
    reached = []
    for one, segment in zip(going, segments, strict=True):
        value = one.logp + sum(next(found) for _ in one.fork.tokens[1:])
        logps[one.prompt, one.fork.options] = value - np.log(len(one.fork.options))
        exact[one.prompt, one.fork.options] = one.fork.leaf
        path, depth = (*one.path, segment), one.depth + len(one.fork.tokens)
        reached += [_Reached(one.prompt, fork, value + next(found), path, depth) for fork in one.fork.below]
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


class _Below:
    """Segments of one path that are computed together: queries at [start, end), `lengths` of them by segment."""

    def __init__(self, path: tuple[int, ...], start: int) -> None:
        self.path, self.start = path, start
        self.lengths: list[int] = []
        self._masks: dict[int, Tensor] = {}

    @property
    def end(self) -> int:
        return self.start + sum(self.lengths)

    def mask(self, depth: int, window: int | None, like: Tensor) -> Tensor:
        """(T, depth + T) added to the scores: each token sees its path, `depth` tokens, and its own segment so far."""
        reach = window or 0
        found = self._masks.get(reach)
        if found is None:
            own = torch.cat([torch.arange(n) for n in self.lengths])
            segment = torch.repeat_interleave(torch.arange(len(self.lengths)), torch.tensor(self.lengths))
            at = depth + own
            keys = torch.cat([torch.arange(depth), at])
            hidden = keys[None] > at[:, None]
            hidden[:, depth:] |= segment[None] != segment[:, None]
            if reach:
                hidden |= at[:, None] - keys[None] >= reach
            found = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
            found.masked_fill_(hidden.to(like.device), float("-inf"))
            self._masks[reach] = found
        return found


class _Kept:
    """Attention over what was computed and what comes now; keys and values stay, of each layer a (1, K, n, D) for each
    forward."""

    def __init__(self, trie: Trie) -> None:
        self._places = [(0, segment.start, segment.end) for segment in trie.segments]  # forward, and where in it
        self._paths = [segment.path for segment in trie.segments]
        self._ends = np.array([segment.end for segment in trie.segments])
        self._first = attention.TrieAttention.over(trie)
        self._below: list[_Below] = []
        self._forwards = 0
        self._keys: dict[int, list[Tensor]] = {}
        self._values: dict[int, list[Tensor]] = {}

    def path_to(self, place: int) -> tuple[int, ...]:
        """The segments that lead to a token that was packed, which is the last of its own."""
        segment = int(np.searchsorted(self._ends, place, side="right"))
        assert self._ends[segment] == place + 1
        return (*self._paths[segment], segment)

    def add(self, segments: Sequence[tuple[int, tuple[int, ...]]]) -> list[int]:
        """The segments of the next forward, (tokens, path) of each, those of one path beside each other; their
        numbers."""
        self._forwards += 1
        self._below = []
        first, start = len(self._places), 0
        for length, path in segments:
            if not self._below or self._below[-1].path != path:
                self._below.append(_Below(path, start))
            self._below[-1].lengths.append(length)
            self._places.append((self._forwards, start, start + length))
            start += length
        return list(range(first, len(self._places)))

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        keys, values = self._keys.setdefault(layer, []), self._values.setdefault(layer, [])
        keys.append(key)
        values.append(value)
        if not self._forwards:
            return self._first(layer, query, key, value, scale, window)
        grouped = query.shape[1] != key.shape[1]
        outputs = []
        for one in self._below:
            parts = [*(self._places[segment] for segment in one.path), (self._forwards, one.start, one.end)]
            k = torch.cat([keys[n][:, :, start:end] for n, start, end in parts], 2)
            v = torch.cat([values[n][:, :, start:end] for n, start, end in parts], 2)
            asked = query[:, :, one.start : one.end]
            mask = one.mask(k.shape[2] - asked.shape[2], window, query)
            outputs.append(functional.scaled_dot_product_attention(
                asked, k, v, attn_mask=mask, scale=scale, enable_gqa=grouped
            ))  # fmt: skip
        return torch.cat(outputs, 2)


def _whole(model: Any, prompt: Sequence[int], options: Sequence[Sequence[int]]) -> Likelihoods:
    """For architectures whose keys and values can't be kept: every option written out behind the prompt."""
    scores = scoring.score(model, [[*prompt, *option] for option in options])
    # The score at place i is that of token i + 1.
    sums = [
        sum(one.log_probability for one in row[len(prompt) - 1 : len(prompt) - 1 + len(option)])
        for row, option in zip(scores, options, strict=True)
    ]
    return Likelihoods(sums, [True] * len(options))
