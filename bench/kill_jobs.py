"""Server, worker and trainer killed at random while a program for OpenAI's platform runs.

    python bench/kill_jobs.py [--kills 20] [--epochs 40] [--seed 0]

bench/clients/platform_client.py (two jobs on top of each other, an eval run, a chat held to a schema, the weights) is
run undisturbed, and then as often as it takes while processes are killed: every run has to print the same.
"""

from __future__ import annotations

import argparse
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

ROOT = Path(__file__).parents[1]
PORT = 8971
URL = f"http://127.0.0.1:{PORT}"


def ready() -> bool:
    try:
        with urllib.request.urlopen(f"{URL}/readyz", timeout=30) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def start() -> subprocess.Popen[bytes]:
    """A server that answers, with its worker."""
    command = [sys.executable, "-m", "sodate.cli", "serve", "tiny", "--no-auth", "--port", str(PORT)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while server.poll() is None:
        if ready():
            return server
        time.sleep(0.2)
    raise SystemExit("the server does not start")


def family(pid: int) -> list[int]:
    """A process and all that came of it, by number."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    below = [int(word) for file in Path(f"/proc/{pid}/task").glob("*/children") for word in file.read_text().split()]
    return [pid, *(each for child in below for each in family(child))] if children.exists() else []


def program(epochs: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "OPENAI_BASE_URL": f"{URL}/v1", "OPENAI_API_KEY": "none", "MODEL": "tiny"}
    command = [sys.executable, str(Path(__file__).parent / "clients" / "platform_client.py")]
    return subprocess.Popen(command, env={**environment, "EPOCHS": str(epochs)}, stdout=subprocess.PIPE, text=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40)
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
        first = program(asked.epochs).communicate()[0]
        print("undisturbed:", first, end="", flush=True)
        killed, said = 0, []
        while killed < asked.kills:
            running = program(asked.epochs)
            while running.poll() is None and killed < asked.kills:
                time.sleep(draw.uniform(0.5, 8.0))
                victim = draw.choice(family(server.pid))
                os.kill(victim, signal.SIGKILL)
                killed += 1
                if victim == server.pid:
                    server.wait()
                    server = start()
            said.append(running.communicate()[0])
            print(f"after {killed} kills:", said[-1] or "it failed\n", end="", flush=True)
        server.terminate()
        server.wait()
        same = bool(first) and all(one == first for one in said)
        print(f"{killed} kills in {len(said)} runs: {'the same' if same else 'NOT THE SAME'}")
        raise SystemExit(0 if same else 1)


if __name__ == "__main__":
    main()
