"""`sodate train --method grpo` in processes of its own: what it writes, and that a killed run ends the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sodate
from tests import worker
from tests.farm import Farm, adapter_bytes, curve, events, order, plant, the_run, write_rows


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    return plant(tmp_path_factory.mktemp("farm"))


def words(farm: Farm, *more: str) -> list[str]:
    settings = ["batch_size=3", "max_steps=5", "save_every=2", "eval_every=2", "lr=0.01", "early_stop=null"]
    own = ["rewards=2*text_similarity:metric=char_f1 + json", "samples=4", "max_new_tokens=6", "name=orders",
           "register_no_gain=true"]  # fmt: skip
    files = ["--data", str(farm.train), "--eval", str(farm.held)]
    return ["train", "--method", "grpo", "--model", farm.model, *files, *settings, *own, "--json", *more]


@pytest.fixture(scope="module")
def undisturbed(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = farm.new_home(tmp_path_factory.mktemp("undisturbed") / "home")
    done = worker.run(*words(farm), home=home)
    assert done.code == 0, done.err
    return home


def test_the_run_shows_its_rewards(undisturbed: Path) -> None:
    lines = curve(undisturbed)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    for line in lines:
        assert 0 <= line["reward_mean"] <= 1 and line["engine_kl"] < 1e-6 and line["kl"] >= 0
    assert {"base_reward", "base_eval_reward"} <= set(lines[0])
    assert [line["step"] for line in lines if "eval_reward" in line] == [2, 4, 5]
    assert lines[1]["eval_loss"] == -lines[1]["eval_reward"]
    assert {"eval_json", "eval_text_similarity:metric=char_f1"} <= set(lines[1])
    manifest = json.loads(next((undisturbed / "versions" / "orders" / "1").glob("version.json")).read_text())
    assert manifest["recipe"]["method"] == "grpo" and manifest["recipe"]["variant"] == "grpo"


@pytest.mark.parametrize("write", [3, 9, 14, 22])
def test_kill_9_at_any_write_costs_nothing_but_time(farm: Farm, undisturbed: Path, tmp_path: Path, write: int) -> None:
    home = farm.new_home(tmp_path / "home")
    killed = worker.run(*words(farm), home=home, kill_at_write=write)
    assert killed.code == -9
    go_on = ["runs", "resume", the_run(home), "--json"] if [*(home / "runs").glob("*/run.json")] else words(farm)
    done = worker.run(*go_on, home=home)
    assert done.code == 0, done.err
    assert curve(home) == curve(undisturbed)
    assert adapter_bytes(home) == adapter_bytes(undisturbed)


def test_ctrl_c_and_resume_end_the_same(farm: Farm, undisturbed: Path, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    assert worker.run(*words(farm), home=home, interrupt_at_step=3).code == 130
    assert worker.run("runs", "resume", the_run(home), home=home).code == 0
    assert curve(home) == curve(undisturbed) and adapter_bytes(home) == adapter_bytes(undisturbed)


def test_a_reward_nothing_can_earn_is_refused_before_training(farm: Farm, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    done = worker.run(*words(farm, "rewards=exact"), home=home)
    assert done.code == 1 and "Nothing to learn" in done.err and "supervised fine-tuning" in done.err
    assert not curve(home) if [*(home / "runs").glob("*/metrics.jsonl")] else True
    assert [e["kind"] for e in events(home)] == ["started"]


def test_a_grader_that_cannot_judge_a_row_ends_the_run_with_the_sample(farm: Farm, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    rows = [{"prompt": f"Send {n} pears, please, to the office.", "hint": "none"} for n in range(12, 20)]
    data = write_rows(tmp_path / "tasks.jsonl", rows)
    command = [word if word != str(farm.train) else str(data) for word in words(farm, "rewards=exact")]
    done = worker.run(*command, home=home)
    assert done.code == 1 and "tasks.jsonl:" in done.err and "The reply was:" in done.err


def test_files_of_graders_are_found_beside_the_recipe(farm: Farm, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "words.txt").write_text("zzz\n", "utf-8")
    recipe = {
        "method": "grpo", "model": farm.model, "data": str(farm.train), "max_new_tokens": 5, "samples": 4,
        "rewards": ["banned_words:words.txt", "text_similarity"], "max_steps": 1,
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(json.dumps(recipe), "utf-8")
    done = worker.run("train", str(folder / "recipe.yaml"), "--json", home=home)
    assert done.code == 0, done.err


def test_an_engine_without_the_weights_of_the_step_is_refused_by_name(farm: Farm, tmp_path: Path) -> None:
    keys = ["method=grpo", f"model={farm.model}", f"data={farm.train}", "rewards=text_similarity", "engine=llamacpp"]
    done = worker.run("train", *keys, "--json", home=farm.new_home(tmp_path / "home"))
    assert done.code == 2 and "exact log-probabilities" in done.err and "llamacpp" in done.err


def test_a_run_without_a_gain_leaves_no_version_unless_asked_for(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = farm.new_home(tmp_path / "home")
    monkeypatch.setenv("SODATE_HOME", str(home))
    base = sodate.load(farm.model)
    rows = []
    for n in range(32, 44):  # what the base says already is right here: no other reply can be better
        reply = base.reply(f"{n} pears", max_new_tokens=6).content
        rows.append({"prompt": f"{n} pears", "reference_answer": reply})
    held = write_rows(tmp_path / "held.jsonl", rows)
    command = [word if word != str(farm.held) else str(held) for word in words(farm, "lr=0.1", "max_steps=4")]
    command += ["rewards=text_similarity:metric=char_f1", "on_alarm=nothing"]
    done = worker.run(*command, "register_no_gain=false", home=home)
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["version"] is None and result["verdict"] == "no-gain" and not (home / "versions").exists()
    said = [e["text"] for e in events(home) if e["kind"] == "warning"]
    assert "can't show a gain: the 12 held-out items earn 1.000" in said[0]
    assert "Training made it worse: before it the model earned 1.000 on the 12 held-out rows" in said[-1]
    assert f"Go on using {farm.model}" in said[-1]
    (run,) = (home / "runs").glob("*/run.json")
    assert json.loads(run.read_text())["status"] == "no-gain"
    assert json.loads(worker.run("runs", "resume", the_run(home), "--json", home=home).out) == result
    wanted = worker.run(*command, home=farm.new_home(tmp_path / "wanted"))
    assert json.loads(wanted.out)["version"] == "orders@1" and json.loads(wanted.out)["verdict"] == "no-gain"
    at_once = farm.new_home(tmp_path / "at_once")  # what can't show a gain is not trained, where alarms may act
    done = worker.run(*command, "register_no_gain=false", "on_alarm=lower_rate", home=at_once)
    assert [line["step"] for line in curve(at_once)] == [1] and json.loads(done.out)["version"] is None
    assert [(e["alarm"], e["act"]) for e in events(at_once) if e["kind"] == "act"] == [("hopeless", "stop")]


def test_rows_are_held_out_before_the_first_step_and_those_it_knows_are_named(farm: Farm, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    data = write_rows(tmp_path / "tasks.jsonl", [order(n) for n in range(10, 100)])
    first = write_rows(tmp_path / "first.jsonl", [order(n) for n in range(10, 40)])
    done = worker.run("train", f"model={farm.model}", f"data={first}", "max_steps=1", "name=taught", home=home)
    assert done.code == 0, done.err
    again = ["train", "--method", "grpo", "model=taught", f"data={data}", "max_steps=2", "batch_size=3", "samples=3",
             "max_new_tokens=5", "rewards=text_similarity:metric=char_f1", "register_no_gain=true"]  # fmt: skip
    done = worker.run(*again, "--json", home=home)
    assert done.code == 0, done.err
    folder = home / "runs" / json.loads(done.out)["run"]
    lines, happened = (
        [json.loads(line) for line in (folder / name).read_text().splitlines()]
        for name in ("metrics.jsonl", "events.jsonl")
    )
    assert lines[0]["base_eval_items"] == 16 and lines[-1]["eval_items"] == 16
    (out,) = [e for e in happened if e["kind"] == "held out"]
    assert len(out["rows"]) == 16 and all(int(name.partition(":")[2]) > 30 for name in out["rows"])
    (known,) = [e for e in happened if e["kind"] == "known rows"]
    assert known["count"] == 30 and known["versions"] == ["taught@1"] and known["rows"][0] == "tasks.jsonl:1"
    said = " ".join(e["text"] for e in happened if e["kind"] == "warning")
    assert "16 of 90 rows are held out" in said and "30 of 74 rows ask what taught@1 was trained on" in said
    manifest = json.loads((home / "versions" / "tasks" / "1" / "version.json").read_text())
    assert manifest["eval"] == {"held_out": 16, "known": 0} and manifest["data"]["known"] == 30


def test_data_check_tries_the_tasks_before_a_run(farm: Farm, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    data = write_rows(tmp_path / "tasks.jsonl", [order(n) for n in range(10, 90)])
    words = ["data", "check", str(data), "--for", "grpo", "--model", farm.model, "--set", "max_new_tokens=5"]
    hopeless = worker.run(*words, "--set", "samples=3", "--json", home=home)
    assert hopeless.code == 0, hopeless.err
    found = json.loads(hopeless.out)["stats"]["teaching"]
    assert found["verdict"] == "nothing to learn here" and found["always_wrong"]["share"] == 1 and found["steps"] == 0
    assert (found["tasks"], found["tried"], found["samples"], found["known"]) == (80, 40, 3, None)
    lively = worker.run(*words, "--rewards", "text_similarity:metric=char_f1", home=home)
    assert lively.code == 0 and "these teach" in lively.out and "Worth 10 steps of 8 tasks" in lively.out, lively.err
    assert (
        "takes a method that learns from rewards" in worker.run(*words[:3], "--for", "sft", *words[5:], home=home).err
    )
    assert "needs --model" in worker.run(*words[:5], home=home).err
