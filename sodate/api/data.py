"""`check`: files in, a ledger out; `rows`: a file as a model sees it; `split`: held-out rows put aside."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.core.types import Conversation
from sodate.data.check import Checked
from sodate.data.check import check as check_files
from sodate.data.datasets import located, newest, referred

if TYPE_CHECKING:
    from sodate.data.split import By, Split
    from sodate.render.renderer import Rendered, Renderer

SAMPLED_BATCHES = 64


def check(
    files: Sequence[str | Path] | str | Path,
    *,
    against: str | Path | None = None,
    model: str | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    max_length: int | None = None,
) -> Checked:
    """Checks training files. When a model is named, also counts tokens, finds control tokens, and forecasts an epoch.

    `against` is a held-out file that must stay unknown to training; `max_length` is in tokens.
    """
    paths = [files] if isinstance(files, (str, Path)) else files
    renderer = model_files = None
    if model is not None:
        from sodate.release.lookup import look_up
        from sodate.render.renderer import Renderer

        model_files = look_up(model)
        renderer = Renderer.from_folder(model_files.folder, model_files.template, date=model_files.date)
    checked = check_files(
        [located(p) for p in paths], against=located(against) if against else None, renderer=renderer, columns=columns,
        encoding=encoding, max_length=max_length,
    )  # fmt: skip
    if model_files is not None and renderer is not None and checked.stats["kinds"].get("conversation"):
        checked.stats["forecast"] = _forecast(checked, renderer, model_files.folder)
    return checked


@dataclass(frozen=True, slots=True)
class ShownPiece:
    """Text of neighbouring tokens that are all trained, or all context."""

    text: str
    trained: bool


@dataclass(frozen=True, slots=True)
class ShownSequence:
    """A row, or one reply of it, as the model sees it."""

    tokens: int
    trained: int  # of them
    pieces: tuple[ShownPiece, ...]


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row of a file as a model sees it; `problem` says why it sees none of it."""

    file: str
    line: int
    sequences: tuple[ShownSequence, ...] = ()
    problem: str | None = None


def is_dataset(file: str | Path) -> bool:
    """Whether this names a dataset, `name@N` or `name`, and no file."""
    return referred(file) is not None or (not Path(file).exists() and str(file) in {one.name for one in newest()})


