"""Packing loses nothing and invents nothing: laws of the trie against sets of prefixes counted by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sodate.render.renderer import Rendered
from sodate.render.trie import Trie, build, pack


@st.composite
def batches(draw: st.DrawFn) -> list[Rendered]:
    """Rows over three token ids that often begin like an earlier row, with weights 0, 1 or in between."""
    rows: list[list[int]] = [[0, 1, 2] * 9] * draw(st.integers(0, 3))
    for _ in range(draw(st.integers(1, 7))):
        earlier = draw(st.sampled_from(rows)) if rows and draw(st.booleans()) else []
        kept = earlier[: draw(st.integers(0, len(earlier)))]
        rows.append(kept + draw(st.lists(st.integers(0, 2), min_size=0 if kept else 1, max_size=24)))
    weights = st.sampled_from([0.0, 0.0, 1.0, 0.25])
    return [Rendered(ids, [draw(weights) for _ in ids]) for ids in rows]


sharings = st.sampled_from([1, 2, 5, 8, 10**9])


def inputs(row: Rendered) -> tuple[int, ...]:
    """What must be computed of a row: everything before its last trained token."""
    trained = [t for t in range(1, len(row.ids)) if row.weights[t]]
    return tuple(row.ids[: trained[-1]]) if trained else ()


def distinct_prefixes(rows: list[Rendered]) -> int:
    return len({inputs(row)[:end] for row in rows for end in range(1, len(inputs(row)) + 1)})


def history(trie: Trie, packed: int) -> list[int]:
    """Packed indices a token sees: its segment's ancestors, then its segment up to itself."""
    segment = next(s for s in trie.segments if s.start <= packed < s.end)
    before = [i for a in segment.path for i in range(trie.segments[a].start, trie.segments[a].end)]
    return before + list(range(segment.start, packed + 1))


@given(batches(), sharings)
@settings(max_examples=100, deadline=None)
def test_each_prediction_sees_exactly_its_rows_tokens(rows: list[Rendered], min_shared: int) -> None:
    trie = build(rows, min_shared)
    assert trie.rows == len(rows)
    for row, prediction in zip(trie.entry_row, trie.entry_prediction, strict=True):
        seen = history(trie, int(trie.source[prediction]))
        assert [int(t) for t in trie.tokens[seen]] == rows[row].ids[: len(seen)]
        assert [int(p) for p in trie.positions[seen]] == list(range(len(seen)))
        assert int(trie.target[prediction]) == rows[row].ids[len(seen)]


@given(batches(), sharings)
@settings(max_examples=100, deadline=None)
def test_every_rows_targets_and_weights_come_back_exactly(rows: list[Rendered], min_shared: int) -> None:
    trie = build(rows, min_shared)
    depth = trie.positions[trie.source]
    for number, row in enumerate(rows):
        expected = Counter((t, row.ids[t], row.weights[t]) for t in range(1, len(row.ids)) if row.weights[t])
        mine = np.flatnonzero(trie.entry_row == number)
        found = Counter(
            (int(depth[p]) + 1, int(trie.target[p]), float(w))
            for p, w in zip(trie.entry_prediction[mine], trie.entry_weight[mine], strict=True)
        )
        assert found == expected
    total = np.zeros(len(trie.target))
    np.add.at(total, trie.entry_prediction, trie.entry_weight)
    assert total.tolist() == trie.weight.tolist()
    pairs = list(zip(trie.source.tolist(), trie.target.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)


@given(batches(), sharings)
@settings(max_examples=100, deadline=None)
def test_segments_lie_end_to_end_and_ancestors_come_first(rows: list[Rendered], min_shared: int) -> None:
    trie = build(rows, min_shared)
    end = 0
    for number, segment in enumerate(trie.segments):
        assert segment.start == end < segment.end
        end = segment.end
        assert list(segment.path) == sorted(segment.path) and all(a < number for a in segment.path)
        if segment.path:
            assert trie.segments[segment.path[-1]].path == segment.path[:-1]
    assert end == trie.computed


@given(batches(), sharings)
@settings(max_examples=100, deadline=None)
def test_as_many_tokens_are_computed_as_there_are_distinct_prefixes(rows: list[Rendered], min_shared: int) -> None:
    distinct = distinct_prefixes(rows)
    assert build(rows, 1).computed == distinct
    assert distinct <= build(rows, min_shared).computed <= sum(len(inputs(row)) for row in rows)
    assert build(rows, 10**9).computed == sum(len(inputs(row)) for row in rows)


@given(batches(), st.integers(1, 150), sharings)
@settings(max_examples=200, deadline=None)
def test_packing_takes_every_row_once_and_keeps_to_its_budget(
    rows: list[Rendered], budget: int, min_shared: int
) -> None:
    groups = list(pack(rows, budget, min_shared))
    assert sorted(r for group in groups for r in group) == list(range(len(rows)))
    for group in groups:
        assert len(group) == 1 or build([rows[r] for r in group], min_shared).computed <= budget


def test_a_row_that_splits_what_others_shared_is_paid_for() -> None:
    # Ten rows share 30 tokens; an eleventh shares 25 of them and splits the node: 5 are then too few to share.
    ten = [Rendered([0] * 30 + [i] * 10, [0.0] * 30 + [1.0] * 10) for i in range(1, 11)]
    odd = Rendered([0] * 25 + [12] * 15, [0.0] * 25 + [1.0] * 15)
    assert build(ten).computed == 30 + 10 * 9
    assert build([*ten, odd]).computed == 25 + 10 * (5 + 9) + 14
    for budget in range(40, 260, 7):
        for group in pack([*ten, odd], budget):
            assert len(group) == 1 or build([[*ten, odd][r] for r in group]).computed <= budget


def test_two_replies_to_one_prompt_share_the_prompt() -> None:
    #                 prompt      reply          prompt      reply
    a = Rendered([5, 6, 7, 8, 1], [0, 0, 0, 1, 1])
    b = Rendered([5, 6, 7, 9], [0, 0, 0, 1])
    trie = build([a, b], min_shared=1)
    # 5 6 7 once, then 8; the last token of each row is only a target.
    assert trie.tokens.tolist() == [5, 6, 7, 8] and trie.positions.tolist() == [0, 1, 2, 3]
    assert sorted(zip(trie.source.tolist(), trie.target.tolist(), strict=True)) == [(2, 8), (2, 9), (3, 1)]


def test_tokens_behind_the_last_trained_one_are_dropped() -> None:
    trie = build([Rendered([1, 2, 3, 4, 5], [0, 1, 0, 0, 0])])
    assert trie.tokens.tolist() == [1] and trie.target.tolist() == [2]


@pytest.mark.parametrize("rows", [[], [Rendered([1], [1.0])], [Rendered([1, 2], [1.0, 0.0])]])
def test_nothing_to_train_gives_an_empty_trie(rows: list[Rendered]) -> None:
    trie = build(rows)
    assert trie.computed == 0 and len(trie.source) == 0 and trie.segments == ()
