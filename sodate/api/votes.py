"""Votes as they come back: on sheets, from Label Studio, or given one row after the other at the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sodate.api import label_studio, sheets, vote_words
from sodate.api.ballots import rater_name
from sodate.api.people import asked_of, folder, study_key
from sodate.core import home
from sodate.core.errors import UsageError
from sodate.core.files import write_json
from sodate.core.manifests import SCHEMA_VERSION, read_manifest
from sodate.core.text import counted, en, ja, tr

Votes = dict[str, dict[str, str]]
_PATH = set("/\\")


def import_sheet(path: str | Path, *, by: str = "", partial: bool = False) -> dict[str, Any]:
    """Reads a sheet back as it comes (CSV in UTF-8 or CP932, xlsx), as the votes of `by` (default: the file's name); or
    Label Studio's export (.json), as the votes of those who annotated.

    A vote is A, B, tie or bad (both), also as 同じ and どちらも悪い; of three or more an order, B>A=C. An empty cell is
    no vote. SodateError with file and row for ids that are missing, double or unknown, and for votes that are none;
    with `partial` rows may be missing. Votes that a rater gave before are replaced.
    """
    file = Path(path)
    if file.suffix.lower() == ".json":
        return _import_tasks(file, by, partial)
    rater = _rater(by or file.stem)
    table = sheets.read(file)
    if not table:
        raise sheets.wrong(file, None, tr("it has no rows.", "行がありません。"))
    study = table[0][1][sheets.ID].partition("-")[0]
    key = study_key(study, file)
    if gone := [viewpoint for viewpoint in key["viewpoints"] if viewpoint not in table[0][1]]:
        why = tr(f"there is no column {gone[0]}; leave its cells empty, don't delete it.",
                 f"{gone[0]} の列がありません。列は消さず、空欄のままに。")  # fmt: skip
        raise sheets.wrong(file, None, why)
    votes = _checked(file, [(line, row[sheets.ID], row) for line, row in table], key, partial)
    return _kept(study, rater, votes)


def _import_tasks(file: Path, by: str, partial: bool) -> dict[str, Any]:
    study = label_studio.study_of(file)
    key = study_key(study, file)
    counts = {one: len(row["replies"]) for one, row in key["rows"].items()}
    found = label_studio.read(file, key["viewpoints"], counts)
    if not found:
        raise sheets.wrong(file, None, tr("nobody has annotated anything.", "アノテーションがありません。"))
    if by and len(found) > 1:
        raise UsageError(
            tr(f"{file} has votes of {', '.join(found)}; --by names one rater.",
               f"{file} には {'、'.join(found)} の票があります。--by は一人のときだけ使えます。"),
            code="bad_value", param="by",
        )  # fmt: skip
    checked = {rater: _checked(file, rows, key, partial) for rater, rows in found.items()}
    done = [_kept(study, _rater(by or rater), votes) for rater, votes in checked.items()]
    return done[0] if len(done) == 1 else {
        "study": study, "rater": ", ".join(one["rater"] for one in done),
        "rows": sum(one["rows"] for one in done), "votes": sum(one["votes"] for one in done),
    }  # fmt: skip


def _rater(name: str) -> str:
    """A rater's name, in any script, if it can stand beside a vote."""
    if home.NAME.fullmatch(name) or (name.strip() and name.isprintable() and len(name) <= 64 and not set(name) & _PATH):
        return name
    return home.checked_name(name, tr("Rater", "評価者"))


def _file(study: str, rater: str) -> Path:
    return folder(study) / "votes" / f"{rater_name(rater)}.json"


def _checked(
    file: Path, rows: Sequence[tuple[int, str, Mapping[str, str]]], key: Mapping[str, Any], partial: bool
) -> Votes:
    """The votes of (line, id, cells by viewpoint), or the first thing that is wrong with them."""
    votes: Votes = {}
    for line, one, cells in rows:
        if one not in key["rows"]:
            why = tr(f"there is no row {one!r} in this study.", f"この調査に行 {one!r} はありません。")
            raise sheets.wrong(file, line, why)
        if one in votes:
            raise sheets.wrong(file, line, tr(f"the row {one} is there twice.", f"行 {one} が二つあります。"))
        votes[one] = {}
        for viewpoint in key["viewpoints"]:
            try:
                vote = vote_words.read(cells.get(viewpoint, ""), len(key["rows"][one]["replies"]))
            except vote_words.BadVoteError as error:
                said = error.args[0]
                what = tr(f"under {viewpoint} {en(said)}.", f"{viewpoint} の {ja(said)}。")
                raise sheets.wrong(file, line, what) from None
            if vote:
                votes[one][viewpoint] = vote
    own = max(key["sheets"], key=lambda sheet: len(set(sheet) & set(votes)))
    if not partial and (missing := [one for one in own if one not in votes]):
        what = tr(f"{counted(len(missing), 'row')} missing, such as {missing[0]}; leave a row empty, don't delete it, "
                  "or take what is there with --partial.",
                  f"{len(missing)} 行足りません ({missing[0]} など)。行は消さず、空欄のままに。"
                  "ある行だけを取り込むには --partial を付けます。")  # fmt: skip
        raise sheets.wrong(file, None, what)
    return votes


def _kept(study: str, rater: str, votes: Votes) -> dict[str, Any]:
    record = {"schema_version": SCHEMA_VERSION, "rater": rater, "votes": votes}
    write_json(_file(study, rater), record)
    return {"study": study, "rater": rater, "rows": len(votes), "votes": sum(map(len, votes.values()))}


@dataclass
class Booth:
    """Where one rater votes, row by row. What was said is kept at once; `rows` are those left, in the sheet's order."""

    study: str
    rater: str
    viewpoints: list[str]
    rows: list[str]
    total: int
    votes: Votes
    key: Mapping[str, Any]

    def shown(self, one: str) -> tuple[str, list[str]]:
        """(what was asked, the replies from A on)."""
        row = self.key["rows"][one]
        return asked_of(row["prompt"]), row["replies"]

    def vote(self, one: str, said: Mapping[str, str]) -> None:
        """Keeps the votes on a row, as `vote_words.read` gave them."""
        self.votes[one] = {viewpoint: vote for viewpoint, vote in said.items() if vote}
        _kept(self.study, self.rater, self.votes)
        self.rows.remove(one)


def booth(study: str, by: str, *, sheet: int = 1) -> Booth:
    """The rows of a sheet (from 1) that `by` has not judged yet. UsageError for no such study or sheet."""
    rater, key = _rater(by), study_key(study)
    if not 1 <= sheet <= len(key["sheets"]):
        raise UsageError(
            tr(f"{study} has {len(key['sheets'])} sheets, and no sheet {sheet}.",
               f"{study} のシートは {len(key['sheets'])} 枚で、{sheet} 枚目はありません。"),
            code="bad_value", param="sheet",
        )  # fmt: skip
    path = _file(study, rater)
    votes: Votes = read_manifest(path)["votes"] if path.exists() else {}
    own = key["sheets"][sheet - 1]
    return Booth(study, rater, key["viewpoints"], [one for one in own if one not in votes], len(own), votes, key)
