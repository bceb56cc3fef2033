"""`sodate train --method ppo` with a reward model as judge: pairs → reward → ppo; kill and resume; who may judge."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

import sodate
from sodate.core.errors import SodateError
from sodate.core.types import Conversation, Message
from sodate.train.rewards import Answer, Reward, Task, parse_rewards, relative
from tests import worker
from tests.farm import Farm, adapter_bytes, curve, events, plant, the_run, write_rows
from tests.train.test_preferences import preferred


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    return plant(tmp_path_factory.mktemp("ppo"))


@pytest.fixture(scope="module")
def judges(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions: judge@1 was shown to be right on held-out pairs, judge@2 never was."""
    home = farm.new_home(tmp_path_factory.mktemp("judges") / "home")
    data = write_rows(home / "pairs.jsonl", [preferred(n) for n in range(11, 27)])
    held = write_rows(home / "held_pairs.jsonl", [preferred(n) for n in range(71, 87)])
    words = ["train", "--method", "reward", "--model", farm.model, "--data", str(data), "--name", "judge", "--json"]
    for more in (["--eval", str(held), "max_steps=8"], ["max_steps=1"]):
        done = worker.run(*words, *more, "batch_size=4", "lr=0.01", home=home)
        assert done.code == 0, done.err
    return home


def new_home(farm: Farm, judges: Path, path: Path) -> Path:
    home = farm.new_home(path)
    shutil.copytree(judges / "versions", home / "versions")
    return home


def words(farm: Farm, *more: str, judge: str = "judge@1") -> list[str]:
    settings = ["batch_size=3", "max_steps=4", "save_every=2", "eval_every=2", "lr=0.01", "early_stop=null"]
    own = [f"rewards=2*reward_model:{judge} + json", "samples=3", "max_new_tokens=6", "updates=2", "name=polite",
           "register_no_gain=true"]  # fmt: skip
    files = ["--data", str(farm.train), "--eval", str(farm.held)]
    return ["train", "--method", "ppo", "--model", farm.model, *files, *settings, *own, "--json", *more]


