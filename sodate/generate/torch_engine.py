"""The engine on torch: requests join and leave between steps, prompts are computed in bounded pieces, beginnings that
are known are found again, several versions share one base, and memory is counted before anything is allocated.

A step computes what is missing of each request: a long rest as a trie together with others that begin alike, short ones
as rows of one forward, with drafts where they pay. Then it chooses the next token of each.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sodate.core.engine import Done, Event, Request, Token
from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.generate import admission, decoder_step, prefill
from sodate.generate.drafts import LONGEST, MOST, StepTimes
from sodate.generate.grammar import Grammars, unsupported
from sodate.generate.paged_attention import DecodeAttention, ShapeProbe
from sodate.generate.pool import BLOCK, Pool, Shape
from sodate.generate.requests import Fresh, RunningRequest, RunningRequests
from sodate.generate.sampling import ChosenToken, Stream, TokenChoice, choose
from sodate.generate.versions import Versions
from sodate.kernels import threads
from sodate.model import attention, forward, memory, traits

# Tokens computed in one forward of a prefill: enough for products at full speed, and little beside weights and cache.
PREFILL_TOKENS = 4096
PREFILL_BESIDE = 256  # as many while replies are under way, which wait meanwhile
# Or as many as this many of the longest prompt have, if that is more: a beginning that all share is computed again in
# every forward, which then adds about half at most.
PREFILL_PROMPTS = 4
SHORT = BLOCK  # a rest of so many tokens is computed as rows beside those of running replies,
SHORT_STEP = 128  # or of so many, or a whole text of twice as many, where a step of rows is one call (decoder_step.py)
SLOTS = 16
POOL_BYTES = 2 << 30  # keys and values at most, where nobody says; and a quarter of what is free


class NextToken(NamedTuple):
    """A request whose next token is to be chosen. `places` are hidden states: after all its ids, and after each of
    `drafts`; `allowed` is what a constraint allows at each."""

    one: RunningRequest
    places: list[int]
    drafts: list[int]
    allowed: Sequence[NDArray[np.int32] | None]


class TorchEngine:
    """A model prepared for decoding (decoding.py), as core/engine.py's Engine.

    `slots` requests at most are under way. `tokens` bounds the keys and values that are held; without it, POOL_BYTES or
    a quarter of the memory there is. `beside` is how many tokens of a prompt are computed at a time while replies wait,
    a multiple of BLOCK; None: as many as without them. `tokenizer` (tokenizers.Tokenizer) is what constraints need.
    `rates` is what machine.py tried when the model was prepared.
    """

    name = "torch"

    def __init__(
        self, model: Any, *, slots: int = SLOTS, tokens: int | None = None, beside: int | None = PREFILL_BESIDE,
        tokenizer: Any = None, rates: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        self.model, self.slots, self.beside = model, slots, beside
        self.context_length = attention.context_length(model.config)
        self.head = forward.head(model)
        self.versions = Versions.over(model)
        self.rates = rates or {}
        self.drafts = True  # whether replies that copy may go faster
        self._tokens = tokens
        self._grammars = None if tokenizer is None else Grammars(tokenizer, len(self.head.weight))
        self._requests: RunningRequests | None = None
        self._step_times = StepTimes()
        self._watch = threads.Watch(torch.get_num_threads())

    # ── the protocol ─────────────────────────────────────────────────────────────────────────────────────────────────

    def admit(self, request: Request) -> None:
        count, limit = len(request.prompt), self.context_length
        if self._caches:
            limit = min(limit, self.blocks * BLOCK)
        admission.check(request, len(self.head.weight), limit, self.versions)
        requests = self._requests
        running, wanted = (requests.running, requests.wanted()) if requests else ([], 0)
        available = (requests.pool.available if requests else self.blocks) - wanted
        if requests and available < count // BLOCK + 1:
            available += requests.pool.shared(request.version, request.tenant, request.prompt)
        if len(running) >= self.slots or (self._caches and available < count // BLOCK + 1):
            raise SodateError(
                tr("The engine is busy: as many replies are under way as it has room for.",
                   "エンジンは混雑しています。これ以上の返答を同時に作れません。"),
                tr("Ask again in a moment.", "少し待ってからもう一度試してください。"),
                code="busy",
            )  # fmt: skip
        matcher = None
        if request.constraint is not None:
            if self._grammars is None:
                raise unsupported(tr("this engine has no tokenizer", "このエンジンにはトークナイザーがありません"))
            matcher = self._grammars.start(request.constraint, request.stop_ids)
        sampling, pool = request.sampling, self.requests.pool
        most = min(count + sampling.max_new_tokens, limit)
        root, stream = pool.root(request.version, request.tenant), Stream(sampling.seed, sampling.stream)
        self.requests.running.append(RunningRequest(request, root, most, stream, matcher))

    def step(self) -> list[Event]:
        with self.adapting():
            return self._step()

    def adapting(self) -> AbstractContextManager[None]:
        """Within, this thread's products have as many threads as have a core to themselves."""
        return threads.adapting(self._watch)

    @torch.inference_mode()
    def _step(self) -> list[Event]:
        events: list[Event] = []
        if (requests := self._requests) is None:
            return events
        for one in list(requests.running):
            if one.matcher is not None and not one.said:
                events += self._say(one)  # what its grammar begins with
        if not self._caches:
            return events + (self._one_by_one() if requests.running else [])
        for one in requests.running:
            requests.find(one)
        _, long = self._by_length(requests.running)
        if long:
            events += self._prefill(long)
        short, _ = self._by_length(requests.running)
        if short:
            events += self._rows(short)
        self.versions.select("")  # whoever else uses the model means the base
        return events

    def cancel(self, number: int) -> None:
        for one in self._requests.running if self._requests else []:
            if one.request.number == number:
                self.requests.leave(one)
                return

    def close(self) -> None:
        self._requests = None

    @property
    def details(self) -> str:
        kind = str(self.model.get_input_embeddings().weight.dtype).removeprefix("torch.")
        return f"{kind}, {self.model.device.type}"

    @property
    def figures(self) -> dict[str, Any]:
        kind = str(self.model.get_input_embeddings().weight.dtype).removeprefix("torch.")
        return {"dtype": kind, "threads": self._watch.most, "rates": dict(self.rates)}

    # ── versions and memory ──────────────────────────────────────────────────────────────────────────────────────────

    def add_version(self, name: str, folder: Path) -> None:
        """Serves the adapter in `folder` beside the base and others, as `name`. SodateError `version_alone` if it can
        only be served by an engine of its own."""
        self.versions.add(name, folder)

    def remove_version(self, name: str) -> None:
        """Lets go of a version; SodateError `busy` while replies of it are under way."""
        running = self._requests.running if self._requests else []
        if any(one.request.version == name for one in running):
            raise SodateError(
                tr(f"{name} still answers.", f"{name} はまだ応答中です。"),
                tr("Let its replies end first.", "返答が終わってから外してください。"),
                code="busy",
            )  # fmt: skip
        self.versions.remove(name)
        if self._requests:
            self._requests.pool.forget(name)

    @property
    def _caches(self) -> bool:
        return traits.of(self.model).shares

    @cached_property
    def shapes(self) -> dict[int, Shape]:
        """What the layers keep of a token, as one through the model tells; nothing where it can't be kept."""
        seen = ShapeProbe()
        if self._caches:
            none = torch.zeros(1, dtype=torch.long, device=self.model.device)
            with torch.inference_mode():
                attention.decode(self.model, none, none, seen)
        return seen.shapes

    @cached_property
    def blocks(self) -> int:
        """How many there are, or will be; none for models whose keys and values can't be kept."""
        if not self._caches:
            return 0
        if self._tokens:
            return -(-self._tokens // BLOCK)
        free = (memory.available(self.model.device) - memory.resident()) // 4
        return max(1, min(POOL_BYTES, free) // (BLOCK * sum(shape.bytes for shape in self.shapes.values())))

    @property
    def requests(self) -> RunningRequests:
        """Who holds which blocks; those are made when the first request has been admitted."""
        if self._requests is None:
            self._requests = RunningRequests(Pool(self.shapes, self.blocks, self.model.device))
        return self._requests

    # ── computing ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _by_length(self, running: Sequence[RunningRequest]) -> tuple[list[RunningRequest], list[RunningRequest]]:
        """Those whose rest goes as rows, and those of which a piece is computed as a trie. Some may have to wait."""
        if getattr(self.model, "sodate_step", None) is None:
            begins = not any(one.computed for one in running)  # nobody waits: what prompts share is computed once
            few = 0 if begins else SHORT
            return [one for one in running if one.missing <= few], [one for one in running if one.missing > few]
        beside = self.beside if any(one.said for one in running) else None
        few, budget = min(SHORT_STEP, beside or SHORT_STEP), beside or PREFILL_TOKENS
        short, long, spent = [], [], 0
        for one in running:
            if one.missing > few and len(one.ids) > 2 * few:
                long.append(one)
            elif one.missing <= SHORT:
                short.append(one)
            elif not spent or spent + one.missing <= budget:  # the others' turn comes with the next step
                short.append(one)
                spent += one.missing
        return short, long

    def _prefill(self, long: list[RunningRequest]) -> list[Event]:
        """A piece of the oldest request's prompt, and of others' that go on from the same blocks."""
        budget = max(PREFILL_TOKENS, PREFILL_PROMPTS * max(one.missing for one in long))
        if self.beside and any(one.missing <= SHORT for one in self.requests.running):
            budget = self.beside
        self.versions.select(long[0].request.version)
        hidden, done = prefill.compute(self.model, self.requests, long, budget)
        return self._next(hidden, [self._asked(one, [place], []) for one, place in done.items()])

    def _rows(self, short: list[RunningRequest]) -> list[Event]:
        """A forward over what is missing of each request, and drafts, row by row; then what comes next of each."""
        began = time.perf_counter()
        short = self._with_room(short)
        if not short:
            return []
        drafts = self._drafts(short)
        rows = [one.ids[one.computed :] + draft for one, draft in zip(short, drafts, strict=True)]
        counts = [len(row) for row in rows]
        table = np.zeros((len(short), max(len(one.nodes) for one in short)), dtype=np.int64)
        for row, one in enumerate(short):
            table[row, : len(one.nodes)] = one.table[: len(one.nodes)]
        owner = np.repeat(np.arange(len(short)), counts)
        lengths = np.concatenate([one.computed + 1 + np.arange(n) for one, n in zip(short, counts, strict=True)])
        device = self.model.device
        self.versions.selection.of([short[i].request.version for i in owner], device)
        tokens = torch.tensor([token for row in rows for token in row], device=device)
        positions = torch.as_tensor(lengths - 1, device=device)
        attend = DecodeAttention(self.requests.pool, table, owner, lengths)
        hidden = decoder_step.decode(self.model, tokens, positions, attend)
        asked = []
        for one, draft, end in zip(short, drafts, np.cumsum(counts).tolist(), strict=True):
            one.computed = len(one.ids)
            self.requests.publish(one)
            asked.append(self._asked(one, list(range(end - len(draft) - 1, end)), draft))
        events = self._next(hidden, asked)
        self._step_times.took(sum(counts), time.perf_counter() - began)
        return events

    def _with_room(self, short: list[RunningRequest]) -> list[RunningRequest]:
        """Those that have blocks for what they miss; what some begin with alike is computed with the first of them."""
        fresh: Fresh = {}
        found = []
        for one in short:
            shared = self.requests.reach_together(one, one.missing, fresh)
            if shared is not None:
                one.computed += shared
                found.append(one)
        return found

    def _drafts(self, short: list[RunningRequest]) -> list[list[int]]:
        """What may follow each request's ids, as far as it pays, fits and is allowed."""
        missing = sum(one.missing for one in short)
        if not self.drafts or missing >= MOST:
            return [[]] * len(short)
        drafts, scarce = [], self.requests.pool.available <= len(short)
        for one in short:
            draft = one.lookup.draft(one.ids, min(LONGEST, one.most - len(one.ids) - 1))
            if draft and one.matcher is not None:
                draft = draft[: one.matcher.fits(draft)]
            # Nobody has to go for the sake of a guess.
            drafts.append(draft[: len(one.nodes) * BLOCK - len(one.ids)] if scarce else draft)
        share = self._step_times.share(missing, [(o.lookup.hope, len(d)) for o, d in zip(short, drafts, strict=True)])
        drafts = [draft[:worth] for draft, worth in zip(drafts, share, strict=True)]
        for one, draft in zip(short, drafts, strict=True):
            self.requests.reach(one, len(one.ids) + len(draft))
        return drafts

    def _one_by_one(self) -> list[Event]:
        """Each reply's next token from its whole text: for architectures whose keys and values can't be kept."""
        running, decoder = list(self.requests.running), self.model.get_decoder()
        states = []
        for one in running:
            self.versions.select(one.request.version)
            text = torch.tensor([one.ids], device=self.model.device)
            states.append(decoder(input_ids=text, use_cache=False).last_hidden_state[0, -1])
        self.versions.select("")
        return self._next(torch.stack(states), [self._asked(one, [row], []) for row, one in enumerate(running)])

    # ── what comes next ──────────────────────────────────────────────────────────────────────────────────────────────

    def _asked(self, one: RunningRequest, places: list[int], drafts: list[int]) -> NextToken:
        return NextToken(one, places, drafts, one.matcher.ahead(drafts) if one.matcher else [None] * len(places))

    def _next(self, hidden: Tensor, asked: list[NextToken]) -> list[Event]:
        """Chooses what follows at every place of the hidden states (N, D), and keeps it as far as drafts were right."""
        if not asked:
            return []
        places = [place for each in asked for place in each.places]
        choices = []
        for one, _, drafts, allowed in asked:
            said, sampling = one.penalised(), one.request.sampling
            for k, mask in enumerate(allowed):
                uniform = one.stream[one.said + k] if sampling.temperature else 0.0
                choices.append(TokenChoice(sampling, uniform, [*said, *drafts[:k]] if said else said, mask))
        if places != list(range(len(hidden))):  # a reply's only row, mostly
            hidden = hidden[torch.tensor(places, device=hidden.device)]
        chosen = iter(choose(self.head.logits(hidden), choices))
        events: list[Event] = []
        for each in asked:
            events += self._kept(each, [next(chosen) for _ in each.places])
        return events

    def _kept(self, asked: NextToken, chosen: list[ChosenToken]) -> list[Event]:
        """The tokens chosen after all ids, and after each draft as long as the one before was what it guessed."""
        one, before = asked.one, len(asked.one.ids)
        events = self._say(one, chosen[0])
        for k, draft in enumerate(asked.drafts):
            if one not in self.requests.running:
                break
            right = one.ids[before + k] == draft
            one.lookup.saw(right)
            if not right:
                break
            one.computed += 1
            if len(one.ids) == before + k + 1:  # else the grammar has said what follows
                events += self._say(one, chosen[k + 1])
        if one in self.requests.running:
            self.requests.publish(one)
        return events

    def _say(self, one: RunningRequest, *tokens: ChosenToken) -> list[Event]:
        """Adds tokens to a reply, and those that its grammar forces after them; ends the reply where it ends."""
        number, events = one.request.number, list[Event]()
        coming = deque(tokens)
        while coming or one.matcher is not None:
            if not coming:
                assert one.matcher is not None
                if one.matcher.error:
                    why = unsupported(one.matcher.error.partition("\n")[0]).message
                    self.requests.leave(one)
                    return [*events, Done(number, "stop", one.cached, why)]
                top = bool(one.request.sampling.top_logprobs)
                coming += [ChosenToken(token, 0.0, ((token, 0.0),) * top) for token in one.matcher.forced()]
                if not coming:
                    break
            token = coming.popleft()
            if math.isnan(token.log_probability):  # its own fault: the others of the step go on
                self.requests.leave(one)
                return [*events, Done(number, "stop", one.cached, "engine_failed", _no_numbers())]
            one.ids.append(token.id)
            events.append(Token(number, token.id, token.log_probability, token.top, one.cached))
            stopped = token.id in one.request.stop_ids
            if stopped or len(one.ids) >= one.most:
                self.requests.leave(one)
                return [*events, Done(number, "stop" if stopped else "length", one.cached)]
            if one.matcher is not None:
                one.matcher.take(token.id)
        return events


def _no_numbers() -> SodateError:
    return SodateError(
        tr("The model computed no probabilities: its numbers are not finite.",
           "モデルの計算結果が有限の数にならず、確率を求められませんでした。"),
        tr("Its weights may be broken: look at the loss of the run that made them.",
           "重みが壊れているかもしれません。学習時の損失を確かめてください。"),
        code="engine_failed",
    )  # fmt: skip
