"""`decide`: one of a few options for every row, each with its probability, and only where the promise holds."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sodate.api.loading import Model, load
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import read_json, sha256_file, sha256_json, write_json
from sodate.core.manifests import SCHEMA_VERSION
from sodate.core.text import tr
from sodate.core.types import Message
from sodate.release.registry import find_version

if TYPE_CHECKING:
    from sodate.data.ledger import Problem

FEW = 20  # options up to which all but the least are looked into
FLOORS = (1e-5, 1e-3)  # the share of probability below which a beginning is left, for few options and for more
FIT = 3  # every third calibration row is for the temperature; the others are for the promise


@dataclass(frozen=True, slots=True)
class Asked:
    """A row: what is asked, the line, and the right answer where the row has one."""

    prompt: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...]
    line: int
    answer: str | None


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What a calibration says: probabilities are taken to the power of 1 / temperature, and from `threshold` on at
    least `promise` of the answers are right; None where that could not be promised, and everything is handed over."""

    temperature: float = 1.0
    promise: float | None = None
    threshold: float | None = None
    about: Mapping[str, Any] | None = None


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
) -> dict[str, Any]:
    """Decides every row of `data` between `options`: a list, text with commas, or a file of lines or a JSON list.
    Without them the answers of `calibrate`, or of `data`, are the options.

    `calibrate` is a file of rows with their answers, which the model did not learn from. Of every third a temperature
    is fitted; the others say from which confidence on at least `promise` (default 0.95) of the answers are right. That
    is kept with the version, for its options, and used again. What lies below is `handed_over`. Without any calibration
    nothing is, and the threshold is null.

    Raises UsageError for fewer than two options, and SodateError `too_few_rows`, which says how many it takes.
    """
    from sodate.evaluate import calibration

    if promise is not None and not 0.5 <= promise < 1:
        raise UsageError(
            tr("A promise is a share from 0.5 to below 1.", "--promise は 0.5 以上 1 未満の割合です。"),
            code="bad_value", param="promise",
        )  # fmt: skip
    rows = read_rows(Path(data), columns, encoding, limit, on_problem)
    known = read_rows(Path(calibrate), columns, encoding, None, on_problem) if calibrate is not None else []
    chosen = _options(options, known or rows)
    loaded = load(model)
    if known:
        found = _calibrated(loaded, known, chosen, 0.95 if promise is None else promise)
        about = {"data": {"file": str(calibrate), "sha256": sha256_file(Path(str(calibrate)))}, "options": chosen}
        found = Calibrated(found.temperature, found.promise, found.threshold, {**about, **(found.about or {})})
        _keep(loaded, chosen, found)
    else:
        found = _kept(loaded, chosen, promise)
    logp, exact = log_probabilities(loaded, rows, chosen)
    table = calibration.probabilities(logp, found.temperature)
    best, confidence = table.argmax(axis=1).tolist(), table.max(axis=1).tolist()
    results = [
        {
            "line": row.line,
            "answer": chosen[best[n]],
            "probabilities": dict(zip(chosen, table[n].tolist(), strict=True)),
            "confidence": confidence[n],
            "handed_over": found.promise is not None and (found.threshold is None or confidence[n] < found.threshold),
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
        "brier": kept.get("brier"),
        **measured,
        "calibration": dict(kept) or None,
        "results": results,
    }


def read_rows(
    data: Path, columns: Mapping[str, str] | None = None, encoding: str | None = None, limit: int | None = None,
    on_problem: Callable[[Problem], None] = lambda problem: None,
) -> list[Asked]:  # fmt: skip
    """The rows of a file that can be asked; `on_problem` is told of the others. UsageError where there is none."""
    from sodate.data import tasks
    from sodate.data.examples import ParsedRow, read_examples

    found: list[Asked] = []
    for row in read_examples(data, columns, encoding)[1]:
        if limit is not None and len(found) >= limit:
            break
        if not isinstance(row, ParsedRow):
            on_problem(row)
            continue
        example = row.example
        task = tasks.as_task(example)
        answer = None if task is None else tasks.reference(task)
        prompt = example.prompt if task is None else task.prompt
        found.append(
            Asked(tuple(prompt), tuple(example.tools), row.row.line, None if answer is None else _plain(answer))
        )
    if not found:
        raise UsageError(
            tr(f"{data} has no rows.", f"{data} に行がありません。"), code="no_rows", param="data", file=data
        )
    return found


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


def _options(given: str | Path | Sequence[str] | None, rows: Sequence[Asked]) -> list[str]:
    """The options, each once, in the order they were given in; those of the rows sorted."""
    if given is None:
        found = sorted({row.answer for row in rows if row.answer is not None})
    elif isinstance(given, str | Path):
        found = _in_file(Path(given)) if Path(given).is_file() else str(given).split(",")
    else:
        found = list(given)
    chosen = list(dict.fromkeys(plain for one in found if (plain := _plain(one))))
    if len(chosen) < 2:
        raise UsageError(
            tr(f"A decision needs two options or more; there is {', '.join(chosen) or 'none'}.",
               f"選択肢が 2 つ以上必要です。今あるもの: {', '.join(chosen) or 'なし'}"),
            tr("--options A,B,C or a file with one a line.", "--options A,B,C、または 1 行に 1 つ書いたファイル。"),
            code="bad_value", param="options",
        )  # fmt: skip
    return chosen


def _in_file(path: Path) -> list[str]:
    text = path.read_text("utf-8-sig")
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
    floor = FLOORS[len(chosen) > FEW]
    engine: Any = loaded.engine  # torch's, which computes with the model itself
    found = []
    for start in range(0, len(prompts), 256):
        progress.report("replies", start, len(prompts), loaded.files.name)
        engine.versions.select(loaded.version)
        try:
            found += likelihoods(loaded.model, prompts[start : start + 256], ids, floor)
        finally:
            engine.versions.select("")
    return np.array([one.logp for one in found]), np.array([one.exact for one in found])


def _right(rows: Sequence[Asked], chosen: Sequence[str]) -> list[int]:
    """Which option is right, -1 where none is."""
    number = {option: n for n, option in enumerate(chosen)}
    return [-1 if row.answer is None else number.get(row.answer, -1) for row in rows]


def _calibrated(loaded: Model, rows: Sequence[Asked], chosen: Sequence[str], promise: float) -> Calibrated:
    from sodate.evaluate import calibration

    if unanswered := next((row for row in rows if row.answer is None), None):
        raise UsageError(
            tr(f"Line {unanswered.line} of the calibration file has no answer.",
               f"較正用ファイルの {unanswered.line} 行目に正解がありません。"),
            code="wrong_rows", param="calibrate", line=unanswered.line,
        )  # fmt: skip
    needed = calibration.rows_needed(promise)
    at_least = next(n for n in range(needed, 2 * needed + FIT) if n - (n + FIT - 1) // FIT >= needed)
    if len(rows) < at_least:
        raise SodateError(
            tr(f"To promise {100 * promise:g} % takes {at_least} calibration rows at least; there are {len(rows)}.",
               f"{100 * promise:g}% を約束するには、較正用の行が {at_least} 行以上必要です。今は {len(rows)} 行です。"),
            tr("Give more rows, or promise less: --promise 0.9.", "行を増やすか、--promise 0.9 と下げてください。"),
            code="too_few_rows", param="calibrate",
        )  # fmt: skip
    logp, _ = log_probabilities(loaded, rows, chosen)
    right = _right(rows, chosen)
    rest = [n for n in range(len(rows)) if n % FIT]
    temperature = calibration.fit_temperature(logp[::FIT], right[::FIT])
    table = calibration.probabilities(logp[rest], temperature)
    answers = [right[n] for n in rest]
    confidence = table.max(axis=1).tolist()
    hits = (table.argmax(axis=1) == answers).tolist()
    least = calibration.threshold(confidence, hits, promise)
    about = {
        "n": len(rows),
        "fitted_on": len(rows) - len(rest),
        "accuracy": sum(hits) / len(hits),
        "coverage": 0.0 if least is None else sum(one >= least for one in confidence) / len(confidence),
        **_figures(table, answers, confidence, hits),
    }
    return Calibrated(temperature, promise, least, about)


def _figures(table: Any, right: Sequence[int], confidence: Sequence[float], hits: Sequence[bool]) -> dict[str, Any]:
    from sodate.evaluate import calibration

    scores = calibration.brier(table, right)
    return {
        "ece": calibration.calibration_error(confidence, hits),
        "ece_ci": calibration.calibration_error_ci(confidence, hits),
        "brier": sum(scores) / len(scores),
        "brier_ci": calibration.brier_ci(table, right),
        "risk_coverage": calibration.risk_coverage(confidence, hits),
    }


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
        **_figures(table, right, [one["confidence"] for one in results], hits),
    }


# ── what is kept with the version ────────────────────────────────────────────────────────────────────────────────────


def _file(loaded: Model, chosen: Sequence[str]) -> Path | None:
    """Where the calibration of these options lies: in the version's folder. Base models keep none."""
    version = find_version(loaded.files.name)
    return None if version is None else version.path / "calibration" / f"{sha256_json(sorted(chosen))[:32]}.json"


def _keep(loaded: Model, chosen: Sequence[str], found: Calibrated) -> None:
    if (file := _file(loaded, chosen)) is not None:
        kept = {"temperature": found.temperature, "promise": found.promise, "threshold": found.threshold}
        write_json(file, {"schema_version": SCHEMA_VERSION, **kept, "about": found.about})


def _kept(loaded: Model, chosen: Sequence[str], promise: float | None) -> Calibrated:
    """The calibration that the version has for these options; none is no promise."""
    file = _file(loaded, chosen)
    if file is not None and file.exists():
        kept = read_json(file)
        found = Calibrated(kept["temperature"], kept["promise"], kept["threshold"], kept["about"])
        if promise is None or promise == found.promise:
            return found
    if promise is not None:
        raise UsageError(
            tr(f"Nothing was promised for these options with {100 * promise:g} % yet.",
               f"これらの選択肢について {100 * promise:g}% の較正はまだ行われていません。"),
            tr("Give rows with answers that the model did not learn from: --calibrate FILE.",
               "学習に使っていない正解つきの行を --calibrate FILE で渡してください。"),
            code="not_calibrated", param="promise",
        )  # fmt: skip
    return Calibrated()
