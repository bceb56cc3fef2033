"""The compiled attention of a decoding step gives what torch gives, and refuses arrays that don't fit together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sodate.generate import cache as caching
from sodate.generate.cache import Cache

compiled = pytest.mark.skipif(caching.compiled is None, reason="installed without a C compiler")


def filled(lengths: list[int], heads: int, dim: int, seed: int) -> Cache:
    """Slots that hold random tokens, one place left in the longest."""
    made = Cache(len(lengths) + 1, max(lengths) + 1)
    random = torch.Generator().manual_seed(seed)
    for slot, length in enumerate(lengths):
        key, value = torch.randn(2, 1, heads, length, dim, generator=random)
        made.put(0, slot, torch.arange(length), key, value)
        made.lengths[slot] = length
    made.active = len(lengths)
    return made


@compiled
@given(
    lengths=st.lists(st.integers(1, 23), min_size=1, max_size=5),
    heads=st.integers(1, 3),
    group=st.integers(1, 4),
    dim=st.sampled_from([1, 7, 16, 64, 80]),
    window=st.sampled_from([None, 1, 5, 40]),
    scale=st.sampled_from([None, 0.3]),
    seed=st.integers(0, 2**31),
)
def test_compiled_attention_is_that_of_torch(
    lengths: list[int], heads: int, group: int, dim: int, window: int | None, scale: float | None, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    new = torch.randn(len(lengths), heads * (group + 2), dim, generator=random).transpose(0, 1)[None]
    query, key, value = new.split([heads * group, heads, heads], 1)
    results = []
    for code in (caching.compiled, None):
        cache = filled(lengths, heads, dim, seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(caching, "compiled", code)
            cache.begin_step()
            results.append((cache(0, query, key, value, scale, window), cache.keys[0], cache.values[0]))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=5e-5)  # scores of ten, rounded otherwise


def arrays() -> dict[str, np.ndarray]:
    """Two slots of three tokens, one key head for two query heads of 16."""
    shapes = {"query": (2, 2, 16), "key": (1, 2, 16), "value": (1, 2, 16), "keys": (2, 1, 3, 16),
              "values": (2, 1, 3, 16), "held": (2,), "out": (2, 2, 16)}  # fmt: skip
    made = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    return made | {"held": np.array([3, 3])}


@compiled
@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("query", np.zeros((3, 2, 16), dtype=np.float32), None),  # three query heads of one key head do fit
        ("query", np.zeros((2, 2, 16)), "query has another type"),
        ("key", np.zeros((1, 2, 8), dtype=np.float32), "shapes"),
        ("keys", np.zeros((2, 1, 16, 3), dtype=np.float32).transpose(0, 1, 3, 2), "keys does not lie densely"),
        ("values", np.zeros((1, 1, 3, 16), dtype=np.float32), "shapes"),
        ("held", np.array([3, 4]), "more than it has room for"),
        ("held", np.array([0, 3]), "holds no tokens"),
        ("held", np.array([3]), "shapes"),
        ("out", np.zeros((2, 2, 8), dtype=np.float32), "shapes"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(name: str, array: np.ndarray, said: str | None) -> None:
    assert caching.compiled is not None
    given = arrays() | {name: array}
    if said is None:
        given["out"] = np.zeros((2, 3, 16), dtype=np.float32)
        caching.compiled.attend(*given.values(), 1.0, 0)
    else:
        with pytest.raises(ValueError, match=said):
            caching.compiled.attend(*given.values(), 1.0, 0)


@compiled
def test_scores_of_any_size_give_finite_weights() -> None:
    """Softmax by hand: scores 0 and -200 are weights 1 and e^-200 = 0; equal scores share."""
    assert caching.compiled is not None
    given = arrays()
    given["query"][:, :, 0] = 1
    given["key"][0, :, 0] = [0, 900]
    given["keys"][0, 0, :2, 0] = [-200, -900]
    given["keys"][1, 0, :2, 0] = [900, 0]
    given["values"][:, 0, 0, 1], given["values"][:, 0, 1, 1], given["value"][0, :, 1] = 3, 5, 7
    caching.compiled.attend(*given.values(), 1.0, 0)
    np.testing.assert_allclose(given["out"][0, :, 1], 7, rtol=1e-6)
    np.testing.assert_allclose(given["out"][1, :, 1], (3 + 7) / 2, rtol=1e-6)


@compiled
@pytest.mark.parametrize("name", ["query", "key", "keys"])
@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_not_a_number_stays_so(name: str, sign: int) -> None:
    """A broken weight must be seen in the reply, not be hidden in a softmax."""
    assert caching.compiled is not None
    given = arrays()
    given["query"][:], given["keys"][:] = 1, 1
    given[name][(0, 0, 0) if name == "keys" else (slice(None), 0)] = np.copysign(np.nan, sign)
    caching.compiled.attend(*given.values(), 1.0, 0)
    assert np.isnan(given["out"][0]).all() and not np.isnan(given["out"][1]).any()
