"""What an architecture can do here, found by what it does: two short rows through the model as transformers runs it,
and as sodate does. A model that would be trained on other numbers than its own is refused, whatever it is called.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.model import attention
from sodate.model.flex import FlexTrieAttention
from sodate.model.head import Head
from sodate.render.renderer import Rendered
from sodate.render.trie import Trie, build


@dataclass(frozen=True, slots=True)
class Traits:
    """`shares`: prefixes are computed once; otherwise every row alone. `logit_scale` multiplies the head's product."""

    shares: bool = True
    logit_scale: float = 1.0


def of(model: Any) -> Traits:
    """What `examine` found when the model was loaded."""
    found: Traits = getattr(model, "sodate_traits", Traits())
    return found


@torch.no_grad()
def examine(model: Any) -> Traits:
    """Compares the logits of two rows with a common beginning. Leaves the model with the attention it will run with."""
    count = model.get_input_embeddings().num_embeddings
    first = [(7 + 5 * i) % count for i in range(12)]
    rows = [first, [*first[:7], *((11 + 3 * i) % count for i in range(4))]]
    batch = build([Rendered(row, [1.0] * len(row)) for row in rows], 1)
    model.set_attn_implementation("eager")  # what every architecture has
    own = torch.cat([_own_logits(model, row[:-1]) for row in rows])
    places = torch.as_tensor(batch.source[batch.entry_prediction], device=own.device)
    # Without an attention that can be plugged, a mask, a state or a bias of positions would leak from row to row.
    if type(model)._supports_attention_backend and not type(model)._is_stateful:
        model.set_attn_implementation(attention.NAME)
        attend = _Counted(attention.TrieAttention.over(batch))
        # Capped scores and sinks are a SodateError; the rest, an attention that is not called as this one wants to be.
        with contextlib.suppress(SodateError, TypeError, ValueError, RuntimeError):
            scale = _scale(model, packed(model, batch, attend)[places], own)
            # Every block has to be one of attention: a convolution or a state between them would go along the packing.
            # And of one attention: of two, a cache of one pair of keys and values a layer would lose the first.
            if scale is not None and sorted(attend.layers) == list(range(model.config.num_hidden_layers)):
                return Traits(True, scale)
        model.set_attn_implementation("eager")
    scale = None
    with contextlib.suppress(TypeError):  # what transformers calls the decoder takes no tokens
        scale = _scale(model, one_by_one(model, batch)[places], own)
    if scale is None:
        raise SodateError(
            tr(
                f"{type(model).__name__} does more after its decoder than a linear head, which is not supported.",
                f"{type(model).__name__} はデコーダーの後段が線形のヘッドだけではないため、対応していません。",
            ),
            tr("Use another base model.", "別のベースモデルを使ってください。"),
            code="model_unsupported",
        )
    return Traits(False, scale)


class _Counted:
    """Trie attention that remembers which layer each call came from."""

    def __init__(self, inner: attention.Attend) -> None:
        self.inner = inner
        self.layers: list[int] = []

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        self.layers.append(layer)
        return self.inner(layer, query, key, value, scale, window)


def packed(model: Any, trie: Trie, attend: attention.Attend | None = None) -> Tensor:
    """(N, D): the decoder's last hidden state at every token of a trie, in one forward."""
    tokens, positions = (torch.as_tensor(a, device=model.device) for a in (trie.tokens, trie.positions))
    if attend is None:
        cuda = model.device.type == "cuda"
        attend = FlexTrieAttention.over(trie, model.device) if cuda else attention.TrieAttention.over(trie)
    return attention.decode(model, tokens, positions, attend)


def one_by_one(model: Any, trie: Trie) -> Tensor:
    """The same by a forward for each path from root to leaf: exact for every causal decoder, and slower."""
    segments = trie.segments
    inner = {ancestor for segment in segments for ancestor in segment.path}
    attention.refuse_beyond_reach(model, len(trie.positions) and int(trie.positions.max()) + 1)
    tokens = torch.as_tensor(trie.tokens, device=model.device)
    outputs, place, done = [], torch.empty(len(tokens), dtype=torch.long, device=model.device), 0
    for number, leaf in enumerate(segments):
        if number in inner:
            continue
        spans = [segments[a] for a in leaf.path] + [leaf]
        index = torch.cat([torch.arange(s.start, s.end, device=model.device) for s in spans])
        outputs.append(model.get_decoder()(input_ids=tokens[index][None], use_cache=False).last_hidden_state[0])
        place[index] = torch.arange(done, done + len(index), device=model.device)
        done += len(index)
    return torch.cat(outputs)[place]


def _own_logits(model: Any, row: list[int]) -> Tensor:
    logits: Tensor = model(input_ids=torch.tensor([row], device=model.device), use_cache=False).logits[0]
    return logits.float()


def _scale(model: Any, hidden: Tensor, own: Tensor) -> float | None:
    """The factor between the head's product and the model's own logits; None if there is no such factor."""
    if not own.isfinite().all():  # broken weights: training says so, with the rows that showed it
        return 1.0
    head = Head.of(model, 1.0)
    found = head.logits(hidden)
    scale = 1.0 if head.cap is not None else float((found * own).sum() / (found * found).sum())
    scale = round(scale, 6) if abs(scale - 1) > 1e-3 else 1.0
    close = 1e-3 if hidden.dtype in (torch.float32, torch.float64) else 0.05
    return scale if float((scale * found - own).norm()) <= close * float(own.norm()) else None
