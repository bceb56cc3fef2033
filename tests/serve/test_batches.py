"""/v1/batches by the unmodified client, and the files that come of them."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.serve.running import Running
from tests.serve.test_evals import ended


def line(name: str, url: str = "/v1/chat/completions", **body: Any) -> dict[str, Any]:
    asked = {"model": "orders", "messages": [{"role": "user", "content": name}], "max_completion_tokens": 2,
             "temperature": 0, **body}  # fmt: skip
    return {"custom_id": name, "method": "POST", "url": url, "body": asked}


def batch(client: openai.OpenAI, *lines: Any, endpoint: str = "/v1/chat/completions", **more: Any) -> Any:
    content = "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines)
    file = client.files.create(file=("requests.jsonl", content.encode()), purpose="batch")
    made = client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)  # type: ignore
    assert made.status == "validating"
    return ended(lambda: client.batches.retrieve(made.id))


def read(client: openai.OpenAI, file: str | None) -> list[dict[str, Any]]:
    assert file is not None
    return [json.loads(one) for one in client.files.content(file).text.splitlines()]


def test_every_request_is_answered_as_over_the_wire_and_what_fails_stands_apart(served: Running) -> None:
    client = served.client()
    lines = [line(f"request {n}") for n in range(20)]
    done = batch(client, *lines, line("bad", model="gpt-9"), line("worse", temperature=9), metadata={"night": "1"})
    assert (done.status, done.metadata) == ("completed", {"night": "1"})
    counts = done.request_counts
    assert (counts.total, counts.completed, counts.failed) == (22, 20, 2)
    assert done.in_progress_at <= done.finalizing_at <= done.completed_at < done.expires_at
    answers = {one["custom_id"]: one for one in read(client, done.output_file_id)}
    assert set(answers) == {f"request {n}" for n in range(20)}
    response = answers["request 3"]["response"]
    alone = client.chat.completions.create(**lines[3]["body"])
    assert response["status_code"] == 200
    assert response["body"]["choices"][0]["message"]["content"] == alone.choices[0].message.content
    failed = {one["custom_id"]: one["response"] for one in read(client, done.error_file_id)}
    assert (failed["bad"]["status_code"], failed["worse"]["status_code"]) == (404, 400)
    assert failed["bad"]["body"]["error"]["code"] == "model_not_found"
    assert client.files.retrieve(done.output_file_id).purpose == "batch_output"
    assert client.batches.list(limit=1).data[0].id == done.id
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.cancel(done.id)
    assert refused.value.code == "invalid_status"


def test_moderations_are_an_endpoint_too(served: Running) -> None:
    client = served.client()
    request = {"custom_id": "m", "method": "POST", "url": "/v1/moderations", "body": {"input": "hello"}}
    done = batch(
        client, request, endpoint="/v1/moderations", output_expires_after={"anchor": "created_at", "seconds": 3600}
    )
    (answer,) = read(client, done.output_file_id)
    assert answer["response"]["body"]["results"][0]["flagged"] is False
    assert done.error_file_id is None
    assert client.files.retrieve(done.output_file_id).expires_at is not None


@pytest.mark.parametrize(
    ("lines", "code", "number"),
    [
        ([line("a"), "{no json"], "invalid_json_line", 2),
        ([line("a"), line("a")], "duplicate_custom_id", 2),
        ([{**line("a"), "custom_id": ""}], "missing_required_parameter", 1),
        ([{**line("a"), "method": "GET"}], "invalid_method", 1),
        ([line("a", url="/v1/embeddings")], "mismatched_url", 1),
        ([{**line("a"), "body": "x"}], "missing_required_parameter", 1),
        (["[1]"], "invalid_json_line", 1),
        ([""], "empty_file", None),
    ],
)  # fmt: skip
def test_a_file_that_is_no_batch_fails_as_a_whole_and_names_the_line(
    served: Running, lines: list[Any], code: str, number: int | None
) -> None:
    done = batch(served.client(), *lines)
    assert done.status == "failed"
    assert (done.errors.data[0].code, done.errors.data[0].line) == (code, number)
    assert done.output_file_id is None


def test_what_can_never_be_a_batch_is_a_400(served: Running) -> None:
    client = served.client()
    file = client.files.create(file=("x.jsonl", b"{}\n"), purpose="user_data")
    asked = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    changes: list[tuple[dict[str, str], str]] = [
        ({}, "input_file_id"), ({"input_file_id": "file-" + "x" * 24}, "input_file_id"),
        ({"endpoint": "/v1/files"}, "endpoint"), ({"completion_window": "1h"}, "completion_window"),
    ]  # fmt: skip
    for change, param in changes:
        answer = served.http().post("/v1/batches", json={**asked, **change})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_" + "x" * 24)


def test_an_interrupted_batch_keeps_its_answers_and_a_cut_off_line_is_asked_again(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sodate.jobs import batches

    kept = batches._kept("batch_test")
    good = json.dumps({"custom_id": "a", "response": {"status_code": 200}})
    kept.write_text(good + "\n" + good[:20], "utf-8")
    assert batches._answered(kept) == {"a": True}
    assert kept.read_text("utf-8") == good + "\n"
    kept.unlink()


def test_a_batch_is_cancelled_between_requests(served: Running) -> None:
    client = served.client()
    content = "".join(json.dumps(line(f"r{n}", max_completion_tokens=40)) + "\n" for n in range(400))
    file = client.files.create(file=("requests.jsonl", content.encode()), purpose="batch")
    made = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert client.batches.cancel(made.id).status in ("cancelling", "cancelled")
    done = ended(lambda: client.batches.retrieve(made.id))
    assert done.status == "cancelled"
    assert done.request_counts.completed < 400
