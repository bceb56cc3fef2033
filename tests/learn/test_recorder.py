"""What is kept of what is served: scrubbed, or not at all, and never in the way of who answers."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from sodate.core.errors import UsageError
from sodate.core.types import Message, ToolCall
from sodate.db import connection
from sodate.learn import keeping, logs, recorder, recording
from sodate.learn.recorder import Recorder
from tests.learn.made import exchange

CANARY = "canary-4242@example.jp"
MY_NUMBER = "123456789018"  # its check digit is right
PHONE = "090-1234-5678"


def recorded(count: int = 1, **changes: Any) -> tuple[Recorder, Counter[str]]:
    """A recorder that has been given so many exchanges and has dealt with them."""
    outcomes: Counter[str] = Counter()
    made = Recorder(lambda outcome, number: outcomes.update({outcome: number}))
    for number in range(count):
        made.put(exchange(f"chatcmpl-{number}", **changes))
    assert made.flush(20)
    return made, outcomes


def test_nothing_is_kept_of_a_project_that_did_not_ask_for_it(home: Path) -> None:
    made, outcomes = recorded()
    made.close()
    assert logs.listed()["exchanges"] == [] and not outcomes


def test_recording_begins_when_it_is_set_while_the_server_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "RULES_SECONDS", 0.05)
    made = Recorder()
    assert not made.wants("default", "chatcmpl-0")
    recording.change("default", {"mode": "on"})
    end = time.monotonic() + 20
    while not made.wants("default", "chatcmpl-0"):  # nothing is put, for nothing is wanted yet
        assert time.monotonic() < end
        time.sleep(0.01)
    made.close()


def test_an_exchange_is_kept_with_all_that_is_known_of_it(home: Path) -> None:
    recording.change("default", {"mode": "on"})
    made, outcomes = recorded(user="taro", session="s1", passages=({"file": "faq.md", "place": "2"},), grounded=True)
    made.close()
    told = logs.show("chatcmpl-0")
    assert outcomes == {"kept": 1}
    assert told["messages"] == [{"role": "user", "content": "How long does delivery take?"}]
    assert told["replies"] == [{"role": "assistant", "content": "Two days."}]
    assert (told["version"], told["confidence"], told["latency_ms"]) == ("orders@1", 0.9, 100)
    assert (told["prompt_tokens"], told["reply_tokens"]) == (9, 3)
    assert told["passages"] == [{"file": "faq.md", "place": "2"}]
    assert told["user"].startswith("u_") and told["session"].startswith("s_")


@pytest.mark.parametrize("part", ["question", "reply", "system", "arguments", "escaped", "name"])
def test_no_personal_data_reaches_the_disk_wherever_it_stands(home: Path, part: str) -> None:
    planted = f"山田太郎様 {CANARY} {PHONE} マイナンバー {MY_NUMBER}"
    call = ToolCall("call_1", "send", '{"to": "' + planted + '"}')
    escaped = '{"to": "' + planted.replace("@", "\\u0040").replace("1", "\\u0031") + '"}'
    changes: dict[str, Any] = {
        "question": {"question": planted},
        "reply": {"reply": planted},
        "system": {"messages": (Message("system", planted), Message("user", "Hello."))},
        "arguments": {"replies": (Message("assistant", "", (call,)),)},
        "escaped": {"replies": (Message("assistant", escaped),)},
        "name": {"messages": (Message("user", "Hello.", name=CANARY),)},
    }
    recording.change("default", {"mode": "on"})
    made, outcomes = recorded(user=CANARY, session=CANARY, **changes[part])
    made.close()
    assert outcomes == {"kept": 1}
    told = json_of(logs.show("chatcmpl-0")) + on_disk(home)
    for text in (CANARY, "canary-4242", PHONE, "1234-5678", MY_NUMBER):
        assert text not in told


def json_of(value: Any) -> str:
    from sodate.core.text import json_text

    return json_text(value)


def on_disk(home: Path) -> str:
    """Everything under SODATE_HOME, also as it reads without the escapes of JSON."""
    raw = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file()).decode("utf-8", "replace")
    return raw + re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), raw)


def test_a_projects_own_words_are_scrubbed_in_every_width_and_case(home: Path) -> None:
    recording.change("default", {"mode": "on", "words": ("Project Falcon", "髙松商事", "ヤマダ")})
    made, _ = recorded(question="ＰＲＯＪＥＣＴ　falcon と高松商事と ﾔﾏﾀﾞ の件", reply="project falcon")
    made.close()
    told = logs.show("chatcmpl-0")
    text = told["messages"][0]["content"] + told["replies"][0]["content"]
    assert not any(word in text.lower() for word in ("falcon", "ｆａｌｃｏｎ", "商事", "ﾔﾏﾀﾞ", "ヤマダ"))


def test_a_scrubber_that_fails_drops_and_counts_and_nothing_is_kept_raw(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording.change("default", {"mode": "on"})
    monkeypatch.setattr("sodate.learn.scrubbing.mask.mask_cells", lambda cells, names: 1 / 0)
    made, outcomes = recorded(3, question="raw-words-of-a-person")
    monkeypatch.undo()
    monkeypatch.setenv("SODATE_HOME", str(home))
    made.put(exchange("chatcmpl-later"))
    made.close()
    assert outcomes == {"scrub_failed": 3, "kept": 1}
    assert logs.listed()["dropped"] == {"scrub_failed": 3}
    assert "raw-words-of-a-person" not in on_disk(home)


def test_a_full_queue_drops_and_counts_and_never_waits(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording.change("default", {"mode": "on"})
    monkeypatch.setattr(recorder, "WAITING", 5)
    blocked = threading.Event()
    ready = keeping.ready
    monkeypatch.setattr(keeping, "ready", lambda told, desk: (blocked.wait(20), ready(told, desk))[1])
    outcomes: Counter[str] = Counter()
    made = Recorder(lambda outcome, number: outcomes.update({outcome: number}))
    start = time.monotonic()
    for number in range(50):
        made.put(exchange(f"chatcmpl-{number}"))
    took = time.monotonic() - start
    blocked.set()
    made.close(20)
    assert took < 1
    assert outcomes["kept"] + outcomes["queue_full"] == 50 and outcomes["queue_full"] >= 44


def test_a_database_that_fails_drops_and_counts_and_what_comes_later_is_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording.change("default", {"mode": "on"})
    full = sa.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    def broken(*_: Any) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(keeping, "count", broken)  # the last thing that a transaction does
        made, outcomes = recorded(2)
    made.put(exchange("chatcmpl-later"))
    made.close()
    assert outcomes == {"database_failed": 2, "kept": 1}
    told = logs.listed()
    assert [one["id"] for one in told["exchanges"]] == ["chatcmpl-later"]
    assert told["dropped"] == {"database_failed": 2}


def test_a_dead_database_at_the_start_keeps_nobody_from_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(connection.URL_VARIABLE, "postgresql://nobody@127.0.0.1:1/none")
    made, outcomes = recorded()
    made.close()
    assert not outcomes


def test_an_exchange_that_comes_twice_takes_none_of_its_batch_along(home: Path) -> None:
    recording.change("default", {"mode": "on"})
    outcomes: Counter[str] = Counter()
    made = Recorder(lambda outcome, number: outcomes.update({outcome: number}))
    for id in ("chatcmpl-1", "chatcmpl-2", "chatcmpl-1", "chatcmpl-3"):
        made.put(exchange(id))
    made.close()
    assert {one["id"] for one in logs.listed()["exchanges"]} == {"chatcmpl-1", "chatcmpl-2", "chatcmpl-3"}
    assert outcomes == {"kept": 3, "database_failed": 1}


def test_what_comes_together_is_one_transaction_and_who_waits_does_not_wait_for_more(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording.change("default", {"mode": "on"})
    monkeypatch.setattr(recorder, "GATHER_SECONDS", 60.0)
    batches: list[int] = []
    keep = keeping.keep
    monkeypatch.setattr(keeping, "keep", lambda batch, dropped: (batches.append(len(batch)), keep(batch, dropped)))
    made, outcomes = recorded(5)
    made.close()
    assert batches == [5] and outcomes == {"kept": 5} and logs.listed()["served"] == 5


def test_of_sampled_exchanges_the_share_is_kept_that_was_asked_for(home: Path) -> None:
    recording.change("default", {"mode": "sampled", "share": 0.25})
    made = Recorder()
    kept = sum(made.wants("default", f"chatcmpl-{number}") for number in range(4000))
    made.close()
    assert abs(kept / 4000 - 0.25) < 0.03  # four standard errors


def test_what_is_too_large_is_dropped_and_counted(home: Path) -> None:
    recording.change("default", {"mode": "on"})
    made, outcomes = recorded(question="長" * 500_000)
    made.close()
    assert outcomes == {"too_large": 1}


def test_the_same_user_has_another_hash_in_another_project_and_home(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sodate.learn import names

    here = names.user("default", "taro")
    assert here == names.user("default", "taro") and here != names.user("shop", "taro")
    monkeypatch.setenv("SODATE_HOME", f"{home}-2")
    assert names.user("default", "taro") != here


@pytest.mark.parametrize(
    "changes",
    [{"mode": "maybe"}, {"share": 0.0}, {"keep_days": 0}, {"keep_days": 10**30}, {"confidence": 2.0}, {"slow_ms": 0}],
)
def test_rules_that_mean_nothing_are_refused(home: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        recording.change("default", changes)


def test_graders_that_need_more_than_a_reply_are_refused(home: Path) -> None:
    with pytest.raises(UsageError, match="needs more"):
        recording.change("default", {"graders": ("exact",)})
    with pytest.raises(UsageError, match="no grader"):
        recording.change("default", {"graders": ("nonsense",)})
