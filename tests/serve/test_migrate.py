"""docs/migrate.md, step by step: import, check, train, compare with the old model's answers, serve, and the program."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sodate.cli import app
from tests import tiny
from tests.serve.running import running
from tests.serve.test_evals import ended

ROOT = Path(__file__).parents[2]
CHECK = {"type": "string_check", "name": "same", "id": "same-1", "operation": "eq", "input": "{{sample.output_text}}",
         "reference": "{{item.answer}}"}  # fmt: skip


def saved(folder: Path) -> None:
    """What a client's script had written."""
    rows = [{"messages": [{"role": "user", "content": f"Please send {n} boxes."},
                          {"role": "assistant", "content": f"{n} boxes"}]} for n in range(2, 22)]  # fmt: skip
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    outputs = [{"object": "eval.run.output_item", "eval_id": "eval_1", "run_id": "evalrun_1", "datasource_item_id": n,
                "datasource_item": {"question": f"Please send {n} crates.", "answer": f"{n} crates"},
                "sample": {"input": [{"role": "user", "content": f"Please send {n} crates."}],
                           "output": [{"role": "assistant", "content": f"{n} crates"}]}} for n in range(6)]  # fmt: skip
    pages: dict[str, list[Any]] = {
        "files": [{"object": "file", "id": "file-1", "filename": "train.jsonl", "purpose": "fine-tune"}],
        "jobs": [{"object": "fine_tuning.job", "id": "ftjob-abc123", "model": "gpt-4o-mini", "training_file": "file-1",
                  "user_provided_suffix": "support", "seed": 1, "fine_tuned_model": "ft:gpt-4o-mini:o:support:x",
                  "hyperparameters": {"n_epochs": 1, "batch_size": 4, "learning_rate_multiplier": 1.8}}],
        "evals": [{"object": "eval", "id": "eval_1", "name": "Support", "testing_criteria": [CHECK],
                   "data_source_config": {"type": "custom", "schema": {"properties": {"item": {"type": "object"}}}}}],
        "runs": [{"object": "eval.run", "id": "evalrun_1", "eval_id": "eval_1", "name": "gpt-4o"}],
        "outputs": outputs,
    }  # fmt: skip
    for name, data in pages.items():
        (folder / f"{name}.json").write_text(json.dumps({"object": "list", "data": data}), "utf-8")


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_both_pages_have_the_same_steps() -> None:
    assert blocks("migrate.md", "sh") == blocks("migrate.ja.md", "sh")
    assert blocks("migrate.md", "text") == blocks("migrate.ja.md", "text")


def test_every_step_of_the_way_from_openai_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sodate.api.serving import open_service
    from sodate.library.checks import check_folder, tokenizer_facts
    from sodate.library.store import keep

    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SODATE_LANG", "en")
    monkeypatch.chdir(tmp_path)
    prepared = tmp_path / "home" / "prepared"
    shutil.copytree(tiny.llama_folder(tmp_path / "made"), prepared)
    facts = check_folder(prepared) | tokenizer_facts(prepared)
    keep(prepared, "tiny", facts | {"name": "smollm2-135m", "source": "test", "licence": "apache-2.0"})
    saved(tmp_path / "saved")
    said = {}
    for line in filter(None, "\n".join(blocks("migrate.md", "sh")).replace("\\\n", " ").splitlines()):
        done = CliRunner().invoke(app, shlex.split(line)[1:], catch_exceptions=False)
        assert done.exit_code == 0, f"{line}\n{done.output}"
        said[line.split()[1]] = done.output
    assert "no weights of ft:gpt-4o-mini:o:support:x" in " ".join(said["import"].split())
    assert "20 rows in = 20 used" in said["data"]
    assert "support vs gpt-4o" in said["eval"]
    made = CliRunner().invoke(app, shlex.split(blocks("migrate.md", "text")[0].splitlines()[0])[1:])
    key = next(word for word in made.output.split() if word.startswith("sk-sodate-"))
    (answered,) = [line for line in blocks("migrate.md", "text")[0].splitlines() if "serve" in line]
    words = shlex.split(answered)
    service = open_service([words[2]], [words[4]])
    for page in ("migrate.md", "migrate.ja.md"):
        (code,) = blocks(page, "py")
        with running(
            service if page == "migrate.md" else open_service([words[2]], [words[4]]), None, auth=True
        ) as server:  # type: ignore[arg-type]
            space: dict[str, Any] = {}
            code = code.replace("http://127.0.0.1:8000", server.url).replace("sk-sodate-…", key)
            exec(compile(code, page, "exec"), space)
            client, run = space["client"], space["run"]
            found = ended(lambda: client.evals.runs.retrieve(run.id, eval_id=run.eval_id))  # noqa: B023
            assert (found.status, found.result_counts.total) == ("completed", 1)
            assert client.chat.completions.list().data
            client.close()
