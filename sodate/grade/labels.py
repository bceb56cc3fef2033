"""The label grader: the whole reply is one of the labels of a file. Labels that differ never match.

Case, width, kana and white space don't count, nor do quotes, emphasis or a full stop around the label of a reply. Marks
of a label's own do: `A*`, `.NET`, `<unk>`, `C++`. Where two labels of the file fold alike (`US` and `us`), they are
compared letter by letter.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sodate.core.text import tr
from sodate.grade.base import Grade, Grader
from sodate.grade.normalise import INVISIBLE, KATAKANA_TO_HIRAGANA, VARIANTS, halfwidth, spaced
from sodate.grade.strings import clip

MAX_LAYERS = 16  # around a label
_QUOTES = [("「", "」"), ("『", "』"), ("“", "”"), ("‘", "’"), ("**", "**"), *((mark, mark) for mark in "\"'`*_")]


def label(name: str, labels: Sequence[str] = ()) -> Grader:
    """1 when the whole reply is the reference's label. `labels` are those of the file, where they are known."""
    known = _Labels(labels)

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        wanted = reference or ""
        among = known if _exact(wanted) in known.exact else _Labels([*labels, wanted])
        if among.meant(reply) == _exact(wanted):
            return Grade(1.0, tr(f"label “{clip(wanted)}”", f"ラベル「{clip(wanted)}」"))
        return Grade(
            0.0,
            tr(f"expected “{clip(wanted)}”, got “{clip(reply)}”", f"正解「{clip(wanted)}」、返答「{clip(reply)}」"),
        )

    notes = tuple(
        tr(f"{name}: {', '.join(alike)} differ only in case, width or kana, so they are compared letter by letter.",
           f"{name}: {'、'.join(alike)} は大文字・小文字、全角・半角、かなの違いだけなので、一字一句で比べます。")
        for alike in known.alike
    )  # fmt: skip
    return Grader(name, grade, aggregate=macro_f1, notes=notes, knowing=lambda references: label(name, references))


def macro_f1(replies: Sequence[str], references: Sequence[str | None]) -> Mapping[str, float]:
    """The mean over the labels that occur as references of F1 = 2 tp / (replies of the label + references of it).

    A reply that is no label counts as a miss for its true label and as a false alarm for none: it is "no answer".
    """
    known = _Labels([reference or "" for reference in references])
    truth = [_exact(reference or "") for reference in references]
    said = [known.meant(reply) for reply in replies]
    hits = Counter(t for t, s in zip(truth, said, strict=True) if t == s)
    true_count, said_count = Counter(truth), Counter(said)
    scores = [2 * hits[name] / (true_count[name] + said_count[name]) for name in true_count]
    return {"macro_f1": sum(scores) / len(scores)} if scores else {}


class _Labels:
    """A file's labels. `alike` are those that would be the same after folding."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.exact = dict.fromkeys(_exact(one) for one in labels)
        self.folded: dict[str, list[str]] = {}
        for one in self.exact:
            self.folded.setdefault(_folded(one), []).append(one)
        self.alike = [group for group in self.folded.values() if len(group) > 1]

    def meant(self, reply: str) -> str | None:
        """The label that a reply is, or None: as it stands first, then without what stands around it."""
        for form in _forms(reply):
            if form in self.exact:
                return form
            group = self.folded.get(_folded(form), ())
            if len(group) == 1:
                return group[0]
        return None


def _forms(reply: str) -> Iterator[str]:
    """The reply, then the reply with one layer less around it, and so on: **「Refund」.** → 「Refund」 → Refund."""
    text = _exact(reply)
    yield text
    for _ in range(MAX_LAYERS):
        inner = text[:-1].rstrip() if text[-1:] in "。.．｡" else text
        for left, right in _QUOTES:
            if len(text) > len(left + right) and text.startswith(left) and text.endswith(right):
                inner = text[len(left) : -len(right)].strip()
                break
        if inner in (text, ""):
            return
        text = inner
        yield text


def _exact(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def _folded(text: str) -> str:
    """Case, width, kana, dashes, white space and what nobody sees folded; nothing else."""
    plain = halfwidth(text.translate(INVISIBLE)).translate(VARIANTS)
    return spaced(plain).casefold().translate(KATAKANA_TO_HIRAGANA)
