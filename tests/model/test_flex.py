"""FlexAttention's forward over tries against the attention that runs per segment."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sodate.model.attention import TrieAttention
from sodate.model.flex import FlexTrieAttention
from sodate.render.renderer import Rendered
from sodate.render.trie import build
from tests.close import assert_as_exact

# Few tokens, so that rows often begin alike.
ROWS = st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=40), min_size=1, max_size=6)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@settings(deadline=None, max_examples=40)
@given(ROWS, st.sampled_from([None, 3, 16]))
def test_flex_attention_sees_what_the_attention_per_segment_sees(rows: list[list[int]], window: int | None) -> None:
    trie = build([Rendered(row, [1.0] * len(row)) for row in rows], 2)
    draw = torch.Generator().manual_seed(0)
    size = len(trie.tokens)
    given = [torch.randn(1, heads, size, 8, generator=draw) for heads in (4, 2, 2)]
    with torch.no_grad():
        expected = TrieAttention.over(trie)(0, *given, 0.3, window)
        exactly = TrieAttention.over(trie)(0, *(t.double() for t in given), 0.3, window)
        found = FlexTrieAttention.over(trie, torch.device("cpu"))(0, *given, 0.3, window)
    assert_as_exact(found, expected, exactly)
