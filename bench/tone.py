"""How often the grader tone_ja reports good Japanese: python bench/tone.py FILE… (their last replies).

Every report on a reply that a careful writer stands behind is a false one. Prints them by check, with an interval.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from sodate.core.intervals import wilson
from sodate.core.types import Conversation
from sodate.data.examples import ParsedRow, read_examples
from sodate.grade.tone import House, findings


def main() -> None:
    house = House(style="consistent")
    replies = []
    for file in sys.argv[1:]:
        for row in read_examples(Path(file))[1]:
            if isinstance(row, ParsedRow) and isinstance(row.example, Conversation) and row.example.reply is not None:
                replies.append(row.example.reply.content)
    found = [findings(reply, house) for reply in replies]
    reported = sum(map(bool, found))
    low, high = wilson(reported, len(replies))
    print(f"{reported} of {len(replies)} replies reported ({100 * low:.1f} … {100 * high:.1f} %)")
    for check, count in Counter(one.check for own in found for one in own).most_common():
        print(f"  {check}: {count}")
    for own in found:
        for one in own[:3]:
            print(f"    {one.check}: {one.found} → {one.instead}")


if __name__ == "__main__":
    main()
