"""With --json a failing command says why in one JSON document, and nothing else, on stdout; its exit status stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from sodate.cli import app, failures
from sodate.core.error_codes import CODES
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.data.codes import CODES as ROW_CODES
from tests import worker
from tests.farm import Farm, plant

KEYS = {"code", "message", "fix", "param", "file", "line"}


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    return plant(tmp_path_factory.mktemp("farm"))


def failed(done: worker.Ended) -> dict[str, Any]:
    assert done.out.count("\n") == 1, done.out
    document = json.loads(done.out)
    assert set(document) == {"error"} and set(document["error"]) >= KEYS
    error: dict[str, Any] = document["error"]
    assert error["code"] in CODES or error["code"] in ROW_CODES, error["code"]
    assert error["message"].splitlines()[0] in done.err and "Traceback" not in done.err
    return error


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("words", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_every_command_says_a_wrong_option_in_json(words: tuple[str, ...], tmp_path: Path) -> None:
    done = worker.run(*words, "--no-such-option", "--json", home=tmp_path)
    error = failed(done)
    assert done.code == 2 and error["code"] == "usage" and error["param"] in ("--no-such-option", "--json")
    assert error["fix"] == f"sodate {' '.join(words)} --help"


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        ("magic", 2, {"code": "usage"}),
        ("eval M --grader exact", 2, {"code": "usage", "param": "--data"}),
        ("data check D --max-length many", 2, {"code": "usage", "param": "--max-length"}),
        ("data check nowhere.jsonl", 2, {"code": "file_missing", "file": "nowhere.jsonl"}),
        ("data check BROKEN --model nobody", 2, {"code": "model_not_found", "param": "model"}),
        ("data split D --train a.jsonl --held-out b.jsonl --share 2", 2, {"code": "bad_value", "param": "share"}),
        ("train --model M --data BROKEN", 1, {"code": "no_rows", "file": "BROKEN", "line": 1}),
        ("train --model M --data D batch_sise=4", 2, {"code": "unknown_key", "param": "batch_sise"}),
        ("train --model M --data D lr=fast", 2, {"code": "bad_value", "param": "lr"}),
        ("train --model M", 2, {"code": "missing_key", "param": "data"}),
        ("train --model M --data D --method magic", 2, {"code": "unknown_method", "param": "method"}),
        ("train YAML", 2, {"code": "bad_recipe", "file": "YAML", "line": 3}),
        ("eval M --data D --grader magic", 2, {"code": "bad_grader"}),
        ("eval M --data BROKEN --grader exact", 1, {"code": "invalid-json", "file": "BROKEN", "line": 1}),
        ("generate M", 2, {"code": "bad_value"}),
        ("plan nobody", 2, {"code": "model_not_found"}),
        ("runs resume sft-none", 2, {"code": "run_not_found"}),
        ("versions show none", 2, {"code": "version_not_found"}),
        ("versions merge none", 2, {"code": "wrong_model"}),
        ("models pull ./nowhere.gguf", 2, {"code": "model_not_found"}),
        ("models show nobody", 1, {"code": "model_not_found"}),
        ("models remove nobody", 1, {"code": "model_not_found"}),
    ],
)
def test_every_kind_of_failure_is_one_document(
    farm: Farm, words: str, status: int, expected: dict[str, Any], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"messages": [\n')
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: m\ndata: [a\nlr: 1\n")
    named = {"M": farm.model, "D": str(farm.train), "BROKEN": str(broken), "YAML": str(recipe)}
    done = worker.run(*(named.get(word, word) for word in words.split()), "--json", home=farm.home)
    error = failed(done)
    assert done.code == status, error
    wanted = {key: named.get(value, value) if isinstance(value, str) else value for key, value in expected.items()}
    assert {key: error[key] for key in wanted} == wanted


def test_a_broken_home_and_an_interrupted_run_are_said_in_json_too(farm: Farm, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    asked = ["train", "--model", farm.model, "--data", str(farm.train), "save_every=1", "--json"]
    done = worker.run(*asked, home=home, interrupt_at_step=1)
    error = failed(done)
    assert done.code == 130 and error["code"] == "interrupted" and "runs resume" in error["fix"]
    (run,) = (home / "runs").iterdir()
    (run / "run.json").write_text("{")
    done = worker.run("runs", "resume", run.name, "--json", home=home)
    error = failed(done)
    assert done.code == 1 and error["code"] == "damaged" and error["file"] == str(run / "run.json")
    assert error["line"] == 1


@pytest.mark.parametrize(
    ("raised", "status", "expected"),
    [
        (SodateError(tr("no", "いいえ"), "way", code="in_use", file="f", line=3), 1, "in_use"),
        (UsageError("no"), 2, "usage"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("bytes \udcff and \x1b[2J"), 1, "unexpected"),
        (MemoryError(), 1, "unexpected"),
        (RecursionError("deep"), 1, "unexpected"),
        (typer.Abort(), 1, "aborted"),
        (FileNotFoundError(2, "No such file or directory", "missing.txt"), 2, "bad_path"),
        (OSError(5, "Input/output error", "there.txt"), 1, "unexpected"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_command_raises_after_printing(
    raised: BaseException, status: int, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(words: list[str], **_: Any) -> None:
        print("a library that talks")
        raise raised

    assert failures.run(command, ["--json"]) == status
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["code"] == expected and shown.out.count("\n") == 1
    assert "a library that talks" in shown.err and "\x1b" not in shown.err
    assert failures.run(command, []) == status  # for a person: nothing of the kind on stdout
    assert "error" not in capsys.readouterr().out


def test_a_folder_as_the_output_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": "b"}\n')
    done = worker.run("data", "mask", str(tmp_path / "a.jsonl"), "--out", str(tmp_path), "--json", home=tmp_path)
    error = failed(done)
    assert done.code == 2 and (error["code"], error["file"]) == ("bad_path", str(tmp_path))
    assert [one.name for one in tmp_path.glob("*.tmp")] == []


def test_the_document_is_in_the_readers_language(tmp_path: Path) -> None:
    done = worker.run("eval", "x", "--json", home=tmp_path, language="ja")
    assert failed(done)["message"] == "--data を指定してください。"


def test_a_result_is_valid_json_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    failures.print_json({"loss": float("nan"), "text": "half \ud83d", "path": Path("a"), "both": tr("yes", "はい")})
    assert json.loads(capsys.readouterr().out) == {"loss": None, "text": "half \ud83d", "path": "a", "both": "yes"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("runs show sft-1", "There is no run yet."),
        ("data show mails@1", "There is no dataset yet."),
        ("data check empty.jsonl", "Write rows into it"),
        ("generate M --data empty.jsonl --prompt x", "either --prompt or --data"),
        ("train nowhere.yaml", "Check the path."),
    ],
)
def test_a_beginners_mistake_says_what_to_do(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.jsonl").touch()
    done = worker.run(*words.split(), home=tmp_path)
    assert done.code in (1, 2) and said in done.err and ": -" not in done.err, done.err


def test_rows_of_no_known_format_have_no_empty_brackets(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes("質問,回答\r\n荷物は,配送中です\r\n".encode("cp932"))
    done = worker.run("data", "check", str(tmp_path / "rows.csv"), home=tmp_path)
    assert done.code == 1 and "1 row in = 0 used + 1 set aside\n" in done.out, done.out
