"""Work in a limited child: its result, its refusal, and every way of ending that is neither."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sodate.core.errors import SodateError, UsageError
from sodate.core.limited import limited
from sodate.core.text import tr


def run(work: Callable[[], Any], seconds: float = 5) -> Any:
    return limited(work, "The file", seconds=seconds, memory=200_000_000)


def refuse() -> None:
    raise UsageError(tr("No.", "いいえ。"), tr("Yes.", "はい。"), code="no", file="f", line=3)


class Panic(BaseException):
    """What native code raises: not an Exception."""


def panic() -> None:
    raise Panic("index out of bounds\nmore")


def test_the_result_comes_back_as_json_and_a_refusal_in_both_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(lambda: {"a": [1, "漢"]}) == {"a": [1, "漢"]}
    with pytest.raises(UsageError) as caught:
        run(refuse)
    error = caught.value
    assert (str(error.message), str(error.fix), error.code, error.file, error.line) == ("No.", "Yes.", "no", "f", 3)
    monkeypatch.setenv("SODATE_LANG", "ja")
    assert str(error.message) == "いいえ。"


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (panic, "The file cannot be read: index out of bounds."),
        (lambda: bytearray(400_000_000), "it takes more than 0.2 GB"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "crashed"),
        (lambda: os._exit(3), "crashed"),
        (lambda: object(), "crashed"),
    ],
)
def test_every_other_end_is_one_refusal(work: Callable[[], Any], said: str) -> None:
    with pytest.raises(SodateError, match=said):
        run(work)


def test_the_deadline_holds_whether_it_computes_or_sleeps() -> None:
    def spin() -> None:
        while True:
            pass

    for work in (spin, lambda: time.sleep(30)):
        started = time.monotonic()
        with pytest.raises(SodateError, match=r"it takes more than 0\.5 s"):
            run(work, 0.5)
        assert time.monotonic() - started < 3


def test_a_small_cap_holds_where_other_threads_have_reserved_memory() -> None:
    """What threads had reserved for theirs is address space already: a limit on that alone is passed by as much."""

    def told(field: str) -> int:
        found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) << 10

    def fill() -> list[int]:
        before, held = told("RssAnon"), list[bytearray]()
        idle = max(0, told("VmData") - before)  # may be written to already, and is not in use
        try:
            while len(held) < 4_000:
                held.append(bytearray(b"x") * (1 << 18))
        except MemoryError:
            pass
        most = told("RssAnon") - before
        held.clear()
        return [most, idle]

    ended = threading.Event()
    threads = [threading.Thread(target=lambda: (bytearray(100_000), ended.wait())) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        most, idle = limited(fill, "The file", seconds=10, memory=50_000_000)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert 30_000_000 < most < 55_000_000 + idle
