"""`sodate data check`: every row of every file used or set aside with its reason, in one pass, then the same rows again
as examples without keeping any of them.

What the pass keeps of every row, for duplicates and statistics, lies in mapped temporary files, about 300 bytes and the
text a row; only what the ledger says takes memory.

What counts as a leak from the held-out file: a prompt that is the same after normalisation (any turn of a longer
conversation counts), or almost the same with the same answer; such rows are set aside from the training file. Almost
the same prompt with another answer is a warning: rows made from one template with other values are no leak.
Prompts are compared without their system messages, which all rows of a job share.
Not looked for: held-out text quoted inside a longer training text. Sharing 13 words or 30 characters says little in one
house style: by that rule every row of examples/support-ja would leak, for a set phrase at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.core.types import Example, Judgement, Message, Preference, Ranking
from sodate.data import examples, pii
from sodate.data.compare import FirstSeen, all_messages, answer, prompt_text, signature
from sodate.data.datasets import fill, meant
from sodate.data.formats import WANTED, NoFormatError
from sodate.data.leaks import HeldOut, place
from sodate.data.ledger import Ledger, Problem, unforeseen
from sodate.data.measure import Measure, Measured, Outcome, RendererLike, by_renderer, measured
from sodate.data.ondisk import Column
from sodate.data.outliers import outliers, says_held_out
from sodate.data.read import read_rows
from sodate.data.similar import NearIndex
from sodate.data.stats import Stats

# Without a model at hand, the shapes control tokens have in the templates people use.
_CONTROL = re.compile(
    r"<\|[A-Za-z0-9_ ]{1,40}\|>|<(?:start_of_turn|end_of_turn|bos|eos|pad|unk|s)>|</s>|\[/?INST\]|<</?SYS>>"
)


_LONGEST = (1 << 32) - 1  # characters that are counted of a row
NEAR_BATCH, NEAR_CHARS = 256, 1 << 20  # rows and characters compared for near duplicates at a time


Keep = Callable[[examples.ParsedRow, Measured], None]
"""Given every used row, with what `measure` made of it."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The outcome of a check. The examples are read again when asked for, so that a big file needs no memory."""

    ledger: Ledger
    format: str
    stats: dict[str, Any]
    files: tuple[Path, ...]
    columns: Mapping[str, str]
    encoding: str | None
    stamps: tuple[tuple[int, int], ...]

    def iter_examples(self) -> Iterator[Example]:
        """The used examples in file order. SodateError if a file changed since the check."""
        for path, stamp in zip(self.files, self.stamps, strict=True):
            if stamp_of(path) != stamp:
                raise changed(path)
            for item in _read(path, self.columns, self.encoding)[1]:
                if isinstance(item, examples.ParsedRow) and not self.ledger.is_aside(item.row.file, item.row.line):
                    yield item.example

    @property
    def examples(self) -> list[Example]:
        """All used examples at once, for files that fit in memory."""
        return list(self.iter_examples())

    def fingerprint(self) -> str:
        """Content address of the used examples in their order."""
        return examples.fingerprint(self.iter_examples())

    def to_json(self) -> dict[str, Any]:
        return {
            "rows_in": self.ledger.rows_in,
            "rows_used": self.ledger.rows_used,
            "format": self.format,
            "set_aside": [problem.to_json() for problem in self.ledger.set_aside],
            "warnings": [problem.to_json() for problem in self.ledger.warnings],
            "stats": self.stats,
        }


