"""Groups of texts that are about the same thing, the same every time: leaders, then spherical k-means, then merging.

Dhillon & Modha (2001) for the k-means on the sphere. A text joins a group when its cosine with the group's mean reaches
`JOIN`; one that reaches none begins a group of its own, until there are `MOST`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sodate.learn.grams import COLUMNS, Rows

JOIN = 0.12  # cosine of a text with the mean of its group, at least
SAME = 0.4  # cosine of two means from which on they are one group
MOST = 64  # groups
ROUNDS = 6

_F32 = npt.NDArray[np.float32]
_I64 = npt.NDArray[np.int64]


def means(rows: Rows, join: float = JOIN, same: float = SAME, most: int = MOST) -> _F32:
    """The means of the groups that `rows` fall into, each of length 1, shape [COLUMNS, groups]; the largest first."""
    centres = _leaders(rows, join, 4 * most)
    for _ in range(ROUNDS):
        near, _ = nearest(rows, centres, join)
        centres = _normal(rows.summed(near, centres.shape[1]))
        centres = _merged(centres[:, np.linalg.norm(centres, axis=0) > 0], same)
    near, _ = nearest(rows, centres, join)
    sizes = np.bincount(near[near >= 0], minlength=centres.shape[1])
    order = np.argsort(-sizes, kind="stable")
    return centres[:, order[sizes[order] > 0][:most]]


def nearest(rows: Rows, centres: _F32, join: float = JOIN) -> tuple[_I64, _F32]:
    """(the group of each row, or -1; its cosine)."""
    if not centres.shape[1]:
        return np.full(len(rows), -1), np.zeros(len(rows), np.float32)
    cosines = rows.times(centres)
    best = cosines.argmax(1)
    cosine = cosines[np.arange(len(rows)), best]
    return np.where(cosine >= join, best, -1), cosine


def _leaders(rows: Rows, join: float, most: int) -> _F32:
    """One pass: each text joins the nearest sum of those before it, or leads."""
    sums = np.zeros((COLUMNS, most), np.float32)
    lengths, count = np.zeros(most, np.float32), 0
    for row in range(len(rows)):
        begin, end = rows.starts[row], rows.starts[row + 1]
        if begin == end or not rows.values[begin:end].any():
            continue
        columns, values = rows.columns[begin:end], rows.values[begin:end]
        place = count
        if count:
            cosines = values @ sums[columns, :count] / np.maximum(lengths[:count], 1e-9)
            if cosines.max() >= join or count == most:
                place = int(cosines.argmax())
                if cosines[place] < join:
                    continue  # there is no room for another leader
        count = max(count, place + 1)
        # |a + b|² = |a|² + 2 a·b + |b|², so that the whole sum need not be looked at
        product = float(values @ sums[columns, place])
        lengths[place] = np.sqrt(lengths[place] ** 2 + 2 * product + float(values @ values))
        sums[columns, place] += values
    return _normal(sums[:, :count])


def _merged(centres: _F32, same: float) -> _F32:
    """Means that are nearly one become one, the nearest two first."""
    cosines = centres.T @ centres
    np.fill_diagonal(cosines, -1)
    kept = np.ones(centres.shape[1], bool)
    while kept.sum() > 1:
        first, second = divmod(int(cosines.argmax()), len(kept))
        if cosines[first, second] < same:
            break
        centres[:, [first]] = _normal(centres[:, [first]] + centres[:, [second]])
        kept[second] = False
        near = np.where(kept, centres[:, first] @ centres, -1)
        near[first] = -1
        cosines[first], cosines[:, first] = near, near
        cosines[second], cosines[:, second] = -1, -1
    return centres[:, kept]


def _normal(sums: _F32) -> _F32:
    normal: _F32 = (sums / np.maximum(np.linalg.norm(sums, axis=0), 1e-9)).astype(np.float32)
    return normal
