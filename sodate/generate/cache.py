"""Keys and values of running replies: one slot a reply, always the first `active` slots, so that a step is a view."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sodate.kernels import compiled
from sodate.model.attention import TrieAttention
from sodate.render.trie import Ints


class Cache:
    """Static key/value cache. Called as the `attend` of a decoding step: one new token for each active slot."""

    def __init__(self, slots: int, length: int) -> None:
        self.slots = slots
        self.length = length
        self.active = 0
        self.lengths = torch.zeros(slots, dtype=torch.long)  # tokens held by each slot
        self.keys: dict[int, Tensor] = {}  # layer → (slots, K, length, D)
        self.values: dict[int, Tensor] = {}  # layer → (slots, K, length, V)
        self._masks: dict[int, Tensor] = {}

    def put(self, layer: int, slot: int, places: Tensor, key: Tensor, value: Tensor) -> None:
        """Copies a prompt's keys and values, found at packed `places`, into a slot."""
        if layer not in self.keys:
            shape = (self.slots, key.shape[1], self.length)
            self.keys[layer] = torch.zeros(*shape, key.shape[3], dtype=key.dtype, device=key.device)
            self.values[layer] = torch.zeros(*shape, value.shape[3], dtype=value.dtype, device=value.device)
        n = len(places)
        self.keys[layer][slot, :, :n] = key[0].index_select(1, places)
        self.values[layer][slot, :, :n] = value[0].index_select(1, places)

    def drop(self, slot: int) -> None:
        """Frees a slot by moving the last active one into it."""
        self.active -= 1
        last = self.active
        if slot != last:
            n = int(self.lengths[last])
            for store in (*self.keys.values(), *self.values.values()):
                store[slot, :, :n] = store[last, :, :n]
            self.lengths[slot] = self.lengths[last]

    def begin_step(self) -> None:
        """Call before each decoding step: the new token counts as held from here on."""
        self.lengths[: self.active] += 1
        self._masks.clear()

    def _mask(self, window: int | None, like: Tensor) -> Tensor:
        """(active, 1, 1, longest) additive: each reply sees its own tokens, within the sliding window."""
        reach = window or 0
        if reach not in self._masks:
            held = self.lengths[: self.active, None]
            cols = torch.arange(int(held.max()))[None, :]
            hidden = cols >= held
            if reach:
                hidden |= cols < held - reach
            mask = torch.zeros(hidden.shape, dtype=like.dtype).masked_fill_(hidden, float("-inf"))
            self._masks[reach] = mask[:, None, None, :].to(like.device)
        return self._masks[reach]

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        n, heads, dim = self.active, query.shape[1], query.shape[3]
        groups = key.shape[1]
        keys, values = self.keys[layer], self.values[layer]
        plain = query.device.type == "cpu" and query.dtype == torch.float32
        if compiled is not None and plain and value.shape[3] == dim:  # for values as wide as keys
            made = query.new_empty(n, heads, dim)
            given = (query[0], key[0], value[0], keys, values, self.lengths[:n], made)
            compiled.attend(*(t.numpy() for t in given), dim**-0.5 if scale is None else scale, window or 0)
            return made.transpose(0, 1)[None]
        slots, last = torch.arange(n), self.lengths[:n] - 1
        keys[slots, :, last] = key[0].transpose(0, 1)
        values[slots, :, last] = value[0].transpose(0, 1)
        mask = self._mask(window, query)
        longest = mask.shape[-1]
        # Query heads that share a key head become rows of one product: nothing is repeated in memory.
        rows = query[0].transpose(0, 1).reshape(n, groups, heads // groups, dim)
        out = F.scaled_dot_product_attention(
            rows,
            keys[:n, :, :longest],
            values[:n, :, :longest],
            attn_mask=mask.expand(n, 1, heads // groups, longest),
            scale=scale,
        )
        return out.reshape(n, heads, value.shape[3]).transpose(0, 1)[None]


class Prefill:
    """The `attend` of a prefill: trie attention over several prompts, filling their slots on the way."""

    def __init__(self, inner: TrieAttention, cache: Cache, places: dict[int, Ints]) -> None:
        self.inner = inner
        self.cache = cache
        self.places = {slot: torch.as_tensor(where) for slot, where in places.items()}

    def __call__(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        for slot, where in self.places.items():
            self.cache.put(layer, slot, where.to(key.device), key, value)
        return self.inner(layer, query, key, value, scale, window)
