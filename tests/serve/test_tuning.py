"""Fine-tuning over the wire, with the real client, a real worker and its real processes, on a tiny model."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import sqlalchemy as sa

from sodate.api.serving import open_service
from sodate.core.files import sha256_file
from sodate.core.runs import list_runs
from sodate.db.connection import reading
from sodate.db.tables import Work
from sodate.jobs.worker import work
from sodate.library.sources import pull
from sodate.release.registry import find_version
from sodate.serve import keys
from tests.serve.running import Running, running

ORDER = "Order {n} please"


def chat_rows(count: int, first: int = 0) -> bytes:
    rows = (
        {"messages": [{"role": "user", "content": ORDER.format(n=n)}, {"role": "assistant", "content": f"Done: {n}."}]}
        for n in range(first, first + count)
    )
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def pair_rows(count: int) -> bytes:
    rows = (
        {
            "input": {"messages": [{"role": "user", "content": ORDER.format(n=n)}]},
            "preferred_output": [{"role": "assistant", "content": f"Gladly: {n}."}],
            "non_preferred_output": [{"role": "assistant", "content": f"No {n}."}],
        }
        for n in range(count)
    )
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server over a tiny model, and a worker."""
    from tests.tiny import llama_folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(tmp_path_factory.mktemp("tuning")))
        patch.setenv("SODATE_LANG", "en")
        patch.setenv("OMP_NUM_THREADS", "1")
        pull(str(llama_folder(tmp_path_factory.mktemp("model") / "tiny")))
        service = open_service(["tiny"], ["gpt-4o-mini=tiny"])
        stopping = threading.Event()
        worker = threading.Thread(target=work, args=(stopping,))
        worker.start()
        try:
            with running(service, None, auth=True) as one:
                yield one
        finally:
            stopping.set()
            worker.join(60)


@pytest.fixture(scope="module")
def key(house: Running) -> str:
    return keys.create("shop")[0]


@pytest.fixture(scope="module")
def client(house: Running, key: str) -> openai.OpenAI:
    return house.client(key)


def upload(client: openai.OpenAI, content: bytes) -> str:
    return client.files.create(file=("rows.jsonl", content), purpose="fine-tune").id


def ended(client: openai.OpenAI, id: str, *statuses: str):
    """The job once it has one of these statuses, or has ended."""
    for _ in range(600):
        job = client.fine_tuning.jobs.retrieve(id)
        if job.status in (statuses or ("succeeded", "failed", "cancelled")):
            return job
        assert job.status not in ("failed", "succeeded", "cancelled"), job
        time.sleep(0.2)
    raise AssertionError(job)


@pytest.fixture(scope="module")
def tuned(client: openai.OpenAI):
    """A supervised job with validation, three epochs of four steps, and the model it made."""
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=upload(client, chat_rows(16)), suffix="My Orders!", seed=7,
        validation_file=upload(client, chat_rows(4, first=90)), metadata={"team": "shop"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 5, "batch_size": 4}}},
    )  # fmt: skip
    assert job.status == "validating_files" and job.fine_tuned_model is None and job.object == "fine_tuning.job"
    done = ended(client, job.id)
    assert done.status == "succeeded", done.error
    return done


def test_a_job_says_what_it_resolved_and_made(client: openai.OpenAI, tuned) -> None:
    assert tuned.fine_tuned_model.startswith("ft:gpt-4o-mini:shop:my-orders:")
    assert len(tuned.fine_tuned_model.rpartition(":")[2]) == 8
    assert tuned.hyperparameters.to_dict() == {"n_epochs": 5, "batch_size": 4, "learning_rate_multiplier": 1.0}
    assert tuned.method.supervised.hyperparameters.to_dict() == tuned.hyperparameters.to_dict()
    assert tuned.seed == 7 and tuned.metadata == {"team": "shop"} and tuned.trained_tokens > 500
    assert tuned.finished_at >= tuned.created_at and tuned.organization_id == "org-shop"
    assert tuned.to_dict()["error"] == {"code": None, "message": None, "param": None}


