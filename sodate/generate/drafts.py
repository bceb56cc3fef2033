"""Speculation that changes nothing: what followed the last tokens when they last came is computed along with the next
step, and kept as far as it is what would have been chosen anyway. Replies that copy (an order number, a passage, the
keys of a JSON object) then say several tokens a step.

Every row of the forward is chosen for by its own uniform number, that of its place in the reply: with drafts or
without, the same tokens come out, sampled ones too.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST = 64  # rows of a step with drafts, and
SIZES = (1, 2, 3, 4, 8, 16, 32, 48, MOST)  # the rows at which a step's price changes (kernels/rows.py)
LONGEST = 15  # tokens of a draft
LENGTHS = (4, 2)  # tokens that must have come before, the longer first
LEARN = 0.1  # weight of the newest observation


class PromptLookup:
    """One reply's prompt and text, by what follows every few tokens in them."""

    def __init__(self) -> None:
        self._follows: dict[tuple[int, ...], int] = {}
        self._read = 0
        self.hope = 0.5  # how probably a draft's next token is right, as far as it went

    def draft(self, ids: Sequence[int], most: int) -> list[int]:
        """At most so many tokens that may follow ids."""
        for length in LENGTHS:
            for end in range(max(self._read, length), len(ids)):
                self._follows[tuple(ids[end - length : end])] = end
        self._read = len(ids)
        for length in LENGTHS:
            at = self._follows.get(tuple(ids[-length:])) if len(ids) >= length else None
            if at is not None:
                return list(ids[at : at + most])
        return []

    def saw(self, right: bool) -> None:
        self.hope += LEARN * (right - self.hope)


class StepTimes:
    """Seconds of a step by its rows, measured while it runs, and how many drafts are worth their rows."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}  # by the next of SIZES

    def took(self, rows: int, seconds: float) -> None:
        size = next((size for size in SIZES if size >= rows), rows)
        self._seconds[size] = seconds + (1 - LEARN) * (self._seconds.get(size, seconds) - seconds)

    def _expected(self, size: int, least: int) -> float:
        """Where it was not measured yet, on the hopeful side: so it will be."""
        return self._seconds.get(size, self._seconds.get(least, 1.0) * (1 + (size - least) / 32))

    def share(self, rows: int, drafts: Sequence[tuple[float, int]]) -> list[int]:
        """How much of each reply's draft (its hope and length) is worth computing beside the `rows` that must be, so
        that the most tokens a second come."""
        chances = sorted(
            ((hope**k, reply) for reply, (hope, length) in enumerate(drafts) for k in range(1, length + 1)),
            reverse=True,
        )
        sizes = [size for size in SIZES if size >= rows]
        best, chosen = 0.0, [0] * len(drafts)
        for size in sizes:
            taken = chances[: size - rows]
            speed = (len(drafts) + sum(chance for chance, _ in taken)) / self._expected(size, sizes[0])
            if speed > best:
                best, chosen = speed, [0] * len(drafts)
                for _, reply in taken:
                    chosen[reply] += 1
        return chosen
