"""`evaluate`: the same held-out prompts to every contestant, graded, compared pairwise, and kept as a report."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sodate.api import answers, beside, judging, recorded, repeating, retaining, sheets, structured
from sodate.api.answers import Made
from sodate.api.contestants import field_of
from sodate.api.held_out import read_items
from sodate.api.loading import load
from sodate.api.retrieval import of_versions
from sodate.core import home
from sodate.core.errors import UsageError
from sodate.core.files import sha256_file, write_json, write_text
from sodate.core.manifests import SCHEMA_VERSION, ResultManifest, read_kept
from sodate.core.text import json_text, tr
from sodate.data.datasets import count_use, located, wear_said
from sodate.evaluate.aside import Aside
from sodate.evaluate.grading import Again
from sodate.evaluate.items import where
from sodate.evaluate.run import EvalResult
from sodate.evaluate.run import evaluate as compare
from sodate.evaluate.slices import Slice
from sodate.evaluate.slices import slices as sliced
from sodate.release.lookup import identity, is_known
from sodate.release.registry import code_version

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The comparison, again by the values of some fields, and where its report lies."""

    result: EvalResult
    report: Path
    slices: tuple[Slice, ...] = ()
    aside: Aside = field(default_factory=Aside)
    remarks: tuple[str, ...] = ()

    def examples(self, count: int) -> list[int]:
        """Numbers of items worth showing: fixed, broken, still wrong and still right ones in turn."""
        from sodate.evaluate.report import pick_examples

        return pick_examples(self.result, count)


