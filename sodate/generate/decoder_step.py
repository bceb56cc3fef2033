"""A decoder's step of few rows as one call into compiled code (kernels/_step.c): the blocks of one reply, or of a
few, without Python between them. More rows, and decoders that are built otherwise, run block by block (block.py)."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from sodate.generate import block
from sodate.generate.frozen import FrozenLinear
from sodate.generate.multi_lora import Selection
from sodate.generate.paged_attention import DecodeAttention, Holds
from sodate.generate.pool import BLOCK, Pool, Shape
from sodate.generate.versions import Versions
from sodate.kernels import compiled, rows
from sodate.kernels.gate import KINDS
from sodate.model import attention
from sodate.model.fused import RMSNorm, same
from sodate.render.trie import Ints

Angles = tuple[rows.Array, rows.Array]
READY = 8  # decoders with arrays of theirs, of one pool: another number of rows, other versions


class Rotations:
    """Of each layer cos and sin (P, d) of the first P positions: tables that grow as texts do."""

    def __init__(self, decoder: Any) -> None:
        self._rotary, self._like = decoder.rotary_emb, decoder.embed_tokens.weight[:1]
        by_layer = "layer_type" in inspect.signature(self._rotary.forward).parameters
        count = len(decoder.layers)
        self._kinds = tuple(decoder.config.layer_types[:count]) if by_layer else (None,) * count
        self._tables: dict[str | None, Angles] = {}
        self.size = 0

    def reach(self, count: int) -> None:
        """Makes them cover so many positions."""
        if count <= self.size:
            return
        self.size = max(256, 2 ** (count - 1).bit_length())
        known = torch.arange(self.size)[None]
        for kind in set(self._kinds):
            made = self._rotary(self._like.float(), known, *([kind] if kind else []))
            self._tables[kind] = tuple(t[0].float().contiguous().numpy() for t in made)

    def tables(self) -> list[Angles]:
        return [self._tables[kind] for kind in self._kinds]


class DecoderStep:
    """The last hidden states of at most rows.AT_ONCE tokens, by one call."""

    def __init__(self, model: Any, parts: list[block.Parts]) -> None:
        decoder, self._model = model.get_decoder(), model
        self._embed, self._rotations = decoder.embed_tokens, Rotations(decoder)
        self._norm, self._eps = _weight(decoder.norm), decoder.norm.eps
        self._layers = [(a.qkv, a.out, m.wide, m.down) for a, m, _ in parts]
        self._norms = [
            tuple(map(_weight, (*norms, attention_part.q_norm, attention_part.k_norm)))
            for attention_part, _, norms in parts
        ]
        self._numbers = [
            (a.heads[0], a.heads[1], m.down.weight.shape[1], a.window or 0, KINDS[m.kind],
             a.head_dim**-0.5 if a.scale is None else a.scale, _eps(norms))
            for a, m, norms in parts
        ]  # fmt: skip
        self._numbering = [a.layer for a, _, _ in parts]
        # By the pool whose arrays they hold, so that they go when it does.
        self._ready: WeakKeyDictionary[Holds, dict[Hashable, Any]] = WeakKeyDictionary()

    def __call__(self, tokens: Tensor, attend: DecodeAttention) -> Tensor:
        """(n, D) of n tokens, whose keys and values are put in the pool."""
        assert compiled is not None
        x: Tensor = self._embed(tokens).clone()
        self._rotations.reach(int(attend.lengths.max()))
        versions = getattr(self._model, "sodate_versions", None)
        selection = versions.selection if versions is not None and versions.selection.active else None
        decoder = self._decoder(attend.pool, len(tokens), selection)
        spans = None if selection is None else selection.spans
        compiled.step(decoder, x.numpy(), spans, attend.table, attend.owner, attend.lengths)
        return x

    def _decoder(self, pool: Holds, count: int, selection: Selection | None) -> Any:
        """The blocks with what such a step reads: weights as so many rows do, what the active versions add."""
        beside = selection and (selection.active, selection.changes)
        ready, key = self._ready.setdefault(pool, {}), (count > rows.VERY_FEW, self._rotations.size, beside)
        if key not in ready:
            if len(ready) >= READY:
                ready.clear()
            ready[key] = self._made(pool, count, selection is not None)
        return ready[key]

    def _made(self, pool: Holds, count: int, beside: bool) -> Any:
        assert compiled is not None
        weights = [
            tuple(
                (rows.Product(one.weight, None).form(count), _bias(one),
                 one.multi_lora.arrays() if beside and one.multi_lora is not None else None)
                for one in layers
            )
            for layers in self._layers
        ]  # fmt: skip
        held = [(pool.keys[n].numpy(), pool.values[n].numpy()) for n in self._numbering]
        columns = (weights, self._norms, self._rotations.tables(), held, self._numbers)
        return compiled.decoder(list(zip(*columns, strict=True)), self._norm, self._eps)


def _eps(norms: Sequence[RMSNorm | None]) -> float:
    return next(norm.eps for norm in norms if norm is not None)


def _weight(norm: RMSNorm | None) -> rows.Array | None:
    return None if norm is None else (norm.weight + norm.plus).detach().numpy()


def _bias(layer: FrozenLinear) -> rows.Array | None:
    return None if layer.bias is None else layer.bias.float().numpy()


@torch.no_grad()
def of(model: Any) -> DecoderStep | None:
    """The step of a model that is prepared for decoding, if it does the same as the model's own forward."""
    decoder = model.get_decoder()
    layers, norm = getattr(decoder, "layers", ()), getattr(decoder, "norm", None)
    parts = [found for layer in layers if (found := block.parts(layer)) is not None]
    if compiled is None or not compiled.FEW or not parts or len(parts) < len(layers) or not _plain(decoder):
        return None
    if any(found[0].qkv.weight.dtype != torch.float32 for found in parts) or not isinstance(norm, RMSNorm):
        return None
    if len({one.eps for found in parts for one in _all_norms(found) if one is not None}) > 1:
        return None
    step = DecoderStep(model, parts)
    tokens = torch.arange(rows.VERY_FEW) % decoder.embed_tokens.weight.shape[0]
    lengths = np.array([BLOCK + 3, BLOCK + 4, 2, 3])
    expected = attention.decode(model, tokens, torch.from_numpy(lengths - 1), _trial(parts, lengths))
    return step if same(step(tokens, _trial(parts, lengths)), expected) else None


