"""What is steered on the pages: promotions, canaries, gates, evaluations and trainings, each as on the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sodate.cli import app
from sodate.release import aliases
from tests.serve.house import entered, house_of, token
from tests.serve.running import Running


@pytest.fixture(scope="module")
def house(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, Any]]]:
    with house_of(tiny_folder, tmp_path_factory.mktemp("steering")) as one:
        yield one


def test_two_people_who_promote_the_same_alias_are_told_of_each_other(house: tuple[Running, dict[str, Any]]) -> None:
    server, made = house
    first, second = entered(server, "steer", name="aoki"), entered(server, "steer", name="baba")
    path = f"/versions/{made['versions'][1]}/promote"
    form = {"alias": "two@production", "reason": "it is better", "seen": []}
    done = first.post(path, data=form | {"csrf": token(first)})
    late = second.post(path, data=form | {"csrf": token(second)})
    assert done.status_code == 303 and late.status_code == 409 and "aoki" in late.text
    assert [move["by"] for move in aliases.moves("two@production")] == ["aoki"]
    moved = len(aliases.moves("two@production"))
    stale = second.post(path, data=form | {"csrf": token(second), "seen": [f"{moved - 1}:two@production"]})
    fresh = second.post(path, data=form | {"csrf": token(second), "seen": [f"{moved}:two@production"]})
    assert (stale.status_code, fresh.status_code) == (409, 303)
    none = second.post(path, data=form | {"csrf": token(second), "seen": ["9" * 5000 + ":two@production"]})
    assert none.status_code == 409
    back = {"alias": "two@production", "seen": str(moved), "reason": "worse", "csrf": token(first)}
    assert first.post("/versions/rollback", data=back).status_code == 409


def test_a_move_without_a_reason_is_refused(house: tuple[Running, dict[str, Any]]) -> None:
    server, made = house
    client = entered(server, "steer")
    form = {"alias": "why@production", "reason": "  ", "csrf": token(client)}
    assert client.post(f"/versions/{made['versions'][1]}/promote", data=form).status_code == 400
    assert aliases.moves("why@production") == []


def test_a_canary_begins_is_widened_by_the_same_limits_and_ends_each_with_its_reason(
    house: tuple[Running, dict[str, Any]],
) -> None:
    server, made = house
    first, second = made["versions"]
    client = entered(server, "steer", name="aoki")
    csrf = {"csrf": token(client), "alias": "canary@production"}
    assert client.post(f"/versions/{first}/promote", data=csrf | {"reason": "the first"}).status_code == 303
    path = f"/versions/{second}/canary"
    for wrong in (
        {"percent": "10", "reason": " "},
        {"percent": "0", "reason": "why"},
        {"percent": "100", "reason": "w"},
    ):
        assert client.post(path, data=csrf | {"seen": "1:canary@production"} | wrong).status_code == 400
    begun = client.post(path, data=csrf | {"percent": "10", "reason": "try it", "seen": "1:canary@production"})
    stale = client.post(path, data=csrf | {"percent": "30", "reason": "more", "seen": "1:canary@production"})
    assert (begun.status_code, stale.status_code) == (303, 409) and "answer a share" in stale.text
    wider = client.post(path, data=csrf | {"percent": "30", "reason": "more", "seen": "2:canary@production"})
    assert wider.status_code == 303 and "30" in client.get("/versions").text
    ended = client.post("/versions/abort", data=csrf | {"seen": "3", "reason": "slow"})
    again = client.post("/versions/abort", data=csrf | {"seen": "4", "reason": "slow"})
    assert ended.status_code == 303 and again.status_code >= 400
    moves = aliases.moves("canary@production")[1:]
    assert [(one["kind"], one["reason"], one["by"]) for one in moves] == [
        ("canary", "try it", "aoki"), ("canary", "more", "aoki"), ("abort", "slow", "aoki")]  # fmt: skip
    assert [one["canary"]["share"] for one in moves[:2]] == [0.1, 0.3]
    assert entered(server, "look").post(path, data=csrf).status_code == 403


def test_a_gate_is_kept_under_a_name_and_a_version_that_was_not_measured_does_not_pass_it(
    house: tuple[Running, dict[str, Any]],
) -> None:
    server, made = house
    version = made["versions"][1]
    client = entered(server, "steer", name="aoki")
    form = {"csrf": token(client), "data": "kept-out@1", "baseline": made["versions"][0], "margin": "3"}
    new = f"/versions/{version}/gate/new"
    for wrong in ({"name": "../gate"}, {"name": "empty", "asks:exact": ""}, {"name": "m", "margin": "x"},
                  {"name": "gone", "data": "file-" + "a" * 24}):  # fmt: skip
        assert client.post(new, data=form | {"asks:exact": "target"} | wrong).status_code in (400, 404), wrong
    asked = {"name": "mails", "asks:exact": "target", "asks:tone_ja": "guard", "asks:json": "blocking"}
    assert client.post(new, data=form | asked).status_code == 303
    assert client.post(new, data=form | asked | {"asks:json": ""}).status_code == 400  # the name is taken
    (kept,) = [
        one for one in client.get(f"/v1/sodate/versions/{version}/gate").json()["gates"] if one["gate"] == "mails"
    ]
    assert (kept["target"], kept["guard"], kept["blocking"]) == (["exact"], {"tone_ja": 0.03}, ["json"])
    done = client.post(f"/versions/{version}/gate", data={"csrf": form["csrf"], "gate": "mails"})
    assert done.status_code == 303
    record = client.get(f"/v1/sodate/versions/{version}").json()["version"]["gate"]
    assert not record["passes"] and [one["passes"] for one in record["tiers"]] == [False] * 3
    by_command = CliRunner().invoke(app, ["gate", "check", version, "--gate", "mails", "--json"])
    assert json.loads(by_command.stdout)["tiers"] == record["tiers"]
    refused = client.post(f"/versions/{version}/promote", data={**form, "alias": "gated@production", "reason": "r"})
    assert refused.status_code == 400 and "the gate mails" in refused.text


def test_an_evaluation_is_asked_for_watched_and_taken_back(house: tuple[Running, dict[str, Any]]) -> None:
    server, made = house
    client = entered(server, "steer", name="aoki")
    form = {"csrf": token(client), "version": made["versions"][1], "against": made["versions"][0],
            "data": "kept-out@1", "grader": ["exact", "tone_ja"], "limit": "2"}  # fmt: skip
    for wrong in ({"version": "nobody@1"}, {"grader": "python:/etc/passwd"}, {"data": "file-" + "a" * 24},
                  {"data": "nobody@7"}):  # fmt: skip
        assert client.post("/reports/new", data=form | wrong).status_code in (400, 404), wrong
    answer = client.post("/reports/new", data=form)
    assert answer.status_code == 303
    where = answer.headers["location"]
    told = client.get(f"/v1/sodate{where}").json()["one"]
    assert (told["status"], told["by"], told["limit"]) == ("queued", "aoki", 2)
    assert told["models"] == made["versions"] and told["graders"] == ["exact", "tone_ja"]
    assert told["evaluation"] in [one["evaluation"] for one in client.get("/v1/sodate/reports").json()["running"]]
    assert entered(server, "own", project="shop").get(where).status_code == 404
    assert client.post(f"{where}/cancel", data={"csrf": form["csrf"]}).status_code == 303
    assert client.get(f"/v1/sodate{where}").json()["one"]["status"] == "cancelled"
    assert entered(server, "look").post("/reports/new", data=form).status_code == 403


def test_training_is_asked_for_on_the_page_of_a_file_and_taken_back(house: tuple[Running, dict[str, Any]]) -> None:
    server, _ = house
    client = entered(server, "steer", name="新人")
    csrf = re.search(r'data-csrf="([0-9a-f]{64})"', client.get("/data").text)[1]
    rows = [{"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}"}]}
            for n in range(12)]  # fmt: skip
    body = "".join(json.dumps(row) + "\n" for row in rows)
    files = {"file": ("mails.jsonl", body), "purpose": (None, "fine-tune")}
    assert client.post("/v1/files", files=files).status_code == 403  # without the token of the session
    sent = client.post("/v1/files", files=files, headers={"x-csrf-token": csrf}).json()
    form = {"csrf": csrf, "model": "orders", "method": "supervised", "epochs": "2", "name": "first"}
    assert client.post(f"/data/{sent['id']}/train", data=form | {"epochs": "99"}).status_code == 400
    assert client.post(f"/data/{sent['id']}/train", data=form).status_code == 303
    (job,) = client.get("/v1/sodate/data").json()["jobs"]
    assert job["training_file"] == sent["id"] and job["method"]["supervised"]["hyperparameters"]["n_epochs"] == 2
    foreign = entered(server, "steer", project="shop")
    stolen = foreign.post(f"/data/jobs/{job['id']}/cancel", data={"csrf": token(foreign)})
    assert stolen.status_code == 404 and foreign.get(f"/data/{sent['id']}").status_code == 404
    assert client.post(f"/data/jobs/{job['id']}/cancel", data={"csrf": csrf}).status_code == 303
    assert client.get("/v1/sodate/data").json()["jobs"] == []