def test_events_come_in_the_order_of_real_transcripts(client: openai.OpenAI, tuned) -> None:
    events = list(client.fine_tuning.jobs.list_events(tuned.id, limit=7))[::-1]
    messages = [event.message for event in events]
    assert messages[:4] == [
        f"Created fine-tuning job: {tuned.id}",
        f"Validating training file: {tuned.training_file} and validation file: {tuned.validation_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]
    assert messages[-2:] == [
        f"New fine-tuned model created: {tuned.fine_tuned_model}", "The job has successfully completed",
    ]  # fmt: skip
    metrics = [event for event in events if event.type == "metrics"]
    assert [event.data["step"] for event in metrics] == list(range(1, 21))
    assert metrics[0].message == f"Step 1/20: training loss={metrics[0].data['train_loss']:.2f}"
    assert "full validation loss=" in metrics[3].message and metrics[3].data["full_valid_loss"] > 0
    assert {event.level for event in events} == {"info"} and len({event.id for event in events}) == len(events)


def test_the_last_three_epochs_are_models_of_their_own(client: openai.OpenAI, tuned) -> None:
    kept = client.fine_tuning.jobs.checkpoints.list(tuned.id).data
    assert [one.step_number for one in kept] == [20, 16, 12]
    assert kept[0].fine_tuned_model_checkpoint == tuned.fine_tuned_model
    assert all(one.metrics.full_valid_loss > 0 for one in kept)
    assert all(0 <= one.metrics.full_valid_mean_token_accuracy <= 1 for one in kept)
    names = [one.fine_tuned_model_checkpoint for one in kept]
    assert len({name.split(":")[4] for name in names}) == 3 and names[1].endswith(":ckpt-step-16")
    assert list(client.fine_tuning.jobs.checkpoints.list(tuned.id, limit=1))  # page by page, to the end
    replies = [
        client.chat.completions.create(model=name, messages=[{"role": "user", "content": ORDER.format(n=3)}],
                                       max_tokens=5, logprobs=True)
        for name in names
    ]  # fmt: skip
    assert [reply.model for reply in replies] == names
    assert len({reply.choices[0].logprobs.content[0].logprob for reply in replies}) == 3


def test_the_result_file_is_a_plain_table(client: openai.OpenAI, tuned) -> None:
    (id,) = tuned.result_files
    assert client.files.retrieve(id).purpose == "fine-tune-results"
    rows = list(csv.DictReader(io.StringIO(client.files.content(id).text)))
    assert list(rows[0]) == ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"]
    assert [int(row["step"]) for row in rows] == list(range(1, 21))
    assert rows[0]["valid_loss"] == "" and float(rows[3]["valid_loss"]) > 0
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])


def adapter(version: str) -> str:
    found = find_version(version)
    return sha256_file(found.adapter / "adapter_model.safetensors")