def check(
    files: Sequence[Path],
    *,
    against: Path | None = None,
    renderer: RendererLike | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    max_length: int | None = None,
    measure: Measure | None = None,
    keep: Keep | None = None,
) -> Checked:
    """Reads `files` as one dataset. `against` is a held-out file that must stay unknown; `max_length` counts tokens.

    `measure` renders a row as a training method does, `keep` is given the used ones; without it every conversation in
    a row is counted.

    Raises UsageError for what the command got wrong, SodateError for a file with no rows. All that is wrong with
    single rows is in the ledger, and every row of a file of no known format.
    """
    if max_length is not None and renderer is None:
        raise UsageError(
            tr(
                "max_length counts tokens, which needs a model.",
                "max_length はトークン数なので、モデルの指定が必要です。",
            ),
            tr("Add --model.", "--model を付けてください。"),
            code="bad_value",
            param="max_length",
        )
    if measure is None and renderer is not None:
        measure = by_renderer(renderer)
    _refuse_twice([*files, *([against] if against else [])])
    ledger, stats = Ledger(), Stats()
    names: list[str] = []
    kinds: set[type[Example]] = set()
    stamps = tuple(stamp_of(path) for path in files)
    with ExitStack() as stack:
        held_out = HeldOut(against, columns, encoding, ledger, stack) if against else None
        checker = _RowChecker(renderer, max_length, held_out, stack)
        for path in files:
            before = ledger.rows_in
            name, items = _read(path, columns, encoding)
            if name and name not in names:
                names.append(name)
            for item, outcome in stack.enter_context(closing(measured(items, measure))):
                if isinstance(item, Problem):
                    ledger.add(item)
                    continue
                kinds.add(type(item.example))
                try:
                    problem = checker.refuse(item, outcome)
                    warnings = [] if problem else list(checker.warn(item))
                except Exception as error:
                    problem = unforeseen(error, item.row.file, item.row.line)
                if problem:
                    ledger.add(problem)
                    continue
                ledger.use()
                for warning in warnings:
                    ledger.add(warning)
                assert not isinstance(outcome, Exception)  # refused above
                for code in outcome.left_out if outcome else ():
                    ledger.add(Problem(item.row.file, item.row.line, code))
                tokens = (outcome.tokens, outcome.supervised) if outcome else None
                stats.add(item.example, checker.messages, checker.text, tokens)
                if keep and outcome:
                    keep(item, outcome)
            if ledger.rows_in == before:
                raise SodateError(
                    tr(f"{path} has no rows.", f"{path} に行がありません。"), fill(), code="no_rows", param="data",
                    file=path,
                )  # fmt: skip
        for warning in (*checker.near_duplicates(), *checker.outliers()):
            ledger.add(warning)
    places = {str(path): number for number, path in enumerate(files)}
    ledger.warnings.sort(key=lambda warning: (places.get(warning.file, len(places)), warning.line))
    if len(kinds) > 1 and names != [WANTED]:  # whose rows are pairs where they have both replies
        raise UsageError(
            tr(
                f"The files mix different kinds of data: {', '.join(names)}.",
                f"種類の違うデータが混ざっています: {', '.join(names)}",
            ),
            tr("Check and train them separately.", "別々に検査・学習してください。"),
            code="mixed_rows",
            param="data",
        )
    summary = stats.summary()
    summary["codes"] = dict(ledger.counts.most_common())
    if ledger.unlisted:
        summary["unlisted"] = ledger.unlisted
    return Checked(ledger, "+".join(names), summary, tuple(files), columns or {}, encoding, stamps)


def _read(
    path: Path, columns: Mapping[str, str] | None, encoding: str | None
) -> tuple[str, Iterator[Problem | examples.ParsedRow]]:
    """As `read_examples`, but a file of no known format is rows that are all set aside."""
    try:
        return examples.read_examples(path, columns, encoding)
    except NoFormatError as error:
        args = (tr("any known format", "対応しているどの形式"), error.reason)
        rows = read_rows(path, encoding)
        refused = (r if isinstance(r, Problem) else Problem(r.file, r.line, "unknown-format", args) for r in rows)
        return "", refused


