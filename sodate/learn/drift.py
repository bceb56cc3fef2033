"""Questions unlike anything in training: too many of their character 3-grams are in no question of the training data.

Too many is measured on the training data itself: more than 99 of 100 of its questions have among the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from sodate.api.replies import prompts
from sodate.api.versions import trained_on
from sodate.core import home
from sodate.core.errors import SodateError
from sodate.core.files import write_bytes
from sodate.db.connection import reading, writing
from sodate.db.exchange_tables import ExchangeRow, RecordingRow
from sodate.learn import grams, keeping, logs
from sodate.learn.reasons import reason

BITS = 1 << 22  # places for 3-grams
QUANTILE = 0.99
FEWEST = 50  # training questions, below which nothing is known
SHORT = 6  # 3-grams of a question, below which it says too little
_PAGE = 2000


@dataclass(frozen=True, slots=True)
class Seen:
    """The 3-grams of a version's training questions, and how large a share of new ones is too large."""

    bits: npt.NDArray[np.bool_]
    most: float

    def unlike(self, questions: Sequence[str]) -> list[float | None]:
        """The share of each question's 3-grams that training has not, where that is too large."""
        found: list[float | None] = []
        for places in _places(questions):
            share = float(1 - self.bits[places].mean()) if len(places) >= SHORT else 0.0
            found.append(share if share > self.most else None)
        return found


def look(project: str) -> int:
    """Looks at the exchanges that are new since the last time; returns how many are unlike their version's training.

    A version whose training data is not there any more, or is very small, is passed over.
    """
    with reading() as session:
        row = session.get(RecordingRow, project)
        last, marked = (row.looked if row is not None else 0), 0
    if row is None:
        return 0
    known: dict[str, Seen | None] = {}
    named = trained_on()
    for page in _new(project, last):
        by_version: dict[str, list[tuple[int, str]]] = {}
        for number, version, question in page:
            by_version.setdefault(version, []).append((number, question))
        with writing() as session:
            for version, asked in by_version.items():
                if version not in known:
                    known[version] = seen(version, named.get(version, ()))
                found = known[version]
                shares = found.unlike([question for _, question in asked]) if found is not None else []
                for (number, _), share in zip(asked, shares, strict=False):
                    exchange = session.get(ExchangeRow, number) if share is not None else None
                    if exchange is not None:
                        told = reason("unlike_training", f"{100 * (share or 0):.0f} % of its 3-grams are new")
                        keeping.refresh(session, exchange, {"unlike_training": told})
                        marked += 1
            session.get_one(RecordingRow, project).looked = page[-1][0]
    return marked


def seen(version: str, data: Iterable[str]) -> Seen | None:
    """What a version's training data has; None where too little of it is there. Kept for the next time."""
    path = home.cache_dir() / "questions" / f"{version}.bits"
    if path.exists():
        told = path.read_bytes()
        if len(told) == 8 + BITS // 8:
            most = float(np.frombuffer(told[:8], np.float64)[0])
            return Seen(np.unpackbits(np.frombuffer(told[8:], np.uint8)).astype(bool), most)
    questions = list(_questions(data))
    if len(questions) < FEWEST:
        return None
    made = learnt(questions)
    write_bytes(path, np.float64(made.most).tobytes() + np.packbits(made.bits).tobytes())
    return made


def learnt(questions: Sequence[str]) -> Seen:
    """The 3-grams of these questions; the share that is too large, from each of them beside all others."""
    counts = np.zeros(BITS, np.uint8)
    for places in _places(questions):
        counts[places] = np.minimum(counts[places], 2) + 1
    shares = [float((counts[places] == 1).mean()) for places in _places(questions) if len(places) >= SHORT]
    return Seen(counts > 0, float(np.quantile(shares, QUANTILE)) if shares else 1.0)


def _places(questions: Sequence[str]) -> Iterator[npt.NDArray[np.int64]]:
    """The places of each question's different 3-grams."""
    for question in questions:
        text = grams.plain(question)
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
        if len(codes) < 3:
            yield np.zeros(0, np.int64)
            continue
        mixed = (codes[:-2] * grams.M1 ^ codes[1:-1]) * grams.M2 ^ codes[2:] * grams.M1
        mixed ^= mixed >> np.uint64(31)
        mixed *= grams.M1
        yield np.unique((mixed >> np.uint64(42)).astype(np.int64))


def _questions(data: Iterable[str]) -> Iterator[str]:
    for name in data:
        file = home.dataset_rows(name) or Path(name)
        if not file.is_file():
            continue
        try:
            for prompt in prompts(file):
                asked = [turn.content for turn in prompt.messages if turn.role == "user"]
                if asked:
                    yield asked[-1]
        except SodateError:
            continue  # data of a kind without questions


def _new(project: str, last: int) -> Iterator[list[tuple[int, str, str]]]:
    row = ExchangeRow
    while True:
        wanted = sa.select(row.number, row.version, row.body).where(row.project == project, row.number > last)
        with reading() as session:
            found = session.execute(wanted.order_by(row.number).limit(_PAGE).execution_options(yield_per=logs.AT_ONCE))
            page = [(number, version, logs.question_of(body)) for number, version, body in found]
        if not page:
            return
        last = page[-1][0]
        yield page
