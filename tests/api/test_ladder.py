"""A ladder from its task file to its page, on a tiny model: what is measured, what never twice, and what is said."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from sodate.api import ladder_rows, ladder_steps, ladder_task
from sodate.api.ladder import ladder
from sodate.cli import app
from sodate.core.errors import UsageError
from sodate.core.runs import RunFolder
from tests import farm as farms
from tests import in_process

WHAT = ["apples", "pears", "boxes", "red hats", "blue hats"]


def row(number: int, what: str) -> dict[str, Any]:
    reply = json.dumps({"n": number, "what": what})
    asked = f"Please send {number} {what}."
    turns = [("system", "Reply in JSON."), ("user", asked), ("assistant", reply)]
    return {"messages": [{"role": role, "content": text} for role, text in turns], "file": f"{what}.md"}


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> farms.Farm:
    return farms.plant(tmp_path_factory.mktemp("farm"))


@pytest.fixture
def task(farm: farms.Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task file with its rows, in a home that has the model; commands run in this process."""
    monkeypatch.setenv("SODATE_HOME", str(farm.new_home(tmp_path / "home")))
    monkeypatch.setenv("SODATE_LANG", "en")
    farms.write_rows(tmp_path / "train.jsonl", [row(n, what) for n in range(2, 12) for what in WHAT[:4]])
    farms.write_rows(tmp_path / "heldout.jsonl", [row(n, what) for n in (20, 21) for what in WHAT])
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "maximum": 9}},
              "additionalProperties": False}  # fmt: skip
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    return write(tmp_path / "task.yaml", model=farm.model)


def write(path: Path, **more: Any) -> Path:
    about = {
        "name": "orders", "goal": "Turn each order into JSON.", "wrong": ["accuracy", "format"],
        "grader": "text_similarity", "train": "train.jsonl", "heldout": "heldout.jsonl", "training": {"max_steps": 2},
    }  # fmt: skip
    path.write_text("# mine\n" + yaml.safe_dump(about | more, sort_keys=False))
    return path


class Commands:
    """`sodate` commands run in this process instead of one each; counts them."""

    def __init__(self) -> None:
        self.ran: list[list[str]] = []

    def __call__(self, words: Sequence[str], cwd: Path) -> tuple[Any, float, int]:
        self.ran.append(list(words))
        return in_process.run_command(words, cwd)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    counting = Commands()
    monkeypatch.setattr(ladder_steps, "run_command", counting)
    yield counting


def test_a_ladder_measures_every_rung_on_the_same_rows_and_nothing_twice(
    task: Path, commands: Commands, farm: farms.Farm
) -> None:
    found = ladder(task, every=True)
    names = [one["name"] for one in found["rungs"]]
    assert names == ["base", "prompt", "few-shots", "nearest-shots", "sft-8", "sft-32"]
    for one in found["rungs"]:
        assert set(one["quality"]) == {"mean", "ci"} and 0 <= one["quality"]["mean"] <= 1
        assert one["peak_bytes"] == 10**9 and one["tokens_per_request"] > 0 and one["seconds_per_request"] > 0
        assert one["cost_per_month"] == pytest.approx(1e4 * one["seconds_per_request"] / 3600 * 0.1, rel=1e-2)
        assert one["command"].startswith("sodate eval ")
    assert found["recommended"] in names and found["because"] and Path(found["report"]).is_file()
    assert found["learning_curve"]["rows"] == [8, 32] and found["learning_curve"]["twice"] == 64
    trained = [one for one in commands.ran if one[0] == "train"]
    assert len(trained) == 2 and {"max_steps=2"} <= set(trained[0])
    # Every prompt has the held-out rows' own last question, in their order, and their right replies.
    files = [one[one.index("--data") + 1] for one in commands.ran if "--alone" in one]
    for file in files:
        rows = [json.loads(line)["messages"] for line in Path(file).read_text().splitlines()]
        assert [one[-2]["content"] for one in rows] == [f"Please send {n} {w}." for n in (20, 21) for w in WHAT]

    before = len(commands.ran)
    again = ladder(task, every=True)
    assert len(commands.ran) == before and again["measured"] == 0
    assert again["rungs"] == found["rungs"]
    write(task, model=farm.model, requests_per_month=500)  # a price: nothing to measure
    assert ladder(task, every=True)["measured"] == 0
    lines = (task.parent / "train.jsonl").read_text().splitlines()
    (task.parent / "train.jsonl").write_text("\n".join(lines[1:]) + "\n")
    changed = ladder(task, every=True)
    ran = commands.ran[before:]
    assert changed["measured"] == len(ran) > 0
    base = found["rungs"][0]["command"]
    assert base == changed["rungs"][0]["command"] and base not in [" ".join(["sodate", *one]) for one in ran]