@pytest.fixture(scope="module")
def undisturbed(farm: Farm, judges: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = new_home(farm, judges, tmp_path_factory.mktemp("undisturbed") / "home")
    done = worker.run(*words(farm), home=home)
    assert done.code == 0, done.err
    return home


def test_replies_are_paid_by_a_model_of_what_people_like(undisturbed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = curve(undisturbed)
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    shown = {"kl", "kl_reply", "kl_coefficient", "value_loss", "value_mean", "return_mean", "value_clip_fraction"}
    for line in lines:
        assert 0 < line["reward_mean"] < 1 and line["reward_std"] > 0 and shown <= set(line)
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-5) and lines[-1]["kl"] > 0
    assert lines[0]["kl_coefficient"] != lines[1]["kl_coefficient"]  # it follows its target
    part = "reward_model:judge@1"
    assert lines[1]["eval_reward"] == pytest.approx((2 * lines[1][f"eval_{part}"] + lines[1]["eval_json"]) / 3)
    manifest = json.loads((undisturbed / "versions" / "polite" / "1" / "version.json").read_text())
    assert manifest["recipe"]["rewards"][0] == f"2*{part}" and manifest["recipe"]["trust_reward"] is None
    monkeypatch.setenv("SODATE_HOME", str(undisturbed))
    sodate.load("polite@1")  # a policy: the value head was the trainer's own


@pytest.mark.parametrize("write", [3, 10, 17, 24])
def test_kill_9_at_any_write_costs_nothing_but_time(
    farm: Farm, judges: Path, undisturbed: Path, tmp_path: Path, write: int
) -> None:
    home = new_home(farm, judges, tmp_path / "home")
    assert worker.run(*words(farm), home=home, kill_at_write=write).code == -9
    go_on = ["runs", "resume", the_run(home), "--json"] if [*(home / "runs").glob("*/run.json")] else words(farm)
    done = worker.run(*go_on, home=home)
    assert done.code == 0, done.err
    assert curve(home) == curve(undisturbed)
    assert adapter_bytes(home, "polite@1") == adapter_bytes(undisturbed, "polite@1")


def test_a_judge_that_proved_nothing_is_refused_unless_told_why(farm: Farm, judges: Path, tmp_path: Path) -> None:
    home = new_home(farm, judges, tmp_path / "home")
    refused = worker.run(*words(farm, judge="judge"), home=home)  # the newest
    assert refused.code == 1 and "It is not known how good the scores of judge@2" in refused.err
    assert "trust_reward" in refused.err and not [*home.glob("runs/*")]
    file = home / "versions" / "judge" / "2" / "version.json"
    manifest = json.loads(file.read_text())
    manifest["report"]["reward_model"] = {
        "prompts": 40, "accuracy": 0.55, "accuracy_ci": [0.4, 0.69], "longer_is_better_accuracy": 0.6,
        "trustworthy": False,
    }  # fmt: skip
    file.chmod(0o644)
    file.write_text(json.dumps(manifest), "utf-8")
    refused = worker.run(*words(farm, judge="judge"), home=home)
    assert "right in 55% (95 % interval 40% to 69%)" in refused.err and "in 60%" in refused.err
    told = worker.run(*words(farm, "trust_reward=a first look", "max_steps=1", judge="judge"), home=home)
    assert told.code == 0, told.err
    recipe = json.loads((home / "versions" / "polite" / "1" / "version.json").read_text())["recipe"]
    assert recipe["trust_reward"] == "a first look" and recipe["rewards"][0] == "2*reward_model:judge@2"
    assert "a first look" in "".join(e.get("text", "") for e in events(home))


def test_what_is_no_reward_model_judges_nothing(farm: Farm, judges: Path, tmp_path: Path) -> None:
    home = new_home(farm, judges, tmp_path / "home")
    assert "is not a reward model" in worker.run(*words(farm, judge=farm.model), home=home).err
    needless = worker.run(*words(farm, "rewards=json", "trust_reward=because"), home=home)
    assert needless.code == 2 and "rewards names none" in needless.err


def told(text: str) -> Answer:
    return Answer(Task([1], None, {}, "tasks.jsonl:7", (Message("user", "Pears?"),)), [5], text)


def test_scores_become_the_chance_of_being_preferred_to_the_base() -> None:
    asked: list[Conversation] = []

    def judge(conversations: list[Conversation]) -> list[float]:
        asked.extend(conversations)
        return [float(one.messages[-1].content) for one in conversations]

    memory: dict[str, float] = {}
    others = {"reward_model": lambda name: relative(name, judge, memory)}
    reward = parse_rewards(["reward_model:x@1"], Path(), others)
    rewards, _ = reward([told("2"), told("4")])
    assert rewards == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])  # the centre is 3
    assert asked[0].messages == (Message("user", "Pears?"), Message("assistant", "2"))
    assert reward([told("3"), told("9000")])[0] == pytest.approx([0.5, 1.0])
    resumed = parse_rewards(["reward_model:x@1"], Path(), {"reward_model": lambda n: relative(n, judge, dict(memory))})
    assert resumed([told("4")])[0] == pytest.approx([torch.tensor(1.0).sigmoid().item()])


def test_a_reply_the_judge_cannot_read_ends_the_run_with_the_sample() -> None:
    def judge(conversations: list[Conversation]) -> list[float]:
        if any(one.messages[-1].content == "bad" for one in conversations):
            raise SodateError("unreadable")
        return [0.0] * len(conversations)

    with pytest.raises(SodateError, match=r"(?s)failed on tasks.jsonl:7: unreadable.*The reply was: 'bad'"):
        Reward(((1.0, relative("x@1", judge, {})),))([told("good"), told("bad")])
