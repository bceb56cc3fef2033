"""The documents say what is: their commands run, their links lead somewhere, their tables agree with the program."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer
from typer.testing import CliRunner

from sodate.cli import app
from sodate.core.recipe import METHODS, Recipe
from sodate.grade.spec import KINDS
from tests import glossary, in_process, tiny

ROOT = Path(__file__).parents[1]
READMES = [ROOT / "README.md", ROOT / "README.ja.md"]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """The commands in a page's sh blocks, comments left out and continued lines joined."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def leaf(words: list[str]) -> tuple[typer.core.TyperCommand, list[str]]:
    """The command that `sodate WORDS…` calls, and the arguments it gets."""
    command: Any = typer.main.get_command(app)
    words = words[1:]
    while isinstance(command, typer.core.TyperGroup):
        assert words, f"no verb: {words}"
        assert words[0] in command.commands, f"sodate has no verb {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_command_in_a_page_is_one_that_exists(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(line)
        if words[0] == "make":
            assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in words[1:]), line
        elif words[0] == "sodate":
            command, rest = leaf(words)
            command.make_context("sodate", rest)
        else:
            assert line == ". .venv/bin/activate" or (words[0] == "cd" and (ROOT / words[1]).is_dir()), line


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_verb_and_option_named_in_the_text_exists(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for words in map(str.split, re.findall(r"`sodate((?: [a-z][a-z-]*)*)[^`]*`", text)):
        group: Any = typer.main.get_command(app)
        for word in words:
            if isinstance(group, typer.core.TyperGroup):
                assert word in group.commands, f"sodate {' '.join(words)}"
                group = group.commands[word]
    for target in re.findall(r"`make ([a-z-]+)`", text):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_both_readmes_have_the_same_commands_links_and_sections() -> None:
    english, japanese = READMES
    # A Japanese reader's mails want a model that knows Japanese.
    own = (("gemma3-270m", "smollm2-135m"), ("注文した品はいつ届きますか。", "Where is my order?"))
    theirs = commands(japanese)
    for ours, other in own:
        theirs = [line.replace(ours, other) for line in theirs]
    assert commands(english) == theirs
    links = [set(re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))) for page in READMES]
    assert {link.replace(".ja.md", ".md") for link in links[0]} == {link.replace(".ja.md", ".md") for link in links[1]}
    headings = [re.findall(r"^#+ ", page.read_text("utf-8"), re.MULTILINE) for page in READMES]
    assert headings[0] == headings[1]


def anchors(page: Path) -> set[str]:
    """Fragments of a page's headings, as the usual renderers make them."""
    found = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        if link.startswith("https://"):
            continue
        name, _, fragment = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not fragment or fragment in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_link_that_is_called_by_a_file_leads_to_that_file(page: Path) -> None:
    for text, link in re.findall(r"\[([^\]\s]+\.md)\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        assert link.endswith(Path(text).name), f"[{text}]({link})"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_source_file_named_in_the_text_exists(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for name in re.findall(r"`((?:sodate|tests|docs|bench|examples)/[\w./-]*)`", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"`python (\S+\.py)[^`]*`", text):
        assert (ROOT / name).exists(), name


def test_the_picture_of_the_rooms_names_every_room_and_whom_it_may_import() -> None:
    from tests.test_house import EDGES

    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    drawn = re.findall(r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \|", text, re.MULTILINE)
    there = {
        p.stem for p in (ROOT / "sodate").iterdir() if not p.name.startswith("_") and (p.suffix == ".py" or p.is_dir())
    }
    assert {room for room, _, _ in drawn} == there - {"py"}
    for room, imported, _ in drawn:
        # Rooms that are not built yet are in the list, and not in the picture.
        assert imported == (" ".join(other for other in EDGES[room].split() if other in there) or "-"), room
    assert [room for room, _, _ in drawn] == [room for room in EDGES if room in there]


def key_rows(kind: type[Recipe], keys: Iterable[str]) -> list[tuple[str, str]]:
    rows = []
    for key in keys:
        field = kind.model_fields[key]
        if field.is_required():
            rows.append((key, "required"))
        elif field.default in (None, (), {}):
            rows.append((key, "none"))
        else:
            value = field.default if isinstance(field.default, str) else json.dumps(field.default)
            rows.append((key, f"`{value}`"))
    return rows


@pytest.mark.parametrize(("page", "title"), [("recipe.md", "# Recipes"), ("recipe.ja.md", "# レシピ")])
def test_the_recipe_page_lists_every_key_with_its_default(page: str, title: str) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8").replace("| 必須 |", "| required |").replace("| なし |", "| none |")
    sections = {part.partition("\n")[0]: part for part in re.split(r"^## ", text, flags=re.MULTILINE)}
    listed = {
        title: re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", part, re.MULTILINE) for title, part in sections.items()
    }
    assert listed.pop(title) == key_rows(Recipe, Recipe.model_fields)
    for method, kind in METHODS.items():
        own = [key for key in kind.model_fields if key not in Recipe.model_fields]
        assert listed.pop(f"`method: {method}`", []) == key_rows(kind, own)
    assert not any(listed.values())


def test_the_generated_parts_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nRun: python docs/generate.py"


def test_the_pages_name_only_graders_that_exist() -> None:
    for page in READMES:
        text = page.read_text("utf-8")
        named = set(re.findall(r"`(\w+)`", text)) & {
            "label",
            "fields",
            "json_schema",
            "text_similarity",
            "rules",
            "string_check",
        }
        assert named
        assert named <= set(KINDS)


def test_the_japanese_page_of_commands_names_every_grader() -> None:
    named = set(re.findall(r"^\| `(\w+)", (ROOT / "docs" / "cli.ja.md").read_text("utf-8"), re.MULTILINE))
    assert named == set(KINDS)


