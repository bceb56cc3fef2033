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

from sodate.api.serving import open_service
from sodate.core.files import sha256_file
from sodate.core.runs import list_runs
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