def _all_norms(parts: block.Parts) -> list[RMSNorm | None]:
    return [*parts[2], parts[0].q_norm, parts[0].k_norm]


def _plain(decoder: Any) -> bool:
    """Whether it has what its step is made of, in float32 on a CPU."""
    weight = getattr(getattr(decoder, "embed_tokens", None), "weight", None)
    return (
        isinstance(weight, Tensor)
        and weight.dtype == torch.float32
        and weight.device.type == "cpu"
        and hasattr(decoder, "rotary_emb")
    )


def _trial(parts: list[block.Parts], lengths: Ints) -> DecodeAttention:
    """Two replies that hold the same random tokens each time."""
    shapes = {a.layer: Shape(a.heads[1], a.head_dim, a.head_dim, torch.float32) for a, _, _ in parts}
    pool = Pool(shapes, 4, torch.device("cpu"))
    random = torch.Generator().manual_seed(0)
    for held in (*pool.keys.values(), *pool.values.values()):
        held.copy_(torch.randn(held.shape, generator=random))
    return DecodeAttention(pool, np.arange(4).reshape(2, 2)[:, ::-1].copy(), np.array([0, 0, 1, 1]), lengths)


def decode(model: Any, tokens: Tensor, positions: Tensor, attend: DecodeAttention) -> Tensor:
    """attention.decode, by the model's step where it has one, 16 rows at a time: a reply's later rows see the keys of
    its earlier ones."""
    step: DecoderStep | None = getattr(model, "sodate_step", None)
    # More than two calls' worth are made faster block by block, as far as these have room for so many.
    many = len(tokens) > 2 * rows.AT_ONCE and rows.takes(len(tokens))
    # For very few rows what lies between the products takes longer than one kind of product is slower than another.
    few = len(tokens) <= rows.VERY_FEW or rows.takes(min(len(tokens), rows.AT_ONCE))
    if step is None or many or not few:
        return attention.decode(model, tokens, positions, attend)
    if attention.reach(model.config) is not None:
        attention.refuse_beyond_reach(model, int(positions.max()) + 1)
    if len(tokens) <= rows.AT_ONCE:
        return step(tokens, attend)
    hidden, selection = [], Versions.over(model).selection
    for at in range(0, len(tokens), rows.AT_ONCE):
        part = slice(at, at + rows.AT_ONCE)
        some = DecodeAttention(attend.pool, attend.table, attend.owner[part], attend.lengths[part])
        with selection.only(part):
            hidden.append(step(tokens[part], some))
    return torch.cat(hidden)
