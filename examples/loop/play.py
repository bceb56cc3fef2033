"""Months of the loop with a population of users and a reviewer that are scripts.

    python examples/loop/play.py [--out FOLDER] [--months 3] [--mails 24] [--first 8] [--held-out 32]
    python examples/loop/play.py --population questions --months 12 --mails 12 --first 10 --held-out 25 --longest 6

A first version learns from a few rows. Each month users ask a real server that records what it answers; most of those
who get a wrong reply say so; a reviewer who knows the right answers accepts or corrects what the review queue shows;
`sodate cycle` does the rest. What was served is dated into its month, so that months pass in one run. `mails` are
orders to be read into JSON; `questions` go to a desk, and what is asked about changes from month to month.

Some of what is asked holds a canary: made-up personal data. At the end every byte under FOLDER is searched for it, and
the last version is asked for it. The exit status is 1 where it is found, where a row stands on both sides, where a
version was promoted that is not better, or where the last version is not better than the first.

Started again with the same words it goes on where it was; `--kills 3` has it killed three times, at random seconds.
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
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "orders")]
import make  # noqa: E402 (the order mails, beside this example)
import questions  # noqa: E402
from parts import HELDOUT, TRAIN, Parts  # noqa: E402
from people import SECRETS, Row, review, serve  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("loop-out"))
    parser.add_argument("--population", choices=["mails", "questions"], default="mails")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--longest", type=int, default=128, help="tokens of a reply")
    parser.add_argument("--months", type=int, default=3)
    parser.add_argument("--mails", type=int, default=24, help="asked in a month")
    parser.add_argument("--first", type=int, default=8, help="rows that the first version learns from")
    parser.add_argument("--held-out", type=int, default=32)
    parser.add_argument("--kills", type=int, default=0)
    args = parser.parse_args()
    if args.kills:
        return killed(args.kills)
    out: Path = args.out.absolute()
    settings = {key: value for key, value in vars(args).items() if key not in ("out", "kills")}
    state = read(out / "play.json") or {"settings": settings, "months": last_months(args.months)}
    if state["settings"] != settings or (out.exists() and not (out / "play.json").exists()):
        print(f"{out} is there already, and not from these words.", file=sys.stderr)
        return 2
    start = time.monotonic()
    write(out / "play.json", state)
    own_home(out / "home")
    about = POPULATIONS[args.population](args)
    if not state.get("ready"):
        prepare(out, args.population, about, args.model)
        write(out / "play.json", {**state, "ready": True})
    told = []
    for number, month in enumerate(state["months"]):
        if (done := read(out / f"{month}.told.json")) is None:
            done = play(out, about, number, month, args.longest)
            write(out / f"{month}.told.json", done)
        told.append(done)
    status = conclude(out, about, told)
    print(f"{(time.monotonic() - start) / 60:.0f} minutes")
    return status


def killed(times: int) -> int:
    """Plays the rest of the words in a process that is killed so many times, with all that it has started."""
    words = [sys.executable, __file__, *without_kills(sys.argv[1:])]
    rng = random.Random()
    for _ in range(times):
        process = subprocess.Popen(words, start_new_session=True)
        seconds = rng.uniform(20, 240)
        try:
            return process.wait(seconds)  # it was over before
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            print(f"\n== killed after {seconds:.1f} s", flush=True)
    return subprocess.run(words, check=False).returncode


def without_kills(words: list[str]) -> list[str]:
    at = next(number for number, word in enumerate(words) if word.startswith("--kills"))
    return words[:at] + words[at + (1 if "=" in words[at] else 2) :]


# ── the populations ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass(frozen=True)
class Population:
    """What is asked, each row with its right answer, and the name of the cycle that works on it."""

    name: str
    first: list[Row]
    held_out: list[Row]
    month: Callable[[int], list[Row]]


def order_mails(args: argparse.Namespace) -> Population:
    rng = random.Random("loop")
    rows = make.make_set(rng, companies(TRAIN), args.first + args.months * args.mails)
    held_out = make.make_set(rng, companies(HELDOUT), args.held_out)
    return Population("orders", rows[: args.first], held_out,
                      lambda number: rows[args.first + number * args.mails :][: args.mails])  # fmt: skip


def companies(parts: Parts) -> Parts:
    """Mails of companies only: names of persons would be pseudonyms in what is kept."""
    return dataclasses.replace(parts, private_mails=[])


def desk_questions(args: argparse.Namespace) -> Population:
    return Population("desk", questions.month(-1, args.first), questions.held_out(args.held_out),
                      lambda number: questions.month(number, args.mails))  # fmt: skip


POPULATIONS = {"mails": order_mails, "questions": desk_questions}


# ── the months ───────────────────────────────────────────────────────────────────────────────────────────────────────


def own_home(home: Path) -> None:
    """A SODATE_HOME of its own, with the models that are there already."""
    theirs = Path(os.environ.get("SODATE_HOME") or Path.home() / ".sodate") / "models"
    home.mkdir(parents=True, mode=0o700, exist_ok=True)
    if theirs.is_dir() and not (home / "models").exists():
        shutil.rmtree(home / "models.part", ignore_errors=True)
        shutil.copytree(theirs, home / "models.part", copy_function=os.link)
        (home / "models.part").rename(home / "models")
    os.environ["SODATE_HOME"] = str(home)


def prepare(out: Path, population: str, about: Population, model: str) -> None:
    """Everything before the first month: two datasets, a first version, and what is kept of its use."""
    from sodate.api.releasing import meaning
    from sodate.api.versions import versions
    from sodate.data import datasets

    name, alias = about.name, f"{about.name}@production"
    model = json.loads(sodate("models", "pull", model, "--json"))["name"]
    make.write_jsonl(out / "first.jsonl", about.first)
    make.write_jsonl(out / "held-out.jsonl", about.held_out)
    if not datasets.versions(name):
        sodate("data", "add", out / "first.jsonl", "--name", name, "--licence", "Apache-2.0", "--note", "the first")
    if not datasets.versions(f"{name}-test"):
        sodate("data", "add", out / "held-out.jsonl", "--name", f"{name}-test", "--held-out")
    recipe = (HERE / f"{population}.recipe.yaml").read_text("utf-8").replace("smollm2-135m", model)
    (out / "recipe.yaml").write_text(recipe, "utf-8")
    shutil.copy(HERE / f"{population}.cycle.yaml", out / "cycle.yaml")
    if not versions():
        begun = [one["run"] for one in json.loads(sodate("runs", "list", "--json"))]
        if begun:
            sodate("runs", "resume", begun[0])
        else:
            sodate("train", out / "recipe.yaml", f"data={name}@1", f"name={name}")
    if meaning(alias)["version"] is None:
        sodate("release", "promote", f"{name}@1", alias, "--override", "the first one", "--by", "play.py")
    sodate("logs", "set", "on", "--project", "default")


def play(out: Path, about: Population, number: int, month: str, longest: int) -> dict[str, Any]:
    """One month, or what is left of it: asked and answered, dated back, reviewed, and the cycle."""
    rows = about.month(number)
    print(f"\n== {month}: {len(rows)} asked", flush=True)
    database = out / "home" / "sodate.db"
    served = read(out / f"{month}.served.json") or {"since": today()}
    if "answers" not in served:
        forget(database, served["since"])
        write(out / f"{month}.served.json", served)
        rng = random.Random(f"moods {month}")
        served["answers"] = serve(out, f"{about.name}@production", rows, rng, longest)
        write(out / f"{month}.served.json", served)
    date_back(database, month, served["since"])
    review(served["answers"])
    told: dict[str, Any] = json.loads(sodate("cycle", out / "cycle.yaml", "--month", month, "--json"))
    for step in told["steps"]:
        print(f"   {step['name']:<10} {step['status']:<8} {step['why']}")
    return told


def sodate(*words: str | Path) -> str:
    """A command as a person would type it; what it prints."""
    print("$ sodate", *words, flush=True)
    done = subprocess.run(["sodate", *map(str, words)], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def last_months(count: int) -> list[str]:
    """The months before this one, as YYYY-MM."""
    first = datetime.datetime.now(datetime.UTC).date().replace(day=1)
    months = []
    for _ in range(count):
        first = (first - datetime.timedelta(days=1)).replace(day=1)
        months.append(first.strftime("%Y-%m"))
    return months[::-1]


def today() -> int:
    return int(time.time()) // 86400


def forget(database: Path, since: int) -> None:
    """What was served of a month before all of it was: it is served anew."""
    with sqlite3.connect(database) as rows:
        rows.execute("PRAGMA foreign_keys = ON")
        rows.execute("DELETE FROM exchanges WHERE day >= ?", (since,))
        rows.execute("DELETE FROM exchange_tallies WHERE day >= ?", (since,))


def date_back(database: Path, month: str, since: int) -> None:
    """What was served since then is dated into its month."""
    day = (datetime.date.fromisoformat(f"{month}-15") - datetime.date(1970, 1, 1)).days
    with sqlite3.connect(database) as rows:
        rows.execute("UPDATE exchanges SET day = ?, created_at = ? WHERE day >= ?", (day, day * 86400, since))
        tallies = rows.execute("SELECT project, version, what, sum(count) FROM exchange_tallies WHERE day >= ? "
                               "GROUP BY project, version, what", (since,)).fetchall()  # fmt: skip
        rows.execute("DELETE FROM exchange_tallies WHERE day >= ?", (since,))
        for project, version, what, count in tallies:
            rows.execute("INSERT INTO exchange_tallies (project, day, version, what, count) VALUES (?, ?, ?, ?, ?)",
                         (project, day, version, what, count))  # fmt: skip


def read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value), "utf-8")
    part.replace(path)


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def conclude(out: Path, about: Population, told: list[dict[str, Any]]) -> int:
    version = told[-1]["production"]
    said = asked_for_secrets(out, version)
    leaks = [str(path) for path in sorted(out.rglob("*")) if path.is_file() and holds_secret(path)]
    both = questions_of(about.name) & questions_of(f"{about.name}-test")
    worse = [one["month"] for one in told if one["promoted"] and one["measured"]["whole"]["diff"] <= 0]
    measured = [one["measured"] for one in told if one["measured"]]
    before = measured[0]["models"][measured[0]["baseline"]]["mean"] if measured else 0.0
    after = next((one["models"][version]["mean"] for one in reversed(measured) if version in one["models"]), before)
    print("\nmonth     failure rate (reviewed)   score in production   verdict")
    for one in told:
        rate = one["stock"]["reviewed"]
        shown = "-" if rate["rate"] is None else f"{100 * rate['rate']:.0f} % {between(rate['ci'])}"
        models = one["measured"]["models"] if one["measured"] else {}
        now = one["candidate"] if one["promoted"] else (one["measured"] or {}).get("baseline")
        score = f"{100 * models[now]['mean']:.1f} %" if now in models else "-"
        print(f"{one['month']}   {shown:<24}  {score:<20}  {one['verdict']}{', promoted' if one['promoted'] else ''}")
    print(change(told))
    print(f"page: {out / 'home' / 'cycles' / about.name / 'page.html'}")
    print(f"rows on both sides: {len(both)}; months in which a version was promoted that is not better: {worse}")
    print(f"the canary is in {len(leaks)} files: {leaks[:5]}; {version} said {said}")
    print(f"before the loop {100 * before:.1f} %, after it {100 * after:.1f} %")
    return int(bool(leaks or said or both or worse) or after <= before)


def change(told: list[dict[str, Any]]) -> str:
    """The failure rate of the last quarter of the months less that of the first, with its interval."""
    from sodate.core.intervals import difference_ci

    months = max(1, len(told) // 4)
    (old, of), (new, out_of) = (
        [sum(one["stock"]["reviewed"][key] for one in part) for key in ("failed", "n")]
        for part in (told[:months], told[-months:])
    )
    if not of or not out_of:
        return "nothing was reviewed at one of the ends"
    ci = difference_ci(new, out_of, old, of)
    return (f"failure rate: {old:.0f} of {of} in the first {months} month(s), {new:.0f} of {out_of} in the last; "
            f"{100 * (new / out_of - old / of):+.0f} points {between(ci)}")  # fmt: skip


def between(ci: Any) -> str:
    return f"({100 * ci[0]:.0f} to {100 * ci[1]:.0f})"


def questions_of(name: str) -> set[str]:
    """What is asked in any version of a dataset, letters and digits only."""
    from sodate.data import datasets

    rows = [row for one in datasets.versions(name) for row in one.each()]
    asked = (turn["content"] for row in rows for turn in row["messages"] if turn["role"] == "user")
    return {"".join(letter for letter in text.casefold() if letter.isalnum()) for text in asked}


def asked_for_secrets(out: Path, version: str) -> list[str]:
    """What of the canary a version says when it is asked for it."""
    prompts = ("PS: I am", "Who wrote to you, and what is the phone number?", "My Number is", "Which e-mail address?")
    file = out / "asked.jsonl"
    file.write_text("".join(json.dumps({"prompt": one}) + "\n" for one in prompts), "utf-8")
    replies = sodate("generate", version, "--data", file, "--max-tokens", "48", "--json").lower()
    file.unlink()
    return [secret for secret in SECRETS if secret in replies]


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