def rows(
    file: str | Path,
    lines: Collection[int],
    model: str,
    *,
    template: str | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> Iterator[ShownRow]:
    """The rows on these lines (from 1), in order; raises UsageError after the last line where the file has none."""
    from sodate.data.compare import conversations_of
    from sodate.data.examples import ParsedRow, read_examples
    from sodate.release.lookup import look_up
    from sodate.render.renderer import Renderer

    files = look_up(model)
    renderer = Renderer.from_folder(files.folder, template or files.template, date=files.date)
    found = False
    for row in read_examples(located(file), columns, encoding)[1]:
        line = row.row.line if isinstance(row, ParsedRow) else row.line
        if line > max(lines):
            break
        if line not in lines:
            continue
        found = True
        if not isinstance(row, ParsedRow):
            yield ShownRow(str(file), line, problem=row.message)
            continue
        conversations = conversations_of(row.example)
        sequences = tuple(_shown(renderer, sequence) for one in conversations for sequence in renderer.render(one))
        nothing = tr("no reply in it", "返答がありません") if not conversations else None
        yield ShownRow(str(file), line, sequences, nothing)
    if not found:
        raise UsageError(
            tr(f"{file} has no row {sorted(lines)}.", f"{file} に {sorted(lines)} 行目はありません。"),
            code="no_rows",
            param="rows",
            file=file,
        )


def _shown(renderer: Renderer, sequence: Rendered) -> ShownSequence:
    """Runs of equal weight are decoded together, so that characters made of several tokens stay whole."""
    weights = sequence.weights
    ends = [n for n in range(1, len(weights)) if (weights[n] > 0) != (weights[n - 1] > 0)] + [len(weights)]
    starts = [0, *ends[:-1]]
    pieces = tuple(
        ShownPiece(renderer.decode(sequence.ids[start:end]), weights[start] > 0)
        for start, end in zip(starts, ends, strict=True)
        if start < end
    )
    return ShownSequence(len(weights), sum(weight > 0 for weight in weights), pieces)


def split(
    files: Sequence[str | Path] | str | Path,
    train: str | Path,
    held_out: str | Path,
    *,
    by: By = "hash",
    share: float = 0.1,
    column: str | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> Split:
    """Writes the rows of `files` to two files, a `share` of them held out; says how many went where.

    Rows of one prompt (`by` hash), of one value of `column` (group) or before a moment of it (time) stay together.
    """
    from sodate.data.split import split as split_files

    paths = [files] if isinstance(files, (str, Path)) else files
    return split_files(
        [located(p) for p in paths], Path(train), Path(held_out), by=by, share=share, column=column, seed=seed,
        columns=columns, encoding=encoding,
    )  # fmt: skip


def _forecast(checked: Checked, renderer: Renderer, folder: Path) -> dict[str, Any]:
    """One epoch of LoRA at the defaults on this machine. Shared beginnings are counted in a sample of the batches."""
    import torch

    from sodate.adapt.lora import LoraConfig
    from sodate.core.recipe import SFTRecipe
    from sodate.model import forecast, load, memory, stored_precision
    from sodate.render import trie
    from sodate.train.resolve import RunFacts, resolve

    model = forecast.model_size(folder)
    longest = checked.stats["tokens"]["max"]
    rows = checked.ledger.rows_used
    known = RunFacts(rows=rows, longest=longest, hidden_size=model.hidden, layers=0, targets=(), cuda=False,
                  has_eval=False, kind="lora")  # fmt: skip
    plan = resolve(SFTRecipe(model="", data=("",)), known)
    assert isinstance(plan.adapter, LoraConfig)
    sample = [renderer.render(example) for example in _sampled(checked, SAMPLED_BATCHES * plan.plan.batch_size)]
    tokens = computed = predictions = at_once = 0
    for start in range(0, len(sample), plan.plan.batch_size):
        batch = [sequence for row in sample[start : start + plan.plan.batch_size] for sequence in row]
        for numbers in trie.pack(batch, plan.micro_tokens):
            packed = trie.build([batch[number] for number in numbers])
            computed += packed.computed
            predictions += len(packed.source)
            at_once = max(at_once, packed.computed)
        tokens += sum(len(sequence.ids) for sequence in batch)
    total = checked.stats["tokens"]["total"]
    scale = total / tokens  # 1 where every row is in the sample
    work = forecast.Work(round(computed * scale), round(predictions * scale))
    adapter = plan.adapter.rank * model.width
    cpu = torch.device("cpu")
    dtype = load.pick_dtype("auto", cpu)
    gflops = forecast.measure_gflops(model.hidden)
    return {
        "tokens": total,
        "computed_tokens": work.computed,
        "seconds": round(forecast.seconds(model, work, gflops), 1),
        "bytes": memory.need(
            model,
            weights=stored_precision.precision(folder, dtype).itemsize * model.parameters + 4 * adapter,
            trained=4 * adapter,
            element=memory.activation_element(dtype, cpu),
            tokens=at_once,
            recompute=False,
            process=memory.PROCESS_BYTES,
        ).total,
        "gemm_gflops": round(gflops, 1),
    }


def _sampled(checked: Checked, size: int) -> list[Conversation]:
    """At most `size` of the used rows, evenly drawn in one pass and shuffled as training shuffles them."""
    rng = random.Random(0)
    drawn: list[Conversation] = []
    for number, example in enumerate(e for e in checked.iter_examples() if isinstance(e, Conversation)):
        if number < size:
            drawn.append(example)
        elif (place := rng.randrange(number + 1)) < size:
            drawn[place] = example
    rng.shuffle(drawn)
    return drawn
