"""The text of an HTML page."""

from __future__ import annotations

import re
from collections import Counter
from html import unescape
from html.parser import HTMLParser

from sodate.retrieve.sections import Section

MENDED = 20  # tags that do not end; after that the rest of the page is text


class Page(HTMLParser):
    """The text of a page under its headings; scripts, styles and what is hidden are no text."""

    SILENT = ("script", "style", "noscript", "template", "svg", "head", "nav")
    BLOCKS = ("p", "div", "li", "tr", "br", "section", "article", "table", "ul", "ol", "dd", "dt", "pre", "blockquote")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.sections: list[Section] = []
        self.titles: list[tuple[int, str]] = []
        self.text: list[tuple[str, int]] = []  # pieces, each with the line on which it begins
        self.silent: Counter[str] = Counter()  # elements without text that are open
        self.heading: int | None = None
        self.began = 1

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if "head" in self.silent and (tag == "body" or tag in self.BLOCKS or re.fullmatch("h[1-6]", tag)):
            self.silent.clear()  # its end may be left out
        if tag in self.SILENT:
            self.silent[tag] += 1
        elif re.fullmatch("h[1-6]", tag):
            self.flush()
            self.heading = int(tag[1])
        elif tag in ("td", "th"):
            self._add(" | ")
        elif tag in self.BLOCKS:
            self._add("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.silent:
            self.silent -= Counter((tag,))
        elif self.heading is not None and tag == f"h{self.heading}":
            title = " ".join("".join(piece for piece, _ in self.text).split())
            self.titles = [*[one for one in self.titles if one[0] < self.heading], (self.heading, title)]
            self.text, self.heading = [], None
            self.began = self.getpos()[0]
        elif tag in self.BLOCKS:
            self._add("\n")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self._add(data)

    def close(self) -> None:
        """Takes what is left: a tag that does not end is text up to the next `>`, and what follows is read on.

        HTMLParser's own end looks for the end of the page from every `<` on, which takes time by the square of its
        length.
        """
        for _ in range(MENDED):
            left, self.rawdata = self.rawdata, ""
            end = left.find(">") + 1 or len(left)
            self.handle_data(unescape(left[:end]))
            self.feed(left[end:])
        self.handle_data(unescape(self.rawdata))
        self.rawdata = ""

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """As before Python 3.14 it fails with an AssertionError where no name follows `<![`."""
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:
            return self.parse_bogus_comment(i)

    def _add(self, piece: str) -> None:
        self.text.append((piece, self.getpos()[0]))

    def flush(self) -> None:
        lines: list[tuple[list[str], list[int]]] = [([], [])]  # of the text: its pieces, and the lines they begin on
        for piece, at in self.text:
            for number, part in enumerate(piece.split("\n")):
                if number:
                    lines.append(([], []))
                if part.strip():
                    lines[-1][1].append(at + number)
                lines[-1][0].append(part)
        held = [(" ".join("".join(parts).split()), began[0]) for parts, began in lines if began]
        if held:
            text, own = "\n".join(line for line, _ in held), [at for _, at in held]
            titles = tuple(title for _, title in self.titles)
            self.sections.append(Section(text, f"line {self.began}", titles, lines=own))
        self.text, self.began = [], self.getpos()[0]
