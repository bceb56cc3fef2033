"""Server, worker and trainer killed at random while a job trains through the API: python bench/kill_jobs.py --kills 20

A tiny model, two jobs of one recipe: the first undisturbed, the second killed over and over. Both have to end with the
same adapter, the same events and the same result file.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PORT = 8971
URL = f"http://127.0.0.1:{PORT}"


def call(method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
    """The answer; ConnectionError where nobody listens."""
    request = urllib.request.Request(f"{URL}{path}", body, {"content-type": kind}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")
    except (urllib.error.URLError, OSError) as error:
        raise ConnectionError(error) from None


def start() -> subprocess.Popen[bytes]:
    """A server that answers, with its worker."""
    command = [sys.executable, "-m", "sodate.cli", "serve", "tiny", "--no-auth", "--port", str(PORT)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while server.poll() is None:
        try:
            call("GET", "/readyz")
            return server
        except ConnectionError:
            time.sleep(0.2)
    raise SystemExit("the server does not start")


def family(pid: int) -> list[int]:
    """A process and all that came of it, by number."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    below = [int(word) for file in Path(f"/proc/{pid}/task").glob("*/children") for word in file.read_text().split()]
    return [pid, *(each for child in below for each in family(child))] if children.exists() else []


def upload(epochs: int) -> dict[str, Any]:
    rows = b"".join(
        json.dumps({"messages": [{"role": "user", "content": f"Order {n}"}, {"role": "assistant", "content": "Done."}]})
        .encode() + b"\n" for n in range(16)
    )  # fmt: skip
    form = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    form += b'--b\r\nContent-Disposition: form-data; name="file"; filename="t.jsonl"\r\n\r\n' + rows + b"\r\n--b--\r\n"
    file = call("POST", "/v1/files", form, "multipart/form-data; boundary=b")
    settings = {"n_epochs": epochs, "batch_size": 1}
    return {"model": "tiny", "training_file": file["id"], "seed": 5, "hyperparameters": settings}


def finished(id: str) -> dict[str, Any]:
    while (job := call("GET", f"/v1/fine_tuning/jobs/{id}"))["status"] not in ("succeeded", "failed", "cancelled"):
        time.sleep(0.3)
    assert job["status"] == "succeeded", job
    return dict(job)


def told(id: str) -> list[str]:
    """The messages of a job's metrics, the oldest first."""
    found: list[Any] = []
    after = ""
    while True:
        page = call("GET", f"/v1/fine_tuning/jobs/{id}/events?limit=100{after}")
        found += page["data"]
        if not page["has_more"]:
            return [one["message"] for one in found[::-1] if one["type"] == "metrics"]
        after = f"&after={page['last_id']}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    sys.path.insert(0, str(ROOT))
    from tests.tiny import llama_folder

    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"SODATE_HOME": f"{folder}/home", "OMP_NUM_THREADS": "1"}
        from sodate.library.sources import pull

        pull(str(llama_folder(Path(folder) / "tiny")))
        server = start()
        recipe = upload(asked.epochs)
        first = finished(call("POST", "/v1/fine_tuning/jobs", json.dumps(recipe).encode())["id"])
        second = call("POST", "/v1/fine_tuning/jobs", json.dumps(recipe).encode())
        killed = 0
        for _ in range(asked.kills):
            time.sleep(draw.uniform(0.5, 12.0))
            if call("GET", f"/v1/fine_tuning/jobs/{second['id']}")["status"] == "succeeded":
                break
            victim = draw.choice(family(server.pid))
            os.kill(victim, signal.SIGKILL)
            killed += 1
            if server.poll() is not None or victim == server.pid:
                server.wait()
                server = start()
        done = finished(second["id"])
        same = {
            "events": told(first["id"]) == told(done["id"]),
            "results": [_content(job) for job in (first, done)].count(_content(first)) == 2,
            "adapters": len({_adapter(Path(folder), job) for job in (first, done)}) == 1,
        }
        print(json.dumps({"kills": killed, **same}))
        server.terminate()
        server.wait()
    if not all(same.values()):
        raise SystemExit(1)


def _content(job: dict[str, Any]) -> bytes:
    with urllib.request.urlopen(f"{URL}/v1/files/{job['result_files'][0]}/content") as answer:
        return bytes(answer.read())


def _adapter(folder: Path, job: dict[str, Any]) -> bytes:
    name = f"ft-{job['fine_tuned_model'].rpartition(':')[2]}"
    return (folder / "home" / "versions" / name / "1" / "adapter" / "adapter_model.safetensors").read_bytes()


if __name__ == "__main__":
    main()
