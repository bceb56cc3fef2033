"""People judge: blind sheets of two replies side by side, read back as they come, and what the votes say.

judgements/3f2a9c/
  key.json           which version stands on which side of every row; what raters must not see
  votes/aoki.json    what one rater said, by row and viewpoint
"""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from sodate.api import recorded, sheets
from sodate.api.held_out import read_items
from sodate.api.replies import Prompt
from sodate.api.replies import replies as generated
from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import read_json, sha256_file, write_json, write_text
from sodate.core.manifests import SCHEMA_VERSION, read_manifest
from sodate.core.text import en, ja, tr
from sodate.data.datasets import located
from sodate.evaluate import agreement, stats

OVERLAP = 0.2  # of the rows that everybody judges, so that agreement can be measured
VIEWPOINTS = (tr("correct", "正確性"), tr("polite", "丁寧さ"), tr("reproducible", "再現性"))


def make_sheets(
    models: Sequence[str],
    data: str | Path,
    out: str | Path,
    *,
    replies: Sequence[str] = (),
    viewpoints: Sequence[str] = (),
    raters: int = 1,
    overlap: float = OVERLAP,
    limit: int | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> dict[str, Any]:
    """Writes a sheet for each rater to `out` (.csv or .xlsx): prompt, reply A, reply B, a column for each viewpoint.

    `models` answer the rows of `data`; `replies` are FILE:NAME with answers that are there. A row shows two of them, on
    random sides; with three or more the pairs take turns. A share `overlap` of the rows is on every sheet.
    """
    items, tools = read_items(located(data), limit, columns, encoding, None)
    said: dict[str, list[str]] = {}
    for name in dict.fromkeys(models):
        asked = [Prompt(item.prompt, offered) for item, offered in zip(items, tools, strict=True)]
        said[name] = [row["replies"][0] for row in generated(name, asked)]
    for given in replies:
        file, name = recorded.named(given)
        said[name] = recorded.read(file, items, encoding, some=limit is not None)
    if len(said) < 2:
        raise UsageError(
            tr("There is nothing to compare: name two models or files of replies.",
               "比べるものがありません。モデルか返答のファイルを二つ以上指定してください。"),
            "--replies FILE:NAME",
            code="bad_value", param="models",
        )  # fmt: skip
    if raters < 1 or not 0 <= overlap <= 1:
        raise UsageError(
            tr("There is at least one rater, and the overlap is a share.",
               "評価者は 1 人以上、重なりは 0 から 1 です。"),
            code="bad_value", param="overlap",
        )  # fmt: skip
    rng, study = random.Random(seed), secrets.token_hex(3)
    pairs = list(combinations(said, 2))
    rows: dict[str, dict[str, Any]] = {}
    for number, item in enumerate(items):
        first, second = rng.sample(pairs[number % len(pairs)], 2)
        rows[f"{study}-{number + 1}"] = {
            "line": item.source.line if item.source else number + 1,
            "prompt": [{"role": turn.role, "content": turn.content} for turn in item.prompt],
            "models": [first, second],
            "replies": [said[first][number], said[second][number]],
        }
    ids = rng.sample(list(rows), len(rows))
    shared, rest = ids[: round(overlap * len(ids))], ids[round(overlap * len(ids)) :]
    names = [str(one) for one in viewpoints or VIEWPOINTS]
    plan = [rng.sample(own, len(own)) for own in (shared + rest[n::raters] for n in range(raters))]
    key = {"schema_version": SCHEMA_VERSION, "study": study, "viewpoints": names, "sheets": plan, "rows": rows,
           "data": {"file": str(data), "sha256": sha256_file(located(data))}}  # fmt: skip
    write_json(_folder(study) / "key.json", key)
    target, written = Path(out), []
    for n, own in enumerate(plan):
        path = target if raters == 1 else target.with_stem(f"{target.stem}-{n + 1}")
        table = [[one, _shown(rows[one]["prompt"]), *rows[one]["replies"], *[""] * len(names)] for one in own]
        sheets.write(path, [sheets.ID, "prompt", "A", "B", *names], table)
        written.append(str(path))
    return {"study": study, "sheets": written, "rows": len(rows), "shared": len(shared), "models": list(said)}


def _shown(prompt: Sequence[Mapping[str, str]]) -> str:
    """What was asked, as a rater reads it: the last message, and those before it with who said them."""
    return "\n\n".join(
        turn["content"] if turn is prompt[-1] else f"[{turn['role']}] {turn['content']}" for turn in prompt
    )


def import_sheet(path: str | Path, *, by: str = "") -> dict[str, Any]:
    """Reads a sheet back as it comes (CSV in UTF-8 or CP932, xlsx), as the votes of `by` (default: the file's name).

    A vote is A, B, tie or bad (both), also as 同じ and どちらも悪い; an empty cell is no vote. SodateError with file
    and row for ids that are missing, double or unknown, and for votes that are none of these. Votes that the rater gave
    before are replaced.
    """
    file, rater = Path(path), home.checked_name(by or Path(path).stem, tr("Rater", "評価者"))
    table = sheets.read(file)
    ids = [row[sheets.ID] for _, row in table]
    study = ids[0].partition("-")[0] if ids else ""
    key = study_key(study, file)
    votes: dict[str, dict[str, str]] = {}
    for line, row in table:
        one = row[sheets.ID]
        if one not in key["rows"]:
            raise sheets.wrong(
                file, line, tr(f"there is no row {one!r} in this study.", f"この調査に行 {one!r} はありません。")
            )
        if one in votes:
            raise sheets.wrong(file, line, tr(f"the row {one} is there twice.", f"行 {one} が二つあります。"))
        votes[one] = {}
        for viewpoint in key["viewpoints"]:
            vote = sheets.vote(row.get(viewpoint, ""))
            if vote == "?":
                said = row[viewpoint]
                what = tr(f"{said!r} under {viewpoint} is not A, B, tie or bad.",
                          f"{viewpoint} の {said!r} は A、B、同じ、どちらも悪い のいずれでもありません。")  # fmt: skip
                raise sheets.wrong(file, line, what)
            if vote:
                votes[one][viewpoint] = vote
    own = max(key["sheets"], key=lambda sheet: len(set(sheet) & set(votes)))
    if missing := [one for one in own if one not in votes]:
        what = tr(f"{len(missing)} rows are missing, such as {missing[0]}; leave a row empty, don't delete it.",
                  f"{len(missing)} 行足りません ({missing[0]} など)。行は消さず、空欄のままに。")  # fmt: skip
        raise sheets.wrong(file, None, what)
    write_json(
        _folder(study) / "votes" / f"{rater}.json", {"schema_version": SCHEMA_VERSION, "rater": rater, "votes": votes}
    )
    given = sum(map(len, votes.values()))
    return {"study": study, "rater": rater, "rows": len(votes), "votes": given}


def judged(study: str, *, preferences: str | Path | None = None) -> dict[str, Any]:
    """What the votes of a study say, by viewpoint: wins of every pair with the exact sign test, agreement of raters,
    and strengths where there are three versions or more.

    Of a row that several judged, the majority counts once. `preferences` is a file to write the pairs of the first
    viewpoint to, as data to train on, each with its origin.
    """
    key = study_key(study, None)
    files = sorted((_folder(study) / "votes").glob("*.json"))
    said = {one["rater"]: one["votes"] for one in map(read_manifest, files)}
    if not said:
        raise SodateError(
            tr(f"Nobody has judged {study} yet.", f"{study} はまだ誰も評価していません。"),
            "sodate judge import SHEET",
            code="no_rows", param="study",
        )  # fmt: skip
    rows = key["rows"]
    found = [_viewpoint(rows, said, viewpoint) for viewpoint in key["viewpoints"]]
    if preferences is not None:
        write_text(Path(preferences), _preferences(rows, said, key["viewpoints"][0], study))
    return {"study": study, "rows": len(rows), "raters": sorted(said), "viewpoints": found}


def _viewpoint(rows: Mapping[str, Any], said: Mapping[str, Any], viewpoint: str) -> dict[str, Any]:
    raters = sorted(said)
    votes = [[said[rater].get(one, {}).get(viewpoint) for one in rows] for rater in raters]
    games = [(*rows[one]["models"], share) for one in rows if (share := _share(said, one, viewpoint)) is not None]
    pairs: dict[tuple[str, str], dict[str, Any]] = {}
    for one in rows:
        first, second = rows[one]["models"]
        share = _share(said, one, viewpoint)
        if share is None:
            continue
        pair = (min(first, second), max(first, second))
        count = pairs.setdefault(
            pair, {"models": list(pair), "n": 0, "wins": dict.fromkeys(pair, 0), "ties": 0, "both_bad": 0}
        )
        count["n"] += 1
        if share == 0.5:
            bad = all(vote == "bad" for rater in said if (vote := said[rater].get(one, {}).get(viewpoint)))
            count["both_bad" if bad else "ties"] += 1
        else:
            count["wins"][first if share == 1 else second] += 1
    for count in pairs.values():
        count["p"] = stats.mcnemar_exact(*count["wins"].values())
    strengths = agreement.bradley_terry(agreement.won(games)) if len({n for g in games for n in g[:2]}) > 2 else {}
    intervals = agreement.bradley_terry_ci(games) if strengths else {}
    return {
        "viewpoint": viewpoint,
        "pairs": list(pairs.values()),
        **_agreement(raters, votes),
        "strength": {name: {"value": value, "ci": intervals.get(name)} for name, value in strengths.items()},
    }


def agreement_of(said: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """How far raters agree who each gave some things a value: Cohen's κ of each two, Krippendorff's α of all with its
    95 % interval, and who is at odds with the others."""
    raters = sorted(said)
    units = sorted({unit for votes in said.values() for unit in votes})
    return _agreement(raters, [[said[rater].get(unit) for unit in units] for rater in raters])


def _agreement(raters: Sequence[str], votes: Sequence[Sequence[str | None]]) -> dict[str, Any]:
    kappas = {
        f"{raters[i]}, {raters[j]}": kappa
        for i, j in combinations(range(len(raters)), 2)
        if (kappa := agreement.cohen_kappa(votes[i], votes[j])) is not None
    }
    return {
        "kappa": kappas,
        "alpha": agreement.krippendorff_alpha(votes),
        "alpha_ci": agreement.over_units(agreement.krippendorff_alpha, votes),
        "at_odds": agreement.at_odds(raters, votes),
    }


def _share(said: Mapping[str, Any], one: str, viewpoint: str) -> float | None:
    """What side A of a row won by the majority of its votes: 1, 0, or 0.5 where it is even; None without a vote."""
    votes = [vote for rater in said if (vote := said[rater].get(one, {}).get(viewpoint))]
    if not votes:
        return None
    margin = votes.count("A") - votes.count("B")
    return 0.5 if margin == 0 else float(margin > 0)


def _preferences(rows: Mapping[str, Any], said: Mapping[str, Any], viewpoint: str, study: str) -> str:
    lines = []
    for one, row in rows.items():
        share = _share(said, one, viewpoint)
        if share in (0.0, 1.0):
            chosen, rejected = row["replies"] if share == 1 else row["replies"][::-1]
            raters = [rater for rater in sorted(said) if viewpoint in said[rater].get(one, {})]
            origin = {"study": study, "row": one, "raters": raters, "viewpoint": viewpoint}
            lines.append({"prompt": row["prompt"], "chosen": chosen, "rejected": rejected, "origin": origin})
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _folder(study: str) -> Path:
    return home.judgements_dir() / home.checked_name(study, tr("Study", "調査"))


def study_key(study: str, file: Path | None = None) -> Any:
    """The key of a study: its rows with what stands on which side. UsageError where there is none."""
    path = home.judgements_dir() / study / "key.json" if home.NAME.fullmatch(study) else None
    if path is None or not path.exists():
        known = ", ".join(sorted(p.name for p in home.judgements_dir().glob("*"))) or tr("none yet", "まだありません")
        raise UsageError(
            tr(f"There is no study {study!r} here.", f"調査 {study!r} はありません。"),
            tr(f"Known: {en(known)}.", f"ある調査: {ja(known)}"),
            code="study_not_found", param="study", file=file,
        )  # fmt: skip
    return read_json(path)
