"""Requests under way, and the blocks that each holds.

All that is known of a request is its ids, and how many of them are computed: a new prompt, a reply under way and one
that had to give its memory back differ in that number alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sodate.core.engine import Request
from sodate.generate.drafts import PromptLookup
from sodate.generate.grammar import Matcher
from sodate.generate.pool import BLOCK, Node, Pool
from sodate.generate.sampling import Stream
from sodate.render.trie import Ints

Fresh = dict[tuple[Node, tuple[int, ...]], Node]  # blocks that the coming forward fills: parent, tokens → block


@dataclass(eq=False, slots=True)
class RunningRequest:
    """A request under way. Of `ids`, prompt and reply, the first `computed` have keys and values in `nodes`."""

    request: Request
    root: Node  # where the trie of its version and tenant begins
    most: int  # ids it may have
    stream: Stream
    matcher: Matcher | None
    ids: list[int] = field(init=False)
    table: Ints = field(init=False)  # the blocks of `nodes`
    computed: int = 0
    nodes: list[Node] = field(default_factory=list)
    published: int = 0  # of `nodes`, those that stand in the trie
    cached: int = 0  # of the prompt's ids, those that were found computed
    again: bool = False  # whether it gave its memory back: what it finds then is its own
    lookup: PromptLookup = field(default_factory=PromptLookup)

    def __post_init__(self) -> None:
        self.ids = list(self.request.prompt)
        self.table = np.zeros(-(-self.most // BLOCK), dtype=np.int64)

    @property
    def said(self) -> int:
        """Tokens of the reply."""
        return len(self.ids) - len(self.request.prompt)

    @property
    def missing(self) -> int:
        return len(self.ids) - self.computed

    def penalised(self) -> list[int]:
        """The reply's tokens, where they count against being said again."""
        one = self.request.sampling
        return self.ids[len(self.request.prompt) :] if one.presence_penalty or one.frequency_penalty else []

    def hold(self, node: Node) -> None:
        self.table[len(self.nodes)] = node.block
        self.nodes.append(node)


class RunningRequests:
    """The requests under way, in the order they came, and the pool they share. Whoever came earlier goes first."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.running: list[RunningRequest] = []

    def wanted(self) -> int:
        """Blocks that those under way will take next, and don't hold yet."""
        return sum(max(0, len(one.ids) // BLOCK + 1 - len(one.nodes)) for one in self.running)

    def find(self, one: RunningRequest) -> None:
        """Takes what is known of a request's ids; the last one is computed always, for what comes next."""
        while one.computed == len(one.nodes) * BLOCK < len(one.ids) - BLOCK:
            parent = one.nodes[-1] if one.nodes else one.root
            node = self.pool.find(parent, tuple(one.ids[one.computed : one.computed + BLOCK]))
            if node is None:
                break
            one.hold(node)
            one.computed += BLOCK
            one.published += 1
            if not one.again and one.computed <= len(one.request.prompt):
                one.cached += BLOCK

    def reach(self, one: RunningRequest, length: int) -> bool:
        """Gives a request blocks for its first `length` tokens. Those that came later give theirs back if they must; if
        none has any, it gives its own back itself, and goes on when there is room."""
        while len(one.nodes) * BLOCK < length:
            node = self.pool.take()
            if node is not None:
                one.hold(node)
                continue
            later = self.running[self.running.index(one) + 1 :]
            last = next((other for other in reversed(later) if other.nodes), one)
            self._give_back(last)
            if last is one:
                return False
        return True

    def reach_together(self, one: RunningRequest, length: int, fresh: Fresh) -> int | None:
        """As `reach`, for `length` more tokens; what others of the same forward fill alike is used together, but for
        the block of a request's last token. Returns how many tokens those are, None if there is no room."""
        end, shared = one.computed + length, 0
        while one.computed % BLOCK == 0 and (at := len(one.nodes) * BLOCK) + BLOCK <= min(end, len(one.ids) - 1):
            key = (one.nodes[-1] if one.nodes else one.root, tuple(one.ids[at : at + BLOCK]))
            node = fresh.get(key)
            if node is not None and node.uses:  # its first user may have given it back
                one.hold(self.pool.share(node))
                shared += BLOCK
            elif self.reach(one, at + BLOCK):
                fresh[key] = one.nodes[-1]
            else:
                return None
        return shared if self.reach(one, end) else None

    def publish(self, one: RunningRequest) -> None:
        """Puts a request's full blocks where others find them."""
        while one.published < one.computed // BLOCK:
            at = one.published
            tokens = tuple(one.ids[at * BLOCK : (at + 1) * BLOCK])
            node = self.pool.publish(one.nodes[at], one.nodes[at - 1] if at else one.root, tokens)
            one.nodes[at], one.table[at] = node, node.block
            one.published += 1

    def leave(self, one: RunningRequest) -> None:
        self.running.remove(one)
        self.pool.release(one.nodes)

    def _give_back(self, one: RunningRequest) -> None:
        self.pool.release(one.nodes)
        one.nodes, one.computed, one.published, one.again = [], 0, 0, True
