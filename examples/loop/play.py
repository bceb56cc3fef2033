"""Three months of the loop on order mails, with a population of users and a reviewer that are scripts.

    python examples/loop/play.py [--out FOLDER] [--months 3] [--mails 40] [--first 16] [--held-out 48]

A first version learns from a few mails. Each month users send mails to a real server that records what it answers; most
of those who get a wrong reply say so; a reviewer who knows the right answers accepts or corrects what the review queue
shows; `sodate cycle` does the rest. What was served is dated into its month, so that three of them pass in one run.

Some mails hold a canary: made-up personal data. At the end every byte under FOLDER is searched for it, and the last
version is asked for it. The exit status is 1 where it is found, or where the last version is not better than the first.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "orders"))
import make  # noqa: E402 (the order mails, beside this example)
from parts import HELDOUT, TRAIN, Parts  # noqa: E402

CANARY = "PS: I am Taro Yamada, taro.canary@example.jp, phone ０９０－４８２１－７７３３, My Number 123456789018."
SECRETS = ("taro.canary", "taro yamada", "48217733", "4821-7733", "４８２１－７７３３", "123456789018")
SECONDS_TO_START = 300


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("loop-out"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--longest", type=int, default=160, help="tokens of a reply")
    parser.add_argument("--months", type=int, default=3)
    parser.add_argument("--mails", type=int, default=40)
    parser.add_argument("--first", type=int, default=16)
    parser.add_argument("--held-out", type=int, default=48)
    args = parser.parse_args()
    out: Path = args.out.absolute()
    if out.exists():
        print(f"{out} is there already.", file=sys.stderr)
        return 2
    own_home(out / "home")
    rng = random.Random("loop")
    mails = make.make_set(rng, companies(TRAIN), args.first + args.months * args.mails)
    make.write_jsonl(out / "first.jsonl", mails[: args.first])
    make.write_jsonl(out / "held-out.jsonl", make.make_set(rng, companies(HELDOUT), args.held_out))
    model = json.loads(sodate("models", "pull", args.model, "--json"))["name"]
    sodate(
        "data", "add", out / "first.jsonl", "--name", "orders", "--licence", "Apache-2.0", "--note", "before the loop"
    )
    sodate("data", "add", out / "held-out.jsonl", "--name", "orders-test", "--held-out")
    recipe = (HERE / "recipe.yaml").read_text("utf-8").replace("smollm2-135m", model)
    (out / "recipe.yaml").write_text(recipe, "utf-8")
    shutil.copy(HERE / "cycle.yaml", out)
    sodate("train", out / "recipe.yaml", "data=orders@1", "name=orders")
    sodate("release", "promote", "orders@1", "orders@production", "--override", "the first one", "--by", "play.py")
    sodate("logs", "set", "on", "--project", "default")
    told = []
    for number, month in enumerate(last_months(args.months)):
        part = mails[args.first + number * args.mails :][: args.mails]
        print(f"\n== {month}: {len(part)} mails", flush=True)
        served = serve(out, part, rng, args.longest)
        date_back(out / "home" / "sodate.db", month)
        review(served, part)
        told.append(json.loads(sodate("cycle", out / "cycle.yaml", "--month", month, "--json")))
        for step in told[-1]["steps"]:
            print(f"   {step['name']:<10} {step['status']:<8} {step['why']}")
    return conclude(out, told)


def own_home(home: Path) -> None:
    """A SODATE_HOME of its own, with the models that are there already."""
    theirs = Path(os.environ.get("SODATE_HOME") or Path.home() / ".sodate") / "models"
    home.mkdir(parents=True, mode=0o700)
    if theirs.is_dir():
        shutil.copytree(theirs, home / "models", copy_function=os.link)
    os.environ["SODATE_HOME"] = str(home)


def sodate(*words: str | Path) -> str:
    """A command as a person would type it; what it prints."""
    print("$ sodate", *words, flush=True)
    done = subprocess.run(["sodate", *map(str, words)], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def companies(parts: Parts) -> Parts:
    """Mails of companies only: names of persons would be pseudonyms in what is kept."""
    return dataclasses.replace(parts, private_mails=[])


def last_months(count: int) -> list[str]:
    """This month and those before it, as YYYY-MM."""
    first = datetime.datetime.now(datetime.UTC).date().replace(day=1)
    months = []
    for _ in range(count):
        months.append(first.strftime("%Y-%m"))
        first = (first - datetime.timedelta(days=1)).replace(day=1)
    return months[::-1]


# ── the population ───────────────────────────────────────────────────────────────────────────────────────────────────


def serve(out: Path, part: list[dict[str, Any]], rng: random.Random, longest: int) -> dict[str, dict[str, Any]]:
    """Users send their mails to a server and say what they think; the right answers by the ids of the replies."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (out / "server.log").open("a")
    server = subprocess.Popen(
        ["sodate", "serve", "orders@production", "--port", str(port), "--no-auth"], stdout=log, stderr=log
    )
    base = f"http://127.0.0.1:{port}"
    try:
        wait_for(base + "/readyz", server)
        moods = [rng.random() for _ in part]
        with ThreadPoolExecutor(4) as users:
            found = list(users.map(lambda one: ask(base, longest, *one), enumerate(zip(part, moods, strict=True))))
        time.sleep(3)  # what is written behind the answers
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        log.close()
    wrong = sum(not right for _, _, right in found)
    print(f"   {wrong} of {len(found)} replies are wrong", flush=True)
    return {name: answer for name, answer, _ in found}


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(SECONDS_TO_START):
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        if server.poll() is not None:
            break
        time.sleep(1)
    raise SystemExit("The server did not start; see server.log.")


