"""`sodate import`: what people saved of OpenAI's platform, and other trainers' configurations, as files of ours."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import sodate
from sodate.api.import_openai import import_openai
from sodate.api.import_trainers import import_axolotl, import_llama_factory
from sodate.api.imported import Imported
from sodate.cli import app
from sodate.core.errors import UsageError
from sodate.core.recipe import load_recipe
from sodate.core.text import visible


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SODATE_LANG", "en")
    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def document(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), "utf-8")
    return path


def names(made: Imported, kind: str) -> list[Path]:
    return [Path(one["name"]) for one in made.made if one["kind"] == kind]


def left(made: Imported) -> str:
    return "\n".join(f"{one['from']}: {one['why']}" for one in made.left)


def chat(user: str, said: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": said}]}


SAME = {"type": "string_check", "name": "same", "id": "same-1", "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}", "operation": "eq"}  # fmt: skip


def output(number: int, run: str, said: str, answer: str) -> dict[str, Any]:
    return {"object": "eval.run.output_item", "id": f"outputitem_{run}{number}", "eval_id": "eval_1", "run_id": run,
            "datasource_item_id": number, "datasource_item": {"question": f"q{number}", "answer": answer},
            "status": "pass", "results": [], "sample": {
                "input": [{"role": "user", "content": f"q{number}"}],
                "output": [{"role": "assistant", "content": said}]}}  # fmt: skip


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "openai"
    lines(folder / "files" / "train.jsonl", *[chat(f"q{i}", f"a{i}") for i in range(12)])
    lines(folder / "files" / "valid.jsonl", chat("q", "a"))
    document(folder / "files.json", {"object": "list", "data": [
        {"id": "file-t", "object": "file", "filename": "train.jsonl", "purpose": "fine-tune", "bytes": 1},
        {"id": "file-v", "object": "file", "filename": "valid.jsonl", "purpose": "fine-tune", "bytes": 1},
        {"id": "file-gone", "object": "file", "filename": "gone.jsonl", "purpose": "fine-tune", "bytes": 1},
        {"id": "file-r", "object": "file", "filename": "step_metrics.csv", "purpose": "fine-tune-results", "bytes": 1},
    ], "has_more": False})  # fmt: skip
    document(folder / "jobs.json", {"object": "list", "data": [
        {"object": "fine_tuning.job", "id": "ftjob-1", "model": "gpt-4o-mini-2024-07-18", "status": "succeeded",
         "training_file": "file-t", "validation_file": "file-v", "seed": 7,
         "fine_tuned_model": "ft:gpt-4o-mini:org:support:AbC12345",
         "hyperparameters": {"n_epochs": 3, "batch_size": 2, "learning_rate_multiplier": 1.8},
         "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}}},
        {"object": "fine_tuning.job", "id": "ftjob-2", "model": "o4-mini", "training_file": "file-gone",
         "method": {"type": "reinforcement", "reinforcement": {
             "grader": {**SAME, "reference": "{{item.reference_answer}}"},
             "hyperparameters": {"n_epochs": "auto", "compute_multiplier": 2.0}}}},
    ]})  # fmt: skip
    lines(folder / "evals.jsonl", {"object": "eval", "id": "eval_1", "name": "Support eval", "metadata": {},
                                   "data_source_config": {"type": "custom", "schema": {"type": "object", "properties": {
                                       "item": {"type": "object", "properties": {"answer": {"type": "string"}}},
                                       "sample": {"type": "object"}}}},
                                   "testing_criteria": [SAME]},
          {"object": "eval.run", "id": "run_a", "eval_id": "eval_1", "name": "gpt-4o", "model": "gpt-4o"},
          {"object": "eval.run", "id": "run_b", "eval_id": "eval_1", "model": "ft:gpt-4o-mini:org::x"},
          {"object": "eval.run", "id": "run_c", "eval_id": "eval_1"})  # fmt: skip
    lines(folder / "items_a.jsonl", *[output(i, "run_a", "yes" if i % 2 else "no", "yes") for i in range(10)])
    lines(folder / "items_b.jsonl", *[output(i, "run_b", "yes", "yes") for i in range(9)])
    document(folder / "stored.json", {"object": "list", "data": [
        {"object": "chat.completion", "id": "chatcmpl-1", "model": "gpt-4o", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello!"}}]},
        {"object": "chat.completion", "id": "chatcmpl-2", "model": "gpt-4o", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "No prompt."}}]},
    ]})  # fmt: skip
    document(folder / "messages.json", {"object": "list", "data": [
        {"id": "chatcmpl-1-1", "role": "user", "content": "Hi"},
        {"id": "chatcmpl-1-0", "role": "system", "content": "Be kind."}]})  # fmt: skip
    document(folder / "grader.json", {**SAME, "type": "score_model", "model": "gpt-4o",
                                      **dict.fromkeys(("reference", "operation"), None)})  # fmt: skip
    (folder / "broken.jsonl").write_text('{"a": 1}\n{no\n', "utf-8")
    (folder / "notes.txt").write_text("x", "utf-8")
    document(folder / "odd.json", {"object": "assistant", "id": "asst_1"})
    return folder


def test_what_was_saved_becomes_data_recipes_graders_evals_and_baselines(saved: Path, tmp_path: Path) -> None:
    made = import_openai(saved, tmp_path / "out")
    datasets = {path.stem: path for path in names(made, "dataset")}
    assert set(datasets) == {"train", "valid", "Support-eval-items", "completions-gpt-4o"}
    assert datasets["train"].read_bytes() == (saved / "files" / "train.jsonl").read_bytes()
    assert sodate.check([datasets["train"]]).ledger.rows_used == 12

    recipes = {path.stem: path for path in names(made, "recipe")}
    recipe = load_recipe(recipes["ftjob-1"], {"model": "smollm2-135m"})
    assert (recipe.method, recipe.epochs, recipe.batch_size, recipe.seed, recipe.name) == ("sft", 3, 2, 7, "support")
    assert [Path(one).resolve() for one in recipe.data] == [datasets["train"].resolve()]
    assert recipe.eval is not None
    assert Path(recipe.eval).resolve() == datasets["valid"].resolve()
    grpo = yaml.safe_load(recipes["ftjob-2"].read_text("utf-8"))
    assert (grpo["method"], json.loads(grpo["rewards"][0])["type"]) == ("grpo", "string_check")

    (definition,) = names(made, "eval")
    told = json.loads(definition.read_text("utf-8"))
    assert told["data_source_config"]["item_schema"]["properties"] == {"answer": {"type": "string"}}
    assert "id" not in told["testing_criteria"][0]
    graders = {path.stem for path in names(made, "grader")}
    assert graders == {"same", "Support-eval-same"}


def test_recorded_answers_are_compared_on_the_items_that_all_runs_answered(saved: Path, tmp_path: Path) -> None:
    made = import_openai(saved, tmp_path / "out")
    items = next(path for path in names(made, "dataset") if path.stem == "Support-eval-items")
    baselines = {path.stem: path for path in names(made, "baseline")}
    assert set(baselines) == {"Support-eval-gpt-4o", "Support-eval-ft-gpt-4o-mini-org-x", "gpt-4o"}
    grader = next(path for path in names(made, "grader") if path.stem == "Support-eval-same")
    old, new = (
        f"{baselines[name]}:{name[-1]}" for name in ("Support-eval-gpt-4o", "Support-eval-ft-gpt-4o-mini-org-x")
    )
    done = sodate.evaluate([], items, str(grader), replies=[old, new])
    assert [(one.model, one.mean) for one in done.result.results] == [("o", pytest.approx(4 / 9)), ("x", 1.0)]
    conversations = next(path for path in names(made, "dataset") if path.stem == "completions-gpt-4o")
    (row,) = [json.loads(one) for one in conversations.read_text("utf-8").splitlines()]
    assert [turn["content"] for turn in row["messages"]] == ["Be kind.", "Hi", "Hello!"]


def test_what_does_not_carry_over_is_named_with_its_reason(saved: Path, tmp_path: Path) -> None:
    said = left(import_openai(saved, tmp_path / "out"))
    for part in (
        "gone.jsonl was not saved", "no weights of ft:gpt-4o-mini:org:support:AbC12345",
        "learning_rate_multiplier = 1.8", "compute_multiplier = 2.0", "grader.json",
        "broken.jsonl: It can't be read as JSON: Expecting property name", ": line 2", "notes.txt",
        "odd.json: Nothing here knows what it is (assistant)", "1 item of Support eval not answered in every run",
        "Its output items were not saved", "Its messages were not saved", "o4-mini is not an open",
    ):  # fmt: skip
        assert part in said, part


def test_the_command_prints_the_contract_and_takes_no_folder_that_holds_something(saved: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["import", "openai", str(saved), "--json"])
    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert all(set(one) == {"kind", "name", "from"} for one in told["made"])
    assert all(set(one) == {"from", "why"} for one in told["left"])
    assert all(Path(one["name"]).is_file() for one in told["made"])
    assert Path(told["folder"]).is_relative_to(tmp_path / "home")
    assert CliRunner().invoke(app, ["import", "openai", str(saved)]).exit_code == 0
    with pytest.raises(UsageError, match="not empty"):
        import_openai(saved, saved)
    with pytest.raises(UsageError, match="not there"):
        import_openai(tmp_path / "absent")


def test_names_in_what_was_saved_never_become_paths(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    lines(folder / "evals.jsonl", {"object": "eval", "id": "eval_1", "name": "../../../evil", "testing_criteria": [
        {**SAME, "name": "/etc/x"}]}, {"object": "fine_tuning.job", "id": "../../job", "method": "odd",
                                       "hyperparameters": [1]})  # fmt: skip
    made = import_openai(folder, tmp_path / "out")
    paths = [Path(one["name"]).resolve() for one in made.made]
    assert paths
    assert all(path.is_relative_to((tmp_path / "out").resolve()) for path in paths)


# ── LLaMA-Factory, Axolotl ───────────────────────────────────────────────────────────────────────────────────────────


def test_llama_factorys_data_and_recipe_are_ours_and_other_keys_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "lf"
    document(folder / "data" / "dataset_info.json", {
        "mails": {"file_name": "mails.json"},
        "talks": {"file_name": "talks.jsonl", "formatting": "sharegpt",
                  "columns": {"messages": "turns", "system": "sys"},
                  "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "u", "assistant_tag": "a"}},
        "pairs": {"file_name": "pairs.json", "ranking": True,
                  "columns": {"prompt": "instruction", "chosen": "good", "rejected": "bad"}},
        "hub": {"hf_hub_url": "someone/something"},
    })  # fmt: skip
    document(folder / "data" / "mails.json", [
        {"instruction": "Translate", "input": "dog", "output": "犬", "history": [["cat", "猫"]], "system": "Be brief."},
        {"instruction": "x"}])  # fmt: skip
    lines(
        folder / "data" / "talks.jsonl", {"sys": "S", "turns": [{"who": "u", "says": "hi"}, {"who": "a", "says": "yo"}]}
    )
    document(folder / "data" / "pairs.json", [{"instruction": "q", "good": "g", "bad": "b"}])
    (folder / "sft.yaml").write_text(
        "model_name_or_path: Qwen/Qwen2.5-0.5B\nstage: sft\ndo_train: true\nfinetuning_type: lora\nlora_rank: 8\n"
        "lora_target: q_proj,v_proj\ndataset: mails,talks,hub\ndataset_dir: data\ntemplate: qwen\ncutoff_len: 2048\n"
        "per_device_train_batch_size: 2\ngradient_accumulation_steps: 8\nlearning_rate: 1.0e-4\nnum_train_epochs: 3.0\n"
        "lr_scheduler_type: cosine\nwarmup_ratio: 0.1\nbf16: true\n"
        "neftune_noise_alpha: 5\noutput_dir: saves\n", "utf-8")  # fmt: skip
    (folder / "dpo.yaml").write_text(
        "model_name_or_path: m\nstage: dpo\npref_loss: orpo\npref_beta: 0.2\ndataset: pairs\ndataset_dir: data\n",
        "utf-8",
    )
    made = import_llama_factory(folder, tmp_path / "out")
    data = {path.stem: [json.loads(one) for one in path.read_text("utf-8").splitlines()]
            for path in names(made, "dataset")}  # fmt: skip
    assert [turn["content"] for turn in data["mails"][0]["messages"]] == [
        "Be brief.",
        "cat",
        "猫",
        "Translate\ndog",
        "犬",
    ]
    assert [turn["role"] for turn in data["talks"][0]["messages"]] == ["system", "user", "assistant"]
    assert data["pairs"][0]["chosen"] == [{"role": "assistant", "content": "g"}]
    recipes = {path.stem: load_recipe(path, {}) for path in names(made, "recipe")}
    sft = recipes["sft"]
    assert (sft.model, sft.lora_rank, sft.lora_targets) == ("Qwen/Qwen2.5-0.5B", 8, ("q_proj", "v_proj"))
    assert (sft.batch_size, sft.lr, sft.epochs, sft.schedule, sft.dtype, sft.max_length) == (
        16, 1e-4, 3, "cosine", "bfloat16", 2048)  # fmt: skip
    assert len(sft.data) == 2
    assert (recipes["dpo"].method, recipes["dpo"].beta) == ("orpo", 0.2)  # type: ignore[attr-defined]
    assert sodate.check([Path(sft.data[0])]).ledger.rows_used == 1
    said = left(made)
    for part in ("neftune_noise_alpha = 5 has no counterpart", "warmup_ratio = 0.1", "template = qwen",
                 "fetched from elsewhere (hf_hub_url someone/something)", "mails.json:2"):  # fmt: skip
        assert part in said, part
    assert "output_dir" not in said


def test_axolotls_yaml_becomes_a_recipe_with_its_local_data(tmp_path: Path) -> None:
    folder = tmp_path / "ax"
    lines(folder / "chat.jsonl", {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]})
    lines(folder / "alpaca.jsonl", {"instruction": "q", "input": "", "output": "a"})
    (folder / "config.yml").write_text(
        "base_model: Qwen/Qwen2.5-0.5B\nload_in_4bit: true\nadapter: qlora\nlora_r: 16\nlora_alpha: 32\n"
        "lora_dropout: 0.05\nlora_target_modules: [q_proj, k_proj]\nsequence_len: 1024\nmicro_batch_size: 2\n"
        "gradient_accumulation_steps: 4\nnum_epochs: 2\nlearning_rate: 0.0002\nlr_scheduler: cosine\n"
        "val_set_size: 0.05\n"
        "datasets:\n  - path: chat.jsonl\n    type: chat_template\n    field_messages: conversations\n"
        "    message_property_mappings: {role: from, content: value}\n    shards: 4\n"
        "  - {path: alpaca.jsonl, type: alpaca}\n  - {path: org/hub, type: alpaca}\n"
        "  - {path: ../../etc/passwd, type: alpaca}\nchat_template: chatml\n"
        "special_tokens: {pad_token: x}\n", "utf-8")  # fmt: skip
    made = import_axolotl(folder / "config.yml", tmp_path / "out")
    (path,) = names(made, "recipe")
    recipe = load_recipe(path, {})
    assert (recipe.adapter, recipe.lora_rank, recipe.lora_alpha, recipe.batch_size) == ("qlora", 16, 32, 8)
    assert [sodate.check([Path(one)]).ledger.rows_used for one in recipe.data] == [1, 1]
    said = left(made)
    for part in ("lora_dropout = 0.05", "val_set_size = 0.05", "shards = 4", "org/hub is not a file", "special_tokens",
                 "passwd is not a file"):  # fmt: skip
        assert part in said, part


def test_a_configuration_that_is_none_is_left(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.yaml").write_text("a: [1\n", "utf-8")
    (tmp_path / "a" / "y.yaml").write_text("- 1\n", "utf-8")
    (tmp_path / "a" / "z.yaml").write_text("k: v\n", "utf-8")
    for bring_in in (import_axolotl, import_llama_factory):
        made = bring_in(tmp_path / "a")
        assert not made.made
        assert len(made.left) == 3


@pytest.mark.parametrize("odd", [5, True, [5], ["a"], "x", {"a": [1]}, [], "w" * 300])
def test_values_of_another_kind_leave_the_rest_of_a_configuration(tmp_path: Path, odd: Any) -> None:
    """Each key that is read as something else than it is costs itself, not the import."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "x.json").write_text('[{"instruction": "a", "output": "b"}]')
    about = {name: {"file_name": "x.json", "columns": odd, "tags": odd} for name in ("a", "b")}
    (folder / "dataset_info.json").write_text(json.dumps({**about, "c": {"file_name": odd}}))
    config = {"stage": "sft", "model_name_or_path": "m", "dataset": "a", "dataset_dir": odd}
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    made = import_llama_factory(folder, tmp_path / "one")
    assert [one["kind"] for one in made.made].count("recipe") == 1
    rest = [{"path": "x.json", "type": "alpaca", 5: 1, "more": 2}, {"path": "w" * 300}]
    (folder / "train.yaml").write_text(
        yaml.safe_dump({"base_model": "m", "rl": odd, "adapter": copy.deepcopy(odd), "datasets": rest})
    )
    made = import_axolotl(folder / "train.yaml", tmp_path / "two")
    assert [one["kind"] for one in made.made].count("recipe") == 1


@pytest.mark.parametrize("odd", ['{"object": "\\ud800"}', '{"type": []}', '{"type": {}, "name": "\\u202e"}'])
def test_objects_of_no_kind_are_named_whatever_stands_in_them(tmp_path: Path, odd: str) -> None:
    (tmp_path / "saved.json").write_text(odd)
    assert len(import_openai(tmp_path / "saved.json", tmp_path / "out").left) == 1
    noted = (tmp_path / "out" / "import.json").read_text("utf-8")
    assert noted == visible(noted) and len(json.loads(noted)["left"]) == 1


@pytest.mark.parametrize("choices", [True, [None], [{"message": True}], {"a": 1}, "no"])
def test_a_reply_of_another_shape_is_none(tmp_path: Path, choices: Any) -> None:
    turns = [{"role": "user", "content": "Hi."}]
    odd = {"object": "chat.completion", "id": "chatcmpl-1", "choices": choices, "messages": turns}
    document(tmp_path / "saved.json", [odd, {"id": "chatcmpl-1-" + "9" * 5000, "role": "user"}])
    made = import_openai(tmp_path / "saved.json", tmp_path / "out")
    assert "It has no reply." in [one["why"] for one in made.left]
