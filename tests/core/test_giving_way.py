"""A job gives way to a server that answers, to none that has ended, and computes what it would have computed."""

from __future__ import annotations

import struct
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from sodate.core import giving_way


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving_way, "PATIENCE", 30.0)


def waits() -> bool:
    """Whether a job would wait now."""
    waiting = threading.Thread(target=giving_way.give_way, daemon=True)
    waiting.start()
    waiting.join(0.2)
    return waiting.is_alive()


def test_a_job_waits_while_a_server_answers_and_goes_on_when_it_has(home: Path) -> None:
    sign = giving_way.Sign()
    sign.show()
    assert not waits()  # nobody watches
    with giving_way.watching():
        waiting = threading.Thread(target=giving_way.give_way)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        sign.hide()
        waiting.join(10)
        assert not waiting.is_alive() and not waits()
        sign.show()
        sign.close()
        assert not waits()


@pytest.mark.parametrize("left", [b"", b"abc", *(struct.pack("d", time) for time in (-1e9, 1e12, float("nan")))])
def test_what_a_server_left_that_was_killed_or_ran_before_the_machine_started_holds_nobody_up(
    home: Path, left: bytes
) -> None:
    with giving_way.watching():
        (home / "answering").write_bytes(left)
        assert not waits()
        (home / "answering").write_bytes(struct.pack("d", time.monotonic() - giving_way.LASTS - 1))
        assert not waits()


def test_patience_has_an_end(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving_way, "PATIENCE", 0.05)
    with closing(giving_way.Sign()) as sign, giving_way.watching():
        sign.show()
        giving_way.give_way()


def test_the_sign_is_its_owners_alone(home: Path) -> None:
    with closing(giving_way.Sign()):
        assert (home / "answering").stat().st_mode & 0o777 == 0o600