# The page of commands is made by docs/generate.py, which writes it in both languages.
TWINS = sorted(page.name.partition(".")[0] for page in ROOT.glob("docs/*.ja.md") if page.name != "cli.ja.md")
JAPANESE = r"[ぁ-んァ-ヶー一-龠]+"


@pytest.mark.parametrize("page", TWINS)
def test_a_page_in_two_languages_has_the_same_keys_in_its_tables(page: str) -> None:
    keys = [
        re.findall(r"^\| (`[^|]*`) \|", (ROOT / "docs" / f"{page}{language}.md").read_text("utf-8"), re.MULTILINE)
        for language in ("", ".ja")
    ]
    for names, japanese in zip(*keys, strict=True):  # placeholders (NAME, 名前) are in the page's language
        for name, twin in zip(re.findall(r"`[^`]+`", names), re.findall(r"`[^`]+`", japanese), strict=True):
            pattern = re.sub(JAPANESE, "[A-Z]+", re.escape(twin))
            assert name == twin or re.fullmatch(pattern, name), f"{name} {twin}"


@pytest.mark.parametrize("page", [page for page in TWINS if page != "tutorial"])  # which has rows of its own
def test_a_page_in_two_languages_has_the_same_commands(page: str) -> None:
    english, japanese = (
        [re.sub(r"[\"'].*", "", command) for command in commands(ROOT / "docs" / f"{page}{language}.md")]
        for language in ("", ".ja")
    )
    assert english == japanese