def test_it_stops_at_the_first_rung_that_reaches_the_target_and_writes_what_each_layer_is_for(
    task: Path, commands: Commands, farm: farms.Farm
) -> None:
    write(task, model=farm.model, target=0.0, knowledge="monthly")
    found = ladder(task)
    assert [one["name"] for one in found["rungs"]] == ["base"] and found["recommended"] == "base"
    assert found["reached"] and "first rung that reaches the target" in found["because"]
    assert "none after it can change that" in found["stopped"]
    assert len(commands.ran) == 1
    text = task.read_text()
    assert text.startswith("# mine\n") and text.count("roles:") == 1
    assert yaml.safe_load(text)["roles"] == {
        "prompt": ["task", "knowledge", "accuracy", "format"], "retrieval": [], "training": [],
    }  # fmt: skip
    ladder(task)
    assert task.read_text() == text
    (base,) = found["rungs"]
    again, _, _ = in_process.run_command(shlex.split(base["command"])[1:], task.parent)
    assert again["results"][0]["mean"] == base["quality"]["mean"]
    assert again["results"][0]["ci"] == base["quality"]["ci"]


def test_only_the_rows_that_decide_need_the_column_of_what_is_related(
    task: Path, commands: Commands, farm: farms.Farm
) -> None:
    rows = [row(n, what) | {"day": f"day {n}"} for n in (20, 21) for what in WHAT]
    farms.write_rows(task.parent / "heldout.jsonl", rows)
    found = ladder(write(task, model=farm.model, cluster="day", rows=8), every=True)
    assert found["skipped"] == [] and found["rungs"][-1]["name"] == "sft-8"
    assert all("--cluster day" in one["command"] for one in found["rungs"])
    assert not any("--cluster" in words for words in commands.ran if "--alone" not in words)


def test_a_task_may_say_how_long_replies_are_at_most(task: Path, commands: Commands, farm: farms.Farm) -> None:
    def base(longest: int) -> dict[str, Any]:
        (rung,) = ladder(write(task, model=farm.model, target=0.0, max_tokens=longest))["rungs"]
        assert f"--max-tokens {longest}" in rung["command"]
        return rung

    short, long = base(1), base(4)  # the prompts are the same
    assert 0 < long["tokens_per_request"] - short["tokens_per_request"] <= 3


def test_a_schema_and_documents_add_rungs_and_replies_that_fit_already_are_not_asked_again(
    task: Path, commands: Commands, farm: farms.Farm
) -> None:
    (task.parent / "docs").mkdir()
    (task.parent / "docs" / "hats.md").write_text("# Hats\n\nWe sell red hats.\n")
    write(task, model=farm.model, schema="schema.json", documents="docs", wrong=["format"])
    found = ladder(task, every=True)
    names = [one["name"] for one in found["rungs"]]
    assert names[8:] == [
        "retrieval", "retrieval+schema", "sft-8", "sft-8+schema", "sft-32", "sft-32+schema", "sft-32+retrieval",
        "sft-32+retrieval+schema",
    ]  # fmt: skip
    by_name = {one["name"]: one for one in found["rungs"]}
    assert by_name["base+schema"]["fits_schema"] == 1.0
    assert "--index orders@1" in by_name["retrieval"]["command"]
    assert by_name["sft-32+retrieval"]["build_seconds"] == pytest.approx(6.0)  # index, training, and its two files
    assert any("can't be of another form" in one for one in found["advice"])


def test_preferences_and_reinforcement_are_rungs_on_top_of_training_where_they_are_asked_for(
    task: Path, commands: Commands, farm: farms.Farm
) -> None:
    pairs = [
        {"prompt": one["messages"][:2], "chosen": one["messages"][2:],
         "rejected": [{"role": "assistant", "content": "Sure!"}]}
        for one in (row(n, what) for n in range(2, 5) for what in WHAT[:2])
    ]  # fmt: skip
    farms.write_rows(task.parent / "pairs.jsonl", pairs)
    farms.write_rows(task.parent / "tasks.jsonl", [row(n, what) for n in (2, 3) for what in WHAT[:2]])
    write(task, model=farm.model, preferences="pairs.jsonl", tasks="tasks.jsonl", rows=8, heldout_rows=4)
    found = ladder(task, every=True)
    *_, trained, preferred, reinforced = found["rungs"]
    assert [one["name"] for one in (trained, preferred, reinforced)] == ["sft-8", "preference", "reinforcement"]
    methods = [
        [word for word in one if word.startswith(("model=", "method="))] for one in commands.ran if one[0] == "train"
    ]
    assert methods[1:] == [["model=orders-sft-8@1", "method=dpo"], ["model=orders-preference@1", "method=grpo"]]
    assert "eval orders-reinforcement@1" in reinforced["command"]
    assert reinforced["build_seconds"] == pytest.approx(4.5)  # all three trainings
    assert ladder(task, every=True)["measured"] == 0