def test_the_adapter_is_byte_for_byte_that_of_the_command_line(tuned, tmp_path: Path) -> None:
    manifest = next(r.manifest for r in list_runs() if r.manifest["recipe"]["method"] == "sft")
    recipe = tmp_path / "recipe.yaml"  # JSON is YAML
    recipe.write_text(json.dumps(manifest["recipe"] | {"name": "by-hand"}))
    command = [sys.executable, "-m", "sodate.cli", "train", str(recipe), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert adapter("by-hand@1") == adapter(manifest["result"]["version"])


def test_its_weights_can_be_taken_away(house: Running, key: str, tuned) -> None:
    http = house.http(headers={"authorization": f"Bearer {key}"})
    for form, file in (("adapter", "adapter_model.safetensors"), ("merged", "model.safetensors")):
        answer = http.get(f"/v1/fine_tuning/jobs/{tuned.id}/weights", params={"form": form})
        assert answer.status_code == 200, answer.text
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
            assert f"{form}/{file}" in archive.getnames()


def test_a_tuned_model_is_the_base_of_a_preference_job(client: openai.OpenAI, tuned) -> None:
    job = client.fine_tuning.jobs.create(
        model=tuned.fine_tuned_model, training_file=upload(client, pair_rows(12)),
        method={"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 1, "beta": 0.2}}},
    )  # fmt: skip
    done = ended(client, job.id)
    assert done.status == "succeeded", done.error
    assert done.fine_tuned_model.startswith("ft:gpt-4o-mini:shop::")
    settings = done.method.dpo.hyperparameters.to_dict()
    assert settings["n_epochs"] == 1 and settings["beta"] == 0.2 and settings["batch_size"] == 8
    assert done.hyperparameters is None
    reply = client.chat.completions.create(
        model=done.fine_tuned_model, messages=[{"role": "user", "content": "Hi"}], max_tokens=3
    )
    assert reply.usage.completion_tokens <= 3


def test_another_project_sees_nothing_of_it_until_a_model_is_shared(
    house: Running, client: openai.OpenAI, tuned
) -> None:
    other = house.client(keys.create("rival")[0])
    jobs, model = other.fine_tuning.jobs, tuned.fine_tuned_model
    ask = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    for wrong in (
        lambda: jobs.retrieve(tuned.id), lambda: jobs.cancel(tuned.id), lambda: jobs.list_events(tuned.id),
        lambda: jobs.checkpoints.list(tuned.id), lambda: other.models.retrieve(model),
        lambda: other.chat.completions.create(**ask), lambda: other.models.delete(model),
    ):  # fmt: skip
        with pytest.raises(openai.NotFoundError):
            wrong()
    with pytest.raises(openai.BadRequestError) as refused:
        jobs.create(model=model, training_file=upload(other, chat_rows(10)))
    assert refused.value.code == "model_not_available"
    with pytest.raises(openai.BadRequestError, match=f"invalid training_file: {tuned.training_file}") as unknown:
        jobs.create(model="tiny", training_file=tuned.training_file)
    assert (unknown.value.code, unknown.value.param) == (None, "training_file")
    assert jobs.list().data == [] and model not in [one.id for one in other.models.list()]
    assert model in [one.id for one in client.models.list()]
    permissions = client.fine_tuning.checkpoints.permissions
    (made,) = permissions.create(model, project_ids=["rival"]).data
    assert [one.id for one in permissions.list(model).data] == [made.id]
    assert other.chat.completions.create(**ask).model == model
    assert permissions.delete(made.id, fine_tuned_model_checkpoint=model).deleted
    with pytest.raises(openai.NotFoundError):
        other.chat.completions.create(**ask)


def test_lists_are_read_page_by_page_and_by_metadata(client: openai.OpenAI, tuned) -> None:
    jobs = client.fine_tuning.jobs
    assert [job.id for job in jobs.list(metadata={"team": "shop"})] == [tuned.id]
    assert [job.id for job in jobs.list(metadata={"team": "other"})] == []
    assert tuned.id in [job.id for job in jobs.list(limit=1)]
    for wrong in (lambda: jobs.list(after="ftjob-" + "0" * 24), lambda: jobs.list_events(tuned.id, after="ftevent-x")):
        with pytest.raises(openai.BadRequestError) as refused:
            wrong()
        assert refused.value.param == "after"


def test_a_job_that_has_ended_is_neither_cancelled_nor_paused_nor_resumed(client: openai.OpenAI, tuned) -> None:
    for ask in (client.fine_tuning.jobs.cancel, client.fine_tuning.jobs.pause, client.fine_tuning.jobs.resume):
        with pytest.raises(openai.BadRequestError, match="has status succeeded"):
            ask(tuned.id)
    with pytest.raises(openai.NotFoundError) as missing:
        client.fine_tuning.jobs.retrieve("ftjob-nobody")
    assert (missing.value.code, missing.value.param) == ("fine_tune_not_found", "fine_tune_id")


@pytest.mark.parametrize(
    ("rows", "method", "code", "said"),
    [
        (chat_rows(7), "supervised", "invalid_n_examples",
         "Training file has 7 example(s), but must have at least 10 examples"),
        (chat_rows(12), "dpo", "invalid_training_file", "is in the fine-tune-chat format"),
        (pair_rows(12), "supervised", "invalid_training_file", "not using 'dpo' as the training method"),
        (chat_rows(12) + b'{"messages": [{"content": "who?"}]}\n', "supervised", "invalid_training_file",
         "Invalid file format. Example 13:"),
        (b'{"a": 1}\n' * 12, "supervised", "invalid_training_file", "Unexpected file format"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_trained_on_fails_the_job_with_its_reason(
    client: openai.OpenAI, rows: bytes, method: str, code: str, said: str
) -> None:
    job = client.fine_tuning.jobs.create(model="tiny", training_file=upload(client, rows), method={"type": method})
    failed = ended(client, job.id, "failed")
    assert failed.error.code == code and said in failed.error.message and failed.finished_at


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": "gpt-9"}, "model"),
        ({"model": "../../etc"}, "model"),
        ({"training_file": "file-" + "0" * 24}, "training_file"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 3}}}}, "method.dpo.hyperparameters.beta"),
        ({"method": {"type": "reinforcement"}}, "method.reinforcement.grader"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"spice": 1}, "spice"),
    ],
)
def test_what_cannot_be_is_refused_by_name(client: openai.OpenAI, change: dict, param: str) -> None:
    body = {"model": "tiny", "training_file": upload(client, chat_rows(10)), **change}
    with pytest.raises(openai.BadRequestError) as refused:
        client.fine_tuning.jobs.create(**{k: v for k, v in body.items() if k != "spice"},
                                       extra_body={k: v for k, v in body.items() if k == "spice"})  # fmt: skip
    assert (refused.value.param or "").startswith(param)


