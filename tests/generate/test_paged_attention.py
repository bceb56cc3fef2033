"""Attention over blocks: compiled code gives what torch gives over whole texts, and refuses arrays that don't fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sodate.generate import paged_attention
from sodate.generate.paged_attention import DecodeAttention, put
from sodate.generate.pool import BLOCK, Pool, Shape

compiled = pytest.mark.skipif(paged_attention.compiled is None, reason="installed without a C compiler")


@given(
    known=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    new=st.integers(1, 18),
    heads=st.integers(1, 3),
    group=st.sampled_from([1, 2, 3, 4, 5, 16]),
    dim=st.sampled_from([1, 7, 16, 64, 80]),
    window=st.sampled_from([None, 1, 5, 40]),
    scale=st.sampled_from([None, 0.3]),
    by_torch=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_rows_see_their_replys_tokens_wherever_the_blocks_lie(
    known: list[int], new: int, heads: int, group: int, dim: int, window: int | None, scale: float | None,
    by_torch: bool, seed: int,
) -> None:  # fmt: skip
    """Each reply has so many `known` tokens, and `new` that follow. Plain softmax attention is the oracle."""
    random = torch.Generator().manual_seed(seed)
    most = -(-(max(known) + new) // BLOCK)
    order = torch.randperm(len(known) * most, generator=random).numpy()
    table = order.reshape(len(known), most).astype(np.int64)
    pool = Pool({0: Shape(heads, dim, dim, torch.float32)}, len(order), torch.device("cpu"))
    texts = [torch.randn(heads * (group + 2), n + new, dim, generator=random) for n in known]
    for row, (text, n) in enumerate(zip(texts, known, strict=True)):
        _, key, value = text[:, :n].split([heads * group, heads, heads])
        at = np.arange(n)
        put(pool.keys[0], pool.values[0], table[row, at // BLOCK], at % BLOCK, key, value)
    rows = torch.cat([text[:, n:] for text, n in zip(texts, known, strict=True)], 1)[None]
    owner = np.repeat(np.arange(len(known)), new)
    held = np.concatenate([n + 1 + np.arange(new) for n in known])
    with pytest.MonkeyPatch.context() as patch:
        if by_torch:
            patch.setattr(paged_attention, "compiled", None)
        found = DecodeAttention(pool, table, owner, held)(
            0, *rows.split([heads * group, heads, heads], 1), scale, window
        )
    expected = []
    for text, n in zip(texts, known, strict=True):
        q, k, v = text.split([heads * group, heads, heads])
        scores = q[:, n:] @ k.repeat_interleave(group, 0).transpose(1, 2) * (dim**-0.5 if scale is None else scale)
        distance = torch.arange(n, n + new)[:, None] - torch.arange(n + new)[None]
        scores.masked_fill_((distance < 0) | (distance >= (window or 10**9)), float("-inf"))
        expected.append(scores.softmax(-1) @ v.repeat_interleave(group, 0))
    torch.testing.assert_close(found[0], torch.cat(expected, 1), rtol=1e-4, atol=5e-5)


def arrays() -> dict[str, np.ndarray]:
    """Two replies of three tokens, in blocks of two, the second's before the first's; one key head for two query heads
    of 16."""
    shapes = {"query": (2, 2, 16), "key": (1, 2, 16), "value": (1, 2, 16), "keys": (4, 1, 2, 16),
              "values": (4, 1, 2, 16), "table": (2, 2), "owner": (2,), "held": (2,), "out": (2, 2, 16)}  # fmt: skip
    made = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    return made | {"table": np.array([[2, 3], [0, 1]]), "owner": np.array([0, 1]), "held": np.array([3, 3])}


@compiled
@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("query", np.zeros((3, 2, 16), dtype=np.float32), None),  # three query heads of one key head do fit
        ("query", np.zeros((2, 2, 16)), "query has another type"),
        ("key", np.zeros((1, 2, 8), dtype=np.float32), "shapes"),
        ("keys", np.zeros((2, 1, 16, 3), dtype=np.float32).transpose(0, 1, 3, 2), "keys does not lie densely"),
        ("values", np.zeros((3, 1, 2, 16), dtype=np.float32), "shapes"),
        ("table", np.array([[2, 4], [0, 1]]), "a block that is not there"),
        ("table", np.array([[2, 3], [-1, 1]]), "a block that is not there"),
        ("owner", np.array([0, 2]), "nobody's"),
        ("held", np.array([3, 5]), "more than its blocks do"),
        ("held", np.array([0, 3]), "holds no tokens"),
        ("held", np.array([3]), "shapes"),
        ("out", np.zeros((2, 2, 8), dtype=np.float32), "shapes"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, array: np.ndarray, said: str | None) -> None:
    assert paged_attention.compiled is not None
    given = arrays() | {name: array}
    if said is None:
        given["out"] = np.zeros((2, 3, 16), dtype=np.float32)
        paged_attention.compiled.attend(*given.values(), 1.0, 0)
    else:
        with pytest.raises(ValueError, match=said):
            paged_attention.compiled.attend(*given.values(), 1.0, 0)


@compiled
def test_no_query_heads_at_all_are_refused() -> None:
    assert paged_attention.compiled is not None
    none = {"query": np.zeros((0, 2, 16), dtype=np.float32), "out": np.zeros((2, 0, 16), dtype=np.float32)}
    with pytest.raises(ValueError, match="shapes"):
        paged_attention.compiled.attend(*(arrays() | none).values(), 1.0, 0)


@compiled
def test_scores_of_any_size_give_finite_weights() -> None:
    """Softmax by hand: scores 0 and -200 are weights 1 and e^-200 = 0; equal scores share."""
    assert paged_attention.compiled is not None
    given = arrays()
    given["query"][:, :, 0] = 1
    given["key"][0, :, 0] = [0, 900]
    given["keys"][2, 0, :2, 0] = [-200, -900]
    given["keys"][0, 0, :2, 0] = [900, 0]
    given["values"][:, 0, 0, 1], given["values"][:, 0, 1, 1], given["value"][0, :, 1] = 3, 5, 7
    paged_attention.compiled.attend(*given.values(), 1.0, 0)
    np.testing.assert_allclose(given["out"][0, :, 1], 7, rtol=1e-6)
    np.testing.assert_allclose(given["out"][1, :, 1], (3 + 7) / 2, rtol=1e-6)


@compiled
@pytest.mark.parametrize("name", ["query", "key", "keys"])
@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_not_a_number_stays_so(name: str, sign: int) -> None:
    """A broken weight must be seen in the reply, not be hidden in a softmax."""
    assert paged_attention.compiled is not None
    given = arrays()
    given["query"][:], given["keys"][:] = 1, 1
    given[name][(2, 0, 0) if name == "keys" else (slice(None), 0)] = np.copysign(np.nan, sign)
    paged_attention.compiled.attend(*given.values(), 1.0, 0)
    assert np.isnan(given["out"][0]).all() and not np.isnan(given["out"][1]).any()
