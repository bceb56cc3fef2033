"""Judging one row after another, blind: what a rater sees next, and the vote that is kept the moment it is given.

The studies are those of `people`: sheets that come back and votes from the pages count together.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sodate.api import vote_words
from sodate.api.people import study_key
from sodate.core import home
from sodate.core.errors import UsageError
from sodate.core.files import lock, write_json
from sodate.core.manifests import SCHEMA_VERSION, read_kept, read_manifest
from sodate.core.text import en, ja, tr


def studies() -> list[dict[str, Any]]:
    """Every study: how many rows it has, how many somebody has judged, and who. Neither models nor votes."""
    root = home.judgements_dir()
    found = []
    for path in sorted(root.glob("*/key.json")) if root.exists() else []:
        key, said = read_kept(path), _all_votes(path.parent)
        judged = {one for votes in said.values() for one, given in votes.items() if given}
        found.append({"study": path.parent.name, "rows": len(key["rows"]), "judged": len(judged),
                      "raters": sorted(said), "viewpoints": key["viewpoints"]})  # fmt: skip
    return found


def ballot(study: str, rater: str) -> dict[str, Any]:
    """What `rater` is to judge next: prompt and replies, without a name; `row` is None when all is done.

    Rows that are on several sheets are everybody's, so that agreement can be measured; each of the others is
    for whoever comes first. The order is the rater's own, and the same each time.
    """
    key, said = study_key(study), _all_votes(home.judgements_dir() / study)
    own = _own(key, said, study, rater)
    given = said.get(rater, {})
    left = [one for one in own if one not in given]
    done = len(own) - len(left)
    about = {"study": study, "done": done, "of": len(own), "viewpoints": key["viewpoints"], "row": None}
    return about | _shown(key, left[0]) if left else about


def row(study: str, rater: str, number: str) -> dict[str, Any]:
    """A row that the rater has judged, to look at it again; `votes` is what he said."""
    key, said = study_key(study), _all_votes(home.judgements_dir() / study)
    if number not in key["rows"]:
        raise _no_row(study, number)
    given = said.get(rater, {})
    own = _own(key, said, study, rater)
    about = {"study": study, "done": sum(one in given for one in own), "of": len(own), "votes": given.get(number)}
    return about | {"viewpoints": key["viewpoints"]} | _shown(key, number)


def cast(study: str, rater: str, number: str, votes: Mapping[str, str]) -> dict[str, Any]:
    """Keeps what a rater says of a row, by viewpoint, as `vote_words.read` takes it; nothing for one that is skipped.

    An earlier vote of the same rater is replaced. Returns the row and the votes as they are kept.
    """
    key, rater = study_key(study), home.checked_name(rater, tr("Rater", "評価者"))
    if number not in key["rows"]:
        raise _no_row(study, number)
    votes = {viewpoint: _vote(key, number, viewpoint, vote) for viewpoint, vote in votes.items()}
    votes = {viewpoint: vote for viewpoint, vote in votes.items() if vote}
    folder = home.judgements_dir() / study
    with lock(folder / "votes" / ".lock", tr(f"Study {study}", f"調査 {study}"), wait=True):
        path = folder / "votes" / f"{rater}.json"
        given = {one: said for one, said in _votes(path).items() if one != number} | {number: dict(votes)}
        write_json(path, {"schema_version": SCHEMA_VERSION, "rater": rater, "votes": given})
    return {"study": study, "row": number, "votes": dict(votes)}


def _vote(key: Mapping[str, Any], number: str, viewpoint: str, vote: str) -> str:
    try:
        if viewpoint in key["viewpoints"]:
            return vote_words.read(vote, len(key["rows"][number]["replies"]))
        said = tr("there is no such viewpoint", "その観点はありません")
    except vote_words.BadVoteError as error:
        said = error.args[0]
    raise UsageError(
        tr(f"Under {viewpoint!r}: {en(said)}.", f"{viewpoint!r}: {ja(said)}。"), code="bad_value", param="votes"
    )


def last_judged(study: str, rater: str) -> str | None:
    """The row that the rater judged last, to go back to it."""
    given = _votes(home.judgements_dir() / study / "votes" / f"{rater}.json")
    return next(reversed(given), None) if given else None


def rater_name(name: str) -> str:
    """What a person is called as the name of a file: the same each time, whatever the name is written in."""
    if home.NAME.fullmatch(name):
        return name
    return f"rater-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _own(key: Mapping[str, Any], said: Mapping[str, Mapping[str, Any]], study: str, rater: str) -> list[str]:
    shared = {one for one, sheets in Counter(one for sheet in key["sheets"] for one in sheet).items() if sheets > 1}
    others = {one for name, votes in said.items() if name != rater for one, given in votes.items() if given}
    mine = said.get(rater, {})
    rows = random.Random(f"{study} {rater}").sample(list(key["rows"]), len(key["rows"]))
    return [one for one in rows if one in mine or one in shared or one not in others]


def _shown(key: Mapping[str, Any], number: str) -> dict[str, Any]:
    found = key["rows"][number]
    return {"row": number, "prompt": found["prompt"], "replies": list(found["replies"])}


def _all_votes(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted((folder / "votes").glob("*.json"))
    return {one["rater"]: one["votes"] for one in map(read_kept, files)}


def _votes(path: Path) -> dict[str, Any]:
    return dict(read_manifest(path)["votes"]) if path.exists() else {}


def _no_row(study: str, number: str) -> UsageError:
    return UsageError(
        tr(f"There is no row {number!r} in study {study}.", f"調査 {study} に行 {number!r} はありません。"),
        code="bad_value", param="row",
    )  # fmt: skip