def test_the_wire_of_2023_makes_and_uses_a_model(house: Running, key: str) -> None:
    """What openai 0.28 sends for File.create, FineTune.create, retrieve, list_events and Completion.create."""
    http = house.http(headers={"authorization": f"Bearer {key}"})
    rows = b"".join(json.dumps({"prompt": f"{n} ->", "completion": f" {n + 1}\n"}).encode() + b"\n" for n in range(12))
    file = http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("file", rows)}).json()
    made = http.post(
        "/v1/fine-tunes", json={"training_file": file["id"], "model": "tiny", "n_epochs": 1, "suffix": "n"}
    )
    job = made.json()
    assert made.status_code == 200 and job["object"] == "fine-tune" and job["status"] == "pending", job
    for _ in range(600):
        job = http.get(f"/v1/fine-tunes/{job['id']}").json()
        if job["status"] not in ("pending", "running"):
            break
        time.sleep(0.2)
    assert job["status"] == "succeeded" and job["fine_tuned_model"].startswith("tiny:ft-shop:n-20"), job
    events = http.get(f"/v1/fine-tunes/{job['id']}/events").json()["data"]
    assert events[0]["message"].startswith("Created") and events[-1]["object"] == "fine-tune-event"
    assert [one["id"] for one in http.get("/v1/fine-tunes").json()["data"]] == [job["id"]]
    assert job["result_files"][0]["purpose"] == "fine-tune-results"
    streamed = http.get(f"/v1/fine-tunes/{job['id']}/events", params={"stream": "true"}).text
    assert streamed.count("fine-tune-event") == len(events) and streamed.endswith("data: [DONE]\n\n")
    said = http.post(
        "/v1/completions", json={"model": job["fine_tuned_model"], "prompt": "3 ->", "max_tokens": 4, "temperature": 0}
    )
    assert said.status_code == 200 and said.json()["model"] == job["fine_tuned_model"]
    asked = {"prompt": "3 ->", "max_tokens": 4, "temperature": 0}
    by_address = http.post(f"/v1/engines/{job['fine_tuned_model']}/completions", json=asked)
    assert by_address.json()["choices"][0]["text"] == said.json()["choices"][0]["text"]
    assert http.post("/v1/engines/tiny/completions", json={"spice": 1}).json()["error"]["param"] == "spice"
    assert job["id"] not in [one["id"] for one in http.get("/v1/fine_tuning/jobs").json()["data"]]


def test_a_paused_job_leaves_a_model_and_goes_on_to_the_same_bytes(client: openai.OpenAI, tuned) -> None:
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=tuned.training_file, seed=3,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 20, "batch_size": 1}}},
    )  # fmt: skip
    for _ in range(600):
        if any(event.type == "metrics" for event in client.fine_tuning.jobs.list_events(job.id, limit=5).data):
            break
        time.sleep(0.1)
    assert client.fine_tuning.jobs.pause(job.id).status == "paused"
    for _ in range(300):
        kept = client.fine_tuning.jobs.checkpoints.list(job.id).data
        if kept:
            break
        time.sleep(0.1)
    reply = client.chat.completions.create(model=kept[0].fine_tuned_model_checkpoint, max_tokens=1,
                                           messages=[{"role": "user", "content": "Hi"}])  # fmt: skip
    assert reply.usage.completion_tokens == 1
    assert client.fine_tuning.jobs.resume(job.id).status == "queued"
    done = ended(client, job.id)
    assert done.status == "succeeded", done.error
    steps = [event.data["step"] for event in client.fine_tuning.jobs.list_events(job.id, limit=100)
             if event.type == "metrics"]  # fmt: skip
    assert steps == list(range(320, 0, -1))


def test_cancelling_frees_the_worker(client: openai.OpenAI, tuned) -> None:
    long = client.fine_tuning.jobs.create(
        model="tiny", training_file=tuned.training_file,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 50, "batch_size": 1}}},
    )  # fmt: skip
    ended(client, long.id, "running")
    assert client.fine_tuning.jobs.cancel(long.id).status == "cancelled"
    after = client.fine_tuning.jobs.list_events(long.id, limit=1).data[0]
    for _ in range(100):  # ten seconds, on the busiest of machines
        with reading() as session:
            if session.scalar(sa.select(Work).where(Work.id == long.id)) is None:
                break
        time.sleep(0.1)
    else:
        raise AssertionError("the worker is still at it")
    assert client.fine_tuning.jobs.list_events(long.id, limit=1).data[0] == after
    assert client.fine_tuning.jobs.retrieve(long.id).status == "cancelled"
