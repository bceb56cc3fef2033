"""What the votes of a study say: who is preferred, how far raters agree, and how far a grader agrees with them."""

from __future__ import annotations

import datetime
import json
import secrets
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from sodate.api import judging, vote_words
from sodate.api.people import folder, study_key
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import write_json, write_text
from sodate.core.manifests import SCHEMA_VERSION, read_manifest
from sodate.core.text import tr
from sodate.core.types import Message
from sodate.evaluate import agreement, stats
from sodate.grade import Case, Grader, case_of, parse_grader

Said = Mapping[str, Mapping[str, Mapping[str, str]]]
"""By rater, row and viewpoint, a vote."""


def judged(study: str, *, preferences: str | Path | None = None) -> dict[str, Any]:
    """What the votes of a study say, by viewpoint: wins of every pair with the exact sign test, agreement of raters
    with 95 % intervals, and strengths where there are three versions or more.

    Of a row that several judged, the majority counts once. `preferences` is a file to write the first viewpoint to, as
    data to train on: pairs, or rankings where rows show three replies or more, each with its origin.
    """
    key, said = study_key(study), _said(study)
    rows = key["rows"]
    found = [_viewpoint(rows, said, viewpoint) for viewpoint in key["viewpoints"]]
    if preferences is not None:
        write_text(Path(preferences), _preferences(rows, said, key["viewpoints"][0], study))
    return {"study": study, "rows": len(rows), "raters": sorted(said), "viewpoints": found}


def _said(study: str) -> Said:
    files = sorted((folder(study) / "votes").glob("*.json"))
    said = {one["rater"]: one["votes"] for one in map(read_manifest, files)}
    if not said:
        raise SodateError(
            tr(f"Nobody has judged {study} yet.", f"{study} はまだ誰も評価していません。"),
            "sodate judge import SHEET",
            code="no_rows", param="study",
        )  # fmt: skip
    return said


