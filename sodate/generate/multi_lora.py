"""Several versions over one base in one forward: W's product once for all rows, and each row's own thin A and B beside
it.

The versions' A lie on top of each other, so that a layer makes two thin products for all of them; what a row gets of
the others' is set to zero in between. (Punica, arXiv 2310.18547, gathers instead: for a GPU's many rows.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from sodate.kernels import rows

Pair = tuple[Tensor, Tensor]  # A (r, in) and s · B (out, r) of one linear layer, float32


class Selection:
    """Whose rows the next forward has. `active` versions are computed; `mask` (R, N) says which of their R ranks count
    for which of N rows, None where all do for all; `spans` (N, 2) says the same by each row's first rank and the end of
    its last. `changes` counts how often versions came or went."""

    def __init__(self) -> None:
        self.ranks: dict[str, int] = {}  # of every version there is
        self.active: tuple[str, ...] = ()
        self.changes = 0
        self.mask: Tensor | None = None
        self.spans: rows.Array | None = None
        self._lanes: rows.Array | None = None

    def of(self, names: Sequence[str], device: torch.device) -> None:
        """`names` (N,): the version of each row, "" for the base."""
        found = set(names)
        several = found - {""}
        # One alone, or all there are: what lies on top of each other is then made once and not for every mixture.
        self.active = tuple(several) if len(several) < 2 else tuple(self.ranks)
        self.mask = self.spans = self._lanes = None
        if len(found) > 1:
            ends = dict(zip(self.active, np.cumsum([self.ranks[v] for v in self.active]).tolist(), strict=True))
            of_each = {v: (end - self.ranks[v], end) for v, end in ends.items()} | {"": (0, 0)}
            self.spans = np.array([of_each[name] for name in names])
            owner = np.repeat(self.active, [self.ranks[v] for v in self.active])
            self.mask = torch.from_numpy(owner[:, None] == np.asarray(names)[None]).float().to(device)

    @contextmanager
    def only(self, rows: slice) -> Iterator[None]:
        """Within, the forward has these of the rows."""
        mask, spans = self.mask, self.spans
        if mask is not None and spans is not None:
            self.mask, self.spans = mask[:, rows].contiguous(), spans[rows]
        try:
            yield
        finally:
            self.mask, self.spans = mask, spans

    def lanes(self, width: int) -> rows.Array:
        """The mask for rows that lie side by side, `width` of them."""
        assert self.mask is not None
        if self._lanes is None:
            mask = self.mask.cpu().numpy()
            self._lanes = np.pad(mask, ((0, 0), (0, width - mask.shape[1])))
        return self._lanes


class MultiLora:
    """What stands beside one frozen layer, which is one or several linear layers ("parts") with the same input."""

    def __init__(self, selection: Selection, sizes: Sequence[int], wide: int) -> None:
        self.selection, self.sizes, self.wide = selection, list(sizes), wide  # outputs of each part, inputs
        self.pairs: dict[str, list[Pair | None]] = {}
        self._stacks: dict[tuple[str, ...], tuple[Tensor, list[Tensor]]] = {}
        self._products: dict[tuple[str, ...], list[rows.Product]] = {}

    def put(self, version: str, pairs: list[Pair | None] | None) -> None:
        """What a version adds to each part; None takes the version away."""
        if pairs is not None:
            self.pairs[version] = pairs
        else:
            self.pairs.pop(version, None)
        self._stacks.clear()
        self._products.clear()

    def add(self, x: Tensor, y: Tensor) -> None:
        """y (N, out) += s · (x Aᵀ) Bᵀ, each row by its version's."""
        if self.pairs.keys().isdisjoint(self.selection.active):
            return
        down, ups = self._stack()
        low = (x.float() @ down.t()).view(len(x), len(ups), -1)
        if self.selection.mask is not None:
            low = low * self.selection.mask.t()[:, None]
        for part, (piece, up) in enumerate(zip(y.split(self.sizes, 1), ups, strict=True)):
            piece += (low[:, part] @ up.t()).to(y.dtype)

    def add_side_by_side(self, x: rows.Array, y: rows.Array, count: int) -> None:
        """The same for `count` rows that lie side by side: x (in, L), y (out, L)."""
        if self.pairs.keys().isdisjoint(self.selection.active):
            return
        shared, *own = self._thin()
        low = shared(x, count).reshape(len(own), -1, x.shape[1])
        if self.selection.mask is not None:
            low *= self.selection.lanes(x.shape[1])
        start = 0
        for size, piece, product in zip(self.sizes, low, own, strict=True):
            y[start : start + size] += product(piece, count)
            start += size

    def arrays(self) -> tuple[rows.Array, tuple[rows.Array, ...]] | None:
        """The same as kernels/_blocks.c takes it: A, and Bᵀ of each part; None where nothing is added."""
        if self.pairs.keys().isdisjoint(self.selection.active):
            return None
        down, ups = self._stack()
        return down.numpy(), tuple(up.t().contiguous().numpy() for up in ups)

    def _thin(self) -> list[rows.Product]:
        active = self.selection.active
        if active not in self._products:
            down, ups = self._stack()
            self._products[active] = [rows.Product(one, None) for one in (down, *ups)]
        return self._products[active]

    def _stack(self) -> tuple[Tensor, list[Tensor]]:
        """A (parts · R, in) and B (out, R) of each part, of the R ranks of all active versions."""
        active = self.selection.active
        if active not in self._stacks:
            own = [self.pairs.get(version) for version in active]
            like = next(pair[0] for pairs in own if pairs for pair in pairs if pair)
            blank = [[(like.new_zeros(rank, self.wide), like.new_zeros(size, rank)) for size in self.sizes]
                     for rank in (self.selection.ranks[version] for version in active)]  # fmt: skip
            full = [[(pairs and pairs[part]) or none[part] for part in range(len(self.sizes))]
                    for pairs, none in zip(own, blank, strict=True)]  # fmt: skip
            parts = list(zip(*full, strict=True))
            self._stacks[active] = (
                torch.cat([a for part in parts for a, _ in part]),
                [torch.cat([b for _, b in part], 1).contiguous() for part in parts],
            )
        return self._stacks[active]
