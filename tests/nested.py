"""A guard over all tests: a sentence put into another one by an f-string has lost one of its languages.

`tr(f"the {part}", f"{part} の")` holds `part` in the language of the moment; `{en(part)}` and `{ja(part)}` keep both.
"""

from __future__ import annotations

import functools
import sys
from types import CodeType

from sodate.core import text

Span = tuple[tuple[int, int], tuple[int, int]]

_formatted: list[tuple[int, Span]] = []  # the frame and the place of f-strings that took a sentence


@functools.cache
def _spans(code: CodeType) -> list[Span]:
    return [((line or 0, column or 0), (end or 0, last or 0)) for line, end, column, last in code.co_positions()]


def install() -> None:
    plain_format, plain_tr = text.Sentence.__format__, text.Sentence.__new__

    def noted_format(self: text.Sentence, spec: str) -> str:
        frame = sys._getframe(1)
        _formatted.append((id(frame), _spans(frame.f_code)[frame.f_lasti // 2]))
        return plain_format(self, spec)

    def checked_new(cls: type[text.Sentence], english: str, japanese: str) -> text.Sentence:
        frame = sys._getframe(1)
        if frame.f_code is text.tr.__code__ and frame.f_back is not None:
            frame = frame.f_back
            start, end = _spans(frame.f_code)[frame.f_lasti // 2]
            lost = [span for of, span in _formatted if of == id(frame) and start <= span[0] and span[1] <= end]
            place = f"{frame.f_code.co_filename}:{start[0]}"
            assert not lost, f"{place}: a Sentence within tr(): write {{en(part)}} and {{ja(part)}} in {english!r}"
        _formatted.clear()
        return plain_tr(cls, english, japanese)

    text.Sentence.__format__ = noted_format  # type: ignore[method-assign]
    text.Sentence.__new__ = checked_new  # type: ignore[assignment]
