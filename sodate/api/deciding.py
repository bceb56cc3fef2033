"""`decide`: one of a few options for every row, each with its probability, and only where the promise holds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sodate.api import generated
from sodate.api.asked import Asked, plain, read_rows
from sodate.api.calibrating import (
    FORM,
    PROMISE,
    Calibrated,
    check_enough,
    check_promise,
    figures,
    keep,
    kept,
    not_calibrated,
    promised,
)
from sodate.api.loading import Model, load
from sodate.core.errors import UsageError
from sodate.core.files import read_json, sha256_file, sha256_json
from sodate.core.paths import is_file
from sodate.core.text import tr
from sodate.core.types import Message
from sodate.data.datasets import count_use, located

if TYPE_CHECKING:
    from sodate.data.ledger import Problem

FLOOR = 0.03  # the share of probability below which a beginning is left as a bound: more is no better, and takes longer


def decide(
    model: str,
    data: str | Path,
    *,
    options: str | Path | Sequence[str] | None = None,
    calibrate: str | Path | None = None,
    promise: float | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    limit: int | None = None,
    on_problem: Callable[[Problem], None] = lambda problem: None,
    generate: bool = False,
    grader: str = "exact",
    schema: str | Path | None = None,
) -> dict[str, Any]:
    """Decides every row of `data` between `options`: a list, text with commas, or a file of lines or a JSON list.
    Without them the answers of `calibrate`, or of `data`, are the options.

    `calibrate` is a file of rows with their answers, which the model did not learn from. A temperature is fitted to
    them and a map of the confidence, logistic or isotonic, and they say from which confidence on at least `promise`
    (default 0.95) of the answers are right. That is kept with the version, for its options, and used again. What lies
    below is `handed_over`. Without any calibration nothing is, and the threshold is null.

    With `generate` there are no options: replies are generated, held to the JSON Schema of the file `schema`, and are
    right where `grader` says so (`sodate/api/generated.py`).

    Raises UsageError for fewer than two options, and SodateError `too_few_rows`, which says how many it takes.
    """
    import numpy as np

    from sodate.evaluate import calibration

    check_promise(promise)
    rows = read_rows(located(data), columns, encoding, limit, on_problem)
    known = read_rows(located(calibrate), columns, encoding, None, on_problem) if calibrate is not None else []
    if unanswered := next((row for row in known if row.answer is None), None):
        raise UsageError(
            tr(f"Line {unanswered.line} of the calibration file has no answer.",
               f"較正用ファイルの {unanswered.line} 行目に正解がありません。"),
            code="wrong_rows", param="calibrate", line=unanswered.line,
        )  # fmt: skip
    if known:
        check_enough(len(known), promise or PROMISE)
    made_of = {"file": str(calibrate), "sha256": sha256_file(located(calibrate))} if calibrate is not None else {}
    if calibrate is not None:
        count_use(calibrate, "calibration", model)
    if generate:
        held_to = None if schema is None else read_json(Path(schema))
        return generated.decide(load(model), rows, known, promise, grader, made_of, held_to)
    chosen = _options(options, known or rows)
    if known and max(_right(known, chosen)) < 0:
        raise UsageError(
            tr("None of the calibration's answers is one of the options.",
               "校正用データの答えがどれも選択肢にありません。"),
            tr(f"The first answer is {known[0].answer!r}, the first option {chosen[0]!r}.",
               f"最初の答えは「{known[0].answer}」、最初の選択肢は「{chosen[0]}」です。"),
            code="bad_value", param="options",
        )  # fmt: skip
    loaded = load(model)
    if known:
        found = calibrated(
            log_probabilities(loaded, known, chosen)[0], np.asarray(_right(known, chosen)), promise or PROMISE
        )
        found = replace(found, about={"data": made_of, "options": chosen, **(found.about or {})})
        keep(loaded, _key(chosen), found.to_json())
    else:
        found = _kept(loaded, chosen, promise)
    logp, exact = log_probabilities(loaded, rows, chosen)
    table = calibration.probabilities(logp, found.temperature)
    best, confidence = table.argmax(axis=1).tolist(), found.map(calibration.probabilities(logp).max(axis=1).tolist())
    results = [
        {
            "line": row.line,
            "answer": chosen[best[n]],
            "probabilities": dict(zip(chosen, table[n].tolist(), strict=True)),
            "confidence": confidence[n],
            "handed_over": found.hands_over(confidence[n]),
            "unresolved": float(table[n][~exact[n]].sum()),
        }
        for n, row in enumerate(rows)
    ]
    measured = _measured(table, rows, chosen, results) if all(row.answer is not None for row in rows) else {}
    kept = found.about or {}
    return {
        "version": loaded.files.name,
        "n": len(rows),
        "options": chosen,
        "threshold": found.threshold,
        "promise": found.promise,
        "coverage": sum(not one["handed_over"] for one in results) / len(results),
        "temperature": found.temperature,
        "ece": kept.get("ece"),
        "ece_by_chance": kept.get("ece_by_chance"),
        "brier": kept.get("brier"),
        **measured,
        "calibration": dict(kept) or None,
        "results": results,
    }


def _options(given: str | Path | Sequence[str] | None, rows: Sequence[Asked]) -> list[str]:
    """The options, each once, in the order they were given in; those of the rows sorted."""
    if given is None:
        found = sorted({row.answer for row in rows if row.answer is not None})
    elif isinstance(given, str | Path):
        found = _in_file(Path(given)) if is_file(given) else _listed(str(given))
    else:
        found = list(given)
    chosen = list(dict.fromkeys(text for one in found if (text := plain(one))))
    if len(chosen) < 2:
        raise UsageError(
            tr(f"A decision needs two options or more; there is {', '.join(chosen) or 'none'}.",
               f"選択肢が 2 つ以上必要です。今あるもの: {', '.join(chosen) or 'なし'}"),
            tr("--options A,B,C or a file with one a line.", "--options A,B,C、または 1 行に 1 つ書いたファイル。"),
            code="bad_value", param="options",
        )  # fmt: skip
    return chosen


def _listed(text: str) -> list[str]:
    """`A,B,C`; where there is no comma, `A、B、C` as a Japanese keyboard writes it."""
    return text.split(",") if "," in text else re.split("[，、]", text)


def _in_file(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(
            tr(f"{path} is not UTF-8.", f"{path} は UTF-8 ではありません。"),
            tr("Save it again as UTF-8.", "UTF-8 で保存し直してください。"),
            code="encoding", param="options", file=path,
        ) from None  # fmt: skip
    if not text.lstrip().startswith("["):
        return text.splitlines()
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UsageError(
            tr(f"{path} is not a list of texts.", f"{path} は文字列のリストではありません。"),
            code="bad_value", param="options", file=path,
        )  # fmt: skip
    return found


def log_probabilities(loaded: Model, rows: Sequence[Asked], chosen: Sequence[str]) -> tuple[Any, Any]:
    """(n, options) log-probabilities of the options as whole replies, and which of them are exact."""
    import numpy as np

    from sodate.core import progress
    from sodate.generate.branches import likelihoods

    ids = [loaded.renderer.reply(Message("assistant", option)) for option in chosen]
    prompts = [loaded.renderer.prompt(row.prompt, row.tools) for row in rows]
    engine: Any = loaded.engine  # torch's, which computes with the model itself
    found = []
    for start in range(0, len(prompts), 256):
        progress.report("replies", start, len(prompts), loaded.files.name)
        engine.versions.select(loaded.version)
        try:
            with engine.adapting():
                found += likelihoods(loaded.model, prompts[start : start + 256], ids, FLOOR)
        finally:
            engine.versions.select("")
    return np.array([one.logp for one in found]), np.array([one.exact for one in found])


def _right(rows: Sequence[Asked], chosen: Sequence[str]) -> list[int]:
    """Which option is right, -1 where none is."""
    number = {option: n for n, option in enumerate(chosen)}
    return [-1 if row.answer is None else number.get(row.answer, -1) for row in rows]


def calibrated(logp: Any, right: Any, promise: float) -> Calibrated:
    """What (n, options) log-probabilities and which option is right (-1: none) say of confidence and the promise."""
    import numpy as np

    from sodate.evaluate import calibration

    hits = (logp.argmax(axis=1) == right).tolist()
    unseen = np.empty_like(logp)  # each fifth with the temperature of the others
    for own, rest in calibration.folds(len(logp)):
        unseen[own] = calibration.probabilities(logp[own], calibration.fit_temperature(logp[rest], right[rest]))
    found = promised(calibration.probabilities(logp).max(axis=1).tolist(), hits, promise)
    about = {**(found.about or {}), **_brier(unseen, right.tolist())}
    return replace(found, temperature=calibration.fit_temperature(logp, right), about=about)


def _brier(table: Any, right: Sequence[int]) -> dict[str, Any]:
    from sodate.evaluate import calibration

    scores = calibration.brier(table, right)
    return {"brier": sum(scores) / len(scores), "brier_ci": calibration.brier_ci(table, right)}


def _measured(
    table: Any, rows: Sequence[Asked], chosen: Sequence[str], results: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What the answers of the data say of the decisions."""
    from sodate.core.intervals import clopper_pearson

    right = _right(rows, chosen)
    hits = (table.argmax(axis=1) == right).tolist()
    kept = [hit for hit, one in zip(hits, results, strict=True) if not one["handed_over"]]
    return {
        "accuracy": sum(hits) / len(hits),
        "answered_right": sum(kept) / len(kept) if kept else None,
        "answered_right_ci": clopper_pearson(sum(kept), len(kept)) if kept else None,
        **figures([one["confidence"] for one in results], hits),
        **_brier(table, right),
    }


def _key(chosen: Sequence[str]) -> str:
    """Under which the calibration of these options is kept, whatever their order."""
    return sha256_json(sorted(chosen))[:32]


def _kept(loaded: Model, chosen: Sequence[str], promise: float | None) -> Calibrated:
    """The calibration that the version has for these options; none is no promise."""
    before = kept(loaded.files.name, _key(chosen))
    if before is not None and before.get("form") == FORM and promise in (None, before["promise"]):
        return Calibrated.of_json(before)
    if promise is not None:
        raise not_calibrated(promise)
    return Calibrated()
