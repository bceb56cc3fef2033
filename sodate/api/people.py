"""People judge: blind sheets of replies side by side, to fill in with whatever is at hand.

judgements/3f2a9c/
  key.json           which version stands where on every row; what raters must not see
  votes/aoki.json    what one rater said, by row and viewpoint
  graders/…json      how far a grader agrees with them
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from sodate.api import label_studio, recorded, sheets, vote_words
from sodate.api.held_out import read_items
from sodate.api.replies import Prompt
from sodate.api.replies import replies as generated
from sodate.core import home
from sodate.core.errors import UsageError
from sodate.core.files import read_json, sha256_file, write_json
from sodate.core.manifests import SCHEMA_VERSION
from sodate.core.text import en, ja, tr
from sodate.data.datasets import located
from sodate.evaluate.items import EvalItem

OVERLAP = 0.2  # of the rows that everybody judges, so that agreement can be measured
VIEWPOINTS = (tr("correct", "正確性"), tr("polite", "丁寧さ"), tr("reproducible", "再現性"))


def make_sheets(
    models: Sequence[str],
    data: str | Path,
    out: str | Path,
    *,
    replies: Sequence[str] = (),
    ranking: bool = False,
    viewpoints: Sequence[str] = (),
    raters: int = 1,
    overlap: float = OVERLAP,
    limit: int | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    sheet_encoding: sheets.Encoding = "utf-8",
) -> dict[str, Any]:
    """Writes a sheet for each rater to `out` (.csv, .xlsx, or .json as Label Studio imports it): prompt, reply A, reply
    B, a column for each viewpoint.

    `models` answer the rows of `data`; `replies` are FILE:NAME with answers that are there. A row shows two of them, on
    random sides; with three or more the pairs take turns, or with `ranking` every row shows all, to be put in order. A
    share `overlap` of the rows is on every sheet. `sheet_encoding` is that of a CSV sheet; `replaced` counts what CP932
    does not have. UsageError for another ending of `out`, and where there is nothing to compare.
    """
    target = Path(out)
    sheets.check_ending(target, (*sheets.ENDINGS, ".json"))
    items, tools = read_items(located(data), limit, columns, encoding, None)
    said: dict[str, list[str]] = {}
    for name in dict.fromkeys(models):
        asked = [Prompt(item.prompt, offered) for item, offered in zip(items, tools, strict=True)]
        said[name] = [row["replies"][0] for row in generated(name, asked)]
    for given in replies:
        file, name = recorded.named(given)
        said[name] = recorded.read(file, items, encoding, some=limit is not None)
    _check(said, raters, overlap, ranking)
    rng, study = random.Random(seed), secrets.token_hex(3)
    rows = _rows(items, said, study, ranking, rng)
    ids = rng.sample(list(rows), len(rows))
    shared, rest = ids[: round(overlap * len(ids))], ids[round(overlap * len(ids)) :]
    names = [str(one) for one in viewpoints or VIEWPOINTS]
    plan = [rng.sample(own, len(own)) for own in (shared + rest[n::raters] for n in range(raters))]
    key = {"schema_version": SCHEMA_VERSION, "study": study, "viewpoints": names, "sheets": plan, "rows": rows,
           "data": {"file": str(data), "sha256": sha256_file(located(data))}}  # fmt: skip
    write_json(folder(study) / "key.json", key)
    written, replaced = [], 0
    for n, own in enumerate(plan):
        path = target if raters == 1 else target.with_stem(f"{target.stem}-{n + 1}")
        shown = [(one, asked_of(rows[one]["prompt"]), rows[one]["replies"]) for one in own]
        if path.suffix.lower() == ".json":
            written += [str(made) for made in label_studio.write(path, shown, names)]
            continue
        letters = vote_words.LETTERS[: len(shown[0][2])] if shown else ""
        table = [[one, prompt, *texts, *[""] * len(names)] for one, prompt, texts in shown]
        replaced += sheets.write(path, [sheets.ID, "prompt", *letters, *names], table, sheet_encoding)
        written.append(str(path))
    return {"study": study, "sheets": written, "rows": len(rows), "shared": len(shared), "models": list(said),
            "replaced": replaced}  # fmt: skip


def _check(said: Mapping[str, Sequence[str]], raters: int, overlap: float, ranking: bool) -> None:
    if len(said) < 2:
        raise UsageError(
            tr("There is nothing to compare: name two models or files of replies.",
               "比べるものがありません。モデルか返答のファイルを二つ以上指定してください。"),
            "--replies FILE:NAME",
            code="bad_value", param="models",
        )  # fmt: skip
    if ranking and len(said) > len(vote_words.LETTERS):
        raise UsageError(
            tr(f"Nobody can put {len(said)} replies in order; {len(vote_words.LETTERS)} at most.",
               f"{len(said)} 個の返答を順に並べるのは無理です。{len(vote_words.LETTERS)} 個までにしてください。"),
            code="bad_value", param="ranking",
        )  # fmt: skip
    if raters < 1 or not 0 <= overlap <= 1:
        raise UsageError(
            tr("There is at least one rater, and the overlap is a share.",
               "評価者は 1 人以上、重なりは 0 から 1 です。"),
            code="bad_value", param="overlap",
        )  # fmt: skip


def _rows(
    items: Sequence[EvalItem], said: Mapping[str, Sequence[str]], study: str, ranking: bool, rng: random.Random
) -> dict[str, dict[str, Any]]:
    """Every row of the study by its id, its versions in the order in which they are shown."""
    pairs = list(combinations(said, 2))
    rows: dict[str, dict[str, Any]] = {}
    for number, item in enumerate(items):
        shown: Sequence[str] = list(said) if ranking else pairs[number % len(pairs)]
        shown = rng.sample(shown, len(shown))
        rows[f"{study}-{number + 1}"] = {
            "line": item.source.line if item.source else number + 1,
            "prompt": [{"role": turn.role, "content": turn.content} for turn in item.prompt],
            "models": list(shown),
            "replies": [said[name][number] for name in shown],
            "reference": item.reference,
            "item": dict(item.item),
        }
    return rows


def asked_of(prompt: Sequence[Mapping[str, str]]) -> str:
    """What was asked, as a rater reads it: the last message, and those before it with who said them."""
    return "\n\n".join(
        turn["content"] if turn is prompt[-1] else f"[{turn['role']}] {turn['content']}" for turn in prompt
    )


def folder(study: str) -> Path:
    """Where a study lies."""
    return home.judgements_dir() / home.checked_name(study, tr("Study", "調査"))


def study_key(study: str, file: Path | None = None) -> Any:
    """The key of a study. UsageError, naming the `file` that speaks of it, where there is none."""
    path = home.judgements_dir() / study / "key.json" if home.NAME.fullmatch(study) else None
    if path is None or not path.exists():
        known = ", ".join(sorted(p.name for p in home.judgements_dir().glob("*"))) or tr("none yet", "まだありません")
        raise UsageError(
            tr(f"There is no study {study!r} here.", f"調査 {study!r} はありません。"),
            tr(f"Known: {en(known)}.", f"調査: {ja(known)}"),
            code="study_not_found", param="study", file=file,
        )  # fmt: skip
    return read_json(path)
