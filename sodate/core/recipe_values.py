"""Values of recipes that people write as one word: amounts of memory, and columns."""

from __future__ import annotations

import re

from sodate.core.errors import UsageError
from sodate.core.text import tr


def amount_bytes(text: str | None) -> int | None:
    """Bytes of "4GB", "3.5 GiB" or "800MB", None of None; UsageError on anything else."""
    if text is None:
        return None
    units = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([MGT]I?B)", text.strip().upper(), re.ASCII)
    amount = 0.0 if found is None else float(found[1]) * units[found[2]]
    if not 0 < amount < 2**63:
        raise UsageError(
            tr(f"memory = {text!r} is not an amount of memory.", f"memory = {text!r} はメモリ量ではありません。"),
            tr("Write it like 4GB or 800MB.", "4GB や 800MB のように書いてください。"),
            code="bad_value",
            param="memory",
        )
    return int(amount)


def column_pairs(text: str) -> dict[str, str]:
    """`a=b,c=d` as a mapping, also where the signs are full width; UsageError if it is not of that form."""
    plain = text.replace("＝", "=").replace("，", ",")
    parts = [[side.strip() for side in part.partition("=")] for part in plain.split(",")]
    if not all(key and equals and value for key, equals, value in parts):
        raise UsageError(
            tr(
                f"columns {text!r} is not of the form prompt=COLUMN,completion=COLUMN.",
                f"columns {text!r} は prompt=列名,completion=列名 の形ではありません。",
            ),
            code="bad_value",
            param="columns",
        )
    return {key: value for key, _, value in parts}
