"""Batched decoding for evaluation, rollouts and chat: prompts share their prefixes, replies leave as they finish and
new ones take their place. Greedy output equals transformers' `generate`; log-probabilities are those of the
distribution that was sampled from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sodate.generate.cache import Cache, Prefill
from sodate.model import forward, traits
from sodate.model.attention import TrieAttention, decode
from sodate.render.renderer import Rendered
from sodate.render.trie import Ints, build, pack

BLOCK = 256  # ids whose probabilities are summed together when one is drawn
# Tokens computed in one forward of a prefill: enough for products at full speed, and little beside weights and cache.
# All the prompts of a batch at once would take memory for each of their tokens.
PREFILL_TOKENS = 4096
# Or as many as this many of the longest prompt have, if that is more: a beginning that all share is computed again in
# every forward, which then adds about half at most.
PREFILL_PROMPTS = 4


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen. Temperature 0 is greedy. `top_p` keeps the smallest set of tokens with that much mass."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """`ids` end with the stop token when `finish` is "stop". `log_probabilities` (nats) has one entry per id."""

    ids: list[int]
    log_probabilities: list[float]
    finish: Literal["stop", "length"]


@dataclass(slots=True)
class _Running:
    number: int  # which prompt
    length: int  # tokens in the cache
    random: np.random.Generator
    ids: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    sampling: Sampling,
    *,
    batch_size: int = 32,
    on_token: Callable[[int, int], None] | None = None,
    on_reply: Callable[[int, Reply], None] | None = None,
) -> list[Reply]:
    """One reply per prompt, in the prompts' order.

    Replies don't depend on `batch_size` beyond rounding: every prompt has its own random stream, from (seed, number).
    `on_token(number, id)` is called for every token, `on_reply(number, reply)` when one is complete.
    """
    replies: dict[int, Reply] = {}
    # Long prompts first: the cache is as long as the longest prompt, and short ones finish last in full batches.
    waiting = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    if not waiting:
        return []
    cache = Cache(min(batch_size, len(prompts)), len(prompts[waiting[0]]) + sampling.max_new_tokens)
    running: list[_Running] = []
    head, cached = forward.head(model), traits.of(model).shares

    def choose(hidden: Tensor, which: list[_Running]) -> None:
        ids, logp = _sample(head.logits(hidden), which, sampling)
        for reply, token, value in zip(which, ids, logp, strict=True):
            reply.ids.append(token)
            reply.log_probabilities.append(value)
            if on_token:
                on_token(reply.number, token)

    while waiting or running:
        # Refill when a quarter of the slots is free: prefilling a few prompts at once shares their prefix.
        free = cache.slots - len(running)
        if waiting and (not running or free * 4 >= cache.slots or free >= len(waiting)):
            new = [
                _Running(i, len(prompts[i]), np.random.Generator(np.random.Philox([sampling.seed, i])))
                for i in waiting[:free]
            ]
            waiting = waiting[free:]
            if cached:
                choose(_prefill(model, cache, [prompts[r.number] for r in new]), new)
            else:
                cache.active += len(new)
                choose(_last_states(model, prompts, new), new)
            running += new
        for slot in reversed(range(len(running))):
            reply = running[slot]
            stopped = reply.ids[-1] in stop_ids
            if stopped or len(reply.ids) >= sampling.max_new_tokens:
                done = Reply(reply.ids, reply.log_probabilities, "stop" if stopped else "length")
                replies[reply.number] = done
                if on_reply:
                    on_reply(reply.number, done)
                cache.drop(slot)
                running[slot] = running[-1]
                running.pop()
        if running:
            cache.begin_step()
            device = model.device
            tokens = torch.tensor([r.ids[-1] for r in running], device=device)
            positions = (cache.lengths[: cache.active] - 1).to(device)
            states = decode(model, tokens, positions, cache) if cached else _last_states(model, prompts, running)
            choose(states, running)
    return [replies[i] for i in range(len(prompts))]


def _prefill(model: Any, cache: Cache, prompts: list[Sequence[int]]) -> Tensor:
    """Fills the next free slots with prompts; returns each prompt's last hidden state (n, D)."""
    # A dummy last target per prompt makes the packed input exactly the prompt.
    rows = [Rendered([*p, 0], [0.0] * len(p) + [1.0]) for p in prompts]
    budget = max(PREFILL_TOKENS, PREFILL_PROMPTS * max(len(p) for p in prompts))
    first, device = cache.active, model.device
    states: dict[int, Tensor] = {}
    for group in map(sorted, pack(rows, budget)):
        trie = build([rows[number] for number in group])
        places: dict[int, Ints] = {}
        for row, number in enumerate(group):
            last = int(trie.source[trie.entry_prediction[trie.entry_row == row][0]])
            segment = next(s for s in trie.segments if s.start <= last < s.end)
            path = [trie.segments[a] for a in segment.path]
            parts = [np.arange(s.start, s.end) for s in path] + [np.arange(segment.start, last + 1)]
            places[first + number] = np.concatenate(parts)
        tokens, positions = (torch.as_tensor(a, device=device) for a in (trie.tokens, trie.positions))
        hidden = decode(model, tokens, positions, Prefill(TrieAttention.over(trie), cache, places))
        ends = torch.tensor([int(p[-1]) for p in places.values()], device=device)
        states.update(zip(group, hidden[ends], strict=True))
    cache.active += len(prompts)
    cache.lengths[first : cache.active] = torch.tensor([len(p) for p in prompts])
    return torch.stack([states[number] for number in range(len(prompts))])