class _Duels:
    """Every two replies that stood on one row, and what each rater said of them under one viewpoint."""

    def __init__(self, rows: Mapping[str, Any], said: Said, viewpoint: str) -> None:
        self.raters = sorted(said)
        self.models: list[tuple[str, str]] = []
        self.rows: list[int] = []  # of each duel, the number of its row
        self.votes: list[list[str | None]] = [[] for _ in self.raters]
        for number, (one, row) in enumerate(rows.items()):
            count = len(row["models"])
            self.models += [(row["models"][i], row["models"][j]) for i, j in combinations(range(count), 2)]
            self.rows += [number] * (count * (count - 1) // 2)
            for rater, votes in zip(self.raters, self.votes, strict=True):
                votes += [vote for _, vote in vote_words.duels(said[rater].get(one, {}).get(viewpoint), count)]

    def share(self, duel: int) -> float | None:
        """What the first won by the majority of votes: 1, 0, or 0.5 where it is even; None without a vote."""
        votes = [vote for row in self.votes if (vote := row[duel])]
        margin = votes.count("A") - votes.count("B")
        return None if not votes else 0.5 if margin == 0 else float(margin > 0)

    def bad(self, duel: int) -> bool:
        """Whether everybody who said something found both bad."""
        return all(vote == "bad" for row in self.votes if (vote := row[duel]))


def _viewpoint(rows: Mapping[str, Any], said: Said, viewpoint: str) -> dict[str, Any]:
    duels = _Duels(rows, said, viewpoint)
    pairs: dict[tuple[str, str], dict[str, Any]] = {}
    games, of_row = [], []
    for number, (first, second) in enumerate(duels.models):
        share = duels.share(number)
        if share is None:
            continue
        games.append((first, second, share))
        of_row.append(duels.rows[number])
        pair = (min(first, second), max(first, second))
        count = pairs.setdefault(
            pair, {"models": list(pair), "n": 0, "wins": dict.fromkeys(pair, 0), "ties": 0, "both_bad": 0}
        )
        count["n"] += 1
        if share == 0.5:
            count["both_bad" if duels.bad(number) else "ties"] += 1
        else:
            count["wins"][first if share == 1 else second] += 1
    for count in pairs.values():
        count["p"] = stats.mcnemar_exact(*count["wins"].values())
    strengths = agreement.bradley_terry(agreement.won(games)) if len({n for g in games for n in g[:2]}) > 2 else {}
    reach = agreement.bradley_terry_ci(games, groups=of_row) if strengths else {}
    return {
        "viewpoint": viewpoint,
        "pairs": list(pairs.values()),
        **_agreement(duels.raters, duels.votes, duels.rows),
        "strength": {name: {"value": value, "ci": reach.get(name)} for name, value in strengths.items()},
    }


def agreement_of(said: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """How far raters agree who each gave some things a value: Cohen's κ of each two and Krippendorff's α of all, with
    95 % intervals, and who is at odds with the others."""
    raters = sorted(said)
    units = sorted({unit for votes in said.values() for unit in votes})
    return _agreement(raters, [[said[rater].get(unit) for unit in units] for rater in raters])


def _agreement(
    raters: Sequence[str], votes: Sequence[Sequence[str | None]], groups: Sequence[int] | None = None
) -> dict[str, Any]:
    kappas: dict[str, float] = {}
    intervals: dict[str, Any] = {}
    for i, j in combinations(range(len(raters)), 2):
        if (kappa := agreement.cohen_kappa(votes[i], votes[j])) is not None:
            name = f"{raters[i]}, {raters[j]}"
            kappas[name] = kappa
            intervals[name] = agreement.over_units(agreement.kappa_of_two, [votes[i], votes[j]], groups=groups)
    return {
        "kappa": kappas,
        "kappa_ci": intervals,
        "alpha": agreement.krippendorff_alpha(votes),
        "alpha_ci": agreement.over_units(agreement.krippendorff_alpha, votes, groups=groups),
        "at_odds": agreement.at_odds(raters, votes),
    }


def _preferences(rows: Mapping[str, Any], said: Said, viewpoint: str, study: str) -> str:
    lines = []
    for one, row in rows.items():
        raters = [rater for rater in sorted(said) if viewpoint in said[rater].get(one, {})]
        votes = [said[rater][one][viewpoint] for rater in raters]
        if not votes:
            continue
        count, replies = len(row["replies"]), row["replies"]
        places = vote_words.placed(votes, count)
        all_bad = all(vote == "bad" for vote in votes)
        origin = {"study": study, "row": one, "raters": raters, "viewpoint": viewpoint}
        if count > 2:
            ranked = {"prompt": row["prompt"], "replies": replies, "ranks": places}
            lines.append({**ranked, **({"all_bad": True} if all_bad else {}), "origin": origin})
        elif places[0] != places[1] and replies[0] != replies[1]:
            chosen, rejected = replies if places[0] < places[1] else replies[::-1]
            lines.append({"prompt": row["prompt"], "chosen": chosen, "rejected": rejected, "origin": origin})
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


# ── graders beside people ────────────────────────────────────────────────────────────────────────────────────────────


def grader_agreement(
    study: str, grader: str | Mapping[str, Any], *, viewpoint: str = "", judges: judging.Judges | None = None
) -> dict[str, Any]:
    """How far a grader prefers what people prefer: Cohen's κ of its choice and the majority's, with its 95 % interval.

    It grades both replies of every row that people judged, and chooses the one with the higher score; one that
    compares (`pair_model`) is given both, in both orders. Ties and "both bad" are a choice of neither. The record is
    kept: a gate believes a grader that asks a model only with one (`sodate/release/gate.py`).
    UsageError for no such study or viewpoint, SodateError where nobody has judged.
    """
    key, said = study_key(study), _said(study)
    viewpoint = viewpoint or key["viewpoints"][0]
    if viewpoint not in key["viewpoints"]:
        raise UsageError(
            tr(f"{study} has no viewpoint {viewpoint!r}.", f"{study} に観点 {viewpoint!r} はありません。"),
            tr("It has: ", "観点: ") + ", ".join(key["viewpoints"]),
            code="bad_value", param="viewpoint",
        )  # fmt: skip
    parsed = parse_grader(grader, judges=judges or judging.LocalJudges())
    voted = {one for votes in said.values() for one, by_viewpoint in votes.items() if by_viewpoint.get(viewpoint)}
    rows = {one: row for one, row in key["rows"].items() if one in voted}
    duels = _Duels(rows, said, viewpoint)
    people = [_choice(duels.share(number)) for number in range(len(duels.models))]
    chosen = _chosen(parsed, list(rows.values()))
    votes = [people, chosen]
    kappa = agreement.cohen_kappa(people, chosen)
    told = [number for number, vote in enumerate(people) if vote is not None]
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION, "study": study, "grader": parsed.name, "viewpoint": viewpoint,
        "models": judging.identities(parsed.asks), "n": len(told), "raters": sorted(said),
        "agreed": sum(people[number] == chosen[number] for number in told) / len(told) if told else None,
        "kappa": kappa, "kappa_ci": agreement.over_units(agreement.kappa_of_two, votes, groups=duels.rows),
    }  # fmt: skip
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S-%f")
    path = folder(study) / "graders" / f"{stamp}-{secrets.token_hex(2)}.json"
    write_json(path, record)
    return {**record, "record": str(path)}


def _choice(share: float | None) -> str | None:
    return None if share is None else {1.0: "A", 0.0: "B"}.get(share, "tie")


def _chosen(grader: Grader, rows: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """What the grader chooses of every two replies of every row."""
    scores: list[float] = []
    if grader.compares:
        cases = [
            Case(row["replies"][i], (row["replies"][j],), row.get("item", {}), _prompt(row))
            for row in rows
            for i, j in combinations(range(len(row["replies"])), 2)
        ]
        scores = [grade.score - 0.5 for grade in grader.grade(cases)] if cases else []
    else:
        known = grader.with_references([str(row["reference"]) for row in rows if row.get("reference") is not None])
        flat = [
            case_of(reply, row.get("reference"), row.get("item", {}), _prompt(row))
            for row in rows
            for reply in row["replies"]
        ]
        graded = iter(known.grade(flat) if flat else [])
        for row in rows:
            own = [next(graded).score for _ in row["replies"]]
            scores += [own[i] - own[j] for i, j in combinations(range(len(own)), 2)]
    return ["A" if score > 1e-9 else "B" if score < -1e-9 else "tie" for score in scores]


def _prompt(row: Mapping[str, Any]) -> tuple[Message, ...]:
    return tuple(Message(turn["role"], turn["content"]) for turn in row["prompt"])