def evaluate(
    models: Sequence[str] | str,
    data: str | Path,
    graders: Sequence[str | Mapping[str, Any]] | str | Mapping[str, Any],
    *,
    baseline: str | None = None,
    replies: Sequence[str | Path] | str | Path = (),
    limit: int | None = None,
    shots: str | Path | None = None,
    prompt: str | Path | None = None,
    baselines: bool | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    cluster: str | None = None,
    slices: Sequence[str] = (),
    margin: float = 0.03,
    index: str | None = None,
    schema: str | Path | None = None,
    alone: int = 0,
    max_new_tokens: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
    engine: str = "torch",
    title: str = "",
    replay: str = "",
    retention: bool = False,
    prices: str | Path | None = None,
    on_event: Callable[[str, Any], None] = lambda kind, data: None,
) -> Evaluation:
    """Generates greedily for every held-out row and grades against its last assistant message.

    `replies` are FILE[:NAME], answers to the same rows that were made elsewhere (`sodate/api/recorded.py`); with them
    there need be no model. Every contestant is compared with `baseline` (default: the first model, else the first
    file). `shots` adds a second baseline: the first one with the
    rows of that file as examples in its prompt; `prompt` another: with that system prompt, or file of one.
    `baselines` compares a version with its base model, and with that and rows it was trained on as examples; None does
    so where a version would stand alone and this machine answers. `limit` takes the first rows. Rows with the same
    value in the column `cluster` are not independent, and count so. Differences within ±`margin` count as none.
    With `index`, passages that it finds stand before each question. With a JSON `schema` (a file), replies are held to
    it. The first `alone` rows are answered one at a time before the others are, for the median seconds of a request.
    `engine` is who answers: "torch", "llamacpp" or "upstream:URL".
    `slices` are columns by whose values all is compared again.
    `max_new_tokens` defaults to the longest reference, a quarter more and 8 tokens,
    and to 256 at least where a right reply may say more than its reference, or is held to a schema; what was cut off
    is counted.
    `retention` asks easy questions beside them, to see what was forgotten. `prices` say what a request costs
    (`sodate/evaluate/aside.py`).
    """
    from sodate.evaluate.grading import check_references, with_references
    from sodate.evaluate.handout import disagreements, table, write_handout
    from sodate.evaluate.items import can_show, independent
    from sodate.evaluate.report import write_report
    from sodate.grade import parse_grader

    names = [models] if isinstance(models, str) else list(models)
    files = [recorded.named(one) for one in ([replies] if isinstance(replies, str | Path) else replies)]
    elsewhere = [name for _, name in files]
    recorded.check_names(elsewhere, list(dict.fromkeys(names)))
    if not names and not files:
        raise UsageError(
            tr("There is no model to evaluate.", "評価する対象がありません。"),
            tr("Name a model, or give --replies FILE.", "モデルか --replies ファイル を指定してください。"),
            code="bad_value", param="models",
        )  # fmt: skip
    file = located(data)
    specs = [graders] if isinstance(graders, str | Mapping) else list(graders)
    if baselines is None and engine.startswith("upstream:"):
        baselines = False  # what answers there may not have the base
    entered = field_of(names, elsewhere, baseline, shots=shots, prompt=prompt, baselines=baselines, columns=columns,
                       encoding=encoding)  # fmt: skip
    asked = list(dict.fromkeys(one.model for one in entered.contestants))
    parsed = [parse_grader(spec, judges=judging.LocalJudges()) for spec in specs]
    held_to = None if schema is None else structured.schema_in(Path(schema))
    items, tools = read_items(file, limit, columns, encoding, cluster)
    parsed = with_references(parsed, items)
    check_references(items, parsed)
    for note in dict.fromkeys(note for grader in parsed for note in grader.notes):
        on_event("warning", note)
    asking = of_versions(asked, index)
    if asking is not None:
        items = [replace(item, prompt=tuple(asking.ask(item.prompt))) for item in items]
    if missing := next((field for field in slices if not any(field in item.item for item in items)), None):
        raise UsageError(
            tr(f"No row of {data} has a field {missing}.", f"{data} のどの行にも {missing} という項目がありません。"),
            code="missing_column", param="slice", file=data,
        )  # fmt: skip
    on_event("planned", can_show(independent(items)))
    said: dict[str, list[str]] = {
        name: recorded.read(file, items, encoding, some=limit is not None) for file, name in files
    }
    made: dict[str, Made] = {}
    room: dict[str, int] = {}  # tokens a reply might have
    unanswered: dict[str, dict[int, str]] = {}
    kept: dict[str, dict[int, float]] = {}  # what each said to the rows of retention
    again: dict[str, list[Again]] = {}
    measured: dict[str, str] = {}  # what each given name stood for: `orders` → `orders@3`
    loaded: Any = None
    for one in entered.contestants:
        name, reference = one.name, one.model
        if loaded is None or loaded[0] != reference:
            if loaded is not None:  # the old model goes before the new one comes
                loaded[1].engine.close()
            loaded = None
            on_event("loading", reference)
            loaded = (reference, load(reference, engine=engine))
            measured[reference] = loaded[1].files.name
            if retention:
                kept[reference] = retaining.measure(loaded[1])
        room[name] = max_new_tokens or answers.room_for(items, loaded[1].renderer, parsed, held_to is not None)
        prompts = [one.asked(item.prompt) for item in items]
        unanswered[name] = answers.overlong(loaded[1], prompts, tools)
        for number, why in unanswered[name].items():
            on_event("warning", f"{where(items[number], number)}: {name}: {why}")
        made[name] = answers.make(
            loaded[1], name, prompts, tools, unanswered[name], room[name], batch_size, on_event, held_to, alone
        )
        said[name] = made[name].texts
        if wanted := repeating.wanted(parsed):
            asked_again = repeating.Answers(loaded[1], prompts, tools, unanswered[name], room[name], batch_size, seed,
                                            held_to)  # fmt: skip
            again[name] = repeating.again(asked_again, wanted)
    if loaded is not None:
        loaded[1].engine.close()
    # Against the base: beside a version that had forgotten as much nothing would be seen.
    below = retaining.of_bases(measured, kept) if retention and not engine.startswith("upstream:") else {}
    said = {name: said[name] for name in [*(one.name for one in entered.contestants), *elsewhere]}
    cut_off = {name: one.cut_off for name, one in made.items()}
    result = compare(said, items, parsed, entered.baselines, cut_off=cut_off, unanswered=unanswered,
                     again=again, seed=seed, margin=margin)  # fmt: skip
    result = replace(result, answered={name: one.answered for name, one in made.items()})
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    folder = home.reports_dir() / f"{stamp}-{secrets.token_hex(2)}"
    scores = {
        name: [
            {one.grader: one.grades[i].score for one in result.results if one.model == name} for i in range(len(items))
        ]
        for name in said
    }
    lines = [
        {"model": name, "item": i, "reply": text, "scores": scores[name][i],
         **({"reasoning": thought} if thought else {})}
        for name, texts in said.items()
        for i, (text, thought) in enumerate(zip(texts, _thoughts(made.get(name), len(texts)), strict=True))
    ]  # fmt: skip
    write_text(folder / "replies.jsonl", "".join(json_text(line) + "\n" for line in lines))
    parts = sliced(result, slices)
    digest = sha256_file(file)
    aside = beside.find(result, made, measured, kept, below, file, digest, prices, margin, seed)
    held_out: dict[str, Any] = {"file": str(data), "sha256": digest, "limit": limit}
    if (wear := count_use(data, "evaluation", folder.name)) is not None:
        held_out["wear"] = wear
        on_event("warning" if wear["worn"] else "wear", wear_said(wear))
    if asking is not None:
        held_out["index"] = asking.index.id
    if schema is not None:
        held_out["schema"] = {"file": str(schema), "sha256": sha256_file(Path(schema))}
    weights = {name: identity(exact) for name, exact in measured.items() if is_known(exact)}
    about: dict[str, Any] = {"measured": measured, "bytes": weights}
    about["judges"] = {grader: judging.identities(models) for grader, models in result.asks.items()}
    about |= {"data": held_out, "slices": [one.to_json() for one in parts], "replay": replay, "title": title}
    about |= {"code": code_version(), **aside.to_json()}
    write_json(folder / "result.json", {"schema_version": SCHEMA_VERSION, **result.to_json(), **about})
    meta = {
        str(tr("models", "モデル")): ", ".join(dict.fromkeys(measured.values())) or "-",
        **{
            str(tr(f"replies of {name}", f"{name} の返答")): f"{file} (sha256 {sha256_file(file)})"
            for file, name in files
        },
        **{str(tr(f"engine of {name}", f"{name} のエンジン")): str(one) for name, one in result.answered.items()},
        str(tr("data", "データ")): str(data),
        str(tr("data sha256", "データの sha256")): digest,
        **({str(tr("uses", "使用回数")): str(wear_said(wear))} if wear else {}),
        **({str(tr("index", "索引")): asking.index.id} if asking else {}),
        **({str(tr("replies held to", "返答の形の指定")): str(schema)} if schema else {}),
        str(tr("graders", "採点方法")): ", ".join(grader.name for grader in parsed),
        str(tr("longest reply, tokens", "返答の上限（トークン）")): ", ".join(
            str(tokens) for tokens in dict.fromkeys(room.values())
        )
        or "-",
        str(tr("seed", "シード")): str(seed),
        str(tr("code", "コード")): code_version(),
    }
    title = title or f"{', '.join([*names, *elsewhere])}: {Path(data).stem}"
    remarks = (*entered.missing, *disagreements(result))
    said_aside = [*aside.lines(), *remarks]
    page = write_report(result, folder / "report.html", title=title, meta=meta, replay=replay, parts=parts,
                        aside=said_aside)  # fmt: skip
    write_handout(result, folder / "handout.html", title=title, meta=meta, replay=replay,
                  aside=said_aside)  # fmt: skip
    sheets.write(folder / "rows.csv", *table(result))
    return Evaluation(result, page, tuple(parts), aside, remarks)


def _thoughts(made: Made | None, count: int) -> list[str]:
    return [""] * count if made is None else made.thoughts


def reports_about(version: str) -> list[str]:
    """Report pages in which `version` was measured, oldest first."""
    root = home.reports_dir()
    results = sorted(root.glob("*/result.json")) if root.exists() else []
    return [str(path.with_name("report.html")) for path in results if version in _measured(path).values()]


def _measured(path: Path) -> Mapping[str, str]:
    result: ResultManifest = read_kept(path)
    return result.get("measured", {})
