"""Whether a turn is trained, and what was thought before it: other people's keys for `weight` and `reasoning`.

A key whose meaning is not the same everywhere (`mask`: what is trained, or what is not?) is named as unused instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sodate.core.text import tr
from sodate.data.jsontext import nothing
from sodate.data.ledger import RowError

# `weight` is OpenAI's, `train` and `training` axolotl's, `loss` XTuner's and ms-swift's, `loss_mask` ChatGLM's (1 is
# trained), `masked` torchtune's (true is not).
MARKS = frozenset(("weight", "train", "training", "trainable", "loss", "loss_mask", "loss_weight", "masked"))
_OF_ROWS = MARKS - {"loss"}  # a loss beside a whole row is a measurement
_LEFT_OUT = frozenset(("masked",))  # true means: not trained
# DeepSeek's, vLLM's and OpenRouter's, Ollama's.
REASONING = ("reasoning_content", "reasoning", "thinking")

# True and false as JSON, Python and pandas write them, and as the 0 and 1 that many sets have instead.
_VERDICTS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def nth(index: int) -> str:
    """How a message is called in a sentence, 1-based."""
    return tr(f"Message {index + 1}", f"{index + 1} 番目のメッセージ")


def verdict(label: object) -> bool | None:
    """Whether a `label` calls the reply beside it good, in whatever spelling; None if it is neither true nor false."""
    return _VERDICTS.get(str(label).strip().casefold()) if isinstance(label, str | int | float) else None


def weight_of(item: Mapping[str, Any], role: str, index: int) -> float:
    """1 where the message is trained, 0 where its marks say that it is not. RowError for marks that can't be obeyed."""
    found: dict[str, bool] = {}
    for key in sorted(MARKS & item.keys()):
        value = item[key]
        if nothing(value):
            continue
        mark = None if key == "weight" and isinstance(value, bool) else verdict(value)
        trained = mark is not None and mark != (key in _LEFT_OUT)
        if mark is None or (role != "assistant" and (trained or key == "weight")):
            raise RowError("bad-weight", nth(index), f"{key} {json.dumps(value, ensure_ascii=False)[:40]}")
        found[key] = trained
    if len(set(found.values())) > 1:
        raise RowError("bad-weight", nth(index), ", ".join(f"{key} {item[key]}" for key in found))
    return float(all(found.values()))


def row_is_left_out(row: Mapping[str, Any]) -> bool:
    """Whether a mark of the row as a whole says that it is not trained. Numbers other than 0 and 1 are not marks."""
    marks = ((key, verdict(row[key])) for key in _OF_ROWS & row.keys())
    return any(mark is not None and mark == (key in _LEFT_OUT) for key, mark in marks)


def marks_not_known(row: Mapping[str, Any]) -> list[str]:
    """Keys of a row that look like marks, but can't be obeyed: a weight of 0.5, a mask of each turn."""
    marks = (_OF_ROWS | {"mask", "weights"}) & row.keys()
    return sorted(key for key in marks if not nothing(row[key]) and (key not in MARKS or verdict(row[key]) is None))


def reasoning_of(item: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    """What was thought before the answer, and the keys that say it (a second one that says something else is none)."""
    said = {key: item[key] for key in REASONING if isinstance(item.get(key), str) and not nothing(item[key])}
    text = next(iter(said.values()), "")
    return text, frozenset(key for key, value in said.items() if value == text)
