"""A running service follows its alias: no request fails, every reply is that of the version it names."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sodate
from sodate.api import following, late
from sodate.api.answering import Ask, Piece, Served, Service
from sodate.api.loading import load
from sodate.api.releasing import check_gate, meaning, promote, release_log, rollback, start_canary
from sodate.api.serving import open_service
from sodate.core.engine import Sampling
from sodate.core.errors import SodateError
from sodate.core.types import Message
from sodate.release import aliases
from sodate.release.registry import delete, find_version, register
from tests import farm as farms
from tests.versions import register_orders

MOVES = 20  # 500 pass as well, in a minute
QUESTION = [Message("user", "Dear shop, please send 12 apples to our office.")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with orders@1 to orders@3, adapters over one base, and whole@1 with weights of its own."""
    farm = farms.plant(tmp_path_factory.mktemp("farm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(farm.home))
        patch.setenv("SODATE_LANG", "en")
        about, template = register_orders(farm)
        register("whole", about, template, lambda folder: shutil.copytree(farm.folder, folder / "model"))
        yield farm.home


@pytest.fixture
def service(home: Path) -> Iterator[Service]:
    shutil.rmtree(home / "aliases", ignore_errors=True)
    promote("orders@1", "live", override="the first", by="a test")
    opened = open_service(["live"])
    yield opened
    opened.close()


def greedy(version: str, tokens: int) -> str:
    model = load(version)
    (made,) = model.replies([QUESTION], Sampling(max_new_tokens=tokens))
    return model.renderer.decode(made.ids)


async def answer(service: Service, served: Served, tokens: int) -> str:
    ask = Ask(served, served.renderer.prompt(QUESTION), Sampling(max_new_tokens=tokens))
    return "".join([piece.text async for piece in service.reply(ask) if isinstance(piece, Piece)])


def until(true: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_promotions_and_rollbacks_under_load_fail_no_request(service: Service) -> None:
    said = {version: greedy(version, 6) for version in ("orders@1", "orders@2")}
    assert len(set(said.values())) == 2
    seen: list[tuple[str, str]] = []
    moving = True

    async def client() -> None:
        while moving or len(seen) < 8:
            served = service.find("live")
            seen.append((served.id, await answer(service, served, 6)))

    async def clients() -> None:
        await asyncio.gather(*(client() for _ in range(4)))

    thread = threading.Thread(target=lambda: asyncio.run(clients()))
    thread.start()
    try:
        for _ in range(MOVES // 2):
            promote("orders@2", "live", override="r", by="b")
            until(lambda: service.find("live").id == "orders@2")
            rollback("live")
            until(lambda: service.find("live").id == "orders@1")
    finally:
        moving = False
        thread.join(60)
    assert {version for version, _ in seen} <= set(said)
    assert all(text == said[version] for version, text in seen)


def test_a_reply_under_way_ends_on_the_version_it_began_with(service: Service) -> None:
    whole = greedy("orders@1", 60)

    async def talk() -> str:
        ask = Ask(service.find("live"), service.find("live").renderer.prompt(QUESTION), Sampling(max_new_tokens=60))
        text = ""
        async for piece in service.reply(ask):
            if isinstance(piece, Piece):
                if not text:
                    promote("orders@3", "live", override="r", by="b")
                    await asyncio.to_thread(until, lambda: service.find("live").id == "orders@3")
                text += piece.text
        return text

    assert asyncio.run(talk()) == whole
    assert asyncio.run(answer(service, service.find("live"), 8)) == greedy("orders@3", 8)


def test_a_version_with_its_own_weights_gets_its_own_engine_and_goes_when_nothing_leads_to_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote("whole@1", "live", override="r", by="b")
    until(lambda: service.find("live").id == "whole@1")
    assert asyncio.run(answer(service, service.find("live"), 8)) == greedy("whole@1", 8)
    assert len(service.engines) == 2
    whole = find_version("whole@1")
    assert whole is not None
    with pytest.raises(SodateError, match="in use"):
        delete(whole)
    monkeypatch.setattr(following, "GRACE", 0.0)
    for version in ("orders@2", "orders@3"):  # now a rollback leads to orders@2
        promote(version, "live", override="r", by="b")
        until(lambda version=version: service.find("live").id == version)
    until(lambda: "whole@1" not in service.names and len(service.engines) == 1)
    assert {"orders@2", "orders@3", "live"} <= set(service.names)


def test_a_version_that_cannot_be_loaded_leaves_the_one_before_answering(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    aliases.move("live", "promote", "orders@9")  # as if somebody had taken it away by hand
    until(lambda: "moved to orders@9, which could not be loaded" in caplog.text)
    assert service.find("live").id == "orders@1"
    promote("orders@2", "live", override="r", by="b")
    until(lambda: service.find("live").id == "orders@2")


def test_a_canary_answers_its_share_and_is_aborted_by_the_service_that_sees_it_fail(service: Service) -> None:
    start_canary("orders@2", "live", share=0.5, override="a try", by="a test")
    until(lambda: service.canaries)
    people = [f"user {n}" for n in range(40)]
    sides = {who: service.find("live", who).id for who in people}
    assert set(sides.values()) == {"orders@1", "orders@2"}
    assert sides == {who: service.find("live", who).id for who in people}
    assert service.find("live").id == "orders@1"  # who is nobody stays where the alias is
    mine = next(who for who in people if sides[who] == "orders@2")
    assert asyncio.run(answer(service, service.find("live", mine), 6)) == greedy("orders@2", 6)
    assert meaning("live")["canary"] == "orders@2"

    async def failing() -> None:
        served = service.find("live", mine)
        task = asyncio.create_task(answer(service, served, 2000))
        while not task.done():  # from its first moment on: a tiny model has soon said all it may
            served.engine.end_all("engine_failed")
            await asyncio.sleep(0.001)
        with pytest.raises(SodateError):
            await task

    asyncio.run(failing())
    until(lambda: not service.canaries and release_log("live")[-1]["kind"] == "abort")
    last = release_log("live")[-1]
    assert (last["kind"], last["version"], last["canary_version"]) == ("abort", "orders@1", "orders@2")
    assert last["by"] == "sodate serve" and "1 of 2 requests failed" in last["reason"]
    assert last["figures"]["orders@2"]["requests"] == 2
    assert {service.find("live", who).id for who in people} == {"orders@1"}


def test_a_canary_of_which_nothing_is_known_or_that_cannot_be_loaded_is_aborted(service: Service) -> None:
    start_canary("orders@2", "live", patience=0.5, override="a try", by="a test")
    until(lambda: release_log("live")[-1]["kind"] == "abort")
    assert "No figures" in release_log("live")[-1]["reason"] and not service.canaries
    aliases.move("live", "canary", "orders@9", canary={"share": 0.5})
    until(lambda: release_log("live")[-1]["kind"] == "abort")
    assert "could not be loaded" in release_log("live")[-1]["reason"]
    start_canary("orders@3", "live", override="a try", by="a test")
    until(lambda: service.canaries)
    promote("orders@3", "live", override="well", by="a test")
    until(lambda: service.find("live").id == "orders@3" and not service.canaries)


def test_what_an_evaluation_measured_is_what_the_gate_reads_and_an_alias_is_a_model(home: Path, tmp_path: Path) -> None:
    shutil.rmtree(home / "aliases", ignore_errors=True)
    rows = farms.write_rows(tmp_path / "held.jsonl", [farms.order(n) for n in range(71, 79)])
    (tmp_path / "gate.yaml").write_text("baseline: seedling\ndata: held.jsonl\nguard: {exact: 1}\ntarget: [exact]\n")
    assert not check_gate("orders@1", tmp_path / "gate.yaml")["passes"]  # nothing was measured yet
    done = sodate.evaluate(["orders@1"], rows, ["exact"], baseline="seedling", max_new_tokens=4)
    assert {"report.html", "handout.html", "rows.csv", "result.json"} <= {p.name for p in done.report.parent.iterdir()}
    record = check_gate("orders@1", tmp_path / "gate.yaml")
    tiers = {row["tier"]: row for row in record["tiers"]}
    assert tiers["guard"]["passes"] and tiers["guard"]["ci"] is not None  # both are always wrong
    assert not tiers["target"]["passes"] and not record["passes"]
    assert record["reports"] == [str(done.report.parent)] and record["looks"] == 1
    assert "Not measured" in check_gate("orders@2", tmp_path / "gate.yaml")["tiers"][0]["why"]
    (tmp_path / "guard.yaml").write_text("baseline: seedling\ndata: held.jsonl\nguard: {exact: 1}\n")
    assert promote("orders@1", "orders@production", gate=tmp_path / "guard.yaml")["override"] is False
    assert load("orders@production").files.name == "orders@1"
    again = sodate.evaluate(["orders@production"], rows, ["exact"], baseline="seedling", max_new_tokens=4, limit=2)
    assert list(again.result.replies) == ["seedling", "orders@production"]
    assert sodate.decide("orders@production", rows, options="a,b")["version"] == "orders@1"


def test_versions_that_came_late_go_when_others_want_their_place_and_come_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "MOST", 1)
    said = {version: greedy(version, 6) for version in ("orders@2", "whole@1")}
    two, whole = find_version("orders@2"), find_version("whole@1")
    assert two and whole
    service.find_late("orders@2")
    service.find_late("whole@1")  # nobody lets go of one that was asked for a moment ago
    assert set(service.late.served) == {"orders@2", "whole@1"} and len(service.engines) == 2

    monkeypatch.setattr(late, "IDLE", 0.0)
    service.find_late("orders@3")
    assert set(service.late.served) == {"orders@3"} and len(service.engines) == 1
    assert asyncio.run(answer(service, service.find("live"), 6)) == greedy("orders@1", 6)
    for version in ("orders@2", "whole@1"):
        assert asyncio.run(answer(service, service.find_late(version), 6)) == said[version]
    with pytest.raises(SodateError, match="in use"):
        delete(whole)


def test_a_late_version_that_still_answers_stays(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "MOST", 1)
    monkeypatch.setattr(late, "IDLE", 0.0)

    async def talk() -> str:
        ask = Ask(
            served := service.find_late("orders@2"), served.renderer.prompt(QUESTION), Sampling(max_new_tokens=40)
        )
        text = ""
        async for piece in service.reply(ask):
            if isinstance(piece, Piece):
                if not text:
                    await asyncio.to_thread(service.find_late, "orders@3")
                    assert set(service.late.served) == {"orders@2", "orders@3"}
                text += piece.text
        return text

    assert asyncio.run(talk()) == greedy("orders@2", 40)
