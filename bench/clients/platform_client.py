# mypy: ignore-errors
"""A program written for OpenAI's platform: upload, a supervised job with validation, a DPO job on top, an eval run, a
chat held to a schema, stored completions, the weights. Run by platform.sh; prints what came out, a line of JSON."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import time

import httpx
import openai

client, model = openai.OpenAI(max_retries=12), os.environ["MODEL"]
EPOCHS = int(os.environ.get("EPOCHS", "2"))


def uploaded(name, rows, purpose="fine-tune"):
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return client.files.create(file=(name, content), purpose=purpose).id


def ended(look):
    """What is looked at until it is over."""
    while (found := look()).status in ("validating_files", "queued", "running", "in_progress"):
        time.sleep(0.5)
    return found


def chat(number, answer=None):
    asked = [{"role": "user", "content": f"Please send {number} boxes."}]
    return asked if answer is None else [*asked, {"role": "assistant", "content": answer}]


training = uploaded("train.jsonl", [{"messages": chat(n, f"{n} boxes")} for n in range(2, 22)])
validation = uploaded("valid.jsonl", [{"messages": chat(n, f"{n} boxes")} for n in range(30, 34)])
pairs = uploaded("pairs.jsonl", [
    {"input": {"messages": chat(n)}, "preferred_output": [{"role": "assistant", "content": f"{n} boxes"}],
     "non_preferred_output": [{"role": "assistant", "content": f"{n}"}]} for n in range(2, 22)
])  # fmt: skip

job = client.fine_tuning.jobs.create(
    model=model, training_file=training, validation_file=validation, suffix="boxes", seed=7, metadata={"kind": "bench"},
    method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": EPOCHS, "batch_size": 4}}},
)  # fmt: skip
job = ended(lambda: client.fine_tuning.jobs.retrieve(job.id))
assert job.status == "succeeded", job
messages = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=100)]
checkpoints = client.fine_tuning.jobs.checkpoints.list(job.id).data
assert checkpoints[0].fine_tuned_model_checkpoint and job.trained_tokens and job.estimated_finish is None
results = client.files.content(job.result_files[0]).text

tuned = client.fine_tuning.jobs.create(
    model=job.fine_tuned_model, training_file=pairs, seed=7,
    method={"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 1, "batch_size": 4, "beta": 0.1}}},
)  # fmt: skip
tuned = ended(lambda: client.fine_tuning.jobs.retrieve(tuned.id))
assert tuned.status == "succeeded", tuned

asked = uploaded("items.jsonl", [{"item": {"number": str(n), "answer": f"{n} boxes"}} for n in range(40, 46)], "evals")
schema = {"type": "object", "properties": {"number": {"type": "string"}, "answer": {"type": "string"}}}
definition = client.evals.create(
    name="boxes", data_source_config={"type": "custom", "item_schema": schema, "include_sample_schema": True},
    testing_criteria=[{"type": "string_check", "name": "same", "operation": "eq",
                       "input": "{{ sample.output_text }}", "reference": "{{ item.answer }}"}],
)  # fmt: skip
source = {
    "type": "completions", "model": tuned.fine_tuned_model, "source": {"type": "file_id", "id": asked},
    "input_messages": {"type": "template",
                       "template": [{"role": "user", "content": "Please send {{ item.number }} boxes."}]},
    "sampling_params": {"temperature": 0, "max_completion_tokens": 8},
}  # fmt: skip
run = client.evals.runs.create(definition.id, name="tuned", data_source=source)
run = ended(lambda: client.evals.runs.retrieve(run.id, eval_id=definition.id))
assert run.status == "completed" and run.result_counts.total == 6, run
items = list(client.evals.runs.output_items.list(run.id, eval_id=definition.id))

held = {"type": "json_schema", "json_schema": {"name": "order", "strict": True, "schema": {
    "type": "object", "properties": {"boxes": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["boxes"],
    "additionalProperties": False}}}  # fmt: skip
reply = client.chat.completions.create(
    model=tuned.fine_tuned_model, messages=chat(12), response_format=held, temperature=0, store=True,
    metadata={"from": f"platform {job.id}"},
)  # fmt: skip
assert set(json.loads(reply.choices[0].message.content)) == {"boxes"}
kept = client.chat.completions.list(metadata={"from": f"platform {job.id}"}).data
assert [one.id for one in kept] == [reply.id]

weights = client.get(f"/fine_tuning/jobs/{tuned.id}/weights", cast_to=httpx.Response)  # sodate's own addition
with tarfile.open(fileobj=io.BytesIO(weights.content)) as packed:
    adapter = next(packed.extractfile(one).read() for one in packed if one.name.endswith("adapter_model.safetensors"))
print(json.dumps({
    "events": hashlib.sha256("\n".join(m for m in messages if m.startswith("Step ")).encode()).hexdigest()[:16],
    "results": hashlib.sha256(results.encode()).hexdigest()[:16], "checkpoints": len(checkpoints),
    "adapter": hashlib.sha256(adapter).hexdigest()[:16], "reply": reply.choices[0].message.content,
    "eval": [item.sample.output[0].content for item in sorted(items, key=lambda item: item.datasource_item_id)],
}))  # fmt: skip
