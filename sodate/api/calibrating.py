"""What a calibration says and where it lies: how often answers of some confidence are right, and from where on it is
promised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import read_json, write_json
from sodate.core.manifests import SCHEMA_VERSION
from sodate.core.text import tr
from sodate.evaluate.calibration import (
    SURE,
    ConfidenceMap,
    calibration_error,
    calibration_error_by_chance,
    calibration_error_ci,
    fit_map,
    folds,
    risk_coverage,
    rows_needed,
    threshold,
)
from sodate.release.registry import find_version

if TYPE_CHECKING:
    from sodate.api.loading import Model

PROMISE = 0.95
FORM = 2  # of what is kept; in the first one the map was of confidence with the temperature
KINDS = ("logistic", "isotonic")  # of maps: what a model says of its answers is no share of right ones yet


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Probabilities of options are shown to the power of 1 / temperature. Confidence, which is the probability without
    it, goes through `map`, and from `threshold` on at least `promise` of the answers are right; None where that could
    not be promised, and everything is handed over.
    """

    temperature: float = 1.0
    promise: float | None = None
    threshold: float | None = None
    about: Mapping[str, Any] | None = None
    map: ConfidenceMap = field(default_factory=ConfidenceMap)

    def hands_over(self, confidence: float) -> bool:
        """Whether an answer of this confidence goes to a person or a larger model."""
        return self.promise is not None and (self.threshold is None or confidence < self.threshold)

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {"form": FORM, "temperature": self.temperature, "promise": self.promise, "threshold": self.threshold,
                "map": asdict(self.map), "about": self.about}  # fmt: skip

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> Calibrated:
        """From what was kept; those of before have no map."""
        known = kept.get("map") or {}
        found = ConfidenceMap(known["kind"], tuple(known["x"]), tuple(known["y"])) if known else ConfidenceMap()
        return cls(kept["temperature"], kept["promise"], kept["threshold"], kept["about"], found)


def check_promise(promise: float | None) -> None:
    """UsageError for what can't be promised."""
    if promise is not None and not 0.5 <= promise < 1:
        raise UsageError(
            tr("A promise is a share from 0.5 to below 1.", "--promise は 0.5 以上 1 未満の割合です。"),
            code="bad_value", param="promise",
        )  # fmt: skip


def check_enough(rows: int, promise: float) -> None:
    """SodateError saying how many calibration rows the promise takes, where there are fewer."""
    needed = rows_needed(promise)
    if rows < needed:
        most = math.floor(100 * (1 - SURE) ** (1 / rows)) / 100 if rows else 0.0
        fix = tr("Give more rows.", "行を増やしてください。")
        if most >= 0.5:
            fix = tr(f"Give more rows, or promise less: with {rows} it is --promise {most:g} at most.",
                     f"行を増やすか、約束を下げてください。{rows} 行では --promise {most:g} までです。")  # fmt: skip
        raise SodateError(
            tr(f"To promise {100 * promise:g} % takes {needed} calibration rows at least; there are {rows}.",
               f"{100 * promise:g}% を約束するには、較正用の行が {needed} 行以上必要です。今は {rows} 行です。"),
            fix,
            code="too_few_rows", param="calibrate",
        )  # fmt: skip


def promised(confidence: Sequence[float], hits: Sequence[bool], promise: float) -> Calibrated:
    """What these rows say: a map of the confidence, and from where on the promise holds.

    `confidence` orders the rows without a look at their answers, and no map changes that order: so the same rows may
    say how sure one may be, and from where on. How far confidence is then from being right is told of rows that had no
    part in it: for each fifth the map is fitted on the others.
    """
    mapped = fit_map(confidence, hits, KINDS)
    sure = mapped(confidence)
    least = threshold(sure, hits, promise)
    given, right = np.asarray(confidence), np.asarray(hits)
    told = np.empty(len(right))
    for own, rest in folds(len(right)):
        told[own] = fit_map(given[rest].tolist(), right[rest].tolist(), KINDS)(given[own].tolist())
    about = {
        "n": len(hits),
        "map": mapped.kind,
        "accuracy": sum(hits) / len(hits),
        "coverage": 0.0 if least is None else sum(one >= least for one in sure) / len(sure),
        **figures(told.tolist(), hits),
    }
    return Calibrated(1.0, promise, least, about, mapped)


def figures(confidence: Sequence[float], hits: Sequence[bool]) -> dict[str, Any]:
    """How far confidence is from being right, how far it would seem to be on so few rows if it were exact, and what
    share is wrong where only the surest are answered."""
    return {
        "ece": calibration_error(confidence, hits),
        "ece_ci": calibration_error_ci(confidence, hits),
        "ece_by_chance": calibration_error_by_chance(confidence),
        "risk_coverage": risk_coverage(confidence, hits),
    }


def squared(confidence: Sequence[float], hits: Sequence[bool]) -> float:
    """The Brier score of answers that are right or wrong, without other options: the mean squared error."""
    return sum((one - hit) ** 2 for one, hit in zip(confidence, hits, strict=True)) / len(hits)


# ── what is kept with the version ────────────────────────────────────────────────────────────────────────────────────


def _file(name: str, key: str) -> Path | None:
    """Where a calibration lies: in the version's folder. Base models keep none."""
    version = find_version(name)
    return None if version is None else version.path / "calibration" / f"{key}.json"


def keep(loaded: Model, key: str, found: Mapping[str, Any]) -> None:
    """Keeps a calibration with the version, under `key`."""
    if (file := _file(loaded.files.name, key)) is not None:
        write_json(file, {"schema_version": SCHEMA_VERSION, **found})


def kept(name: str, key: str) -> dict[str, Any] | None:
    """What a version of that name has under `key`."""
    file = _file(name, key)
    if file is None or not file.exists():
        return None
    found: dict[str, Any] = read_json(file)
    return found


def stamp_of(version: str, key: str) -> tuple[int, int] | None:
    """Changes when the calibration of an exact version (`orders@3`) does; None where it has none under `key`."""
    name, _, number = version.rpartition("@")
    if not (home.NAME.fullmatch(name) and number.isdecimal()):
        return None
    try:
        found = (home.versions_dir() / name / number / "calibration" / f"{key}.json").stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def not_calibrated(promise: float) -> UsageError:
    """The error where a promise is asked for that no calibration made."""
    return UsageError(
        tr(f"Nothing was promised for these options with {100 * promise:g} % yet.",
           f"これらの選択肢について {100 * promise:g}% の較正はまだ行われていません。"),
        tr("Give rows with answers that the model did not learn from: --calibrate FILE.",
           "学習に使っていない正解つきの行を --calibrate FILE で渡してください。"),
        code="not_calibrated", param="promise",
    )  # fmt: skip