def test_with_documents_preferences_are_learnt_from_prompts_with_passages(
    task: Path, commands: Commands, farm: farms.Farm
) -> None:
    (task.parent / "docs").mkdir()
    (task.parent / "docs" / "hats.md").write_text("# Hats\n\nWe sell red hats.\n")
    asked, reply = row(3, "red hats")["messages"][1:]
    bad = {"role": "assistant", "content": "Sure!"}
    farms.write_rows(task.parent / "pairs.jsonl", [{"prompt": [asked], "chosen": [reply], "rejected": [bad]}] * 12)
    write(task, model=farm.model, preferences="pairs.jsonl", documents="docs", rows=8, heldout_rows=4)
    found = ladder(task, every=True)
    assert found["rungs"][-1]["name"] == "preference+retrieval"
    (data,) = (word[5:] for one in commands.ran if "method=dpo" in one for word in one if word.startswith("data="))
    pair = json.loads(Path(data).read_text().splitlines()[0])
    assert "> We sell red hats." in pair["prompt"][0]["content"] and pair["chosen"][0] == reply
    assert pair["rejected"][0] == bad


def test_a_rung_that_cannot_be_built_leaves_the_table_of_those_before_it(
    task: Path, commands: Commands, farm: farms.Farm
) -> None:
    farms.write_rows(task.parent / "pairs.jsonl", [{"text": "not a pair"}])
    write(task, model=farm.model, preferences="pairs.jsonl", rows=8, heldout_rows=4)
    found = ladder(task, every=True)
    assert found["rungs"][-1]["name"] == "sft-8" and Path(found["report"]).is_file()
    assert "may be better" in found["because"] and not found["reached"]
    (left,) = found["skipped"]
    assert left["name"] == "the rung after sft-8" and "pairs.jsonl" in left["because"]
    assert str(left["because"]) in Path(found["report"]).read_text().replace("&#39;", "'")


def test_a_training_that_was_interrupted_is_gone_on_with(task: Path) -> None:
    recipe = {"method": "sft", "name": "orders-sft-8", "data": ["/rows/3f2a.jsonl"]}
    run = RunFolder.create({"recipe": recipe})  # nobody holds its lock: its process is gone
    shop = ladder_steps.workshop("orders", task.parent, lambda kind, data: None)
    words = ["train", "model=m", "data=/rows/3f2a.jsonl", "name=orders-sft-8"]
    assert shop._resuming(words) == ["runs", "resume", run.name]
    other = [*words[:2], "data=/rows/other.jsonl", words[3]]
    assert shop._resuming(other) == other


def test_the_rows_that_decide_are_kept_out_of_training_and_of_the_choice_of_prompts(task: Path) -> None:
    copied = [row(20, "apples"), row(21, "pears")]
    lines = (task.parent / "train.jsonl").read_text()
    (task.parent / "train.jsonl").write_text(lines + "".join(json.dumps(one) + "\n" for one in copied))
    rows = ladder_rows.read(ladder_task.load_task(task))
    asked = {one.prompt[-1].content for one in rows.heldout}
    assert not asked & {one.prompt[-1].content for one in (*rows.train, *rows.develop)}
    assert rows.aside == 2 and len(rows.heldout) == 10


def test_the_nearest_examples_stand_before_the_question_and_the_nearest_stands_last(task: Path) -> None:
    rows = ladder_rows.read(ladder_task.load_task(task))
    asked = next(one for one in rows.heldout if "pears" in one.prompt[-1].content)
    shown = ladder_rows.nearest_shots(rows, ladder_rows.as_asked)(asked)
    assert [one.role for one in shown] == ["system", *["user", "assistant"] * 4, "user"]
    assert all("pears" in one.content for one in shown[1::2]) and shown[-1] == asked.prompt[-1]
    fixed = ladder_rows.fixed_shots(rows, ladder_rows.as_asked)
    assert [one.content for one in fixed(rows.heldout[0])[1:-1]] == [one.content for one in fixed(asked)[1:-1]]


