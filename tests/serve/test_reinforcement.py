"""A reinforcement job over the wire: rewards come from an OpenAI grader, and the model it makes answers."""

from __future__ import annotations

import csv
import io
import json

import openai

from tests.serve.test_tuning import client, ended, house, key, upload  # noqa: F401 (fixtures)

GRADER = {"type": "multi", "name": "short and near", "calculate_output": "0.5 * near + 0.5 * short", "graders": {
    "near": {"type": "text_similarity", "name": "near", "input": "{{ sample.output_text }}",
             "reference": "{{ item.answer }}", "evaluation_metric": "fuzzy_match"},
    "short": {"type": "python", "name": "short",
              "source": "def grade(sample, item):\n    return 1 / (1 + len(sample['output_text']))"},
}}  # fmt: skip


def tasks(count: int, first: int = 0) -> bytes:
    rows = (
        {"messages": [{"role": "user", "content": f"Order {n} please"}], "answer": f"Done: {n}."}
        for n in range(first, first + count)
    )
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_a_reinforcement_job_tells_its_rewards_and_makes_a_model(client: openai.OpenAI) -> None:  # noqa: F811
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=upload(client, tasks(12)),
        validation_file=upload(client, tasks(4, first=50)),
        seed=3,
        method={"type": "reinforcement", "reinforcement": {
            "grader": GRADER,  # type: ignore[typeddict-item]
            "hyperparameters": {"n_epochs": 1, "batch_size": 4, "compute_multiplier": 0.25, "eval_interval": 2},
        }},
    )  # fmt: skip
    done = ended(client, job.id)
    assert done.status == "succeeded", done.error
    assert done.method.reinforcement.grader.to_dict()["calculate_output"] == GRADER["calculate_output"]
    assert done.method.reinforcement.hyperparameters.to_dict()["n_epochs"] == 1
    events = list(client.fine_tuning.jobs.list_events(job.id))[::-1]
    metrics = [event.data for event in events if event.type == "metrics"]
    assert [one["step"] for one in metrics] == [1, 2, 3]
    assert all(0 < one["train_mean_reward"] < 1 for one in metrics)
    assert 0 < metrics[-1]["full_valid_mean_reward"] < 1
    rows = list(csv.DictReader(io.StringIO(client.files.content(done.result_files[0]).text)))
    assert list(rows[0]) == ["step", "train_mean_reward", "full_valid_mean_reward"] and len(rows) == 3
    (checkpoint,) = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert checkpoint.fine_tuned_model_checkpoint == done.fine_tuned_model
    asked = [{"role": "user", "content": "Order 4 please"}]
    reply = client.chat.completions.create(model=done.fine_tuned_model, messages=asked, max_tokens=5)  # type: ignore[arg-type]
    assert reply.model == done.fine_tuned_model
