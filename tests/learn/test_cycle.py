"""The cycle: months of it with a tiny model, killed at every step, started twice, with clocks that jump."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import sodate
from sodate.api import datasets as verbs
from sodate.api.versions import find_version
from sodate.core import home as homes
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import lock, write_json
from sodate.core.intervals import difference_ci
from sodate.core.manifests import read_manifest
from sodate.learn import recording
from sodate.learn.cycle import STEPS, cycle, cycles
from sodate.learn.keeping import DAY
from tests.learn.made import TODAY, exchange, keep

WORDS = ["apples", "pears", "boxes", "twelve", "office", "Friday", "customer", "items", "urgent", "model", "red", "two"]


def rows(number: int, start: int, reply: str, **more: Any) -> list[dict[str, Any]]:
    """Orders that differ in their words and numbers, and have one answer."""
    found = []
    for n in range(start, start + number):
        a, b, c = (WORDS[(n * step + n // 12) % len(WORDS)] for step in (1, 5, 7))
        found.append({"prompt": f"{a} {n * 37 % 1000} {b} {c} {n}", "completion": reply, **more})
    return found


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def place(home: Path, folder: Path, tmp_path: Path) -> Path:
    """A cycle's file, a base model, old rows to train on and held-out ones, and nothing in production."""
    model = sodate.pull(str(folder)).name
    verbs.add(write(tmp_path / "train.jsonl", rows(24, 0, "yes")), "orders")
    verbs.add(write(tmp_path / "test.jsonl", rows(40, 100, "yes")), "orders-test", role="held-out")
    recipe = {"model": model, "data": "-", "adapter": "full", "lr": 0.01, "epochs": 6, "batch_size": 8}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    write(tmp_path / "new.jsonl", [])
    about = {
        "name": "orders", "alias": "orders@production", "recipe": "recipe.yaml", "dataset": "orders",
        "held_out": "orders-test", "graders": ["exact"], "gate": {"target": ["exact"]}, "new": ["new.jsonl"],
        "held_out_share": 0.25,
    }  # fmt: skip
    (tmp_path / "cycle.yaml").write_text(yaml.safe_dump(about), "utf-8")
    return tmp_path


def change(place: Path, **keys: Any) -> None:
    about = yaml.safe_load((place / "cycle.yaml").read_text("utf-8"))
    (place / "cycle.yaml").write_text(yaml.safe_dump(about | keys), "utf-8")


def statuses(done: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["status"] for one in done["steps"]}


def test_three_months_end_on_one_page_and_only_what_passes_is_promoted(place: Path) -> None:
    planned = cycle(place / "cycle.yaml", plan=True, month="2026-01")
    assert [one["status"] for one in planned["steps"]] == ["planned"] * len(STEPS)
    assert not (homes.cycles_dir() / "orders" / "2026-01").exists()

    first = cycle(place / "cycle.yaml", month="2026-01")
    assert (first["promoted"], first["verdict"], first["candidate"]) == (True, "better", "orders@1")
    assert statuses(first) == dict.fromkeys(STEPS, "done") | {"stock": "nothing", "continued": "skipped"}
    assert find_version("orders@production").id == "orders@1"  # type: ignore[union-attr]

    # A month in which people write what must not be learnt: the candidate is worse, and stays out.
    write(place / "new.jsonl", rows(40, 300, "no"))
    change(place, held_out_share=0.0)
    second = cycle(place / "cycle.yaml", month="2026-02")
    assert not second["promoted"] and statuses(second)["gate"] == "stopped" and second["measured"]["whole"]["diff"] <= 0
    assert find_version("orders@production").id == "orders@1"  # type: ignore[union-attr]
    assert second["dataset"] == "orders@2" and second["held_out"] == "orders-test@1"

    # A month without anything new trains nothing, and is on the page all the same.
    third = cycle(place / "cycle.yaml", month="2026-03")
    assert statuses(third)["fresh"] == "skipped" and third["candidate"] is None and not third["promoted"]
    page = Path(third["page"]).read_text("utf-8")
    assert all(month in page for month in ("2026-01", "2026-02", "2026-03")) and "<script" not in page
    assert [one["month"] for one in cycles("orders")] == ["2026-01", "2026-02", "2026-03"]
    assert verbs.log("orders-test")["uses"][-1]["what"] == "evaluation"
    assert cycle(place / "cycle.yaml", month="2026-03") == third  # over is over


def test_new_rows_take_one_road_each_and_old_rows_are_told_from_new_ones(place: Path) -> None:
    write(place / "new.jsonl", [*rows(40, 300, "yes"), *rows(6, 100, "no")])
    done = cycle(place / "cycle.yaml", month="2026-01")
    trained, held = (
        {
            json.loads(line)["origin"]["content"]
            for line in Path(verbs.show(name)["file"]).read_text("utf-8").splitlines()
        }
        for name in ("orders", "orders-test")
    )
    assert not trained & held and len(trained) > 24 and len(held) > 40
    sides = done["measured"]["sides"]
    assert sides["old"]["n"] == 40 and sides["new"]["n"] == len(held) - 40
    # The row that repeats a held-out question was set aside.
    assert read_manifest(Path(done["page"]).parent / "cycle.json")["set_aside"]["orders"]["held-out-row"] >= 1


def test_a_cycle_killed_at_any_step_goes_on_and_ends_the_same(place: Path) -> None:
    class Killed(Exception):
        pass

    for name in STEPS:

        def kill(kind: str, data: Any, at: str = name) -> None:
            if kind == "step" and data == at:
                raise Killed
            if kind == "step" and at == "compare" and isinstance(data, dict) and data["step"] == 4:
                raise Killed  # within the training

        with pytest.raises(Killed):
            cycle(place / "cycle.yaml", month="2026-01", on_event=kill)
    # Whatever the clock says now, the month that was begun is ended first.
    done = cycle(place / "cycle.yaml", month="2027-05")
    assert (done["month"], done["promoted"], done["candidate"]) == ("2026-01", True, "orders@1")
    assert len(list(homes.runs_dir().iterdir())) == 1


def test_a_cycle_started_twice_is_refused_and_a_clock_that_jumped_back_is_named(place: Path) -> None:
    with lock(homes.cycles_dir() / "orders" / "lock", "x"), pytest.raises(SodateError) as busy:
        cycle(place / "cycle.yaml", month="2026-01")
    assert busy.value.code == "in_use"
    change(place, gate={"target": ["exact"], "blocking": ["json"]}, continuation=False)
    done = cycle(place / "cycle.yaml", month="2026-04")
    assert not done["promoted"] and statuses(done)["promote"] == "stopped"
    with pytest.raises(UsageError, match="clock"):
        cycle(place / "cycle.yaml", month="2026-02")


def test_a_year_that_no_calendar_has_is_no_month(place: Path) -> None:
    with pytest.raises(UsageError, match="is not a month"):
        cycle(place / "cycle.yaml", month="0000-05")


@pytest.mark.parametrize(
    ("keys", "param"),
    [({"gate": {}}, "gate"), ({"held_out": "orders"}, "held_out"), ({"colour": 1}, "colour"),
     ({"graders": []}, "graders"), ({"gate": {"target": 5}}, "target"), ({"gate": {"guard": 5}}, "guard"),
     ({"gate": {"guard": {"exact": "high"}}}, "guard"),
     ({"recipe": None}, "recipe"), ({"name": None}, "name"), ({"gate": "a\0b"}, "gate"),
     ({"held_out_share": 1}, "held_out_share"), ({"new": ["gone.jsonl"]}, "new"), ({"promote": "yes"}, "promote")],
)  # fmt: skip
def test_a_file_that_is_not_understood_names_the_key(place: Path, keys: dict[str, Any], param: str) -> None:
    change(place, **keys)
    with pytest.raises(UsageError) as error:
        cycle(place / "cycle.yaml")
    assert error.value.code == "bad_cycle" and error.value.param == param


@pytest.mark.parametrize("keys", [{"graders": ["bogus"]}, {"gate": {"blocking": ["bogus"]}}])
def test_what_a_later_step_would_refuse_is_refused_before_rows_are_added(place: Path, keys: dict[str, Any]) -> None:
    change(place, **keys)
    write(place / "new.jsonl", rows(4, 200, "no"))
    with pytest.raises(UsageError, match="no grader 'bogus'"):
        cycle(place / "cycle.yaml")
    assert verbs.show("orders")["dataset"] == "orders@1"


def test_what_was_used_after_the_last_cycle_is_in_the_next_ones_stock(place: Path) -> None:
    recording.change("default", {"mode": "on"})
    change(place, project="default", continuation=False)
    cycle(place / "cycle.yaml", month="2024-10")
    file = homes.cycles_dir() / "orders" / "2024-10" / "cycle.json"
    write_json(file, {**read_manifest(file), "created_at": "2024-10-28T02:00:00+00:00"})
    for number, day in enumerate((23, 24, 27, 28)):  # 27, 28 and 31 October, 1 November
        keep(exchange(f"chatcmpl-{number}", created_at=TODAY + day * DAY))
    assert cycle(place / "cycle.yaml", month="2024-11")["stock"]["exchanges"] == 3


def test_what_no_person_reviewed_is_not_trained_on_unless_the_file_says_so(place: Path) -> None:
    write(place / "new.jsonl", rows(12, 300, "yes", origin={"exchange": "resp_1"}))
    change(place, held_out_share=0.0, promote=False)
    done = cycle(place / "cycle.yaml", month="2026-01")
    assert done["dataset"] == "orders@1" and not done["promoted"] and statuses(done)["gate"] == "done"
    change(place, unreviewed=True)
    assert cycle(place / "cycle.yaml", month="2026-02")["dataset"] == "orders@2"


def test_the_change_of_a_rate_has_newcombes_interval() -> None:
    # The example of Newcombe (1998), table II, method 10: 56/70 - 48/80 = 0.2, 0.0524 to 0.3339.
    assert difference_ci(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=1e-4)
