"""Did a run gain anything? The paired test, the outcome, the rows held out for it, and what alarms do."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sodate.core.errors import UsageError
from sodate.core.recipe import METHODS, OnAlarm, PolishRecipe, validated
from sodate.core.types import Conversation, Message
from sodate.data import known
from sodate.train import hold_out
from sodate.train.acts import MOST, PAUSE, Acts
from sodate.train.alarms import Alarms
from sodate.train.gain import HeldOut, chance, cost, outcome
from sodate.train.loop import Validation


def counted(differences: list[float]) -> float:
    """Every pattern of signs, one by one."""
    total = sum(differences)
    sums = [sum(s * d for s, d in zip(signs, differences, strict=True))
            for signs in itertools.product((1, -1), repeat=len(differences))]  # fmt: skip
    return sum(one >= total - 1e-9 for one in sums) / len(sums)


def test_chance_is_the_share_of_sign_patterns_that_reach_as_far() -> None:
    assert chance([1, 1, 1, 1, 1]) == 1 / 32
    assert chance([0.0] * 9) == 1.0
    assert chance([1, -1, 0]) == 3 / 4
    assert chance([-1.0] * 4) == 1.0
    mixed = [0.5, 0.25, -0.1, 0.3, 0.05, -0.2]
    assert chance(mixed) == pytest.approx(counted(mixed))
    # 20 up and 6 down of one size: Σ C(26, k) for k ≥ 20, over 2^26.
    assert chance([1.0] * 20 + [-1.0] * 6) == pytest.approx(313912 / 2**26)


def looked(before: list[float], *after: list[float]) -> list[dict[str, Any]]:
    """Lines of a run with a look a step."""
    memory: dict[str, float] = {}
    held = HeldOut(memory, range(len(before)))
    held.first(lambda: Validation(0.0, held.look(before)), print, None)
    lines: list[dict[str, Any]] = []
    for number, scores in enumerate(after, 1):
        figures = held.look(scores)
        lines.append({"step": number, **figures})
    lines[0]["base_eval_score"] = sum(before) / len(before)
    return lines


def test_a_gain_has_to_be_above_chance_for_all_looks_together() -> None:
    wrong = [0.0] * 20
    five, six = [1.0] * 5 + [0.0] * 15, [1.0] * 6 + [0.0] * 14
    assert outcome(looked(wrong, five), 1, "orders@1").verdict == "gain"  # 1/32
    two = outcome(looked(wrong, wrong, five), 2, "orders@1")
    assert two.verdict == "no-gain" and "Go on using orders@1" in two.said  # 1/32 of two looks is not below 1/40
    assert outcome(looked(wrong, wrong, six), 2, "orders@1").verdict == "gain"


def test_items_that_ask_the_same_count_as_one() -> None:
    held = HeldOut({}, ["a", "a", "b", "b", "c", "c"])
    assert held.look([0.0] * 6) == {"eval_score": 0.0, "eval_items": 3}  # nothing to compare with
    held.first(lambda: Validation(0.0, held.look([0.0] * 6)), print, None)
    found = held.look([1.0] * 6)
    assert found["eval_gain"] == 1.0 and found["eval_gain_p"] == 1 / 8


def test_pairs_in_order_are_no_gain_where_the_preferred_replies_became_unlikely() -> None:
    lines = looked([0.5] * 20, [1.0] * 20)
    lines[0] |= {"base_eval_rewards/chosen": 0.1, "eval_rewards/chosen": -0.3}
    assert outcome(lines, 1, "tone@1").verdict == "gain"
    lines[0]["eval_rewards/chosen"] = -0.5
    worse = outcome(lines, 1, "tone@1")
    assert worse.verdict == "no-gain" and "became less likely (held-out reward -0.60)" in worse.said


def test_pairs_in_order_are_no_gain_where_the_model_stops_saying_what_was_preferred() -> None:
    before = [1.0, 1.0, 0.5, 1.0, 1.0, 0.0]
    for now, lost in ((before, 1.0), ([0.5, 0.5, 0.5, 0.5, 0.5, 0.0], 1 / 16), ([0.0] * 6, 1 / 32)):
        held = HeldOut({}, range(6))
        assert held.lost(before) == {"eval_likeliest": 0.75}
        assert held.lost(now) == {"eval_likeliest": sum(now) / 6, "eval_likeliest_p": lost}
    held = HeldOut({}, range(3))
    assert held.lost([1.0, 0.9, 0.5], [True, False, True]) == {"eval_likeliest": 0.75}
    assert held.lost([0.5, 0.0, 0.0], [True, False, True]) == {"eval_likeliest": 0.25, "eval_likeliest_p": 0.25}
    lines = looked([0.5] * 20, [1.0] * 20)
    lines[0] |= {"base_eval_likeliest": 0.9, "eval_likeliest": 0.6, "eval_likeliest_p": 0.06}
    assert outcome(lines, 1, "sums@1").verdict == "gain"
    lines[0]["eval_likeliest_p"] = 0.04
    worse = outcome(lines, 1, "sums@1")
    assert worse.verdict == "no-gain" and "of their tokens 60% are its first choice, 90% before" in worse.said


def test_the_looks_cost_a_share_of_the_run_and_are_counted_over_a_resume() -> None:
    memory: dict[str, float] = {}
    for held in (HeldOut(memory, "a"), HeldOut(memory, "a")):
        with held.timed():
            time.sleep(0.01)
    assert 0.02 <= memory["look_seconds"] < 1
    # The start is looked at within the first of two steps, the end behind the last: 8 seconds and one more.
    assert cost(2.0, 8.0, [{"step": 1}, {"step": 2, "eval_loss": 0.5}]) == 2 / 9


def test_without_a_reward_it_counts_what_moved_the_right_way() -> None:
    held = HeldOut({}, range(4))
    assert held.moved([0.3, 1.0, -2.0, 0.0]) == [0.5] * 4
    assert held.moved([0.4, 0.9, -2.0 + 1e-6, 1.0]) == [1.0, 0.0, 0.5, 1.0]


def test_a_run_that_became_worse_or_was_not_looked_at_says_so() -> None:
    right = [1.0] * 12 + [0.0] * 12
    worse = outcome(looked(right, [0.0] * 24), 1, "orders@1")
    assert worse.verdict == "no-gain" and "made it worse" in worse.said
    few = [outcome(looked([0.5] * 7, [score] * 7), 1, "orders@1") for score in (0.4, 0.5, 1.0)]
    assert [one.verdict for one in few] == ["no-gain", "no-gain", "unknown"]
    assert outcome([{"step": 1}], None, "orders@1").verdict == "unknown"
    flat = looked(right, right)
    assert "held-out rows moved the right way" in outcome(flat, 1, "orders@1").said
    flat[0]["zero_variance_groups"] = 0.9
    assert "90% of the groups" in outcome(flat, 1, "orders@1").said
    assert "next to nothing left" in outcome(looked([1.0] * 24, [1.0] * 24), 1, "orders@1").said


@pytest.mark.parametrize(("before", "told"), [([1.0] * 30 + [0.0] * 4, True), ([1.0] * 30 + [0.0] * 5, False)])
def test_what_no_run_could_show_is_said_before_its_first_step(before: list[float], told: bool) -> None:
    memory: dict[str, float] = {}
    said: list[str] = []
    happened: list[dict[str, Any]] = []
    held = HeldOut(memory, range(len(before)))

    def validate() -> Validation:
        return Validation(-0.5, held.look(before))

    acts = Acts("lower_rate", memory, lambda kind, **data: happened.append({"kind": kind, **data}))
    assert held.first(validate, said.append, acts) == {
        "base_eval_loss": -0.5, "base_eval_score": 30 / len(before), "base_eval_items": len(before),
    }  # fmt: skip
    assert bool(said) == told == bool(memory.get("stop")) == bool(happened)


def test_a_run_whose_weights_are_wanted_all_the_same_goes_on() -> None:
    memory: dict[str, float] = {}
    Acts("stop", memory, print, wanted=True).end("hopeless", 0)
    Acts("nothing", memory, print).end("hopeless", 0)
    assert not memory


@pytest.mark.parametrize(("how", "key", "values"), [
    ("lower_rate", "rate", [0.5, 0.25, 0.125]),
    ("raise_kl", "price", [2.0, 4.0, 8.0]),
    ("stop", "stop", [1.0, 1.0, 1.0]),
    ("nothing", "rate", []),
])  # fmt: skip
def test_an_alarm_acts_as_the_recipe_says_and_every_act_is_an_event(
    how: OnAlarm, key: str, values: list[float]
) -> None:
    memory: dict[str, float] = {}
    happened: list[dict[str, Any]] = []
    acts = Acts(how, memory, lambda kind, **data: happened.append({"kind": kind, **data}))
    said: list[str] = []
    alarms = Alarms(memory, said.append, acts)
    alarms.step(1, 0.5, 0.0, 1.0, 0.0)
    for number in range(2, 2 + PAUSE * (MOST + 2)):
        alarms.step(number, 0.5, 0.0, 0.1, 0.0)  # a tenth of the entropy there was
    assert len(said) == 1 and [one[key] for one in happened] == values
    assert [one["step"] for one in happened] == [2 + PAUSE * i for i in range(len(values))]
    assert {(one["kind"], one["alarm"], one["act"]) for one in happened} <= {("act", "narrow", how)}


def test_a_first_step_that_is_too_long_is_an_alarm() -> None:
    said: list[str] = []
    acted: list[tuple[str, int]] = []
    alarms = Alarms({}, said.append, lambda name, step: acted.append((name, step)))
    alarms.step(1, 0.5, 0.0, 1.0, 0.0)
    alarms.step(2, 0.5, 0.0, 1.0, 0.4)
    assert acted == [("leap", 2)] and "0.40 nats a token" in said[0]
    alarms.step(3, 0.5, 0.0, 1.0, 0.45)
    assert len(acted) == 1


def recipe(method: str = "grpo", **keys: Any) -> PolishRecipe:
    own = {"rewards": ("exact",)} if method in ("grpo", "ppo") else {}
    made = validated(METHODS[method], {"method": method, "model": "m", "data": ("d",), **own, **keys}, "")
    assert isinstance(made, PolishRecipe)
    return made


def test_rows_are_held_out_within_a_budget() -> None:
    assert hold_out.count(recipe(), 79) == 0
    assert hold_out.count(recipe(max_steps=1), 600) == hold_out.FEWEST
    long = hold_out.count(recipe(max_steps=24), 600)
    assert hold_out.FEWEST < long < hold_out.count(recipe(max_steps=200), 600) <= 120
    assert hold_out.count(recipe(), 100_000) == hold_out.MOST
    assert hold_out.count(recipe(hold_out=7), 60) == 7 and hold_out.count(recipe(hold_out=0), 600) == 0
    assert hold_out.FEWEST < hold_out.count(recipe("dpo"), 600) <= 120


def test_the_rows_held_out_depend_on_prompts_and_seed_and_stand_together() -> None:
    keys = [n // 2 for n in range(200)]  # two rows to every prompt
    none = np.zeros(200, dtype=np.bool_)
    held = hold_out.choose(keys, none, 30, seed=0)
    assert held.sum() == 30 and (held[::2] == held[1::2]).all()
    assert (hold_out.choose(keys, none, 30, seed=0) == held).all()
    assert (hold_out.choose(keys[::-1], none, 30, seed=0) == held[::-1]).all()
    assert (hold_out.choose(keys, none, 30, seed=1) != held).any()
    seen = np.arange(200) < 100
    assert not (hold_out.choose(keys, seen, 30, seed=0) & seen).any()  # on what it knows a gain says little
    assert (hold_out.choose(keys, np.arange(200) < 180, 30, seed=0) & (np.arange(200) < 180)).any()
    assert not hold_out.choose([1] * 50, none[:50], 10, seed=0).any()


def test_a_version_knows_what_it_was_trained_on_whatever_the_system_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path))

    def asked(text: str, system: str = "Be brief.") -> Conversation:
        return Conversation((Message("system", system), Message("user", text), Message("assistant", "ok")))

    assert known.read("ab12") is None
    known.write("ab12", lambda: [asked("Pears?"), asked("Apples?"), asked("Pears?")])
    known.write("ab12", list)  # known already
    keys = known.read("ab12")
    assert keys is not None and len(keys) == 2
    rows = [asked("pears?", "Be long."), asked("Plums?"), asked("Apples?")]
    found = known.among(np.asarray([known.asked_key(row) for row in rows], dtype=np.uint64), keys)
    assert found.tolist() == [True, False, True]
    assert not known.among(np.asarray([1], dtype=np.uint64), np.empty(0, dtype=np.uint64)).any()


@pytest.mark.parametrize("keys", [
    {"eval": "held.jsonl", "hold_out": 5},
    {"on_alarm": "raise_kl", "kl_coefficient": 0},
    {"method": "simpo", "on_alarm": "raise_kl"},
    {"on_alarm": "pray"},
])  # fmt: skip
def test_keys_that_do_not_fit_each_other_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        recipe(keys.pop("method", "grpo"), **keys)
