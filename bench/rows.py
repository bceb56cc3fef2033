"""A large training file of short support chats, the same for the same seed: `python bench/rows.py 1000000 FILE`."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

SYSTEM = "You answer the customers of a small shop. Be brief and exact, and never promise a date."
SYLLABLES = [consonant + vowel for consonant in "bdgklmnrst" for vowel in "aeio"]
OPENINGS = ("I ordered", "Last week I bought", "My neighbour recommended", "Could you tell me about", "I would return")
CLOSINGS = ("Is that possible?", "What do you suggest?", "Please let me know.", "How long does it take?", "Thank you.")


def words(rng: random.Random, count: int) -> list[str]:
    """A vocabulary of invented words of two to four syllables."""
    return ["".join(rng.choices(SYLLABLES, k=rng.randint(2, 4))) for _ in range(count)]


def write(path: Path, rows: int, seed: int = 0) -> None:
    """About 400 bytes a row. No two rows are alike, none holds personal data."""
    rng = random.Random(seed)
    vocabulary = words(rng, 20_000)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            picked = rng.choices(vocabulary, k=rng.randint(16, 32))
            cut = len(picked) // 2
            asked = f"{rng.choice(OPENINGS)} {' '.join(picked[:cut])}. {rng.choice(CLOSINGS)}"
            reply = f"We have {' '.join(picked[cut:])}, article {number}."
            messages = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": asked},
                {"role": "assistant", "content": reply},
            ]
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[2]), int(sys.argv[1]))
