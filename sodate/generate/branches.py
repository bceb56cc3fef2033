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

from sodate.generate import scoring
from sodate.generate.paged_attention import DecodeAttention
from sodate.generate.pool import BLOCK
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
    """A fork of a prompt with its first token's log-probability known: `blocks` hold the `depth` tokens before it."""

    prompt: int
    fork: _Fork
    logp: float
    blocks: tuple[int, ...]
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
    asked = [Rendered([*prompt, 0], [0.0] * len(prompt) + [1.0]) for prompt in prompts]  # 0 stands for what follows
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
    seen, head = _Seen(trie), forward.head(model)
    device = model.device
    tokens, positions = (torch.as_tensor(a, device=device) for a in (trie.tokens, trie.positions))
    hidden = attention.decode(model, tokens, positions, seen)
    paths = [path_of(trie, row) for row in range(len(prompts))]
    kept, places = _Blocks(seen, paths), [int(path[-1]) for path in paths]
    logps = np.full((len(prompts), options), -np.inf)
    exact = np.zeros((len(prompts), options), dtype=bool)
    begun = iter(_logp(head, hidden, np.repeat(places, len(forks)), [fork.tokens[0] for fork in forks] * len(prompts)))
    reached = [
        _Reached(row, fork, next(begun), kept.tables[row], len(paths[row]))
        for row in range(len(prompts))
        for fork in forks
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


def _further(model: Any, kept: _Blocks, head: Any, going: list[_Reached], logps: Any, exact: Any) -> list[_Reached]:
    """Computes the tokens of these forks: the options that end with them, and the forks behind. As many at once as the
    products of few rows are made for."""
    most = rows.FEW if model.device.type == "cpu" else TOKENS
    reached: list[_Reached] = []
    part: list[_Reached] = []
    tokens = 0
    for one in going:
        if part and tokens + len(_inputs(one)) > most:
            reached += _at_once(model, kept, head, part, logps, exact)
            part, tokens = [], 0
        part.append(one)
        tokens += len(_inputs(one))
    return reached + _at_once(model, kept, head, part, logps, exact)


def _inputs(one: _Reached) -> list[int]:
    """The tokens of a fork that are computed: an option's last one is only asked for."""
    return one.fork.tokens[:-1] if one.fork.leaf else one.fork.tokens


def _at_once(model: Any, kept: _Blocks, head: Any, going: list[_Reached], logps: Any, exact: Any) -> list[_Reached]:
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
    tables, attend = kept.below([(one.blocks, one.depth, len(_inputs(one))) for one in going])
    device = model.device
    hidden = attention.decode(
        model, torch.tensor(tokens, device=device), torch.tensor(positions, device=device), attend
    )  # fmt: skip
    found = iter(_logp(head, hidden, places, asked))
    reached = []
    for one, blocks in zip(going, tables, strict=True):
        value = one.logp + sum(next(found) for _ in one.fork.tokens[1:])
        logps[one.prompt, one.fork.options] = value - np.log(len(one.fork.options))
        exact[one.prompt, one.fork.options] = one.fork.leaf
        depth = one.depth + len(one.fork.tokens)
        reached += [_Reached(one.prompt, fork, value + next(found), blocks, depth) for fork in one.fork.below]
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


class _Seen:
    """Attention over the prompts; what every layer keeps of them, keys (K, N, D) and values, stays."""

    def __init__(self, trie: Trie) -> None:
        self._inner = attention.TrieAttention.over(trie)
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        self.keys[layer], self.values[layer] = key[0], value[0]
        return self._inner(layer, query, key, value, scale, window)


class _Blocks:
    """Keys and values of the prompts, and of branches below them, in blocks of BLOCK tokens as a pool has them.

    `tables` are each prompt's blocks; those that begin alike share what they share whole.
    """

    def __init__(self, seen: _Seen, paths: Sequence[Ints]) -> None:
        """`paths`: where each prompt's tokens are packed."""
        numbers: dict[bytes, int] = {}
        places: list[Ints] = []
        self.tables: list[tuple[int, ...]] = []
        for path in paths:
            parts = np.pad(path, (0, -len(path) % BLOCK), mode="edge").reshape(-1, BLOCK)
            for part in parts:
                if part.tobytes() not in numbers:
                    numbers[part.tobytes()] = len(places)
                    places.append(part)
            self.tables.append(tuple(numbers[part.tobytes()] for part in parts))
        flat = torch.as_tensor(np.concatenate(places))
        self._used, self._room = len(places), len(places) + 2 * len(paths)
        self.keys = {layer: _in_blocks(kept, flat, self._room) for layer, kept in seen.keys.items()}
        self.values = {layer: _in_blocks(kept, flat, self._room) for layer, kept in seen.values.items()}

    def below(
        self, branches: Sequence[tuple[tuple[int, ...], int, int]]
    ) -> tuple[list[tuple[int, ...]], DecodeAttention]:
        """For branches of (blocks, tokens in them, tokens that come now) the blocks that hold both, and the attention
        of what comes. A last block that is not full is copied: others may go on from it, too."""
        tables: list[tuple[int, ...]] = []
        old, new = [], []
        for blocks, depth, count in branches:
            whole, first = depth // BLOCK, self._used
            self._used += -(-(depth + count) // BLOCK) - whole
            tables.append((*blocks[:whole], *range(first, self._used)))
            if depth % BLOCK:
                old.append(blocks[whole])
                new.append(first)
        grown = max(self._room // 2, self._used - self._room) if self._used > self._room else 0
        self._room += grown
        for layers in (self.keys, self.values):
            for layer, kept in layers.items():
                room = kept if not grown else torch.cat([kept, kept.new_zeros(grown, *kept.shape[1:])])
                if new:
                    room[new] = room[old]
                layers[layer] = room
        table = np.zeros((len(tables), max(map(len, tables))), dtype=np.int64)
        for row, own in enumerate(tables):
            table[row, : len(own)] = own
        owner = np.repeat(np.arange(len(branches)), [count for _, _, count in branches])
        lengths = np.concatenate([depth + 1 + np.arange(count) for _, depth, count in branches])
        return tables, DecodeAttention(self, table, owner, lengths)


def _in_blocks(kept: Tensor, places: Tensor, room: int) -> Tensor:
    """(room, K, BLOCK, D): blocks of what lies at these places of (K, N, D), and empty ones."""
    picked = kept.index_select(1, places.to(kept.device)).view(len(kept), -1, BLOCK, kept.shape[2]).transpose(0, 1)
    found = kept.new_zeros(room, *picked.shape[1:])
    found[: len(picked)] = picked
    return found


def _whole(model: Any, prompt: Sequence[int], options: Sequence[Sequence[int]]) -> Likelihoods:
    """For architectures whose keys and values can't be kept: every option written out behind the prompt."""
    scores = scoring.score(model, [[*prompt, *option] for option in options])
    # The score at place i is that of token i + 1.
    sums = [
        sum(one.log_probability for one in row[len(prompt) - 1 : len(prompt) - 1 + len(option)])
        for row, option in zip(scores, options, strict=True)
    ]
    return Likelihoods(sums, [True] * len(options))
