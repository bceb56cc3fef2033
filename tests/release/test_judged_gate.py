"""A grader that asks a model lets nothing through until its agreement with people was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sodate.api.releasing import check_gate
from sodate.core.files import read_json, write_json
from sodate.release.lookup import identity
from tests.release.test_releases import ALL, gate, home, make, report

__all__ = ["home"]  # the fixture


def agreed(home: Path, name: str, judge: str, kappa: float, ci: tuple[float, float] | None) -> None:
    record = {"schema_version": 1, "grader": "exact", "models": {"judge": judge}, "kappa": kappa, "kappa_ci": ci}
    write_json(home / "judgements" / "3f2a9c" / "graders" / f"{name}.json", record)


def test_a_judge_gates_once_its_kappa_was_measured_and_is_more_than_chance(home: Path, tmp_path: Path) -> None:
    old, new = make(), make(weights=b"better")
    report(home, new.id, old.id)
    path = home / "reports" / "1" / "result.json"
    judge = identity(old.id)
    written: dict[str, Any] = read_json(path)
    write_json(path, {**written, "judges": {"exact": {"judge": judge}}})
    asked = gate(tmp_path / "gate.yaml", baseline=old.id, **ALL)

    def held() -> tuple[bool, str]:
        found = check_gate(new.id, asked)
        assert len({row["passes"] for row in found["tiers"]}) == 1
        return found["passes"], found["tiers"][1]["why"]

    passes, why = held()
    assert not passes and "was not measured: sodate judge agree" in why
    agreed(home, "1", "other bytes", 0.9, (0.8, 1.0))
    assert not held()[0]
    agreed(home, "2", judge, 0.2, (-0.1, 0.5))
    passes, why = held()
    assert not passes and "may be chance (κ 0.20 [-0.10, 0.50])" in why
    agreed(home, "3", judge, 0.6, None)
    assert not held()[0]
    agreed(home, "4", judge, 0.7, (0.5, 0.9))
    passes, why = held()
    assert passes and why.startswith("Better than the baseline.") and "κ 0.70 [0.50, 0.90]" in why
    json.dumps(check_gate(new.id, asked))


def test_a_grader_without_a_model_needs_nobody(home: Path, tmp_path: Path) -> None:
    old, new = make(), make(weights=b"better")
    report(home, new.id, old.id)
    assert check_gate(new.id, gate(tmp_path / "gate.yaml", baseline=old.id, target=["exact"]))["passes"]


@pytest.mark.parametrize("tier", ["blocking", "target", "guard"])
def test_a_metric_that_was_not_measured_passes_in_no_tier(home: Path, tmp_path: Path, tier: str) -> None:
    old, new = make(), make(weights=b"better")
    report(home, new.id, old.id)
    asked = {tier: {"label": 0.1} if tier == "guard" else ["label"]}
    (row,) = check_gate(new.id, gate(tmp_path / "gate.yaml", baseline=old.id, **asked))["tiers"]
    assert not row["passes"] and "Not measured" in row["why"] and row["value"] is None