# ── running what the pages say ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a stranger's files, a tiny model under the built-in name, and no network."""
    from sodate.library.checks import check_folder, tokenizer_facts
    from sodate.library.store import keep

    folder = tmp_path_factory.mktemp("docs")
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Please send {n} boxes of {what}."},
                {"role": "assistant", "content": f"{n} {what}"},
            ]
        }
        for n in range(2, 12)
        for what in ("apples", "pears", "oak shelves", "brass hinges")
    ]
    for name in ("mails", "support"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "tickets.csv").write_text("質問,回答\n届きません,配送\n壊れました,故障\n返品したい,返品\n", "utf-8")

    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError("a command of the documents reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(folder / "home"))
        patch.setenv("SODATE_LANG", "en")
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket.socket, "connect_ex", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        made = tiny.llama_folder(folder / "made")
        for name in ("smollm2-135m", "gemma3-270m"):
            prepared = folder / "home" / f"prepared-{name}"
            shutil.copytree(made, prepared)
            facts = check_folder(prepared) | tokenizer_facts(prepared)
            keep(prepared, "tiny", facts | {"name": name, "source": "test", "licence": "apache-2.0"})
        patch.chdir(folder)
        yield folder


def run(line: str) -> str:
    done = CliRunner().invoke(app, shlex.split(line)[1:], catch_exceptions=False)
    assert done.exit_code == 0, f"{line}\n{done.output}"
    return done.output


def test_the_commands_of_the_readme_run_on_a_strangers_file_without_network(workplace: Path) -> None:
    # `sodate serve` answers until it is stopped: tests/serve runs it.
    lines = [line for line in commands(READMES[0]) if line.startswith("sodate") and "serve" not in line]
    said = {line: run(line) for line in lines}
    assert "40 rows in = 40 used + 0 set aside" in said["sodate data check mails.jsonl"]
    trained = [line for line in lines if line.startswith("sodate train")]
    assert all(re.search(r"@1\b.* steps in ", said[line]) for line in trained)
    (judged,) = [line for line in lines if line.startswith("sodate eval")]
    assert "mails vs smollm2-135m" in said[judged]
    report = Path(re.search(r"Report: (.+)", said[judged])[1])  # type: ignore[index]
    assert report.is_file()
    print(said[judged])
    (compared,) = json.loads(report.with_name("result.json").read_text("utf-8"))["comparisons"]
    assert compared["candidate"] == "mails"
    assert compared["verdict"] in ("better", "worse", "equivalent", "inconclusive")


def test_what_lies_on_disk_afterwards_is_what_the_architecture_page_draws(workplace: Path) -> None:
    home = workplace / "home"
    (version,) = home.glob("versions/mails/1")
    assert {p.name for p in version.iterdir()} == {"version.json", "adapter", "template.jinja"}
    run_folder = home / "runs" / json.loads((version / "version.json").read_text("utf-8"))["run"]
    drawn = {"run.json", "metrics.jsonl", "events.jsonl", "lock", "checkpoints"}
    assert {p.name for p in run_folder.iterdir()} == drawn
    reported = {"report.html", "handout.html", "rows.csv", "result.json", "replies.jsonl"}
    assert {p.name for p in next(home.glob("reports/*")).iterdir()} == reported
    assert (next(home.glob("models/smollm2-135m@*")) / "sodate-model.json").is_file()
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for name in (*drawn, *reported, "version.json", "adapter", "template.jinja"):
        assert re.search(rf"^ .*\b{re.escape(name)}", text, re.MULTILINE), name


@pytest.mark.parametrize("page", ["tutorial.md", "tutorial.ja.md"])
def test_the_tutorial_goes_from_its_first_row_to_a_verdict(page: str, workplace: Path) -> None:
    (code,) = blocks(ROOT / "docs" / page, "python")
    exec(compile(code, page, "exec"), {"__name__": "__main__"})
    said = {line.split()[1]: run(line) for line in commands(ROOT / "docs" / page)}
    assert "120 rows in = 120 used + 0 set aside" in said["data"] or "to train" in said["data"]
    assert re.search(r"label +[+-]?\d+\.\d", said["eval"])


def test_the_commands_of_the_data_page_run(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(workplace / "tickets.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    for line in commands(ROOT / "docs" / "data.md"):
        run(line)


@pytest.mark.parametrize("page", ["choosing.md", "choosing.ja.md"])
def test_a_stranger_who_follows_the_page_about_choosing_gets_a_recommendation(
    page: str, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(workplace / "mails.jsonl", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sodate.api.ladder_steps.run_command", in_process.run_command)
    task = re.sub(r"target: 0\.9", "target: 0.0", blocks(ROOT / "docs" / page, "yaml")[0])
    (tmp_path / "task.yaml").write_text(f"name: {page.replace('.', '-')}\n{task}", "utf-8")
    said = [run(line) for line in commands(ROOT / "docs" / page)]
    assert "base" in said[-1] and "is the first rung that reaches the target" in said[-1].replace("\n", " ")
    assert "roles:" in (tmp_path / "task.yaml").read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_python_block_runs(page: Path, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), {"__name__": "__main__"})  # our own documents


def test_the_program_on_the_path_answers() -> None:
    program = Path(sys.executable).with_name("sodate")
    environment = {**os.environ, "SODATE_LANG": "en"}
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=True, env=environment)
    assert "Raise a language model you own." in done.stdout


def test_every_key_of_a_report_is_in_the_glossary_and_every_metric_there_is_written() -> None:
    sources = {path: path.read_text("utf-8") for path in (ROOT / "sodate").rglob("*.py")}
    written = "\n".join(sources.values())
    page = glossary.keys()
    unwritten = [key for key in page if key.rpartition("/")[2].removeprefix("eval_").lower() not in written]
    assert not unwritten
    documents = {"evaluate/run.py": "to_json", "train/reward_report.py": "report"}
    for file, function in documents.items():
        tree = ast.parse(sources[ROOT / "sodate" / file])
        found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function]
        literals = [node for one in found for node in ast.walk(one) if isinstance(node, ast.Dict)]
        keys = {key.value for node in literals for key in node.keys if isinstance(key, ast.Constant)}
        inline = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "glossary.md").read_text("utf-8")))
        assert keys and keys <= page | inline, keys - page - inline
