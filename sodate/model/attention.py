"""Attention over a packed trie, plugged into transformers' decoders by their attention interface.

Every segment attends to its ancestors' keys and, causally, to its own: no dense mask, no padding, no pass over pairs
of tokens that can't see each other. What a layer attends to is a callable handed through the model's forward, so that
training, prefill and decoding (sodate.generate) run the same decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.kernels import trie_attention
from sodate.render.trie import Trie

NAME = "sodate_trie"


class Attend(Protocol):
    """Attention of one layer over N packed tokens: query (1, H, N, D), key (1, K, N, D), value (1, K, N, V).

    Returns (1, H, N, V). K divides H. `scale` multiplies the scores; `window` is the sliding window in tokens, or None.
    """

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor: ...


class TrieAttention:
    """Attention to ancestors, by one compiled call where there is one, else segment by segment with masks that are made
    once and shared by all layers."""

    def __init__(self, lengths: Sequence[int], paths: Sequence[tuple[int, ...]]) -> None:
        """Packed segments: tokens of each, and which segments its ancestors are, root first."""
        self.lengths, self.paths = tuple(lengths), tuple(paths)
        self.depths = tuple(sum(lengths[a] for a in path) for path in paths)
        self.plan = trie_attention.plan(lengths, paths)
        self.masks: dict[tuple[int, int, int], Tensor | None] = {}

    @classmethod
    def over(cls, trie: Trie) -> TrieAttention:
        return cls([s.end - s.start for s in trie.segments], [s.path for s in trie.segments])

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        if trie_attention.usable(query, value):
            return trie_attention.attend(query, key, value, self.plan, scale, window)
        return self.below(query, key, value, scale, window)

    def below(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None) -> Tensor:
        """The same by torch, segment by segment. Where fewer queries than keys are given, they are those of the last
        segments: the first have been computed before, and only their keys and values are there."""
        keys, values = key.split(self.lengths, dim=2), value.split(self.lengths, dim=2)
        first = 0
        while query.shape[2] < sum(self.lengths[first:]):
            first += 1
        grouped = query.shape[1] != key.shape[1]
        outputs = []
        for i, asked in enumerate(query.split(self.lengths[first:], dim=2), first):
            path = self.paths[i]
            k = torch.cat([*(keys[a] for a in path), keys[i]], dim=2) if path else keys[i]
            v = torch.cat([*(values[a] for a in path), values[i]], dim=2) if path else values[i]
            mask = self._mask(self.depths[i], self.lengths[i], window, query)
            outputs.append(
                F.scaled_dot_product_attention(
                    asked, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
                )
            )
        return torch.cat(outputs, dim=2)

    def _mask(self, depth: int, length: int, window: int | None, like: Tensor) -> Tensor | None:
        """Additive mask (length, depth + length) of a segment `depth` tokens deep; None where plain causal does.

        Query i (position depth + i) sees key j when j ≤ depth + i and, with a sliding window, depth + i - j < window.
        """
        reach = window if window is not None and window < depth + length else 0
        if depth == 0 and not reach:
            return None
        key = (depth, length, reach)
        if key not in self.masks:
            query = torch.arange(depth, depth + length, device=like.device)[:, None]
            cols = torch.arange(depth + length, device=like.device)[None, :]
            hidden = cols > query
            if reach:
                hidden |= query - cols >= reach
            mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
            self.masks[key] = mask.masked_fill_(hidden, float("-inf"))
        return self.masks[key]


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    attend: Attend,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: output (1, N, H, D)."""
    if softcap is not None or s_aux is not None:
        # Seen by traits.examine before anything is computed in earnest; such a model's rows are then computed alone.
        raise SodateError(tr("This model caps or sinks its attention scores.",
                             "このモデルは注意スコアに上限やシンクを使います。"), code="model_unsupported")  # fmt: skip
    window = sliding_window if sliding_window is not None else getattr(module, "sliding_window", None)
    return attend(module.layer_idx, query, key, value, scaling, window).transpose(1, 2), None


def _no_mask(*_args: Any, **_kwargs: Any) -> None:
    """transformers asks for a mask before the layers run; `attend` knows what is visible."""


def register() -> None:
    """Makes `attn_implementation="sodate_trie"` known to transformers."""
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def reach(config: Any) -> int | None:
    """Tokens a text may have here, or None: some rotations are chosen by the longest text of a forward (`longrope`,
    `dynamic`). Past this length a row's numbers would depend on its neighbours, and on what was computed before it."""
    rope = getattr(config, "rope_parameters", None) or {}
    ends = [
        each["original_max_position_embeddings"] if each["rope_type"] == "longrope" else config.max_position_embeddings
        for each in (rope, *rope.values())  # one for the model, or one for each kind of layer
        if isinstance(each, dict) and ("dynamic" in (kind := each.get("rope_type") or "") or kind == "longrope")
    ]
    return min(ends, default=None)


def context_length(config: Any) -> int:
    """Tokens a text may have, as the model's config says; without a word of it, any number."""
    known = [getattr(config, "max_position_embeddings", None), reach(config)]
    return min((int(one) for one in known if one), default=2**31 - 1)


def refuse_beyond_reach(model: Any, longest: int) -> None:
    """Raises SodateError for a text of more tokens than the model's rotations allow."""
    limit = reach(model.config)
    if limit is not None and longest > limit:
        raise SodateError(
            tr(f"This model treats positions differently in texts of more than {limit} tokens: one of {longest} would "
               "change the numbers of those computed beside it.",
               f"このモデルは {limit} トークンを超える文では位置の扱いが変わります。{longest} トークンの文があると、"
               "一緒に計算する文の値まで変わってしまいます。"),
            tr(f"Keep prompt and reply within {limit} tokens; in training with max_length={limit}.",
               f"プロンプトと返答を {limit} トークン以内にしてください (学習では max_length={limit})。"),
            code="too_long", param="max_length",
        )  # fmt: skip


def decode(model: Any, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
    """(N, D): the decoder's last hidden state at N packed tokens, whose positions are given."""
    if reach(model.config) is not None:
        refuse_beyond_reach(model, int(positions.max()) + 1)
    output = model.get_decoder()(input_ids=tokens[None], position_ids=positions[None], use_cache=False, attend=attend)
    hidden: Tensor = output.last_hidden_state[0]
    return hidden
