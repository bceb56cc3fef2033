"""The command line as others script against it: exit codes, one JSON document, its keys, and words that help."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import worker
from tests.farm import Farm, order, plant, write_rows


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    return plant(tmp_path_factory.mktemp("farm"))


@pytest.fixture(scope="module")
def trained(farm: Farm) -> dict[str, Any]:
    """What `sodate train` printed; the version is orders@1 in the farm's home."""
    files = ["--data", str(farm.train), "--eval", str(farm.held), "--name", "orders"]
    done = worker.run("train", "--model", farm.model, *files, "batch_size=4", "epochs=1", "--json", home=farm.home)
    assert done.code == 0 and done.err == "", done.err
    result: dict[str, Any] = one_document(done)
    return result


def one_document(done: worker.Ended) -> Any:
    """stdout is one JSON document and a line break, nothing else."""
    assert done.out.endswith("\n") and done.out.count("\n") == 1
    return json.loads(done.out)


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["runs", "list"], ["versions", "list", "--json"]])
def test_nothing_heavy_is_imported_for(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom sodate import cli\ntry:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'numpy', 'peft'} & set(sys.modules)\nassert not heavy, heavy"
    )
    environment = {"SODATE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code, *words], check=True, env=environment, stdout=subprocess.DEVNULL)


def test_data_check_says_what_it_found(farm: Farm, tmp_path: Path) -> None:
    done = worker.run("data", "check", str(farm.train), "--json", home=farm.home)
    found = one_document(done)
    assert done.code == 0 and set(found) == {"rows_in", "rows_used", "format", "set_aside", "warnings", "stats"}
    assert (found["rows_in"], found["rows_used"], found["set_aside"]) == (14, 14, [])
    dirty = tmp_path / "dirty.jsonl"
    dirty.write_text(farm.train.read_text() + '{"messages": [\n')
    done = worker.run(
        "data", "check", str(dirty), "--against", str(farm.train), "--model", farm.model, "--json", home=farm.home
    )
    found = one_document(done)
    assert done.code == 1 and found["rows_in"] == 15 == found["rows_used"] + len(found["set_aside"])
    for problem in [*found["set_aside"], *found["warnings"]]:
        assert set(problem) >= {"file", "line", "code", "message"}
    assert found["set_aside"][-1]["file"].endswith("dirty.jsonl") and found["set_aside"][-1]["line"] == 15


def test_train_says_what_it_did(farm: Farm, trained: dict[str, Any]) -> None:
    assert set(trained) >= {
        "run", "version", "run_dir", "steps", "tokens", "supervised_tokens", "train_seconds", "peak_rss_bytes",
        "first_loss", "final_loss",
    }  # fmt: skip
    assert (trained["version"], trained["steps"]) == ("orders@1", 4)  # 14 rows in batches of 4
    lines = [json.loads(text) for text in (Path(trained["run_dir"]) / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    for line in lines:
        assert set(line) >= {"step", "loss", "tokens", "supervised_tokens", "seconds", "lr", "grad_norm"}
    assert (trained["first_loss"], trained["final_loss"]) == (lines[0]["loss"], lines[-1]["loss"])
    for key in ("tokens", "supervised_tokens"):
        assert trained[key] == sum(line[key] for line in lines)
    assert trained["train_seconds"] == pytest.approx(sum(line["seconds"] for line in lines))
    assert 2e8 < trained["peak_rss_bytes"] < 6e9


def test_runs_are_listed(farm: Farm, trained: dict[str, Any]) -> None:
    (listed,) = one_document(worker.run("runs", "list", "--json", home=farm.home))
    assert listed.pop("created_at") and listed.pop("base").startswith(f"{farm.model}@")
    assert listed.pop("method") == "sft"
    assert listed == {"run": trained["run"], "status": "done", "version": "orders@1", "run_dir": trained["run_dir"]}
    again = worker.run("runs", "resume", trained["run"], "--json", home=farm.home)
    assert one_document(again) == trained


def test_eval_compares_a_version_with_its_base(farm: Farm, trained: dict[str, Any]) -> None:
    words = ["eval", "orders@1", "--data", str(farm.held), "--grader", "exact", "--grader", "fields"]
    done = worker.run(*words, "--baseline", farm.model, "--limit", "3", "--max-tokens", "5", "--json", home=farm.home)
    assert done.code == 0, done.err
    found = one_document(done)
    assert found["n"] == 3 and len(found["results"]) == 4
    assert {(r["model"], r["grader"]) for r in found["results"]} == {
        (model, grader) for model in ("orders@1", farm.model) for grader in ("exact", "fields")
    }
    for result in found["results"]:
        assert set(result) >= {"model", "grader", "mean", "ci"} and len(result["ci"]) == 2
        assert result["ci"][0] <= result["mean"] <= result["ci"][1]
    assert len(found["comparisons"]) == 2
    for comparison in found["comparisons"]:
        assert set(comparison) >= {"candidate", "baseline", "grader", "diff", "ci", "p", "verdict", "fixed", "broken"}
        assert (comparison["candidate"], comparison["baseline"]) == ("orders@1", farm.model)
        assert comparison["verdict"] in ("better", "worse", "equivalent", "inconclusive")
    assert Path(found["report"]).read_text("utf-8").startswith("<!")


def test_eval_brings_the_baselines_that_a_version_should_have(farm: Farm, trained: dict[str, Any]) -> None:
    words = ["eval", "orders@1", "--data", str(farm.held), "--grader", "exact", "--limit", "2", "--max-tokens", "3"]
    done = worker.run(*words, "--baselines", "--prompt", "Answer in JSON.", "--json", home=farm.home)
    assert done.code == 0, done.err
    found = one_document(done)
    models = list(dict.fromkeys(row["model"] for row in found["results"]))
    base = models[1]
    assert models == ["orders@1", base, f"{base} + prompt", f"{base} + 3 shots"] and found["remarks"] == []
    pairs = [(one["candidate"], one["baseline"]) for one in found["comparisons"]]
    assert pairs[:3] == [("orders@1", name) for name in models[1:]]


def test_eval_reads_the_columns_it_is_told_as_far_as_it_is_told(
    farm: Farm, trained: dict[str, Any], tmp_path: Path
) -> None:
    table = tmp_path / "held.csv"
    rows = ["件名,返信文,顧客", "リンゴ?,はい,甲", "梨?,はい,甲", "箱?,はい,乙", "空?,,乙"]
    table.write_bytes("\r\n".join(rows).encode("shift_jis"))
    words = ["--data", str(table), "--columns", "prompt=件名,completion=返信文", "--encoding", "shift_jis"]
    asked = ["eval", "orders@1", *words, "--grader", "exact", "--cluster", "顧客", "--max-tokens", "3", "--json",
             "--no-baselines"]  # fmt: skip
    found = one_document(worker.run(*asked, "--limit", "3", home=farm.home))
    assert (found["n"], found["independent"]) == (3, 2) and found["cut_off"] == {"orders@1": 3}
    broken = worker.run(*asked, home=farm.home)
    assert broken.code == 1 and "held.csv:5" in broken.err  # the fourth row has no reply
    done = worker.run("generate", "orders@1", *words, "--limit", "3", "--max-tokens", "3", home=farm.home)
    assert [json.loads(line)["line"] for line in done.out.splitlines()] == [2, 3, 4]


def test_a_row_longer_than_the_context_counts_0_and_the_others_are_measured(
    farm: Farm, trained: dict[str, Any], tmp_path: Path
) -> None:
    long = {"prompt": "apples " * 20_000, "completion": "yes"}
    data = write_rows(tmp_path / "long.jsonl", [{"prompt": "Apples?", "completion": "yes"}, long])
    words = ["eval", "orders@1", "--data", str(data), "--grader", "exact", "--max-tokens", "3", "--json"]
    words.append("--no-baselines")
    done = worker.run(*words, home=farm.home)
    found = one_document(done)
    assert done.code == 0 and (found["n"], found["unanswered"]) == (2, {"orders@1": 1})
    (note,) = found["notes"]
    assert "long.jsonl:2: orders@1: no reply" in note


def test_a_version_that_is_served_is_not_deleted(
    farm: Farm, trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sodate.api.serving import open_service

    monkeypatch.setenv("SODATE_HOME", str(farm.home))
    service = open_service(["orders"])
    try:
        done = worker.run("versions", "delete", "orders@1", "--json", home=farm.home)
    finally:
        service.close()
    assert done.code == 1 and one_document(done)["error"]["code"] == "in_use"
    vague = worker.run("versions", "delete", "orders", home=farm.home)
    assert vague.code == 2 and "NAME@N" in vague.err


def test_examples_without_a_conversation_are_refused(farm: Farm, tmp_path: Path) -> None:
    shots = write_rows(tmp_path / "tasks.jsonl", [{"prompt": "1 + 1?", "reference_answer": 2}])
    words = ["eval", farm.model, "--data", str(farm.held), "--grader", "exact", "--shots", str(shots)]
    done = worker.run(*words, home=farm.home)
    assert done.code == 2 and "tasks.jsonl has no conversation to show as an example" in done.err


def test_what_a_file_says_can_not_steer_the_terminal(farm: Farm, tmp_path: Path) -> None:
    row = order(11)
    row["messages"][0]["\x1b]0;owned\x07\x1b[2J"] = 1
    file = write_rows(tmp_path / "rows.jsonl", [row])
    done = worker.run("data", "check", str(file), home=farm.home)
    assert "\x1b" not in done.out + done.err and "\\x1b]0;owned\\x07\\x1b[2J" in done.out
    named = tmp_path / "d[red]x"
    named.mkdir()
    words = ["--train", str(named / "train.jsonl"), "--held-out", str(named / "held.jsonl")]
    assert "d[red]x" in worker.run("data", "split", str(farm.train), *words, home=farm.home).out


def test_versions_are_listed_and_shown(farm: Farm, trained: dict[str, Any]) -> None:
    (listed,) = one_document(worker.run("versions", "list", "--json", home=farm.home))
    assert listed["version"] == "orders@1" and listed["method"] == "sft" and listed["rows"] == 14
    shown = one_document(worker.run("versions", "show", "orders", "--json", home=farm.home))
    assert set(shown) >= {"version", "base", "recipe", "run", "data", "code", "files", "template_source", "path"}
    assert shown["base"] == listed["base"] and shown["run"] == trained["run"]
    missing = worker.run("versions", "show", "orders@9", home=farm.home)
    assert missing.code == 2 and "orders@1" in missing.err


def test_models_are_listed_and_shown(farm: Farm) -> None:
    (listed,) = one_document(worker.run("models", "list", "--json", home=farm.home))
    assert set(listed) >= {"name", "path", "source", "revision", "architecture", "parameters", "licence", "sha256"}
    assert one_document(worker.run("models", "show", farm.model, "--json", home=farm.home)) == listed
    pulled = worker.run("models", "pull", str(farm.folder), "--json", home=farm.home)
    assert one_document(pulled) == listed


def test_a_base_in_use_is_not_removed(farm: Farm, trained: dict[str, Any], tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(farm.home, home)
    refused = worker.run("models", "remove", farm.model, home=home)
    assert refused.code == 1 and "is the base of orders@1" in refused.err
    # The same when a newer revision of that name was pulled since: `remove NAME` would delete both.
    changed = tmp_path / farm.folder.name
    shutil.copytree(farm.folder, changed)
    (changed / "generation_config.json").write_text('{"temperature": 0.5}')
    newer = one_document(worker.run("models", "pull", str(changed), "--json", home=home))
    refused = worker.run("models", "remove", farm.model, home=home)
    assert refused.code == 1 and "is the base of orders@1" in refused.err
    exact = Path(newer["path"]).name
    assert one_document(worker.run("models", "remove", exact, "--json", home=home)) == {"removed": [exact]}
    shutil.rmtree(home / "versions")
    assert worker.run("models", "remove", farm.model, home=home).code == 0
    assert one_document(worker.run("models", "list", "--json", home=home)) == []


def test_a_version_answers_in_generate_and_chat(farm: Farm, trained: dict[str, Any]) -> None:
    asked = "Dear shop, please send 12 apples."
    single = worker.run("generate", "orders@1", "--prompt", asked, "--max-tokens", "6", home=farm.home)
    assert single.code == 0 and single.err == ""
    same = one_document(
        worker.run("generate", "orders@1", "--prompt", asked, "--max-tokens", "6", "--json", home=farm.home)
    )
    assert same == [{"prompt": 0, "replies": [single.out.removesuffix("\n")]}]
    many = worker.run(
        "generate", "orders", "--data", str(farm.held), "--samples", "2", "--temperature", "1", "--max-tokens", "4",
        "--limit", "3", home=farm.home,
    )  # fmt: skip
    lines = [json.loads(line) for line in many.out.splitlines()]
    assert len(lines) == 3 and all(len(line["replies"]) == 2 and line["ranks"] is None for line in lines)
    assert [line["prompt"][-1]["role"] for line in lines] == ["user"] * 3
    talk = worker.run("chat", "orders@1", "--max-tokens", "6", home=farm.home, stdin=f"{asked}\nAnd 3 pears?\n")
    assert talk.code == 0 and talk.out.count("> ") >= 2 and single.out.strip() in talk.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train --model M --data D batch_sise=4", "unknown key 'batch_sise'. Did you mean batch_size?"),
        ("train --model M --data D lr=fast", "lr = 'fast'"),
        ("train --model M --data D lr=-1", "lr = -1"),
        ("train --model M --data D --method magic", "There is no method 'magic'"),
        ("train --model M", "'data' is missing"),
        ("train --data D", "'model' is missing"),
        ("train --model M --data D epochs=.inf", "epochs = inf"),
        ("train --model M --data D device=cuda", "device=cuda: "),
        ("train --model M --data D device=abacus", "device=abacus: "),
        ("train --model M --data D memory=4XB", "memory = '4XB' is not an amount of memory"),
        (
            "train --method dpo --model M --data D loss=ipo label_smoothing=0.1",
            "only loss=sigmoid has labels to smooth",
        ),
        ("train --method ppo --model M --data D rewards=json kl_control=fixed kl_target=3", "kl_target = 3"),
        ("train nowhere.yaml", "nowhere.yaml"),
        ("train --model M --data nowhere.jsonl", "nowhere.jsonl"),
        ("train --model M --data D --name ../x", "not a usable name"),
        ("data check nowhere.jsonl", "nowhere.jsonl"),
        ("eval M --data nowhere.jsonl --grader exact", "nowhere.jsonl"),
        ("eval M --data D --grader magic", "magic"),
        ("runs resume sft-none", "There is no run 'sft-none'"),
        ("runs resume ../x", "not a usable name"),
        ("versions show none", "There is no version 'none'"),
        ("train --method grpo --model M --data D", "'rewards' is missing. Give it in the recipe or as rewards=VALUE."),
        ("train .", "Recipe . can't be read"),
        ("train --model M --data D epoch＝2", "'epoch'"),
        ("judge import nowhere.xlsx", "nowhere.xlsx is not a file"),
        ("train --model M --data D name=[x", "name=[x: the value is not valid YAML"),
        ("data show D --model M --rows 5-3", "--rows 5-3"),
        ("eval M --data D --grader exact --cluster mail", "has no column mail"),
        ("generate M", "--prompt"),
        ("generate M --prompt x --samples 2", "--temperature"),
        ("data split D --train a --held-out b --by magic", "magic"),
        ("magic", "magic"),
        ("train --magic", "--magic"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(farm: Farm, words: str, said: str) -> None:
    filled = [farm.model if w == "M" else str(farm.train) if w == "D" else w for w in words.split()]
    done = worker.run(*filled, home=farm.home)
    assert done.code == 2, (done.code, done.err)
    assert said in " ".join(done.err.split()) and done.out == "" and "Traceback" not in done.err


def test_a_recipe_is_read_beside_its_files_and_its_wrong_keys_are_named(farm: Farm, tmp_path: Path) -> None:
    write_rows(tmp_path / "few.jsonl", [order(n) for n in range(11, 17)])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"model: {farm.model}\ndata: few.jsonl\nname: few\nbatch_size: 3\nmax_steps: 9\n")
    home = farm.new_home(tmp_path / "home")
    done = worker.run("train", str(recipe), "max_steps=1", "--json", home=home)
    assert done.code == 0, done.err
    assert (one_document(done)["version"], one_document(done)["steps"]) == ("few@1", 1)
    write_rows(tmp_path / "more.jsonl", [order(n) for n in range(17, 20)])
    recipe.write_text(recipe.read_text().replace("few.jsonl", "few.jsonl,more.jsonl"))
    done = worker.run("train", str(recipe), "max_steps=1", "--json", home=home)
    assert json.loads((home / "versions/few/2/version.json").read_text())["data"]["rows_in"] == 9, done.err
    recipe.write_text(recipe.read_text() + "sched: cosine\n")
    done = worker.run("train", str(recipe), home=home)
    assert done.code == 2 and f"{recipe}: unknown key 'sched'" in done.err


def test_a_folder_does_not_stand_in_for_a_version_of_its_name(
    farm: Farm, trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    shutil.copytree(farm.home, home, symlinks=True)
    (tmp_path / "orders").mkdir()
    monkeypatch.chdir(tmp_path)
    words = ["train", "--model", "orders", "--data", str(farm.train), "--name", "on", "max_steps=1", "--json"]
    done = worker.run(*words, home=home)
    assert done.code == 0, done.err
    about = json.loads((home / "runs" / one_document(done)["run"] / "run.json").read_text())
    assert about["start"]["model"] == "orders@1"


def test_no_is_1(farm: Farm, tmp_path: Path) -> None:
    empty = tmp_path / "bad.jsonl"
    empty.write_text('{"messages": [\n')
    assert worker.run("data", "check", str(empty), home=farm.home).code == 1
    done = worker.run("train", "--model", farm.model, "--data", str(empty), home=farm.home)
    assert done.code == 1 and "Every row of" in done.err and done.out == ""


def test_everything_is_also_said_in_japanese(farm: Farm) -> None:
    done = worker.run(
        "train", "--model", farm.model, "--data", str(farm.train), "batch_sise=4", home=farm.home, language="ja"
    )
    assert done.code == 2 and "知らないキー 'batch_sise' です。batch_size のことですか?" in done.err
    done = worker.run("runs", "resume", "sft-none", home=farm.home, language="ja")
    assert done.code == 2 and "実行 'sft-none' はありません。" in done.err


def test_a_person_sees_progress_on_stderr_and_the_result_on_stdout(farm: Farm, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    done = worker.run("train", "--model", farm.model, "--data", str(farm.train), "max_steps=2", home=home)
    assert done.code == 0 and "orders@1" in done.out and "loss" in done.out
    assert "14 rows in = 14 used + 0 set aside" in done.err and "auto lora_rank = 16" in " ".join(done.err.split())
