"""A gate: what a version has to have shown before it is released, read from gate.yaml and held against a report.

    baseline: orders@production      what it is compared with
    data: heldout.jsonl              measured on exactly this file (from the gate's folder) or dataset, `orders-test@2`
    blocking: [banned_words:ng.txt]  no row may fall short of the full score
    target: [label]                  has to be better than the baseline
    guard: {text_similarity: 0.02}   may not be worse by this much

Inconclusive is not a pass, and neither is a metric that was not measured.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from sodate.core.errors import UsageError
from sodate.core.files import sha256_file
from sodate.core.home import dataset_of, dataset_rows
from sodate.core.intervals import wilson
from sodate.core.paths import refusal
from sodate.core.text import en, ja, said_by, tr
from sodate.core.yaml_files import keyless, yaml_value

TIERS = ("blocking", "target", "guard")


@dataclass(frozen=True, slots=True)
class Gate:
    """`blocking` and `target` are graders as they were given to the evaluation, `guard` has a margin for each."""

    path: Path
    baseline: str | None
    data: Path | None
    blocking: tuple[str, ...]
    target: tuple[str, ...]
    guard: Mapping[str, float]

    @property
    def asked(self) -> list[tuple[str, str]]:
        """(tier, metric), in the order of the tiers."""
        return [(tier, metric) for tier in TIERS for metric in getattr(self, tier)]


@dataclass(frozen=True, slots=True)
class Held:
    """Whether one metric passes. `value` is the share of rows that fell short, or the difference to the baseline."""

    tier: str
    metric: str
    value: float | None
    ci: Sequence[float] | None
    passes: bool
    why: str

    def to_json(self) -> dict[str, Any]:
        return {
            "tier": self.tier, "metric": self.metric, "value": self.value, "ci": self.ci and list(self.ci),
            "passes": self.passes, "why": str(self.why), "said": [en(self.why), ja(self.why)],
        }  # fmt: skip


def reason(row: Mapping[str, Any]) -> str:
    """Why a metric of a record passes or not, in both languages: who reads it may not be who had it checked. Records
    of before have the language of whoever did."""
    return tr(*row["said"]) if "said" in row else str(row["why"])


def read_gate(path: Path) -> Gate:
    """The gate of a file. UsageError where it is not there, not YAML, or says what is not understood."""
    try:
        given = yaml_value(path.read_text("utf-8"))
    except OSError:
        raise UsageError(
            tr(f"There is no gate {path}.", f"ゲートのファイル {path} がありません。"),
            code="file_missing",
            param="gate",
            file=path,
        ) from None
    except UnicodeDecodeError as error:
        raise _refused(path, refusal(error)) from None
    except yaml.YAMLError as error:
        why = said_by(error)
        raise _refused(path, tr(f"it is not YAML: {en(why)}", f"YAML として読めません: {ja(why)}")) from None
    return parsed(given, path)


def parsed(given: Any, path: Path) -> Gate:
    """The gate that a document says, which lies at `path` or is to. UsageError for what is not understood."""
    if not isinstance(given, dict):
        raise _refused(path, keyless(given))
    if unknown := [key for key in given if key not in ("baseline", "data", *TIERS)]:
        raise _refused(path, tr(f"unknown key {unknown[0]!r}", f"{unknown[0]!r} というキーはありません"))
    guard = given.get("guard") or {}
    if not isinstance(guard, dict) or not all(_is_margin(margin) for margin in guard.values()):
        raise _refused(path, tr("guard wants a margin for each grader, between 0 and 1",
                                "guard には、採点方法ごとに 0 から 1 の幅を書いてください"))  # fmt: skip
    lists = {}
    for tier in ("blocking", "target"):
        names = given.get(tier) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _refused(path, tr(f"{tier} is a list of graders", f"{tier} は採点方法のリストです"))
        lists[tier] = tuple(names)
    if not (lists["blocking"] or lists["target"] or guard):
        raise _refused(path, tr("it asks for nothing", "条件が一つもありません"))
    if (lists["target"] or guard) and not isinstance(given.get("baseline"), str):
        raise _refused(path, tr("target and guard need a baseline", "target と guard には baseline が必要です"))
    said = None if given.get("data") is None else str(given["data"])
    data = None if said is None else dataset_rows(said) or path.parent / said
    guards = {str(name): float(margin) for name, margin in guard.items()}
    return Gate(path, given.get("baseline"), data, lists["blocking"], lists["target"], guards)


def _is_margin(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _refused(path: Path, why: str) -> UsageError:
    return UsageError(
        tr(f"{path}: ", f"{path}: ") + why + tr(".", "。"),
        tr(f"A gate has baseline, data, {', '.join(TIERS)}.", f"ゲートのキー: baseline、data、{'、'.join(TIERS)}"),
        code="bad_gate",
        param="gate",
        file=path,
    )


def same_data(gate: Gate, report: Mapping[str, Any]) -> bool:
    """Whether the report measured exactly the gate's file, all of it. UsageError where that is not there."""
    if gate.data is None:
        return True
    if not gate.data.is_file():
        raise UsageError(
            tr(f"There is no file {gate.data}.", f"ファイル {gate.data} がありません。"),
            code="file_missing",
            param="data",
            file=gate.data,
        )
    measured = report.get("data", {})
    return measured.get("limit") is None and measured.get("sha256") == sha256_file(gate.data)