def _last_states(model: Any, prompts: Sequence[Sequence[int]], which: list[_Running]) -> Tensor:
    """Each reply's last hidden state (n, D) from its whole text: for architectures our cache can't hold."""
    texts = (torch.tensor([[*prompts[r.number], *r.ids]], device=model.device) for r in which)
    return torch.stack([model.get_decoder()(input_ids=t, use_cache=False).last_hidden_state[0, -1] for t in texts])


def _sample(logits: Tensor, which: list[_Running], sampling: Sampling) -> tuple[list[int], list[float]]:
    """Chosen ids and their log-probabilities, for logits (n, V)."""
    if sampling.temperature == 0:
        best = logits.argmax(-1)
        logp = torch.log_softmax(logits, -1)  # logsumexp would take twenty times as long
        return best.tolist(), logp.gather(1, best[:, None])[:, 0].tolist()
    logp = torch.log_softmax(logits / sampling.temperature, -1)
    if sampling.top_p < 1:
        ordered, index = logp.sort(-1, descending=True)
        before = ordered.exp().cumsum(-1) - ordered.exp()
        hidden = before >= sampling.top_p
        hidden[:, 0] = False  # top_p = 0 means the likeliest token, not none
        ordered = ordered.masked_fill(hidden, float("-inf"))
        logp = torch.log_softmax(torch.empty_like(logp).scatter_(1, index, ordered), -1)
    uniform = torch.tensor([r.random.random() for r in which], dtype=torch.float64, device=logits.device)
    chosen = _drawn(logp.exp(), uniform)
    return chosen.tolist(), logp.gather(1, chosen[:, None])[:, 0].tolist()


def _drawn(p: Tensor, uniform: Tensor) -> Tensor:
    """(n,) ids by inverse transform of probabilities p (n, V): first the block of ids, then the id in it.

    One uniform number a row decides. Sums are of float64, over a block and over blocks: a running sum of the whole
    vocabulary would take longer than the softmax.
    """
    blocks = torch.nn.functional.pad(p, (0, -p.shape[1] % BLOCK)).view(len(p), -1, BLOCK)
    ends = blocks.sum(-1, dtype=torch.float64).cumsum(-1)
    aim = (uniform * ends[:, -1])[:, None]
    # At most the block where the sum is complete: rounding must not lead to one without any probability.
    block = torch.searchsorted(ends, aim, right=True).minimum(torch.searchsorted(ends, ends[:, -1:].contiguous()))
    begin = torch.where(block > 0, ends.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks[torch.arange(len(p), device=p.device), block[:, 0]].double()
    place = torch.searchsorted(inside.cumsum(-1), aim - begin, right=True)
    # Nor to an id without any.
    last = (inside > 0).long().mul(torch.arange(1, BLOCK + 1, device=p.device)).amax(-1, keepdim=True) - 1
    return (block * BLOCK + torch.minimum(place, last.clamp(min=0)))[:, 0]
