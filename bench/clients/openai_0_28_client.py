# mypy: ignore-errors
"""What articles of 2023 show: upload pairs, fine-tune, look at events, complete. Run by openai_0_28.sh."""

from __future__ import annotations

import json
import os
import tempfile
import time

import openai

openai.api_base = os.environ["BASE"]
openai.api_key = os.environ["KEY"]

with tempfile.NamedTemporaryFile("w+b", suffix=".jsonl") as rows:
    for number in range(20):
        pair = {"prompt": f"Number {number} ->", "completion": f" {number + 1}\n"}
        rows.write(json.dumps(pair).encode() + b"\n")
    rows.seek(0)
    file = openai.File.create(file=rows, purpose="fine-tune")
assert file["id"] in [one["id"] for one in openai.File.list()["data"]]
job = openai.FineTune.create(training_file=file["id"], model=os.environ["MODEL"], n_epochs=1, suffix="numbers")
while job["status"] in ("pending", "running"):
    time.sleep(0.5)
    job = openai.FineTune.retrieve(job["id"])
assert job["status"] == "succeeded", job
for event in openai.FineTune.list_events(job["id"])["data"]:
    print(event["message"])
assert job["id"] in [one["id"] for one in openai.FineTune.list()["data"]]
model = job["fine_tuned_model"]
said = openai.Completion.create(model=model, prompt="Number 4 ->", max_tokens=4, temperature=0, stop=["\n"])
print(model, repr(said["choices"][0]["text"]))
print(openai.File.download(job["result_files"][0]["id"]).decode().splitlines()[0])
