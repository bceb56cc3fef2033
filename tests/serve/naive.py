"""An engine that computes every token from the whole text: slow, and the oracle of everything around it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from sodate.core.engine import Done, Event, Request, Token
from sodate.core.errors import SodateError


@dataclass
class _Row:
    request: Request
    matcher: Any
    random: np.random.Generator
    ids: list[int] = field(default_factory=list)


class NaiveEngine:
    """`models` by the engine's name of a version; `tokenizer` is llguidance's."""

    name = "naive"
    context_length = 1024

    def __init__(self, models: dict[str, Any], tokenizer: Any, *, slots: int = 4, pause: float = 0.0) -> None:
        self.models, self.tokenizer, self.slots, self.pause = models, tokenizer, slots, pause
        self.rows: dict[int, _Row] = {}
        self.steps = 0
        self.known = 0  # tokens of every prompt that it says were found computed
        self.cancelled: list[int] = []
        self.closed = False

    def admit(self, request: Request) -> None:
        from llguidance import LLMatcher

        if len(self.rows) >= self.slots:
            raise SodateError("full", code="busy")
        matcher = None
        if request.constraint is not None:
            make = getattr(LLMatcher, f"grammar_from_{request.constraint.kind}")
            style = {"overrides": {"whitespace_flexible": False}} if request.constraint.kind == "json_schema" else {}
            matcher = LLMatcher(self.tokenizer, make(request.constraint.value, **style))
            matcher.compute_logit_bias()  # what no text satisfies is found out here
            if matcher.is_error():
                raise SodateError(matcher.get_error() or "no text satisfies it", code="constraint_unsupported")
        random = np.random.Generator(np.random.Philox([request.sampling.seed, request.sampling.stream]))
        self.rows[request.number] = _Row(request, matcher, random)

    @torch.inference_mode()
    def step(self) -> list[Event]:
        if self.rows:
            self.steps += 1
            time.sleep(self.pause)
        events: list[Event] = []
        for number, row in list(self.rows.items()):
            token = self._next(row)
            row.ids.append(token.id)
            events.append(token)
            if row.matcher is not None and token.id not in row.request.stop_ids:
                row.matcher.consume_token(token.id)
            stopped = token.id in row.request.stop_ids
            if stopped or len(row.ids) >= row.request.sampling.max_new_tokens:
                events.append(Done(number, "stop" if stopped else "length", self.known))
                del self.rows[number]
        return events

    def _next(self, row: _Row) -> Token:
        request, sampling = row.request, row.request.sampling
        ids = torch.tensor([[*request.prompt, *row.ids]])
        logits = self.models[request.version](input_ids=ids).logits[0, -1].double()
        for id, bias in sampling.bias.items():
            logits[id] += bias
        for id in set(row.ids):
            logits[id] -= sampling.presence_penalty + sampling.frequency_penalty * row.ids.count(id)
        if row.matcher is not None:
            mask = np.frombuffer(row.matcher.compute_logit_bias(), dtype=np.uint8)[: len(logits)]
            allowed = torch.tensor(mask > 0)
            if row.matcher.is_accepting():
                allowed[list(request.stop_ids)] = True
            logits = torch.where(allowed, logits, float("-inf"))
        logp = torch.log_softmax(logits / (sampling.temperature or 1), -1)
        if sampling.temperature == 0:
            chosen = int(logp.argmax())
        else:
            order = logp.argsort(descending=True)
            mass = logp[order].exp().cumsum(0)
            keep = order[: int((mass < sampling.top_p).sum()) + 1]
            p = logp[keep].exp().numpy()
            chosen = int(keep[row.random.choice(len(p), p=p / p.sum())])
        likeliest = logp.topk(sampling.top_logprobs) if sampling.top_logprobs else None
        top = tuple(zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)) if likeliest else ()
        return Token(request.number, chosen, float(logp[chosen]), top, self.known)

    def cancel(self, number: int) -> None:
        if self.rows.pop(number, None) is not None:
            self.cancelled.append(number)

    def close(self) -> None:
        self.closed = True
