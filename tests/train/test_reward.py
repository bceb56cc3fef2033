"""Reward models: where the head reads, what they learn, what their scores are worth, and who may use them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import sodate
from sodate.core.errors import UsageError
from sodate.core.types import Conversation, Message, Preference, Ranking
from sodate.losses.reward import bradley_terry
from sodate.model import scalar_head
from sodate.render import trie
from sodate.render.renderer import Rendered
from sodate.train import reward
from sodate.train.reward_report import ScoredReplies, report
from tests import worker
from tests.close import assert_as_exact
from tests.families import VOCABULARY, exact, pair
from tests.farm import Farm, adapter_bytes, curve, plant, the_run, write_rows
from tests.train.test_preferences import preferred


def drawn(length: int, seed: int) -> list[int]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCABULARY, (length,), generator=draw).tolist()


def test_the_head_reads_the_stop_token_of_each_row(tmp_path: Path) -> None:
    ours, plain = (exact(one) for one in pair("llama", tmp_path, torch.float64))
    head = scalar_head.add(ours)
    with torch.no_grad():
        head.weight.normal_(generator=torch.Generator().manual_seed(1))
        head.bias.fill_(0.5)
    prompt = drawn(12, 0)
    # The last token of a reply is its stop token; what the template puts behind it is not supervised and not read.
    rows = [Rendered(prompt + drawn(n, n) + [7, 3], [0.0] * 12 + [1.0] * n + [1.0, 0.0]) for n in (4, 9, 4, 6)]
    rows.append(rows[1])  # the same reply twice
    found = scalar_head.row_scores(ours, trie.build([scalar_head.at_the_end(row) for row in rows]))
    for row, score in zip(rows, found, strict=True):
        hidden = plain.model(torch.tensor([row.ids])).last_hidden_state[0, len(row.ids) - 2]
        theirs, exactly = (hidden.to(t) @ head.weight.to(t) + head.bias.to(t) for t in (torch.float32, torch.float64))
        assert_as_exact(score, theirs, exactly, least=1.0)


def test_a_head_begins_at_zero_and_is_kept_exactly(tmp_path: Path) -> None:
    model, _ = pair("llama", tmp_path / "model")
    head = scalar_head.add(model)
    assert head(torch.randn(3, 32)).tolist() == [0, 0, 0]
    with torch.no_grad():
        head.weight.normal_()
    scalar_head.save(model, tmp_path)
    other, _ = pair("llama", tmp_path / "other")
    assert torch.equal(scalar_head.load(other, tmp_path).weight, head.weight)
    wider, _ = pair("llama", tmp_path / "wider", hidden_size=64)
    with pytest.raises(sodate.core.errors.SodateError, match="not for this model"):
        scalar_head.load(wider, tmp_path)


def test_what_scores_are_worth_by_hand() -> None:
    # Five prompts: four right, one wrong; the longer reply was better in the first only, and equal in the last.
    gap = math.log(3)  # σ = 3/4
    rows = [ScoredReplies([gap, 0.0], lengths, [1, 2]) for lengths in ([9, 5], [5, 9], [5, 9], [5, 9])]
    rows.append(ScoredReplies([0.0, gap], [4, 4], [1, 2]))
    found = report(rows)
    assert (found["prompts"], found["pairs"], found["accuracy"]) == (5, 5, 0.8)
    assert found["longer_is_better_accuracy"] == pytest.approx((1 + 0 + 0 + 0 + 0.5) / 5)
    # Wilson for 4 of 5: centre (0.8 + z²/10) / (1 + z²/5), z = 1.96.
    assert found["accuracy_ci"] == pytest.approx([0.3755, 0.9638], abs=1e-4)
    assert not found["beats_chance"] and not found["trustworthy"]
    # All pairs have confidence 3/4 and 4/5 are right.
    assert found["calibration"] == [{"confidence": pytest.approx(0.75), "accuracy": pytest.approx(0.8), "pairs": 5}]
    assert found["calibration_error"] == pytest.approx(0.05)
    # Deviations ±gap/2 and ±2: one product with, three against; Σs² = 5 gap²/2, Σl² = 4 · 8.
    assert found["length_correlation"] == pytest.approx(-4 * gap / math.sqrt(5 * gap * gap / 2 * 32))


def test_a_judge_that_only_measures_length_is_not_trusted() -> None:
    # The longer reply was better in 90 of 100 prompts.
    ranks = [[1, 2]] * 90 + [[2, 1]] * 10
    found = report([ScoredReplies([2.0, 1.0], [20, 10], rank) for rank in ranks])
    assert found["beats_chance"] and not found["beats_length"] and not found["trustworthy"]
    assert found["length_correlation"] == pytest.approx(1)
    # One that also knows the ten exceptions, though it is wrong elsewhere as often as chance allows, is.
    fair = report([ScoredReplies([2.0, 1.0] if rank[0] == 1 else [1.0, 2.0], [20, 10], rank) for rank in ranks])
    assert fair["trustworthy"] and fair["accuracy"] == 1


def test_a_prompt_counts_once_however_many_replies_it_has() -> None:
    # One ranking of four replies all right (6 pairs), one pair wrong: half of the prompts.
    found = report([ScoredReplies([4, 3, 2, 1], [1, 1, 1, 1], [1, 2, 3, 4]), ScoredReplies([1, 2], [1, 1], [1, 2])])
    assert (found["prompts"], found["pairs"], found["accuracy"]) == (2, 7, 0.5)
    assert found["length_correlation"] is None  # no reply is longer than another
    tied = report([ScoredReplies([3, 3, 1], [1, 2, 3], [1, 1, 2]), ScoredReplies([0, 1, 2], [1, 2, 3], [2, None, 1])])
    assert (tied["pairs"], tied["accuracy"]) == (3, 1.0)


def test_the_loss_is_what_trl_computes() -> None:
    """RewardTrainer.compute_loss of TRL 1.16.0 on these scores, without and with margins."""
    chosen, rejected = torch.tensor([1.5, -0.25, 0.75]), torch.tensor([2.0, -1.25, 0.5])
    assert bradley_terry(chosen, rejected).mean().item() == pytest.approx(0.6210927367, abs=1e-5)
    margins = torch.tensor([0.0, 1.0, 0.5])
    assert bradley_terry(chosen, rejected, margins).mean().item() == pytest.approx(0.8310545087, abs=1e-5)


def test_rankings_become_pairs_or_a_list_and_ties_decide_nothing(tmp_path: Path) -> None:
    asked, a, b, c = (Message("user", "U"),), *((Message("assistant", text),) for text in "ABC")
    assert reward.takes(Ranking(asked, (a, b), (1, 1))) == () and reward.takes(Ranking(asked, (a, b, c), (1, 1, 2)))
    assert reward.takes(Preference(asked, a, b))
    model, _ = pair("llama", tmp_path)
    scalar_head.add(model)
    sequences = [Rendered(drawn(6, 0) + drawn(3, n), [0.0] * 6 + [1.0] * 3) for n in (1, 2, 3)]
    rows = [reward.compared(Ranking(asked, (a, b, c), (2, 1, 2)), sequences)]
    rows.append(reward.compared(Preference(asked, a, b, margin=1.0), sequences[:2]))
    # All scores are zero at first: two pairs of log 2; 1/3 of the list; a margin of one.
    for kind, ranking in (("pairs", math.log(2)), ("listwise", math.log(3))):
        recipe = sodate.core.recipe.RewardRecipe(model="m", data=("d",), ranking_loss=kind)
        method = reward.Reward(model, rows, [], recipe, names=["1", "2"], micro_tokens=100)
        update = next(method.updates(0, [0, 1]))
        loss = sum(part.loss.item() for part in update.parts)
        assert loss == pytest.approx(ranking - math.log(1 / (1 + math.e))) and update.weight == 2
        assert update.metrics["accuracy"] == 0.5 and update.metrics["margin"] == 0
        assert method.validate() is None and method.report() == {"reward_model": {"prompts": 0, "trustworthy": False}}


# ── the whole command ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    return plant(tmp_path_factory.mktemp("reward"))


@pytest.fixture(scope="module")
def words(farm: Farm) -> list[str]:
    train = write_rows(farm.home.parent / "pairs.jsonl", [preferred(n) for n in range(11, 27)])
    held = write_rows(farm.home.parent / "held_pairs.jsonl", [preferred(n) for n in range(71, 87)])
    return [
        "train", "--method", "reward", "--model", farm.model, "--data", str(train), "--eval", str(held), "--name",
        "judge", "--json", "batch_size=4", "max_steps=8", "lr=0.01", "eval_every=4", "save_every=2",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(farm: Farm, words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = farm.new_home(tmp_path_factory.mktemp("undisturbed") / "home")
    done = worker.run(*words, home=home)
    assert done.code == 0, done.err
    return home


def judge_bytes(home: Path) -> tuple[bytes, bytes]:
    return adapter_bytes(home, "judge@1"), (home / "versions" / "judge" / "1" / "head.safetensors").read_bytes()


def test_a_reward_model_learns_says_what_it_is_worth_and_scores(
    farm: Farm, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = curve(undisturbed)
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-6) and lines[-1]["eval_accuracy"] == 1
    manifest = json.loads((undisturbed / "versions" / "judge" / "1" / "version.json").read_text())
    worth = manifest["report"]["reward_model"]
    assert worth["prompts"] == 16 and worth["accuracy"] == 1 and worth["trustworthy"]  # the rejected ones are longer
    monkeypatch.setenv("SODATE_HOME", str(undisturbed))
    judge = sodate.load_reward("judge")
    assert judge.worth == worth
    rows = [preferred(n) for n in (71, 72, 73)]

    def conversation(row: dict[str, Any], side: str) -> Conversation:
        return Conversation(tuple(Message(m["role"], m["content"]) for m in [*row["prompt"], *row[side]]))

    better, worse = (judge.score([conversation(row, side) for row in rows]) for side in ("chosen", "rejected"))
    assert all(a > b for a, b in zip(better, worse, strict=True))
    assert judge.score([conversation(rows[0], "chosen")]) == pytest.approx(
        better[:1], abs=1e-4
    )  # whatever is beside it
    with pytest.raises(UsageError, match="judge@1 is a reward model"):
        sodate.load("judge")
    with pytest.raises(UsageError, match="is not a reward model"):
        sodate.load_reward(farm.model)


@pytest.mark.parametrize("write", [30, 50, 70])
def test_a_reward_model_killed_in_a_write_and_resumed_ends_the_same(
    farm: Farm, words: list[str], undisturbed: Path, tmp_path: Path, write: int
) -> None:
    home = farm.new_home(tmp_path / "home")
    assert worker.run(*words, home=home, kill_at_write=write).code < 0
    done = worker.run("runs", "resume", the_run(home), "--json", home=home)
    assert done.code == 0, done.err
    assert curve(home) == curve(undisturbed) and judge_bytes(home) == judge_bytes(undisturbed)


def test_candidates_are_rows_to_rank_and_then_to_train_on(farm: Farm, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    asked = write_rows(tmp_path / "asked.jsonl", [{"prompt": f"{n} apples?", "completion": "x"} for n in (11, 12, 13)])
    command = [
        "generate",
        farm.model,
        "--data",
        str(asked),
        "--samples",
        "3",
        "--temperature",
        "1",
        "--max-tokens",
        "6",
    ]
    done = worker.run(*command, home=home)
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [len(row["replies"]) for row in rows] == [3, 3, 3] and rows[0]["prompt"][0]["content"] == "11 apples?"
    unranked = worker.run("data", "check", str(write_rows(tmp_path / "rows.jsonl", rows)), "--json", home=home)
    assert [p["code"] for p in json.loads(unranked.out)["set_aside"]] == ["not-ranked"] * 3
    filled = [{**row, "replies": ["a", "b", "c"], "ranks": [2, 1, 1]} for row in rows]
    mine = write_rows(tmp_path / "ranked.jsonl", filled)
    done = worker.run("train", "--method", "reward", "--model", farm.model, "--data", str(mine), "max_steps=1",
                      "ranking_loss=listwise", home=home)  # fmt: skip
    assert done.code == 0 and "it is not known how good its scores are" in done.out