def hold(
    gate: Gate, tier: str, metric: str, version: str, baseline: str | None, report: Mapping[str, Any] | None
) -> Held:
    """One metric of the gate. `report` is that in which it was measured, `version` and `baseline` its names there."""
    if report is None:
        why = tr(f"Not measured: there is no evaluation of exactly this version with {metric}.",
                 f"測定されていません: このバージョンを {metric} で採点した評価がありません。")  # fmt: skip
        return Held(tier, metric, None, None, False, why)
    if tier == "blocking":
        row = next(one for one in report["results"] if (one["model"], one["grader"]) == (version, metric))
        return _blocking(metric, int(row["failures"]), int(report["n"]))
    wanted = (version, baseline, metric)
    row = next(one for one in report["comparisons"] if (one["candidate"], one["baseline"], one["grader"]) == wanted)
    value, ci = row["diff"], row["ci"]
    if tier == "target":
        return Held(tier, metric, value, ci, row["verdict"] == "better", _TARGET[row["verdict"]])
    margin = gate.guard[metric]
    passes = ci is not None and ci[0] > -margin
    points = f"{100 * margin:g}"
    why = (
        tr(f"Not worse by {points} points or more.", f"{points} ポイント以上は悪化していません。")
        if passes
        else tr(f"It may be worse by {points} points or more.", f"{points} ポイント以上悪化している恐れがあります。")
    )
    return Held(tier, metric, value, ci, passes, why)


def measuring(gate: Gate, version: str, metrics: Sequence[str]) -> str:
    """The command that measures these metrics of a version as the gate wants them; without metrics none. A file is
    called by its name alone: who reads this on a page is told no folder of the server."""
    if not metrics:
        return ""
    baseline = [] if gate.baseline is None else ["--baseline", gate.baseline]
    data = ["--data", "FILE" if gate.data is None else dataset_of(gate.data) or gate.data.name]
    graders = [word for metric in dict.fromkeys(metrics) for word in ("--grader", metric)]
    return shlex.join(["sodate", "eval", version, *baseline, *data, *graders])


def believed(held: Held, record: Mapping[str, Any] | None) -> Held:
    """What was held, where a model is the judge: it counts only if its agreement with people was measured (`record`),
    and is more than chance."""
    if record is None:
        why = tr(f"A model judges {held.metric}, and its agreement with people was not measured: sodate judge agree.",
                 f"{held.metric} はモデルが判定しますが、人との一致が未測定です: sodate judge agree")  # fmt: skip
        return replace(held, passes=False, why=why)
    kappa, ci = record["kappa"], record["kappa_ci"]
    said = _kappa(kappa, ci)
    if kappa is None or ci is None or ci[0] <= 0:
        why = tr(f"A model judges {held.metric}, and its agreement with people may be chance ({said}).",
                 f"{held.metric} の判定モデルと人との一致は、偶然かもしれません ({said})。")  # fmt: skip
        return replace(held, passes=False, why=why)
    agrees = tr(f" The judge agrees with people: {said}.", f" 判定モデルと人との一致: {said}。")
    return replace(held, why=tr("", "") + held.why + agrees)


def _kappa(kappa: float | None, ci: Sequence[float] | None) -> str:
    if kappa is None or ci is None:
        return "κ –"
    return f"κ {kappa:.2f} [{ci[0]:.2f}, {ci[1]:.2f}]"


_TARGET = {
    "better": tr("Better than the baseline.", "基準より良くなっています。"),
    "worse": tr("Worse than the baseline.", "基準より悪くなっています。"),
    "equivalent": tr("The same as the baseline, not better.", "基準と同等で、良くはなっていません。"),
    "inconclusive": tr("These rows cannot tell; inconclusive is not a pass.",
                       "この評価データでは判定できません。判定できないものは合格にしません。"),
}  # fmt: skip


def _blocking(metric: str, failures: int, n: int) -> Held:
    if failures:
        why = tr(f"{failures} of {n} rows fall short of the full score; none may.",
                 f"{n} 行中 {failures} 行が満点ではありません。1 行も許されません。")  # fmt: skip
        return Held("blocking", metric, failures / n, wilson(failures, n), False, why)
    most = 1 - 0.05 ** (1 / n)  # where n rows without a failure come one time in twenty: about 3 / n
    why = tr(f"No failure in {n} rows; the true rate may still be {100 * most:.1f} % (3/n).",
             f"{n} 行に失敗はありません。それでも実際の率は {100 * most:.1f} % (3/n) まであり得ます。")  # fmt: skip
    return Held("blocking", metric, 0.0, (0.0, most), True, why)
