"""/v1/evals by the unmodified client: definitions, runs over every source, items, both ways to cancel, our report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from sodate.jobs import eval_runs
from tests.serve.running import Running

SCHEMA = {"type": "object", "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
          "required": ["question", "answer"]}  # fmt: skip
CUSTOM = {"type": "custom", "item_schema": SCHEMA, "include_sample_schema": True}
SAME = {"type": "string_check", "name": "same", "input": "{{sample.output_text}}", "reference": "{{item.answer}}",
        "operation": "eq"}  # fmt: skip
CLOSE = {"type": "text_similarity", "name": "close", "input": "{{sample.output_text}}", "reference": "{{item.answer}}",
         "evaluation_metric": "fuzzy_match", "pass_threshold": 0.5}  # fmt: skip


def item(question: str, answer: str, said: str | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {"item": {"question": question, "answer": answer}}
    return row if said is None else {**row, "sample": {"output_text": said, "choices": [], "model": "old"}}


@pytest.fixture
def client(served: Running) -> openai.OpenAI:
    return served.client()


@pytest.fixture
def made(client: openai.OpenAI) -> Any:
    return client.evals.create(name="capitals", data_source_config=CUSTOM, testing_criteria=[SAME, CLOSE],
                               metadata={"team": "東京"})  # type: ignore[arg-type, call-overload]  # fmt: skip


def ended(read: Callable[[], Any], seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while (found := read()).status in ("queued", "in_progress", "validating", "finalizing", "cancelling"):
        assert time.monotonic() < until, found
        time.sleep(0.05)
    return found


def run_of(client: openai.OpenAI, eval: str, source: dict[str, Any], **more: Any) -> Any:
    run = client.evals.runs.create(eval, data_source=source, **more)  # type: ignore[arg-type]
    assert run.status == "queued"
    return ended(lambda: client.evals.runs.retrieve(run.id, eval_id=eval))


def rows(*given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "jsonl", "source": {"type": "file_content", "content": list(given)}}


def test_a_definition_is_made_read_changed_listed_and_deleted(
    served: Running, client: openai.OpenAI, made: Any
) -> None:
    raw = served.http().post("/v1/evals", json={"data_source_config": CUSTOM, "testing_criteria": [SAME]})
    assert raw.status_code == 201
    assert (made.object, made.name, made.metadata) == ("eval", "capitals", {"team": "東京"})
    schema = made.data_source_config.schema_
    assert schema["properties"]["item"] == SCHEMA
    assert set(schema["required"]) == {"item", "sample"}
    assert [one.id.startswith(f"{one.name}-") for one in made.testing_criteria] == [True, True]
    assert client.evals.update(made.id, name="cities").name == "cities"
    assert client.evals.retrieve(made.id).metadata == {"team": "東京"}
    others = [client.evals.create(data_source_config=CUSTOM, testing_criteria=[SAME]).id for _ in range(3)]  # type: ignore
    listed = [one.id for one in client.evals.list(limit=1, order="desc") if one.id in others]
    assert listed == others[::-1]
    assert client.evals.list(order="desc", order_by="updated_at", limit=1).data[0].id == others[-1]
    for one in client.evals.list(limit=2):  # the cursor is an eval that was just deleted
        assert client.evals.delete(one.id).deleted
    with pytest.raises(openai.NotFoundError) as gone:
        client.evals.retrieve(made.id)
    assert gone.value.code == "not_found"
    assert client.evals.list().data == []


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"testing_criteria": []}, "testing_criteria"),
        ({"testing_criteria": [{**SAME, "operation": "x"}]}, "testing_criteria[0].operation"),
        ({"testing_criteria": [SAME, {**CLOSE, "pass_threshold": None}]}, "testing_criteria[1].pass_threshold"),
        ({"testing_criteria": [{"type": "multi", "name": "m", "graders": {"a": SAME}, "calculate_output": "a"}]},
         "testing_criteria[0].type"),
        ({"data_source_config": {"type": "custom"}}, "data_source_config.item_schema"),
        ({"data_source_config": {"type": "files"}}, "data_source_config.type"),
        ({"data_source_config": {"type": "custom", "item_schema": {"type": "objekt"}}},
         "data_source_config.item_schema"),
    ],
)  # fmt: skip
def test_a_wrong_definition_is_a_400_that_names_the_field(served: Running, change: dict[str, Any], param: str) -> None:
    asked = {"data_source_config": CUSTOM, "testing_criteria": [SAME], **change}
    answer = served.http().post("/v1/evals", json=asked)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_recorded_samples_are_graded_and_counted(client: openai.OpenAI, made: Any) -> None:
    run = run_of(client, made.id, rows(item("France", "Paris", "Paris"), item("Japan", "Tokyo", "Tokio"),
                                       item("Chad", "N'Djamena", "?"), item("Peru", "Lima")), name="first")  # fmt: skip
    assert run.status == "completed"
    counts = run.result_counts
    assert (counts.total, counts.passed, counts.failed, counts.errored) == (4, 1, 3, 0)
    by_criterion = {one.testing_criteria.partition("-")[0]: (one.passed, one.failed)
                    for one in run.per_testing_criteria_results}  # fmt: skip
    assert by_criterion == {"same": (1, 3), "close": (2, 2)}
    items = client.evals.runs.output_items.list(run.id, eval_id=made.id, limit=1)
    found = list(items)
    assert [one.datasource_item_id for one in found] == [0, 1, 2, 3]
    assert [one.status for one in found] == ["pass", "fail", "fail", "fail"]
    assert found[1].datasource_item == {"question": "Japan", "answer": "Tokyo"}
    assert [one.passed for one in found[1].results] == [False, True]
    assert found[1].sample.output[0].content == "Tokio"
    passed = client.evals.runs.output_items.list(run.id, eval_id=made.id, status="pass")
    assert [one.id for one in passed] == [found[0].id]
    one = client.evals.runs.output_items.retrieve(found[2].id, eval_id=made.id, run_id=run.id)
    assert (one.id, [mark.score for mark in one.results]) == (found[2].id, [mark.score for mark in found[2].results])
    assert client.evals.runs.list(made.id).data[0].id == run.id
    assert client.evals.runs.delete(run.id, eval_id=made.id).deleted
    assert client.evals.runs.list(made.id).data == []


def test_an_item_that_cannot_be_graded_is_errored_and_neither_passed_nor_failed(client: openai.OpenAI) -> None:
    broken = {"type": "python", "name": "own", "source": "def grade(sample, item):\n    return item['absent']"}
    made = client.evals.create(data_source_config=CUSTOM, testing_criteria=[broken])  # type: ignore[list-item]
    run = run_of(client, made.id, rows(item("a", "b", "b")))
    assert (run.status, run.result_counts.errored, run.result_counts.failed) == ("completed", 1, 0)
    (output,) = client.evals.runs.output_items.list(run.id, eval_id=made.id)
    assert "KeyError" in output.sample.error.message


def test_a_file_of_items_is_asked_of_a_served_model_with_a_template(client: openai.OpenAI, made: Any) -> None:
    content = "".join(json.dumps(item(q, "x")) + "\n" for q in ("one", "two", "three"))
    file = client.files.create(file=("items.jsonl", content.encode()), purpose="evals")
    template = {"type": "template", "template": [
        {"role": "developer", "content": "Answer."},
        {"type": "message", "role": "user", "content": {"type": "input_text", "text": "Q: {{item.question}}"}},
    ]}  # fmt: skip
    source = {"type": "completions", "model": "orders", "input_messages": template,
              "source": {"type": "file_id", "id": file.id},
              "sampling_params": {"max_completion_tokens": 3, "temperature": 0}}  # fmt: skip
    run = run_of(client, made.id, source)
    assert (run.status, run.result_counts.total, run.model) == ("completed", 3, "orders")
    (usage,) = run.per_model_usage
    assert (usage.model_name, usage.invocation_count) == ("orders@1", 3)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
    output = next(iter(client.evals.runs.output_items.list(run.id, eval_id=made.id)))
    assert [one.content for one in output.sample.input] == ["Answer.", "Q: one"]
    reply = client.chat.completions.create(model="orders", max_completion_tokens=3, temperature=0, messages=[
        {"role": "developer", "content": "Answer."}, {"role": "user", "content": "Q: one"}])  # fmt: skip
    assert output.sample.output[0].content == reply.choices[0].message.content
    assert output.sample.max_completion_tokens == 3


def test_stored_completions_and_responses_are_graded_or_asked_again(client: openai.OpenAI) -> None:
    tag = {"batch": "evals"}
    for text in ("first", "second"):
        client.chat.completions.create(model="orders", store=True, metadata=tag, max_completion_tokens=2,
                                       messages=[{"role": "user", "content": text}])  # fmt: skip
    client.responses.create(model="orders", input="third", metadata=tag, max_output_tokens=2)
    logs = {"type": "logs", "metadata": tag}
    check = {**SAME, "operation": "like", "reference": "{{sample.model}}", "input": "orders@1 {{sample.output_text}}"}
    made = client.evals.create(data_source_config=logs, testing_criteria=[check])  # type: ignore[arg-type, list-item]
    stored = {"type": "stored_completions", "metadata": tag, "model": "orders"}
    run = run_of(client, made.id, {"type": "completions", "source": stored})
    assert (run.status, run.result_counts.passed) == ("completed", 2)
    run = run_of(client, made.id, {"type": "completions", "source": {**stored, "limit": 1}, "model": "gpt-4o-mini",
                                   "input_messages": {"type": "item_reference", "item_reference": "item.input"},
                                   "sampling_params": {"max_completion_tokens": 2}})  # fmt: skip
    assert (run.status, run.result_counts.passed) == ("completed", 1)
    run = run_of(client, made.id, {"type": "responses", "source": {"type": "responses", "metadata": tag}})
    assert (run.status, run.result_counts.total) == ("completed", 1)


def test_a_model_that_is_not_served_fails_the_run_with_the_reason(client: openai.OpenAI, made: Any) -> None:
    source = {
        "type": "completions",
        "model": "gpt-9",
        "source": {"type": "file_content", "content": [item("a", "b")]},
        "input_messages": {"type": "template", "template": [{"role": "user", "content": "{{item.question}}"}]},
    }
    run = run_of(client, made.id, source)
    assert (run.status, run.error.code) == ("failed", "model_not_found")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (rows({"item": {"question": "a"}}), "item 0 does not fit"),
        (rows({"question": "a"}), "has no `item`"),
        ({"type": "jsonl", "source": {"type": "file_content"}}, "content is missing"),
        ({"type": "jsonl", "source": {"type": "file_id", "id": "file-" + "x" * 24}}, "No such File"),
        ({"type": "jsonl", "source": {"type": "responses"}}, "is one of file_content, file_id"),
        ({"type": "responses", "source": {"type": "responses", "created_after": 10**30}}, "created_after"),
        ({"type": "completions", "source": {"type": "file_content", "content": [item("a", "b")]}, "model": "orders"},
         "input_messages is missing"),
        ({"type": "completions", "source": {"type": "file_content", "content": [item("a", "b")]}, "model": "orders",
          "input_messages": {"type": "template", "template": [{"role": "user", "content": "{{question}}"}]}},
         "neither"),
        ({"type": "jsonl", "source": {"type": "file_content", "content": [item("a", "b")], "users": ["u"]}},
         "Unrecognized"),
    ],
)  # fmt: skip
def test_a_wrong_source_is_a_400_before_a_run_is_made(
    served: Running, client: openai.OpenAI, made: Any, source: dict[str, Any], said: str
) -> None:
    answer = served.http().post(f"/v1/evals/{made.id}/runs", json={"data_source": source})
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
    assert client.evals.runs.list(made.id).data == []


@pytest.mark.parametrize("path", ["", "/cancel"])
def test_both_addresses_cancel_a_run_once(served: Running, client: openai.OpenAI, made: Any, path: str) -> None:
    slow = {"type": "python", "name": "own", "source": "import time\ndef grade(s, i):\n    time.sleep(3)\n    return 1"}
    made = client.evals.create(data_source_config=CUSTOM, testing_criteria=[slow])  # type: ignore[list-item]
    run = client.evals.runs.create(made.id, data_source=rows(*[item("a", "b", "b")] * 40))  # type: ignore[arg-type]
    http = served.http()
    answer = http.post(f"/v1/evals/{made.id}/runs/{run.id}{path}", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    answer = http.post(f"/v1/evals/{made.id}/runs/{run.id}{path}", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_status")


def test_our_report_compares_runs_in_pairs(served: Running, client: openai.OpenAI, made: Any) -> None:
    questions = [(f"q{i}", f"a{i}") for i in range(20)]
    old = run_of(client, made.id, rows(*[item(q, a, "?") for q, a in questions]))
    new = run_of(client, made.id, rows(*[item(q, a, a) for q, a in questions]))
    answer = served.http().get(f"/v1/evals/{made.id}/report", params={"run": [old.id, new.id]}).json()
    assert answer["n"] == 20
    same = next(one for one in answer["comparisons"] if one["grader"].startswith("same"))
    assert (same["candidate"], same["baseline"], same["diff"], same["verdict"]) == (new.id, old.id, 1.0, "better")
    refused = served.http().get(f"/v1/evals/{made.id}/report")
    assert refused.status_code == 400


def test_a_run_that_a_server_left_is_gone_on_with_where_it_stopped(
    served: Running, client: openai.OpenAI, made: Any
) -> None:
    """What was kept of it is not graded again."""
    from sodate.db.connection import writing
    from sodate.db.tables import EvalOutput, EvalRun, Work

    source = rows(item("a", "b", "b"), item("c", "d", "d"))
    with writing() as session:
        session.add(EvalRun(id="evalrun_" + "L" * 24, eval=made.id, project="default", name="", model=None,
                            source=json.dumps(source), status="in_progress", tags="{}", usage="{}", error=None,
                            created_at=1, deleted_at=None))  # fmt: skip
        session.flush()
        session.add(EvalOutput(id="outputitem_kept", run="evalrun_" + "L" * 24, item=0, status="fail", body=json.dumps(
            {"created_at": 1, "datasource_item": {}, "results": [], "sample": {}})))  # fmt: skip
        session.add(Work(id="evalrun_" + "L" * 24, kind="eval", project="default", owner="pid 1 on nowhere-else x",
                         beat=3, tries=1, wanted=""))  # fmt: skip
        session.flush()
        session.get(Work, session.query(Work.number).filter_by(id="evalrun_" + "L" * 24).scalar()).owner = None
    run = ended(lambda: client.evals.runs.retrieve("evalrun_" + "L" * 24, eval_id=made.id))
    assert (run.status, run.result_counts.passed, run.result_counts.failed) == ("completed", 1, 1)


def test_a_run_asks_as_its_sampling_params_say_whatever_the_platform_calls_them(
    client: openai.OpenAI, served: Running, made: Any
) -> None:
    """An unknown one is refused rather than left out; the older name of the longest reply is obeyed."""
    template = {"type": "template", "template": [{"role": "user", "content": "{{item.question}}"}]}
    source = {"type": "completions", "model": "orders", "input_messages": template,
              "source": {"type": "file_content", "content": [item("France", "Paris")]}}  # fmt: skip
    for given, param in (({"temperature": 9}, "temperature"), ({"top_k": 5}, "top_k"), ({"text": {"x": 1}}, "text.x")):
        body = {"data_source": {**source, "sampling_params": given}}
        answer = served.http().post(f"/v1/evals/{made.id}/runs", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, f"data_source.sampling_params.{param}")
    run = run_of(client, made.id, {**source, "sampling_params": {"max_completions_tokens": 2, "seed": 1}})
    (told,) = client.evals.runs.output_items.list(run.id, eval_id=made.id).data
    assert told.sample.usage.completion_tokens == 2
    assert run.to_dict()["data_source"]["sampling_params"] == {"max_completions_tokens": 2, "seed": 1}  # as it came


def test_lines_of_a_file_are_read_as_strictly_as_rows_of_training(client: openai.OpenAI, made: Any) -> None:
    for line, why in (
        (b'{"item": {"question": "x", "answer": NaN}}', "NaN"),
        (b'{"item": {"question": "x"}, "item": {"question": "y"}}', "item"),
        (b"[1]", "object"),
        (b'{"item": "\xff"}', "UTF-8"),
    ):
        file = client.files.create(file=("items.jsonl", line + b"\n"), purpose="evals")
        run = run_of(client, made.id, {"type": "jsonl", "source": {"type": "file_id", "id": file.id}})
        assert run.status == "failed"
        assert "Line 1" in run.error.message and why in run.error.message


@pytest.mark.parametrize("choices", [[1], {"0": 1}, "no", None, [[]]])
def test_a_sample_of_any_shape_is_graded(client: openai.OpenAI, made: Any, choices: Any) -> None:
    odd = {"item": {"question": "France?", "answer": "Paris"}, "sample": {"output_text": "Paris", "choices": choices}}
    run = run_of(client, made.id, rows(odd, item("Japan?", "Tokyo", "Tokyo")))
    assert (run.status, run.result_counts.passed) == ("completed", 2)


def test_a_run_that_meets_what_nobody_foresaw_ends_and_the_next_is_done(
    client: openai.OpenAI, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one project or another: all of them wait for the same desk."""
    whole = eval_runs.grade

    def grade(criteria: Any, items: Any, judges: Any) -> Any:
        if any(one.columns["question"] == "odd" for one in items):
            raise ZeroDivisionError
        return whole(criteria, items, judges)

    monkeypatch.setattr(eval_runs, "grade", grade)
    monkeypatch.setattr(eval_runs, "MOST_TRIES", 1)
    odd = client.evals.runs.create(made.id, data_source=rows(item("odd", "Paris", "Paris")))  # type: ignore[arg-type]
    assert run_of(client, made.id, rows(item("even", "Paris", "Paris"))).status == "completed"
    assert ended(lambda: client.evals.runs.retrieve(odd.id, eval_id=made.id)).error.code == "worker_crashed"
