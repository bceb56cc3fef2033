"""The fuzz targets run: a few inputs of each, the same ones every time. `make fuzz` runs more."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from sodate.core.errors import SodateError
from tests.fuzz.__main__ import fuzz
from tests.fuzz.mutate import MAX_BYTES, mutated
from tests.fuzz.targets import TARGETS, Target


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_every_input_of_the_corpus_is_a_value_or_an_error_to_mend(name: str, tmp_path: Path) -> None:
    sound = 0
    for data in TARGETS[name].corpus:
        try:
            TARGETS[name].run(data, tmp_path)
            sound += 1
        except SodateError:
            pass
    assert sound  # there is something that goes all the way


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_inputs_near_to_the_corpus_are_too(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    count = 60 if name in ("template", "reply") else 400
    assert fuzz(name, count, 60.0, seed=1) == (count, 0)


def test_the_same_seed_makes_the_same_inputs() -> None:
    first, second = random.Random(3), random.Random(3)
    for _ in range(200):
        one = mutated((b'{"a": 1}', b"[1, 2]"), (b"{", b"}"), first)
        assert one == mutated((b'{"a": 1}', b"[1, 2]"), (b"{", b"}"), second) and len(one) <= MAX_BYTES


def _careless(data: bytes, folder: Path) -> None:
    if b"die" in data:
        os._exit(3)
    if b"ab" in data:
        raise KeyError("ab")


@pytest.mark.parametrize(("word", "said"), [(b"ab", "KeyError: 'ab'"), (b"die", "ended with status")])
def test_what_is_no_error_to_mend_is_found_and_kept(
    word: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TARGETS, "careless", Target(_careless, (b"x",), (word,)))
    done, found = fuzz("careless", 300, 60.0, seed=1)
    assert done <= 300 and found >= 1
    kept = sorted(Path(".fuzz").iterdir())
    assert kept and all(word in file.read_bytes() for file in kept) and said in capfd.readouterr().out