def stamp_of(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        raise UsageError(
            tr(f"{path} is not there.", f"{path} がありません。"), meant(path), code="file_missing", param="data",
            file=path,
        ) from None  # fmt: skip
    return status.st_size, status.st_mtime_ns


def changed(path: Path) -> SodateError:
    return SodateError(
        tr(f"{path} changed after it was checked.", f"{path} が検査の後に変更されました。"),
        tr("Check it again.", "もう一度検査してください。"),
        code="changed",
        file=path,
    )


def _refuse_twice(paths: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise UsageError(
                tr(f"{path} is given twice.", f"{path} が 2 回指定されています。"),
                tr(
                    "Name every file once; --against takes a different file.",
                    "同じファイルは一度だけ、--against には別のファイルを指定してください。",
                ),
                code="bad_value",
                param="data",
                file=path,
            )
        seen.add(path.resolve())


def personal_data(text: str) -> frozenset[str]:
    """Kinds of personal data in `text`. Short texts, which repeat (labels, set phrases), are remembered."""
    return _remembered(text) if len(text) <= 64 else frozenset(finding.kind for finding in pii.find(text))


@lru_cache(maxsize=4096)
def _remembered(text: str) -> frozenset[str]:
    return frozenset(finding.kind for finding in pii.find(text))


class _RowChecker:
    """Judges one row at a time and remembers what the next ones are compared with.

    `refuse` comes first and leaves `messages` and `text` of the row for `warn` and the statistics.
    """

    def __init__(
        self, renderer: RendererLike | None, max_length: int | None, held_out: HeldOut | None, stack: ExitStack
    ) -> None:
        self._renderer = renderer
        self._max_length = max_length
        self._held_out = held_out
        self._near = stack.enter_context(closing(NearIndex()))
        self._first = FirstSeen()  # hash of the prompt → number of the first used row that has it
        self._others: dict[int, int] = {}  # hash of prompt and answer → number, for later rows with a known prompt
        self._answers, self._lines, self._files = Column("q"), Column("I"), Column("H")
        self._sizes = Column("I")  # characters of each used row without its system text
        self._names: list[str] = []
        self._systems: set[int] = set()
        self._waiting: list[tuple[int, str]] = []  # used rows not yet compared for near duplicates
        self._waiting_chars = 0
        self._contradicting: set[int] = set()
        self._conflict: int | None = None
        self._near_leak: Problem | None = None
        self.messages: tuple[Message, ...] = ()
        self.text = ""

    def refuse(self, row: examples.ParsedRow, outcome: Outcome) -> Problem | None:
        """Why the row is set aside, or None; then it counts as used and later rows are compared with it."""
        file, line = row.row.file, row.row.line
        self._near_leak = None
        if self._held_out and (leak := self._held_out.judge(row)):
            if leak.severity == "set-aside":
                return leak
            self._near_leak = leak
        asked = row.example.prompt
        prompt = hash((signature(asked), repr(row.example.tools) if row.example.tools else ""))
        replies = hash(answer(row.example, asked))
        known = self._first.get(prompt)
        twin = None
        if known is not None:
            twin = known if self._answers[known] == replies else self._others.get(hash((prompt, replies)))
        if twin is not None:
            return Problem(file, line, "exact-duplicate", (self._where(twin, file),))
        self.messages = all_messages(row.example)
        self.text = "\n".join([message.content for message in self.messages])
        if problem := self._length(row, outcome):
            return problem
        number = len(self._lines)
        if known is None:
            self._first.put(prompt, number)
        else:
            self._others[hash((prompt, replies))] = number
        # Several judged replies to one prompt are what preference data is made of, not a contradiction.
        self._conflict = None if isinstance(row.example, Preference | Judgement | Ranking) else known
        if not self._names or self._names[-1] != file:
            self._names.append(file)
        self._answers.append(replies)
        self._lines.append(line)
        self._sizes.append(min(len(prompt_text(self.messages)), _LONGEST))
        self._files.append(len(self._names) - 1)
        return None

    def warn(self, row: examples.ParsedRow) -> Iterator[Problem]:
        """Everything worth saying about a used row."""
        file, line = row.row.file, row.row.line
        for code, args in row.notes:
            yield Problem(file, line, code, args)
        if mark := says_held_out(row.row.data):
            yield Problem(file, line, "says-held-out", (mark,))
        if self._near_leak:
            yield self._near_leak
        number = len(self._lines) - 1
        if self._conflict is not None:
            yield Problem(file, line, "conflict", (self._where(self._conflict, file),))
            self._contradicting.add(number)
        self._waiting.append((number, prompt_text(self.messages)))
        self._waiting_chars += len(self.text)
        if len(self._waiting) == NEAR_BATCH or self._waiting_chars > NEAR_CHARS:
            yield from self.near_duplicates()
        found: dict[str, list[str]] = {}
        for index, message in enumerate(self.messages):
            if message.role == "system":
                if hash(message.content) in self._systems:
                    continue  # said once, at the first row that has this system prompt
                self._systems.add(hash(message.content))
            text = f"{message.reasoning}\n{message.content}" if message.reasoning else message.content
            for kind in personal_data(text):
                found.setdefault(f"pii-{kind}", []).append(str(index + 1))
            for token in self._control_text(text):
                yield Problem(file, line, "control-token", (token,))
        for code in sorted(found):
            places = ", ".join(found[code])
            yield Problem(file, line, code, (tr(f"message {places}", f"メッセージ {places}"),))

    def near_duplicates(self) -> Iterator[Problem]:
        """The near duplicates among the rows still waiting; a batch is several times quicker than row by row."""
        if not self._waiting:
            return
        numbers, texts = [number for number, _ in self._waiting], [text for _, text in self._waiting]
        for number, near in zip(numbers, self._near.query_add(numbers, texts), strict=True):
            if near is not None and number not in self._contradicting:  # a conflict has been named already
                file = self._names[self._files[number]]
                yield Problem(file, self._lines[number], "near-duplicate", (self._where(near, file),))
        self._waiting.clear()
        self._contradicting.clear()
        self._waiting_chars = 0

    def outliers(self) -> Iterator[Problem]:
        """The used rows that are many times as long as most."""
        for number, times, median in outliers(self._sizes.numpy()):
            file = self._names[self._files[number]]
            yield Problem(file, self._lines[number], "outlier", (self._sizes[number], times, median))

    def _where(self, number: int, here: str) -> str:
        return place(self._names[self._files[number]], self._lines[number], here)

    def _control_text(self, text: str) -> list[str]:
        if self._renderer:
            return sorted(set(self._renderer.control_text(text)))
        return sorted(set(_CONTROL.findall(text))) if "<" in text or "[" in text else []

    def _length(self, row: examples.ParsedRow, outcome: Outcome) -> Problem | None:
        """The longest sequence against the limit; a row that the template refuses has none."""
        file, line = row.row.file, row.row.line
        if isinstance(outcome, SodateError):
            return Problem(file, line, "template-refuses", (outcome.message,))
        if isinstance(outcome, Exception):
            return unforeseen(outcome, file, line)
        if outcome and self._max_length is not None and outcome.longest > self._max_length:
            return Problem(file, line, "over-length", (outcome.longest, self._max_length))
        return None