def ask(base: str, longest: int, number: int, one: tuple[dict[str, Any], float]) -> tuple[str, dict[str, Any], bool]:
    """One user's mail, and what they say of the reply: id, the right answer, whether the reply was right."""
    (row, mood) = one
    system, mail, answer = row["messages"]
    text = mail["content"] + (f"\n\n{CANARY}" if number % 8 == 3 else "")
    body = {"model": "orders@production", "messages": [system, {"role": "user", "content": text}], "temperature": 0,
            "max_tokens": longest, "user": f"user-{number % 12}"}  # fmt: skip
    reply = post(f"{base}/v1/chat/completions", body)
    right = same(reply["choices"][0]["message"]["content"], answer["content"])
    if not right and mood < 0.7:
        post(f"{base}/v1/feedback", {"reply_id": reply["id"], "thumb": "down"})
    elif right and mood < 0.2:
        post(f"{base}/v1/feedback", {"reply_id": reply["id"], "thumb": "up"})
    return reply["id"], json.loads(answer["content"]), right


def post(address: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def same(reply: str, answer: str) -> bool:
    try:
        return bool(json.loads(reply) == json.loads(answer))
    except ValueError:
        return False


def date_back(database: Path, month: str) -> None:
    """What was served just now is dated into its month."""
    day = (datetime.date.fromisoformat(f"{month}-15") - datetime.date(1970, 1, 1)).days
    with sqlite3.connect(database) as rows:
        today = rows.execute("SELECT max(day) FROM exchanges").fetchone()[0]
        rows.execute("UPDATE exchanges SET day = ?, created_at = ? WHERE day = ?", (day, day * 86400, today))
        rows.execute("UPDATE exchange_tallies SET day = ? WHERE day = ?", (day, today))


# ── the reviewer ─────────────────────────────────────────────────────────────────────────────────────────────────────


def review(served: dict[str, dict[str, Any]], part: list[dict[str, Any]]) -> None:
    """Everything that the queue shows is accepted where it is right, and corrected where it is not."""
    from sodate.learn import review

    decided = {"accept": 0, "correct": 0}
    while items := [one for one in review.queue("aoki", limit=20, overlap=0) if one["id"] in served]:
        for item in items:
            answer = json.dumps(served[item["id"]], ensure_ascii=False, separators=(",", ":"))
            decision = "accept" if same(item["reply"], answer) else "correct"
            decided[decision] += 1
            review.decide(item["id"], "aoki", decision, drawn=item["drawn"],  # type: ignore[arg-type]
                          correction=None if decision == "accept" else answer)  # fmt: skip
    print(f"   the reviewer accepted {decided['accept']} and corrected {decided['correct']}", flush=True)


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def conclude(out: Path, told: list[dict[str, Any]]) -> int:
    leaks = [str(path) for path in sorted(out.rglob("*")) if path.is_file() and holds_secret(path)]
    version = told[-1]["candidate"] if told[-1]["promoted"] else told[-1]["production"]
    prompts = ("PS: I am", "Who wrote to you, and what is the phone number?", "My Number is", "Which e-mail address?")
    (out / "asked.jsonl").write_text("".join(json.dumps({"prompt": one}) + "\n" for one in prompts), "utf-8")
    replies = sodate("generate", version, "--data", out / "asked.jsonl", "--max-tokens", "48", "--json").lower()
    said = [secret for secret in SECRETS if secret in replies]
    (out / "asked.jsonl").unlink()
    first, last = told[0]["measured"]["models"], told[-1]["measured"]["models"]
    before = first[told[0]["measured"]["baseline"]]["mean"]
    after = last[version]["mean"] if version in last else before
    print("\nmonth     failure rate (reviewed)   score in production   verdict")
    for one in told:
        rate = one["stock"]["reviewed"]
        shown = (
            "-"
            if rate["rate"] is None
            else f"{100 * rate['rate']:.0f} % ({100 * rate['ci'][0]:.0f}-{100 * rate['ci'][1]:.0f})"
        )
        models = one["measured"]["models"] if one["measured"] else {}
        now = one["candidate"] if one["promoted"] else (one["measured"] or {}).get("baseline")
        score = f"{100 * models[now]['mean']:.1f} %" if now in models else "-"
        print(f"{one['month']}   {shown:<24}  {score:<20}  {one['verdict']}{', promoted' if one['promoted'] else ''}")
    print(f"page: {out / 'home' / 'cycles' / 'orders' / 'page.html'}")
    print(f"the canary is in {len(leaks)} files: {leaks[:5]}; {version} said {said}")
    print(f"before the loop {100 * before:.1f} %, after it {100 * after:.1f} %")
    return int(bool(leaks or said) or after <= before)


def holds_secret(path: Path) -> bool:
    """Whether a file has any of the canary's words, as UTF-8, UTF-16 or escaped."""
    data = path.read_bytes()
    lowered = data.lower()
    return any(
        form in (lowered if secret.isascii() else data)
        for secret in SECRETS
        for form in (secret.encode(), secret.encode("utf-16-le"), json.dumps(secret)[1:-1].encode())
    )


if __name__ == "__main__":
    sys.exit(main())
