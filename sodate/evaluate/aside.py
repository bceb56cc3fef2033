"""What a report says beside the scores: what was forgotten, how sure replies were, what they cost, what luck of the
seed does, how often these rows were looked at, and whether training had seen them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sodate.core.errors import UsageError
from sodate.core.intervals import Interval, t_quantile
from sodate.core.text import en, ja, tr
from sodate.core.yaml_files import keyless, yaml_value
from sodate.evaluate.answered import Answered
from sodate.evaluate.calibration import risk_coverage, rows_needed, threshold
from sodate.evaluate.retention import Retained, sentence
from sodate.evaluate.run import PASS, EvalResult, display_name

PROMISE = 0.95
FEWEST_SEEDS = 2


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a million tokens read and written, and of an hour of the machine, in `currency`."""

    prompt: float = 0.0
    reply: float = 0.0
    hour: float = 0.0
    currency: str = ""

    def of(self, one: Answered) -> float | None:
        """What one request cost on average."""
        if not one.requests:
            return None
        tokens = (self.prompt * one.prompt_tokens + self.reply * one.tokens) / 1e6
        return (tokens + self.hour * one.seconds / 3600) / one.requests


def read_prices(path: Path) -> dict[str, Prices]:
    """Prices by model from YAML: `currency`, `prompt`, `reply`, `hour`, and under `models` what is otherwise of some of
    them. Those of all others stand under "". UsageError for what is not understood."""
    try:
        given = yaml_value(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _refused(path, str(error)) from None
    if not isinstance(given, dict):
        raise _refused(path, keyless(given))
    models = given.pop("models", None) or {}
    if not isinstance(models, dict):
        raise _refused(path, tr("models wants names with prices", "models には名前と価格を書いてください"))
    return {str(name): _prices(path, {**given, **(own or {})}) for name, own in {"": {}, **models}.items()}


def _prices(path: Path, given: Mapping[str, Any]) -> Prices:
    numbers = {key: value for key, value in given.items() if key != "currency"}
    for key, value in numbers.items():
        if key not in ("prompt", "reply", "hour") or isinstance(value, bool) or not isinstance(value, int | float):
            raise _refused(path, tr(f"{key!r} is no price", f"{key!r} は価格として読めません"))
        if not 0 <= value < math.inf:
            raise _refused(path, tr(f"{key} can't be {value}", f"{key} に {value} は使えません"))
    return Prices(**{key: float(value) for key, value in numbers.items()}, currency=str(given.get("currency", "")))


def _refused(path: Path, why: str) -> UsageError:
    return UsageError(
        tr(f"{path}: {en(why)}.", f"{path}: {ja(why)}。"),
        tr("Keys: currency, prompt and reply (a million tokens), hour (of the machine), models.",
           "キー: currency、prompt と reply (100 万トークンあたり)、hour (マシン 1 時間あたり)、models"),
        code="bad_value", param="prices", file=path,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sure:
    """What the probabilities of its tokens tell of a model's replies under a grader: the share that is wrong where only
    the surest are taken, and from which (uncalibrated) confidence on 95 % are right, if these rows can promise that."""

    model: str
    grader: str
    risk_coverage: tuple[tuple[float, float], ...]
    threshold: float | None
    coverage: float
    enough: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model, "grader": self.grader, "promise": PROMISE, "calibrated": False,
            "threshold": self.threshold, "coverage": self.coverage, "enough_rows": self.enough,
            "risk_coverage": [list(point) for point in self.risk_coverage],
        }  # fmt: skip


def sure(result: EvalResult, model: str, confidence: Mapping[int, float]) -> list[Sure]:
    """Of a model whose confidence of every answered item is known, under every grader that looks at content."""
    numbers = sorted(confidence)
    if not numbers:
        return []
    values, found = [confidence[n] for n in numbers], []
    enough = len(numbers) >= rows_needed(PROMISE)
    for one in result.results:
        if one.model == model and not one.form:
            right = [one.grades[n].score >= PASS for n in numbers]
            least = threshold(values, right, PROMISE) if enough else None
            share = 0.0 if least is None else sum(value >= least for value in values) / len(values)
            curve = tuple(risk_coverage(values, right))
            found.append(Sure(model, one.grader, curve, least, share, enough))
    return found


@dataclass(frozen=True, slots=True)
class Seeds:
    """Versions that differ by their seed alone, against a baseline: the mean of their differences, the spread from seed
    to seed, and the interval for the mean of all seeds there could be (Student's t over seeds)."""

    models: tuple[str, ...]
    baseline: str
    grader: str
    diffs: tuple[float, ...]
    mean: float
    spread: float
    ci: Interval

    @classmethod
    def of(cls, models: Sequence[str], baseline: str, grader: str, diffs: Sequence[float]) -> Seeds:
        n, mean, spread = len(diffs), statistics.fmean(diffs), statistics.stdev(diffs)
        half = t_quantile(0.95, n - 1) * spread / math.sqrt(n)
        return cls(tuple(models), baseline, grader, tuple(diffs), mean, spread, (mean - half, mean + half))

    @property
    def beyond_luck(self) -> bool:
        """Whether the gain or loss is more than the luck of a seed."""
        return self.ci[0] > 0 or self.ci[1] < 0

    def to_json(self) -> dict[str, Any]:
        return {
            "models": list(self.models), "baseline": self.baseline, "grader": self.grader, "diffs": list(self.diffs),
            "mean": self.mean, "spread": self.spread, "ci": list(self.ci), "beyond_luck": self.beyond_luck,
        }  # fmt: skip


def seeds(result: EvalResult, groups: Sequence[Sequence[str]]) -> list[Seeds]:
    """Of each group of models that differ by the seed, against each baseline under each grader."""
    found = []
    for group in groups:
        for baseline in result.baselines:
            rows = [one for one in result.comparisons if one.candidate in group and one.baseline == baseline]
            for grader in dict.fromkeys(one.grader for one in rows):
                diffs = {one.candidate: one.diff for one in rows if one.grader == grader}
                if len(diffs) >= FEWEST_SEEDS:
                    found.append(Seeds.of(list(diffs), baseline, grader, list(diffs.values())))
    return found


@dataclass(frozen=True, slots=True)
class Aside:
    """All of it. `seen` says of each version how many of its training rows give a held-out row away; None: its files
    could not be read again."""

    retention: tuple[Retained, ...] = ()
    confidence: tuple[Sure, ...] = ()
    seeds: tuple[Seeds, ...] = ()
    costs: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    seen: Mapping[str, int | None] = field(default_factory=dict)
    looks: int = 1

    def to_json(self) -> dict[str, Any]:
        return {
            "looks": self.looks,
            "contamination": dict(self.seen),
            "retention": [one.to_json() for one in self.retention],
            "confidence": [one.to_json() for one in self.confidence],
            "seeds": [one.to_json() for one in self.seeds],
            "costs": {name: {"per_request": cost, "currency": unit} for name, (cost, unit) in self.costs.items()},
        }

    def lines(self) -> list[str]:
        """The same in sentences, what to worry about first."""
        found: list[str] = []
        worse = [one for one in self.retention if one.verdict == "worse"]
        for one in (*worse, *(one for one in self.retention if one.verdict != "worse")):
            name, what = display_name(one.candidate), sentence(one)
            old = display_name(one.baseline)
            word = ("Forgotten", "忘れたこと") if one.verdict == "worse" else ("Beside", "そのほか")
            found.append(
                tr(
                    f"{word[0]} ({en(name)} since {en(old)}): {en(what)}",
                    f"{word[1]} ({ja(old)} から {ja(name)}): {ja(what)}",
                )
            )
        for exact, count in self.seen.items():
            if count:
                found.append(tr(f"{exact} was trained on {count} rows that give held-out rows away: its scores are too "
                                "good.",
                                f"{exact} の学習データに、評価データと重なる行が {count} 行あります。"
                                "点数は実力より高めです。"))  # fmt: skip
            elif count is None:
                found.append(tr(f"The training files of {exact} can't be read again: whether it had seen these rows "
                                "was not checked.",
                                f"{exact} の学習データを読み直せないため、"
                                "評価データとの重なりは確認していません。"))  # fmt: skip
        if self.looks > 1:
            found.append(tr(f"These held-out rows were looked at {self.looks} times; each look makes luck likelier.",
                            f"この評価データが使われたのは {self.looks} 回目です。"
                            "回数が増えるほど偶然の差が増えます。"))  # fmt: skip
        found += [_seed_line(one) for one in self.seeds]
        found += [_sure_line(one) for one in self.confidence]
        for name, (cost, unit) in self.costs.items():
            found.append(tr(f"{name}: {unit}{cost:.3g} a request.", f"{name}: 1 件あたり {unit}{cost:.3g}。"))
        return found


def _seed_line(one: Seeds) -> str:
    low, high = (f"{100 * end:+.1f}" for end in one.ci)
    mean, spread, n = f"{100 * one.mean:+.1f}", f"{100 * one.spread:.1f}", len(one.diffs)
    said = ("more than luck of the seed", "シードの運を超えています") if one.beyond_luck else (
        "luck of the seed explains it", "シードの運で説明できます")  # fmt: skip
    return tr(f"{one.grader}, {n} seeds against {one.baseline}: {mean} points on average, ±{spread} from seed to seed "
              f"({low} to {high}): {said[0]}.",
              f"{one.grader}、{one.baseline} に対しシード {n} 個: 平均 {mean} ポイント、シード間のばらつき ±{spread} "
              f"({low} から {high}): {said[1]}。")  # fmt: skip


def _sure_line(one: Sure) -> str:
    name = display_name(one.model)
    half = min(one.risk_coverage, key=lambda point: abs(point[0] - 0.5))
    wrong, half_wrong = f"{100 * one.risk_coverage[-1][1]:.0f}", f"{100 * half[1]:.0f}"
    curve = (f"{wrong} % are wrong, of the surer half {half_wrong} %",
             f"誤り {wrong}%、確信度の高い半分では {half_wrong}%")  # fmt: skip
    if one.threshold is not None:
        share = f"{100 * one.coverage:.0f}"
        end = (f"; {100 * PROMISE:g} % right can be promised for the surest {share} %",
               f"。確信度の高い {share}% については {100 * PROMISE:g}% の正しさを約束できます")  # fmt: skip
    elif one.enough:
        end = (
            f"; {100 * PROMISE:g} % right can be promised nowhere",
            f"。{100 * PROMISE:g}% の正しさはどこでも約束できません",
        )
    else:
        end = (f"; to promise {100 * PROMISE:g} % takes {rows_needed(PROMISE)} rows",
               f"。{100 * PROMISE:g}% を約束するには {rows_needed(PROMISE)} 行が必要です")  # fmt: skip
    return tr(f"{en(name)}, {one.grader}: {curve[0]}{end[0]}.", f"{ja(name)}、{one.grader}: {curve[1]}{end[1]}。")
