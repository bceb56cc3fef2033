"""Line numbers as they are written on the command line."""

from __future__ import annotations

from sodate.core.errors import UsageError
from sodate.core.text import tr


def line_numbers(text: str) -> set[int]:
    """`1-3,7` as {1, 2, 3, 7}."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise UsageError(
                tr(f"--rows {text!r} is not like 1-3,7.", f"--rows {text!r} は 1-3,7 のように指定してください。"),
                code="bad_value",
                param="rows",
            )
        if int(last or first) < int(first):
            raise UsageError(
                tr(f"--rows {part}: the last line comes before the first.", f"--rows {part} は前後が逆です。"),
                code="bad_value",
                param="rows",
            )
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers
