"""Gates let through what was measured and passed; an alias moves in one line, never forgets, and goes back."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest

from sodate.api.releasing import (
    abort_canary,
    check_gate,
    meaning,
    promote,
    release_log,
    rollback,
    start_canary,
)
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import sha256_file, write_json
from sodate.release import aliases
from sodate.release.lookup import identity, look_up
from sodate.release.registry import Version, delete, find_version, register

ABOUT: dict[str, Any] = {"base": "none", "recipe": {"method": "sft"}, "data": {"rows_used": 3}}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SODATE_LANG", "en")
    return tmp_path / "home"


def make(name: str = "orders", weights: bytes = b"weights") -> Version:
    def write(folder: Path) -> None:
        (folder / "model").mkdir()
        (folder / "model" / "model.safetensors").write_bytes(weights)

    return register(name, ABOUT, "{{ messages }}", write)


def report(
    home: Path, version: str, baseline: str, *, n: int = 200, number: int = 1, failures: int = 0,
    ci: tuple[float, float] = (0.02, 0.1), verdict: str = "better", data: Path | None = None, limit: int | None = None,
) -> None:  # fmt: skip
    """What an evaluation leaves behind, with one grader for every tier."""
    rows = [{"model": "new", "grader": "exact", "mean": 1 - failures / n, "ci": [0, 1], "failures": failures}]
    compared = {"candidate": "new", "baseline": "old", "grader": "exact", "diff": sum(ci) / 2, "ci": list(ci)}
    write_json(home / "reports" / f"{number}" / "result.json", {
        "schema_version": 1, "n": n, "results": rows, "comparisons": [{**compared, "verdict": verdict}],
        "measured": {"new": version, "old": baseline},
        "bytes": {"new": identity(version), "old": identity(baseline)},
        "data": {"file": "held.jsonl", "sha256": sha256_file(data) if data else "0", "limit": limit},
    })  # fmt: skip


def gate(path: Path, **tiers: Any) -> Path:
    path.write_text(json.dumps(tiers))
    return path


ALL = {"blocking": ["exact"], "target": ["exact"], "guard": {"exact": 0.03}}


def test_a_version_passes_a_gate_when_every_tier_does(home: Path, tmp_path: Path) -> None:
    old, new = make(), make(weights=b"better")
    report(home, new.id, old.id)
    record = check_gate("orders@2", gate(tmp_path / "gate.yaml", baseline="orders@1", **ALL))
    assert record["passes"] and record["version"] == "orders@2" and record["looks"] == 1
    blocking, target, guard = record["tiers"]
    assert set(blocking) == {"tier", "metric", "value", "ci", "passes", "why", "said"}
    assert blocking["value"] == 0 and blocking["ci"][1] == pytest.approx(3 / 200, rel=0.01)  # the rule of three
    assert "1.5 % (3/n)" in blocking["why"]
    assert target["value"] == pytest.approx(0.06) and guard["ci"] == [0.02, 0.1]


@pytest.mark.parametrize(
    ("found", "failing"),
    [
        ({"failures": 1}, {"blocking"}),
        ({"verdict": "inconclusive", "ci": (-0.01, 0.1)}, {"target"}),  # not a pass
        ({"verdict": "equivalent", "ci": (-0.01, 0.02)}, {"target"}),
        ({"verdict": "inconclusive", "ci": (-0.03, 0.1)}, {"target", "guard"}),  # worse by the margin is possible
        ({"verdict": "worse", "ci": (-0.2, -0.1)}, {"target", "guard"}),
    ],
)
def test_what_does_not_pass_a_tier(home: Path, tmp_path: Path, found: dict[str, Any], failing: set[str]) -> None:
    old, new = make(), make(weights=b"other")
    report(home, new.id, old.id, **found)
    record = check_gate(new.id, gate(tmp_path / "gate.yaml", baseline=old.id, **ALL))
    assert not record["passes"]
    assert {row["tier"] for row in record["tiers"] if not row["passes"]} == failing


def test_only_exactly_these_bytes_and_this_file_count_as_measured(home: Path, tmp_path: Path) -> None:
    old, new, other = make(), make(weights=b"new"), make(weights=b"another")
    held = tmp_path / "held.jsonl"
    held.write_text("{}\n")
    asked = gate(tmp_path / "gate.yaml", baseline=old.id, data="held.jsonl", target=["exact"])
    report(home, other.id, old.id, data=held)
    record = check_gate(new.id, asked)
    assert "Not measured" in record["tiers"][0]["why"]
    command = f"sodate eval {new.id} --baseline {old.id} --data held.jsonl --grader exact"
    assert record["measure"] == command
    with pytest.raises(SodateError) as caught:
        promote(new.id, "live", gate=asked)
    assert command in str(caught.value.fix)
    report(home, new.id, old.id, data=held, limit=5)  # some of its rows
    assert not check_gate(new.id, asked)["passes"]
    report(home, new.id, old.id, data=held, number=2)
    record = check_gate(new.id, asked)
    assert record["passes"] and record["looks"] == 2 and record["measure"] == ""
    held.write_text("{} \n")
    assert not check_gate(new.id, asked)["passes"]
    assert not check_gate(new.id, gate(tmp_path / "gate.yaml", baseline=old.id, target=["label"]))["passes"]


def test_the_newest_report_counts_not_the_luckiest(home: Path, tmp_path: Path) -> None:
    old, new = make(), make(weights=b"new")
    asked = gate(tmp_path / "gate.yaml", baseline=old.id, target=["exact"])
    report(home, new.id, old.id, number=1)
    report(home, new.id, old.id, number=2, verdict="inconclusive")
    assert not check_gate(new.id, asked)["passes"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "a: [", "target: [exact]", "baseline: x\nguard: {exact: 2}", "blocking: exact", "tiers: {}", "{}"],
)
def test_a_gate_that_is_not_understood_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    make()
    (tmp_path / "gate.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"gate\.yaml") as caught:
        check_gate("orders@1", tmp_path / "gate.yaml")
    assert caught.value.code == "bad_gate"


def test_an_alias_moves_to_what_passed_and_back(home: Path, tmp_path: Path) -> None:
    old, new = make(), make(weights=b"new")
    with pytest.raises(SodateError, match="not held against a gate") as caught:
        promote("orders@1", "orders@production")
    assert caught.value.code == "gate_not_passed" and caught.value.exit_code == 1
    first = promote("orders@1", "orders@production", override="the first one", by="Aoki")
    assert first["override"] and (first["by"], first["reason"]) == ("Aoki", "the first one")
    report(home, new.id, old.id)
    asked = gate(tmp_path / "gate.yaml", baseline="orders@production", target=["exact"])
    done = promote("orders@2", "orders@production", gate=asked)
    assert (done["version"], done["before"], done["override"]) == ("orders@2", "orders@1", False)
    assert find_version("orders@production") == new and look_up("orders@production").name == "orders@2"
    began = time.perf_counter()
    assert rollback("orders@production", by="Baba")["version"] == "orders@1"
    assert time.perf_counter() - began < 1
    assert find_version("orders@production") == old
    kinds = [(move["kind"], move["version"], move["by"]) for move in release_log("orders@production")]
    assert kinds[0] == ("promote", "orders@1", "Aoki") and kinds[-1] == ("rollback", "orders@1", "Baba")
    for _ in range(2):  # as a script does that tries again
        promote("orders@2", "orders@production", override="again", by="Aoki")
    assert rollback("orders@production")["version"] == "orders@1"
    with pytest.raises(SodateError, match="meant no other version before") as caught:
        rollback("orders@production")
    assert caught.value.code == "nothing_to_roll_back"
    assert promote("orders@2", "orders@production")["before"] == "orders@1"  # its last check still holds


def test_a_failed_check_is_forgotten_by_a_later_one_only(home: Path, tmp_path: Path) -> None:
    old, new = make(), make(weights=b"new")
    asked = gate(tmp_path / "gate.yaml", baseline=old.id, target=["exact"])
    report(home, new.id, old.id, verdict="inconclusive")
    with pytest.raises(SodateError, match=r"did not pass the gate .*target exact: These rows cannot tell"):
        promote(new.id, "live", gate=asked)
    with pytest.raises(SodateError, match="did not pass"):
        promote(new.id, "live")
    assert aliases.target("live") is None and aliases.list_aliases() == []
    report(home, new.id, old.id, number=2)
    check_gate(new.id, asked)
    assert promote(new.id, "live")["version"] == new.id


def test_changed_bytes_are_not_released(home: Path) -> None:
    version = make()
    (version.path / "model" / "model.safetensors").write_bytes(b"changed")
    with pytest.raises(SodateError, match="is not what was registered"):
        promote(version.id, "live", override="hurry", by="Aoki")
    assert aliases.moves("live") == []


@pytest.mark.parametrize("name", ["a/b", "../up", "orders@7", "", "x" * 65, "a@b@c", "@production"])
def test_a_name_that_could_be_a_path_or_a_version_is_no_alias(name: str) -> None:
    make()
    with pytest.raises(UsageError) as caught:
        promote("orders@1", name, override="r", by="b")
    assert caught.value.code == "bad_name"
    with pytest.raises(UsageError):
        release_log(name)


def test_aliases_and_versions_have_different_names(home: Path) -> None:
    make()
    with pytest.raises(UsageError, match="name of versions"):
        promote("orders@1", "orders", override="r", by="b")
    promote("orders@1", "live", override="r", by="b")
    with pytest.raises(UsageError, match="live is an alias"):
        make("live")
    with pytest.raises(UsageError, match="needs a name"):
        promote("orders@1", "live", override="r")


def test_a_version_that_an_alias_means_or_may_go_back_to_is_kept(home: Path) -> None:
    first, second, third = make(), make(weights=b"2"), make(weights=b"3")
    for version in (first, second, third):
        promote(version.id, "live", override="r", by="b")
    for version in (third, second):
        with pytest.raises(SodateError, match="in use: live") as caught:
            delete(version)
        assert caught.value.code == "in_use"
    delete(first)
    assert find_version("live") == third


def test_a_line_that_a_full_disk_cut_off_is_no_move_and_spoils_none(home: Path) -> None:
    make()
    make(weights=b"2")
    promote("orders@1", "live", override="r", by="b")
    log = home / "aliases" / "live" / "log.jsonl"
    with log.open("a") as handle:
        handle.write('{"version": "orders@9", "kind": "pro')
    assert aliases.target("live") == "orders@1"
    promote("orders@2", "live", override="r", by="b")
    assert aliases.stack("live") == ["orders@1", "orders@2"]


def _promote_often(home: str, number: int) -> None:
    os.environ["SODATE_HOME"] = home
    for _ in range(20):
        promote(f"orders@{number}", "live", override="r", by=str(number))


def test_two_who_promote_at_once_lose_no_move(home: Path) -> None:
    make()
    make(weights=b"2")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sodate.api.releasing"])
    processes = [context.Process(target=_promote_often, args=(str(home), number)) for number in (1, 2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    made = release_log("live")
    assert len(made) == 40
    assert [move["before"] for move in made] == [None, *(move["version"] for move in made[:-1])]


def test_a_canary_is_a_line_in_the_log_and_leaves_what_the_alias_means() -> None:
    old, new = make(), make(weights=b"new")
    with pytest.raises(UsageError, match="no alias"):
        start_canary(new.id, "live", override="a try", by="Mio")
    promote(old.id, "live", override="the first", by="Mio")
    with pytest.raises(SodateError, match="not held against a gate"):
        start_canary(new.id, "live")
    with pytest.raises(UsageError, match="means orders@1 already"):
        start_canary(old.id, "live", override="a try", by="Mio")
    line = start_canary(new.id, "live", share=0.2, override="a try", by="Mio")
    assert (line["kind"], line["version"], line["before"], line["canary"]["share"]) == ("canary", new.id, old.id, 0.2)
    assert meaning("live") == {"version": old.id, "canary": new.id} and find_version("live") == old
    with pytest.raises(SodateError, match="in use"):
        delete(new)
    ended = abort_canary("live", reason="odd replies", by="Ken")
    assert (ended["kind"], ended["version"], ended["canary_version"]) == ("abort", old.id, new.id)
    with pytest.raises(SodateError, match="no canary"):
        abort_canary("live")
    start_canary(new.id, "live", override="again", by="Mio")
    assert rollback("live")["kind"] == "abort" and meaning("live") == {"version": old.id, "canary": None}
    start_canary(new.id, "live", override="again", by="Mio")
    promote(new.id, "live", override="well", by="Mio")
    assert meaning("live") == {"version": new.id, "canary": None}
    assert rollback("live")["version"] == old.id
    assert [move["kind"] for move in release_log("live")] == [
        "promote", "canary", "abort", "canary", "abort", "canary", "promote", "rollback",
    ]  # fmt: skip