def test_proposed_prompts_keep_what_rows_say_of_themselves_and_name_what_replies_share(task: Path) -> None:
    rows = ladder_rows.read(ladder_task.load_task(task))
    own, goal, rules, form = [ladder_rows.OWN, *ladder_rows.by_rule(ladder_task.load_task(task), rows)]
    asked = rows.heldout[0]
    assert own.prompt(asked) == list(asked.prompt)
    assert goal.prompt(asked)[0].content == "Reply in JSON.\n\nTurn each order into JSON."
    assert "never guess" in rules.text and "required form" in rules.text
    assert 'Every answer begins with: {"n":' in form.text and "about 30 characters" in form.text
    assert form.prompt(asked)[1:] == list(asked.prompt[1:])
    (proposed,) = ladder_rows.by_model(["  You turn orders into JSON lines. ", "no"], rows)
    assert proposed.prompt(asked)[0].content == "You turn orders into JSON lines."
    assert "Turn each order into JSON." in ladder_rows.request(ladder_task.load_task(task), rows)


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"modle": "x"}, "unknown_key", "modle"), ({"knowledge": "often"}, "bad_value", "knowledge"),
        ({"heldout": "none.jsonl"}, "file_missing", "heldout"), ({"target": 90}, "bad_value", "target"),
        ({"training": {"lrr": 1}}, "bad_value", "training"), ({"name": "../up"}, "bad_name", None),
        ({"roles": {"magic": []}}, "bad_value", "roles"),
    ],
)  # fmt: skip
def test_what_a_task_gets_wrong_is_named(
    task: Path, farm: farms.Farm, change: dict[str, Any], code: str, param: str | None
) -> None:
    write(task, model=farm.model, **change)
    with pytest.raises(UsageError) as raised:
        ladder(task)
    assert (raised.value.code, raised.value.param) == (code, param)


def test_the_answers_alone_say_when_training_is_the_wrong_tool(task: Path, farm: farms.Farm) -> None:
    def said(**more: Any) -> str:
        return " ".join(map(str, ladder_task.advice(ladder_task.load_task(write(task, model="m", **more)).task)))

    assert said() == ""
    assert "work for retrieval" in said(wrong=["accuracy"], knowledge="daily")
    assert "as `documents`" in said(knowledge="yearly")
    assert "checked surely by a program" in said(wrong=["banned_words"])
    assert "costs more attention" in said(requests_per_month=20)


def test_a_schema_that_lets_replies_go_on_without_end_is_named_before_anything_is_measured(
    task: Path, commands: Commands, farm: farms.Farm
) -> None:
    line = {"type": "object", "properties": {"what": {"type": "string"}, "n": {"type": "integer"}}}
    schema = {"$defs": {"line": line}, "properties": {
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}, "day": {"type": "string", "format": "date"},
        "tags": {"type": ["array", "null"], "maxItems": 3, "items": {"anyOf": [{"enum": ["a"]}, {"type": "string"}]}},
    }}  # fmt: skip
    assert ladder_task.endless(schema) == ["what", "lines", "tags"]
    assert ladder_task.endless({"type": "array", "items": [{"type": "string", "maxLength": 3}]}) == ["the reply"]
    (task.parent / "schema.json").write_text(json.dumps({"type": "object", **schema}))
    write(task, model=farm.model, schema="schema.json", target=0.0)
    found = ladder(task)
    assert any("no end to what, lines, tags" in one for one in found["advice"])
    ran = len(commands.ran)
    for text in ('{"items":' * 3000 + "{}" + "}" * 3000, '{"type": "object", "not": {}}', "no JSON"):
        (task.parent / "schema.json").write_text(text)
        with pytest.raises(UsageError):
            ladder(task)
    assert len(commands.ran) == ran


def test_questions_become_a_task_file_that_is_never_written_over(
    task: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.testing import CliRunner

    new = task.with_name("new.yaml")
    answers = ["Sort mails.", "accuracy, tone", "often", "weekly", "0.8", "", "exact", "nowhere.jsonl", "train.jsonl",
               "heldout.jsonl", "", "schema.json", "500", "0.2", "EUR"]  # fmt: skip
    done = CliRunner().invoke(app, ["ladder", str(new), "--new"], input="\n".join(answers) + "\n")
    assert done.exit_code == 0, done.output
    made = ladder_task.load_task(new).task
    assert (made.goal, made.wrong, made.knowledge, made.target) == ("Sort mails.", ("accuracy", "tone"), "weekly", 0.8)
    assert (made.model, made.structure, made.documents, made.machine_hour) == ("smollm2-135m", "schema.json", (), 0.2)
    assert "give the facts as `documents`" in done.output.replace("\n", " ")
    with pytest.raises(UsageError, match="there already"):
        ladder_task.write_task(new, {"goal": "x"} | yaml.safe_load(new.read_text()))


def test_a_real_ladder_that_is_stopped_leaves_no_process_and_goes_on_with_what_it_has(
    task: Path, farm: farms.Farm
) -> None:
    write(task, model=farm.model, target=0.0)
    command = [sys.executable, "-m", "sodate.cli", "ladder", str(task), "--json"]
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it
        first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        signal.signal(signal.SIGINT, before)
        children = Path(f"/proc/{first.pid}/task/{first.pid}/children")
        while not (step := children.read_text().split()):
            assert first.poll() is None
        first.send_signal(number)
        said, _ = first.communicate()
        assert first.returncode == 130 and json.loads(said)["error"]["code"] == "interrupted"
        assert not Path(f"/proc/{step[0]}").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["recommended"] == "base" and found["rungs"][0]["peak_bytes"] > 10**7
