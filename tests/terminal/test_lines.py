"""Progress where there is no terminal: what a line says, and that every long command says it."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from pathlib import Path

import pytest

from sodate import cli
from sodate.core import progress
from sodate.core.progress import Progress, report, told_to
from sodate.core.text import reading_in
from sodate.data import RawRow, read_rows
from sodate.terminal import lines
from tests.farm import Farm, order, plant, write_rows


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def after(seconds: float, *reports: Progress) -> lines.Lines:
    """What was reported, read so many seconds after the command began."""
    clock = Clock()
    made = lines.Lines(clock)
    for one in reports:
        made(one)
    clock.now += seconds
    return made


def steps(done: float, at: float) -> Progress:
    return Progress("steps", done, 20, "", 100 + at)


def test_a_line_says_done_total_rate_and_time_left() -> None:
    # 4 steps in 40 s are 10 s each; 16 are left, 160 s, of which 5 have passed since.
    assert after(55, steps(0, 10), steps(2, 31), steps(4, 50)).line() == "Training steps: 4/20, 10.0 s each, 2:35 left"
    with reading_in("ja"):
        assert str(after(55, steps(0, 10), steps(4, 50)).line()) == "学習ステップ: 4/20、1 つ 10.0 秒、残り 2:35"


@pytest.mark.parametrize("count", [99, 100, 140])
def test_rows_that_were_all_read_are_under_way_no_more(tmp_path: Path, count: int) -> None:
    made, said = lines.Lines(), list[str]()
    rows = write_rows(tmp_path / "rows.jsonl", [{"n": n} for n in range(count)])
    with told_to(made):
        for row in read_rows(rows):
            said += [made.line() or ""] if isinstance(row, RawRow) and row.line == 101 else []
    assert made.line() is None and len(said) == (count > 101)
    assert not any(said) or said[0].startswith("Rows read (rows.jsonl): 100/140")


@pytest.mark.parametrize(
    ("reports", "said"),
    [
        ([], None),
        ([Progress("load", 0, 1, "smol", 160.0), Progress("load", 1, 1, "smol", 170.0)], None),  # done
        ([Progress("load", 0, 1, "smol", 160.0)], "Loading the model (smol): 0/1, 0:30 so far"),
        ([Progress("rows", 100, None, "a.json", 101.0), Progress("rows", 5100, None, "a.json", 111.0)],
         "Rows read (a.json): 5,100, 500.0/s"),
        ([Progress("replies", 0, 32, "orders@1", 130.0)], "Replies (orders@1): 0/32, 1:00 so far"),
        ([Progress("replies", 32, 32, "a", 110.0), Progress("replies", 0, 32, "b", 120.0)],
         "Replies (b): 0/32, 1:10 so far"),  # other work: its time begins anew
        ([Progress("steps", 19, 20, "", 110.0), Progress("steps", 0, 20, "", 170.0)],
         "Training steps: 0/20, 0:20 so far"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_not_said(reports: list[Progress], said: str | None) -> None:
    assert after(90, *reports).line() == said


def test_hours_and_a_guess_that_was_too_short() -> None:
    assert lines.duration(4000) == "1:06:40" and lines.duration(59.6) == "1:00"
    # A second for the last one was expected; 481 have passed.
    assert after(500, steps(0, 0), steps(19, 19)).line() == "Training steps: 19/20, 8:20 so far"


def test_every_kind_of_work_that_is_reported_has_its_sentence() -> None:
    found = set()
    for file in Path(progress.__file__).parents[1].rglob("*.py"):
        for call in file.read_text("utf-8").split('report("')[1:]:
            found.add(call.split('"')[0])
    assert found == set(lines.WORK)


def test_nobody_listening_costs_nothing_and_another_thread_is_not_listened_to() -> None:
    heard: list[Progress] = []
    report("rows", 1)
    with told_to(heard.append):
        assert progress.listened()
        report("rows", 2)
        thread = threading.Thread(target=report, args=("rows", 3))
        thread.start()
        thread.join()
    report("rows", 4)
    assert [one.done for one in heard] == [2] and not progress.listened()


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    return plant(tmp_path_factory.mktemp("lines"))


def test_long_commands_speak_on_stderr_and_leave_stdout_alone(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lines, "EVERY", 0.001)
    monkeypatch.setenv("SODATE_HOME", str(farm.new_home(tmp_path / "home")))
    many = write_rows(tmp_path / "many.jsonl", [order(n) for n in range(100, 500)])
    train = ["train", "--model", farm.model, "--data", str(farm.train), "max_steps=2", "--name", "x", "--json"]
    commands = {
        "Rows read (many.jsonl): ": ["data", "check", str(many), "--json"],
        "Training steps: 1/2": train,
        "Replies (x@1): ": ["eval", "x@1", "--data", str(farm.held), "--grader", "exact", "--json"],
        "Merging and comparing": ["versions", "merge", "x", "--json"],
        "Fetching, percent": ["models", "pull", str(shutil.copytree(farm.folder, tmp_path / "other")), "--json"],
        "Loading the model": ["generate", farm.model, "--prompt", "hello", "--max-tokens", "2", "--json"],
    }
    for line, words in commands.items():
        monkeypatch.setattr(sys, "argv", ["sodate", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert ended.value.code == 0 and json.loads(said.out), (words, said)
        assert line in said.err, (words, said.err)
        assert "400" in said.err or "many" not in line
