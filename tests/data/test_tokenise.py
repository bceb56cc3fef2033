"""The token cache: it holds what rendering gives, it is never stale, and no fault leaves a bad entry."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sodate
from sodate.core.errors import SodateError
from sodate.core.files import sha256_json
from sodate.core.types import Example
from sodate.data import check, tokenise
from sodate.data.examples import example_json, fingerprint
from sodate.data.measure import by_renderer
from sodate.data.tokenise import TokenisedData
from sodate.data.tokens import Names, TokenRows, Writer
from sodate.render.renderer import Rendered, Renderer
from sodate.train import rows as api_rows
from sodate.train.rows import Rows
from tests import farm, tiny
from tests.farm import Farm
from tests.worker import context

RENDERER = Renderer(tiny.tokenizer(), tiny.CHATML, bos_token="<bos>", eos_token="<eos>")
sequences = st.lists(st.tuples(st.integers(0, 419), st.sampled_from([0.0, 0.5, 1.0])), max_size=12).map(
    lambda tokens: Rendered([i for i, _ in tokens], [w for _, w in tokens])
)


class Counting:
    """Renders conversations, and counts how many it was asked for."""

    def __init__(self, renderer: Renderer = RENDERER) -> None:
        self.measure = by_renderer(renderer)
        self.asked = 0

    def __call__(self, examples: Sequence[Example]) -> Sequence[Any]:
        self.asked += len(examples)
        return self.measure(examples)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return farm.write_rows(tmp_path / "orders.jsonl", [farm.order(n) for n in range(11, 25)])


def ask(file: Path, measure: Any = None, **options: Any) -> TokenisedData:
    options = {"renderer": RENDERER, "method": "sft", **options}
    return tokenise.tokenise([file], measure=measure or Counting(options["renderer"]), **options)


def entries(home: Path) -> list[Path]:
    return sorted(path for path in (home / "cache" / "tokens").glob("[!.]*"))


def rendered(file: Path) -> list[list[Rendered]]:
    return [RENDERER.render(example) for example in check([file]).iter_examples()]


@given(st.lists(st.lists(sequences, max_size=3), max_size=6), st.sampled_from([420, 70_000]))
@settings(max_examples=60, deadline=None)
def test_what_was_written_is_read_back(tmp_path_factory: Any, rows: list[list[Rendered]], vocabulary: int) -> None:
    folder = tmp_path_factory.mktemp("entry")
    with ExitStack() as stack:
        writer = Writer(folder, stack, vocabulary=vocabulary)
        for number, row in enumerate(rows):
            writer.add(row, number % 2, 7 * number)
        writer.close({})
    read = TokenRows(folder)
    assert len(read) == len(rows)
    assert list(read) == rows == read[:]
    assert read.lengths.tolist() == [len(sequence.ids) for row in rows for sequence in row]
    names = Names(read, [Path("a/b.jsonl"), Path("c.csv")])
    assert list(names) == [f"{('b.jsonl', 'c.csv')[n % 2]}:{7 * n}" for n in range(len(rows))]
    if rows:
        assert read[-1] == rows[-1]
    with pytest.raises(IndexError):
        read[len(rows)]


def test_ids_beyond_sixteen_bits_are_kept(tmp_path: Path) -> None:
    with ExitStack() as stack:
        writer = Writer(tmp_path, stack, vocabulary=262_144)
        writer.add([Rendered([262_143, 65_536, 0], [0.0, 1.0, 1.0])], 0, 1)
        writer.close({})
    assert TokenRows(tmp_path)[0] == [Rendered([262_143, 65_536, 0], [0.0, 1.0, 1.0])]


def test_the_second_time_nothing_is_rendered_and_the_ledger_is_the_same(file: Path) -> None:
    with file.open("a") as more:
        more.write('{"messages": [{"role": "user", "content": "no reply"}]}\n')
        more.write(json.dumps({"messages": [{"role": "user", "content": "Mail a.b@example.com"},
                                            {"role": "assistant", "content": "Yes."}]}) + "\n")  # fmt: skip
    first = ask(file)
    counting = Counting()
    second = ask(file, counting)
    assert counting.asked == 0
    plain = check([file], renderer=RENDERER)
    assert plain.to_json() == first.checked.to_json() == second.checked.to_json()
    assert [(p.line, p.code) for p in plain.ledger.set_aside] == [(15, "no-assistant-reply")]
    assert (16, "pii-email") in [(p.line, p.code) for p in plain.ledger.warnings]
    assert list(second.rows) == rendered(file)
    assert second.sha256 == plain.fingerprint()
    assert list(second.checked.iter_examples()) == plain.examples


def test_the_data_hash_is_that_of_the_list_of_the_rows_hashes(file: Path) -> None:
    examples = check([file]).examples
    for some in (examples, examples[:1], []):
        assert fingerprint(some) == sha256_json([sha256_json(example_json(example)) for example in some])


COLUMNS = {"prompt": "asked", "completion": "replied"}


@pytest.mark.parametrize(
    "change",
    [
        {"renderer": Renderer(tiny.tokenizer(), tiny.LLAMA3, bos_token="<bos>", eos_token="<eos>")},
        {"renderer": Renderer(tiny.tokenizer(400), tiny.CHATML, bos_token="<bos>", eos_token="<eos>")},
        {"max_length": 300},
        {"encoding": "utf-8"},
        {"columns": {"prompt": "replied", "completion": "asked"}},
        {"method": "dpo"},
        {"against": True},
        {"code": "another version"},
        {"row": {"asked": "And now?", "replied": "Now too."}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_change_in_anything_that_decides_what_is_kept_is_another_entry(
    change: dict[str, Any], tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"asked": f"What is {n}?", "replied": f"{n} apples."} for n in range(20, 24)]
    file = farm.write_rows(tmp_path / "table.jsonl", rows)
    held = farm.write_rows(tmp_path / "held.jsonl", [{"asked": "A question of its own", "replied": "Yes."}])
    ask(file, columns=COLUMNS)
    options = {"columns": COLUMNS, **change}
    if code := options.pop("code", None):
        monkeypatch.setattr(tokenise, "code_digest", lambda: code)
    if row := options.pop("row", None):
        farm.write_rows(file, [*rows, row])
    if "against" in options:
        options["against"] = held
    for _ in range(2):
        ask(file, **options)
        assert len(entries(home)) == 2


def test_a_template_that_prints_the_date_is_rendered_anew_for_another_day(file: Path, home: Path) -> None:
    dated = tiny.CHATML.replace("{% for", "{{ strftime_now('%d') }}{% for", 1)
    for day, expected in ((1, 1), (1, 1), (2, 2)):
        date = datetime.date(2026, 1, day)
        ask(file, renderer=Renderer(tiny.tokenizer(), dated, bos_token="<bos>", eos_token="<eos>", date=date))
        assert len(entries(home)) == expected


def test_the_code_digest_sees_every_source_and_the_tokenizer_library(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tokenise.code_digest.__wrapped__()
    assert before == tokenise.code_digest.__wrapped__()
    monkeypatch.setattr(tokenise.metadata, "version", lambda name: "0.0")
    assert tokenise.code_digest.__wrapped__() != before
    monkeypatch.undo()
    read = Path.read_bytes
    for name in ("render/template.py", "render/templates/gemma.jinja", "train/rows.py"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", lambda path, name=name: read(path) + b"#" * path.match(name))
            assert tokenise.code_digest.__wrapped__() != before, name


@pytest.mark.parametrize("name", ["ids", "runs", "sequences", "rows", "index.json"])
def test_a_truncated_or_missing_file_makes_the_entry_anew(name: str, file: Path, home: Path) -> None:
    for spoil in ("truncate", "remove", "flip"):
        ask(file)
        (entry,) = entries(home)
        data = (entry / name).read_bytes()
        if spoil == "truncate":
            (entry / name).write_bytes(data[:-3])
        elif spoil == "remove":
            (entry / name).unlink()
        elif name in ("sequences", "rows"):
            (entry / name).write_bytes(bytes([data[0] ^ 1]) + data[1:])
        else:
            continue
        counting = Counting()
        assert list(ask(file, counting).rows) == rendered(file)
        assert counting.asked == 14
        assert (entry / name).read_bytes() == data or name == "index.json"


def _ask_in_a_process(home: Path, file: Path, asked: Any, die_after: int | None) -> None:
    os.environ["SODATE_HOME"] = str(home)

    class Dying(Counting):
        def __call__(self, examples: Sequence[Example]) -> Sequence[Any]:
            found = super().__call__(examples)
            asked.value += len(examples)
            if die_after is not None and self.asked >= die_after:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.05)
            return found

    ask(file, Dying())


def test_a_writer_killed_in_the_middle_leaves_nothing_that_counts(tmp_path: Path, home: Path) -> None:
    file = farm.write_rows(tmp_path / "many.jsonl", [farm.order(n) for n in range(11, 411)])
    asked = context.Value("i", 0)
    dying = context.Process(target=_ask_in_a_process, args=(home, file, asked, 300))
    dying.start()
    dying.join()
    assert dying.exitcode == -signal.SIGKILL
    root = home / "cache" / "tokens"
    assert entries(home) == []
    assert list(root.glob(".*.tmp"))
    assert list(ask(file).rows) == rendered(file)
    assert list(root.glob(".*.tmp")) == []


def test_two_processes_that_ask_for_the_same_render_it_once(file: Path, home: Path) -> None:
    asked = context.Value("i", 0)
    both = [context.Process(target=_ask_in_a_process, args=(home, file, asked, None)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert asked.value == 14
    assert list(ask(file).rows) == rendered(file)
    assert len(entries(home)) == 1


def test_a_file_that_changes_while_it_is_read_is_refused_and_leaves_no_entry(file: Path, home: Path) -> None:
    class Changing(Counting):
        def __call__(self, examples: Sequence[Example]) -> Sequence[Any]:
            with file.open("a") as more:
                more.write("\n")
            return super().__call__(examples)

    with pytest.raises(SodateError, match=r"orders\.jsonl changed"):
        ask(file, Changing())
    assert entries(home) == []


def test_beyond_its_bound_the_cache_drops_what_was_not_used_for_longest(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [farm.write_rows(tmp_path / f"{n}.jsonl", [farm.order(n)]) for n in range(4)]
    kept = [ask(file).rows for file in files[:3]]
    names = {n: entry.name for entry in entries(home) for n in range(3) if TokenRows(entry)[0] == kept[n][0]}
    for age, n in enumerate((1, 0, 2)):  # 1 is the oldest
        os.utime(home / "cache" / "tokens" / names[n], (age, age))
    (home / "cache" / "tokens" / f".{'0' * 32}.12345678.tmp").mkdir()  # of a writer that is gone
    size = sum(file.stat().st_size for entry in entries(home) for file in entry.iterdir())
    monkeypatch.setattr(tokenise, "MAX_BYTES", size + 100)  # another one does not fit
    ask(files[3])
    left = {entry.name for entry in entries(home)}
    assert len(left) == 3 and names[1] not in left
    assert kept[1][0] == RENDERER.render(check([files[1]]).examples[0])  # still mapped: a removed file is read on


def test_training_from_the_cache_is_training_from_memory_bit_for_bit(
    planted: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"model": planted.model, "data": str(planted.train), "eval": str(planted.held), "epochs": 2, "lora_rank": 2}
    homes = {name: planted.new_home(tmp_path / name) for name in ("cached", "in-memory", "stopped")}
    monkeypatch.setenv("SODATE_HOME", str(homes["cached"]))
    sodate.train(**keys)
    monkeypatch.setenv("SODATE_HOME", str(homes["in-memory"]))
    with monkeypatch.context() as patch:
        mapped = api_rows.rows_of
        patch.setattr(api_rows, "rows_of", lambda *a: Rows(*(list(getattr(mapped(*a), f)) for f in Rows.__slots__)))
        sodate.train(**keys)
    monkeypatch.setenv("SODATE_HOME", str(homes["stopped"]))

    def stop(kind: str, line: Any) -> None:
        if kind == "step" and line["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sodate.train(on_event=stop, save_every=1, **keys)
    shutil.rmtree(homes["stopped"] / "cache")  # made again by the resumed run
    sodate.resume(farm.the_run(homes["stopped"]))
    results = [(farm.adapter_bytes(home), farm.curve(home)) for home in homes.values()]
    assert results[0] == results[1] == results[2]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    return farm.plant(tmp_path_factory.mktemp("farm"))
