"""The trie of blocks: what is found again, what goes first, and that no block is ever lost or given twice."""

from __future__ import annotations

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sodate.generate.pool import Node, Pool, Shape

BLOCKS = 6


def pool(blocks: int = BLOCKS) -> Pool:
    return Pool({0: Shape(1, 1, 1, torch.float32)}, blocks, torch.device("cpu"))


def chain(made: Pool, *texts: str) -> list[Node]:
    """A request that fills a block with each of the texts, publishes them and is done."""
    nodes: list[Node] = []
    for text in texts:
        parent = nodes[-1] if nodes else made.root("v", "x")
        found = made.find(parent, tuple(map(ord, text)))
        if found is None:
            taken = made.take()
            assert taken is not None
            found = made.publish(taken, parent, tuple(map(ord, text)))
        nodes.append(found)
    return nodes


def test_a_beginning_is_found_again_by_its_tokens_its_place_and_its_owner() -> None:
    made = pool()
    made.release(chain(made, "a", "b"))
    a = made.find(made.root("v", "x"), (ord("a"),))
    assert a is not None and made.find(a, (ord("b"),)) is not None
    assert made.find(made.root("v", "x"), (ord("b"),)) is None  # b stands behind a only
    assert made.find(made.root("v", "y"), (ord("a"),)) is None
    made.forget("v")
    assert made.find(made.root("v", "x"), (ord("a"),)) is None


def test_what_was_unused_longest_goes_first_and_never_what_is_used_or_has_something_behind_it() -> None:
    made = pool(4)
    made.release(chain(made, "a", "b"))
    made.release(chain(made, "c"))
    held = chain(made, "a")  # a is used again; b is now the one unused longest
    assert made.available == 3
    taken = [made.take() for _ in range(3)]  # the free one, then b, then c
    assert None not in taken and made.take() is None
    assert made.find(held[0], (ord("b"),)) is None and made.find(made.root("v", "x"), (ord("c"),)) is None
    assert made.find(made.root("v", "x"), (ord("a"),)) is held[0]


def test_two_who_computed_the_same_end_with_one_block() -> None:
    made = pool()
    one, other = made.take(), made.take()
    assert one is not None and other is not None
    root = made.root("v", "x")
    assert made.publish(one, root, (1,)) is one
    assert made.publish(other, root, (1,)) is one and one.uses == 2
    assert made.available == BLOCKS - 1


class Requests(RuleBasedStateMachine):
    """Requests of up to three blocks come and go; some never publish their last one."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = pool()
        self.held: list[list[Node]] = []

    @rule(texts=st.lists(st.sampled_from("abc"), min_size=1, max_size=3), tenant=st.sampled_from("xy"))
    def come(self, texts: list[str], tenant: str) -> None:
        nodes: list[Node] = []
        for text in texts:
            parent = nodes[-1] if nodes else self.pool.root(tenant, "")
            node = self.pool.find(parent, (ord(text),))
            if node is None:
                taken = self.pool.take()
                if taken is None:
                    self.pool.release(nodes)
                    return
                node = self.pool.publish(taken, parent, (ord(text),))
            nodes.append(node)
        own = self.pool.take()
        self.held.append(nodes + ([own] if own else []))

    @rule(which=st.integers(0, 5))
    def go(self, which: int) -> None:
        if self.held:
            self.pool.release(self.held.pop(which % len(self.held)))

    @rule(tenant=st.sampled_from("xy"))
    def forget(self, tenant: str) -> None:
        self.pool.forget(tenant)

    @invariant()
    def every_block_is_used_kept_or_free(self) -> None:
        used = {node.block for nodes in self.held for node in nodes}
        assert len(used) + self.pool.available == BLOCKS
        counts = [node for nodes in self.held for node in nodes]
        assert all(node.uses == sum(other is node for other in counts) for node in counts)


TestRequests = Requests.TestCase
TestRequests.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
