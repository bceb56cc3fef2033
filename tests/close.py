"""Float32 against float32, with float64 as the judge.

Two right programs give other last bits of a float32 sum, and how many depends on the processor, its libraries and the
number of threads. So no bound is written down for their difference: ours may be no further from the float64 result
than a few times what the oracle itself is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

TIMES = 4.0  # one rounds a little worse than the other, or was luckier
FLOOR = 2e-6  # of the norm, 16 units in the last place: an oracle may happen to be exact

Sums = Tensor | float | Sequence[float]


def _distance(found: Sums, exact: Sums, least: float) -> float:
    """‖found - exact‖ / ‖exact‖, or by `least` where exact is smaller."""
    a, b = (torch.as_tensor(t).detach().double() for t in (found, exact))
    assert a.shape == b.shape, (a.shape, b.shape)
    return float((a - b).norm()) / max(float(b.norm()), least)


def assert_as_exact(
    ours: Sums, theirs: Sums, exact: Sums, *, floor: float = FLOOR, least: float = 1e-30, what: str = ""
) -> None:
    """Ours is as near to the float64 result as theirs is, but for TIMES and the floor."""
    mine, other = _distance(ours, exact, least), _distance(theirs, exact, least)
    assert other < 0.1, f"{what}: the float64 result is of something else: {other:.2e} from the oracle"
    assert mine <= TIMES * other + floor, f"{what}: {mine:.2e} from float64, where the oracle is {other:.2e}"


def assert_all_as_exact(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], exact: Mapping[str, Tensor], *, floor: float = FLOOR
) -> None:
    """The same of named tensors, one by one. Those that are 0 but for rounding are measured by the largest."""
    assert set(ours) == set(theirs) == set(exact)
    largest = max((float(t.norm()) for t in exact.values()), default=0.0)
    for name, tensor in exact.items():
        assert_as_exact(ours[name], theirs[name], tensor, floor=floor, least=0.01 * largest, what=name)
