"""Keys and values in blocks of a few tokens, shared by all replies that begin alike.

A block that is full and computed stands in a trie: below its parent, by the tokens it holds. A later request walks from
the root of its version and tenant and takes what it finds. Blocks that no reply uses stay until their memory is wanted;
then the one unused longest goes, a leaf always, so that whatever is in the trie hangs together.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

BLOCK = 16  # tokens


class Shape(NamedTuple):
    """What one layer keeps of a token: K heads of keys (D) and values (V)."""

    heads: int
    key: int
    value: int
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        return self.heads * (self.key + self.value) * self.dtype.itemsize


@dataclass(eq=False, slots=True)
class Node:
    """A block that some replies use (`uses`), and its place in the trie if it has one."""

    block: int
    uses: int = 0
    tokens: tuple[int, ...] = ()
    parent: Node | None = None
    children: dict[tuple[int, ...], Node] = field(default_factory=dict)


class Pool:
    """Every layer's blocks: `keys[layer]` (blocks, K, BLOCK, D), `values[layer]` (blocks, K, BLOCK, V)."""

    def __init__(self, shapes: dict[int, Shape], blocks: int, device: torch.device) -> None:
        self.blocks = blocks
        self.keys = {n: _blank((blocks, s.heads, BLOCK, s.key), s.dtype, device) for n, s in shapes.items()}
        self.values = {n: _blank((blocks, s.heads, BLOCK, s.value), s.dtype, device) for n, s in shapes.items()}
        self._free = list(range(blocks))[::-1]
        self._roots: dict[tuple[str, str], Node] = {}
        self._kept = 0  # blocks in the trie that nobody uses
        self._leaves: OrderedDict[int, Node] = OrderedDict()  # those of them without children, unused longest first

    @property
    def available(self) -> int:
        """Blocks that can be taken."""
        return len(self._free) + self._kept

    def root(self, version: str, tenant: str) -> Node:
        """Where the trie of a version and tenant begins."""
        return self._roots.setdefault((version, tenant), Node(-1))

    def forget(self, version: str) -> None:
        """Drops the tries of a version that is no longer served; blocks in use go when their replies do."""
        gone = [self._roots.pop(key) for key in list(self._roots) if key[0] == version]
        waiting = [node for root in gone for node in root.children.values()]
        for node in waiting:
            waiting += node.children.values()
            node.parent, node.children = None, {}
            if not node.uses:
                self._kept -= 1
                self._leaves.pop(node.block, None)
                self._free.append(node.block)

    def take(self) -> Node | None:
        """A block for one user, or None if all are in use."""
        if not self._free:
            if not self._leaves:
                return None
            _, node = self._leaves.popitem(last=False)
            self._kept -= 1
            assert node.parent is not None
            del node.parent.children[node.tokens]
            self._rest(node.parent)
            self._free.append(node.block)
        return Node(self._free.pop(), uses=1)

    def find(self, parent: Node, tokens: tuple[int, ...]) -> Node | None:
        """The block below `parent` that holds these tokens, now used once more."""
        node = parent.children.get(tokens)
        return None if node is None else self.share(node)

    def shared(self, version: str, tenant: str, ids: Sequence[int]) -> int:
        """Blocks that begin ids and are in use: another use of them takes nothing."""
        node: Node | None = self.root(version, tenant)
        count, at = 0, 0
        while node is not None and at + BLOCK < len(ids):
            node = node.children.get(tuple(ids[at : at + BLOCK]))
            count, at = count + (node is not None and node.uses > 0), at + BLOCK
        return count

    def share(self, node: Node) -> Node:
        """The same block for one more user."""
        if not node.uses:
            self._kept -= 1
            self._leaves.pop(node.block, None)
        node.uses += 1
        return node

    def publish(self, node: Node, parent: Node, tokens: tuple[int, ...]) -> Node:
        """Puts a full block in the trie; returns the one to use from here on: another's, if it was there before."""
        if node.parent is not None:
            return node
        there = self.find(parent, tokens)
        if there is not None:
            self.release([node])
            return there
        node.tokens, node.parent = tokens, parent
        parent.children[tokens] = node
        return node

    def release(self, nodes: Sequence[Node]) -> None:
        """Ends one use of each of these blocks, which follow each other."""
        for node in reversed(nodes):
            node.uses -= 1
            if node.uses:
                continue
            if node.parent is None:
                self._free.append(node.block)
            else:
                self._kept += 1
                self._rest(node)

    def _rest(self, node: Node) -> None:
        """Notes a block that could go: nobody uses it, and nothing hangs on it."""
        if node.parent is not None and not node.uses and not node.children:
            self._leaves[node.block] = node


def _blank(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros. On a CPU pages that nothing was written to take no memory, which torch.zeros would write to."""
    if device.type == "cpu":
        return torch.from_numpy(np.zeros((*shape[:-1], shape[-1] * dtype.itemsize), dtype=np.uint8)).view(dtype)
    return torch.zeros(shape, dtype=dtype, device=device)
