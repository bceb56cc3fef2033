"""How passages are written into a prompt, and read back from it: by retrieval, and by the grader of citations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_PASSAGE = re.compile(r"(?m)^\[(\d{1,3})\] ([^\n]*)\n((?:^>[^\n]*\n?)+)")
MARK = re.compile(r"[\[［]\d{1,3}(?:\s?[,、，]\s?\d{1,3}){0,9}[\]］]")
"""What names passages in a reply: [1], ［1］, [1, 2]."""


def write(passages: Iterable[tuple[str, str]]) -> str:
    """Passages as (heading, text), numbered from 1. Each line of a text is marked as quoted, so that none can pass for
    the number of another passage or for what comes after them."""
    return "\n\n".join(
        f"[{number}] {heading}\n" + "\n".join(f"> {line}" for line in text.splitlines())
        for number, (heading, text) in enumerate(passages, 1)
    )


def after(prompt: str) -> str:
    """What comes after the passages: the question. All of a prompt without any."""
    ends = [found.end() for found in _PASSAGE.finditer(prompt)]
    return prompt[ends[-1] :] if ends else prompt


def read(prompt: str) -> dict[int, str]:
    """The texts of the passages in a prompt, by their numbers."""
    return {
        int(number): "\n".join(line.removeprefix("> ") for line in lines.splitlines())
        for number, _, lines in _PASSAGE.findall(prompt)
    }


def headings(prompt: str) -> dict[int, str]:
    """Their headings, by their numbers."""
    return {int(number): heading for number, heading, _ in _PASSAGE.findall(prompt)}


def marks(text: str) -> Iterator[tuple[int, int]]:
    """The numbers that marks in a reply name, each with the place where its mark ends."""
    for mark in MARK.finditer(text):
        for number in re.findall(r"\d+", mark[0]):
            yield int(number), mark.end()
