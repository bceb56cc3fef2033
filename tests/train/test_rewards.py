"""Mixing graders into a reward, the alarms, and the reference policy."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sodate.adapt import adapters, lora
from sodate.core.errors import UsageError
from sodate.grade import Grade, Grader
from sodate.train.alarms import FLAT_STEPS, Alarms
from sodate.train.reference import ReferenceModel
from sodate.train.rewards import Answer, Task, parse_rewards
from tests.families import pair


def answer(text: str, reference: str | None) -> Answer:
    return Answer(Task([1], reference, {}, "tasks.jsonl:1"), [5], text)


def test_graders_are_mixed_by_their_weights() -> None:
    reward = parse_rewards(["3*exact", "json"], Path())
    mixed, parts = reward([answer("12", "12"), answer("{", "{"), answer("13", "12"), answer("no", "12")])
    assert mixed == [1.0, 0.75, 0.25, 0.0]
    assert parts == {"exact": [1.0, 1.0, 0.0, 0.0], "json": [1.0, 0.0, 1.0, 0.0]}


@pytest.mark.parametrize("specs", [["0*exact"], ["no_such"], ["exact", "2*exact"], ["exact:op=no"], ["consistency"]])
def test_a_reward_that_is_none_is_refused(specs: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_rewards(specs, Path())


def test_graders_of_other_rooms_are_made_by_name() -> None:
    half = Grader("model:x@1", needs_reference=False, many=lambda cases: [Grade(0.5, "")] * len(cases))
    reward = parse_rewards(["2*model:x@1", "exact"], Path(), {"model": lambda rest: half})
    assert reward([answer("1", "1")]) == ([pytest.approx(2 / 3)], {"model:x@1": [0.5], "exact": [1.0]})


def test_rewards_know_the_labels_of_all_tasks_and_several_right_replies() -> None:
    reward = parse_rewards(["label"], Path())
    assert reward([answer("us", "US")])[0] == [1.0]
    knowing = reward.with_references(
        [answer("", "US").task, Task([1], None, {"reference_answers": ["us"]}, "tasks.jsonl:2")]
    )
    assert knowing([answer("us", "US"), answer("US", "US")])[0] == [0.0, 1.0] and len(knowing.notes) == 1
    several = Task([1], "a", {"reference_answers": ["b", "c"]}, "tasks.jsonl:1")
    assert reward([Answer(several, [5], text) for text in ("a", "c", "d")])[0] == [1.0, 1.0, 0.0]


def watch() -> tuple[Alarms, list[str]]:
    said: list[str] = []
    return Alarms({}, said.append), said


def test_five_steps_of_flat_groups_in_a_row_are_said_once() -> None:
    alarms, said = watch()
    for step, share in enumerate([0.9] * (FLAT_STEPS - 1) + [0.5] + [0.8] * (FLAT_STEPS + 3), 1):
        alarms.step(step, 0.5, share, 1.0, 0.0)
        assert bool(said) == (step >= 2 * FLAT_STEPS)
    (text,) = said
    assert text.startswith(f"Step {2 * FLAT_STEPS}: for 5 steps 80% or more of the batch")


def test_divergence_and_narrowing_are_said() -> None:
    alarms, said = watch()
    for step, (entropy, kl) in enumerate([(2.0, 0.1), (1.0, 0.4), (0.41, 0.6), (0.39, 0.7), (0.1, 0.9)], 1):
        alarms.step(step, 0.5, 0.0, entropy, kl)
    assert [text.partition(":")[0] for text in said] == ["Step 3", "Step 4"]
    assert "0.60 nats" in said[0] and "at first 2.000" in said[1]


@pytest.mark.parametrize(("rewards", "evals", "warned"), [
    ([0.2, 0.6, 0.9], [0.3, 0.5, 0.3], True),
    ([0.2, 0.6, 0.9], [0.3, 0.5, 0.45], False),  # within the interval
    ([0.9, 0.6, 0.2], [0.3, 0.5, 0.3], False),  # both fall: no hole in the reward
    ([0.2, 0.6, 0.9], [0.3, 0.5, 0.7], False),
])  # fmt: skip
def test_reward_up_while_held_out_falls_is_said(rewards: list[float], evals: list[float], warned: bool) -> None:
    alarms, said = watch()
    for step, (reward, held_out) in enumerate(zip(rewards, evals, strict=True), 1):
        alarms.step(step, reward, 0.0, 1.0, None)
        alarms.held_out(step, held_out, 0.1)
    assert bool(said) == warned
    if warned:
        assert "from 0.500 to 0.300" in said[0]


@pytest.mark.parametrize(("rewards", "warned"), [([0.5, 0.45, 0.4], False), ([0.5, 0.6, 0.7], True)])
def test_rewards_in_training_count_as_risen_only_above_the_first_where_the_base_was_best(
    rewards: list[float], warned: bool
) -> None:
    alarms, said = watch()
    alarms.held_out(0, 0.6, 0.02)
    alarms.held_out(0, 0.5, 0.02)  # asked again, by a run that was stopped before its first step
    for step, reward in enumerate(rewards, 1):
        alarms.step(step, reward, 0.0, 1.0, None)
    alarms.held_out(len(rewards), 0.4, 0.02)
    assert bool(said) == warned


def test_alarms_go_on_where_a_checkpoint_left_them() -> None:
    alarms, said = watch()
    for step in range(FLAT_STEPS - 1):
        alarms.step(step, 0.5, 1.0, 1.0, None)
    resumed = Alarms(dict(alarms.memory), said.append)
    assert not said
    resumed.step(FLAT_STEPS, 0.5, 1.0, 1.0, None)
    assert len(said) == 1


@pytest.mark.parametrize("fresh", [True, False])
def test_the_reference_is_the_model_as_it_began(fresh: bool, tmp_path: Path) -> None:
    ours, _ = pair("llama", tmp_path)
    lora.add(ours, lora.LoraConfig(2, 4.0, lora.all_targets(ours)), seed=0)
    layers = [layer for _, layer in adapters.layers(ours)]
    if not fresh:
        for layer in layers:
            torch.nn.init.normal_(layer.lora_B, std=0.1)
    began = [layer.merged().clone() for layer in layers]
    reference = ReferenceModel(ours)
    with torch.no_grad():
        for layer in layers:
            layer.lora_B += 1.0
    now = [layer.lora_B.detach().clone() for layer in layers]
    with reference.active():
        if fresh:
            assert not any(layer.enabled for layer in layers)
        else:
            assert all(torch.equal(layer.merged(), before) for layer, before in zip(layers, began, strict=True))
    assert all(layer.enabled and torch.equal(layer.lora_B, b) for layer, b in zip(layers, now, strict=True))
