"""`index tune`: how an index finds what questions are about, by words, by vectors and by both, and which finds most."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sodate.api.encoders import encoder as opened_encoder
from sodate.api.retrieval import answering, opened
from sodate.core import home, progress
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.data.datasets import fill
from sodate.data.read import RawRow, read_rows
from sodate.retrieve import tuning
from sodate.retrieve.build import encoded, kept_as, reweighted
from sodate.retrieve.index import Candidate, Index, Weights, fused
from sodate.retrieve.tuning import FUSIONS, GRID, Question, Ranking
from sodate.retrieve.vectors import Encode, Vectors


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to rank, and the ranks of the questions under it. `encoder` is as an index's manifest has it."""

    name: str
    weights: Weights
    encoder: dict[str, Any] | None
    ranking: Ranking
    ranks: list[int]


def tune_index(index: str, questions: str | Path, encoder: str | None = None) -> dict[str, Any]:
    """Measures the index on questions with known answers: by BM25 under several weights, and with an `encoder` by its
    vectors alone and by weighed sums of both. What finds most on half of the questions is kept as a new version, with
    the share below which the best passage is taken for no answer, where there are questions enough to say.

    Rows may have `paraphrases` of their question, which count as much as the questions do. The figures are of all
    questions; those of `held_out` and `threshold` are of the half that chose nothing. Rows whose file or passage is not
    in the index are `unknown`, and no question of theirs counts; UsageError where none is left.
    """
    now = opened(index)
    rows, unknown = _there(now, _questions(Path(questions)), Path(questions))
    order = random.Random(0).sample(rows, len(rows))
    half = [one for row in order[: len(order) // 2] or order for one in row]
    other = [one for row in order[len(order) // 2 :] for one in row]
    asked = half + other if len(order) > 1 else half
    name = encoder or now.manifest.get("encoder", {}).get("name")
    home.make_folder(home.cache_dir())
    with tempfile.TemporaryDirectory(dir=home.cache_dir()) as folder:
        made = Path(folder) / "vectors"
        made.mkdir()
        ways = [_as_it_is(now, asked), *_by_words(now, asked, Path(folder))]
        if name is not None:
            words = max(ways[0 if ways[0].encoder is None else 1 :], key=lambda way: _chosen_by(way, half))
            ways += _by_vectors(now, words.weights, asked, name, made)
        best = max(ways, key=lambda way: _chosen_by(way, half))  # of equal ones the first, which is the simplest
        learnt, tested = (tuning.with_and_without(now, best.ranking, some) for some in (half, other))
        sure = tuning.threshold(learnt, tested) if len(learnt) >= tuning.ENOUGH else None
        kept = _kept(now, best, sure, made)
    told = {"passed": sure.kept, "refused": sure.refused} if sure else {}
    return {
        "index": kept.id, "kept": best.name, "weights": asdict(best.weights), "questions": len(rows),
        "unknown": unknown,
        **_figures(best.ranks, asked), "before": _figures(ways[0].ranks, asked),
        "held_out": _figures(best.ranks[-len(other) :], other),
        "compared": [{"name": way.name, **_figures(way.ranks, asked)} for way in ways],
        "threshold": {"share": sure.sure, **{key: round(value, 4) for key, value in told.items()}} if sure else None,
    }  # fmt: skip


def _chosen_by(way: _Way, half: Sequence[Question]) -> tuple[float, float]:
    return tuning.goodness(way.ranks[: len(half)], half)


def _as_it_is(now: Index, asked: Sequence[Question]) -> _Way:
    weights, encoder = Weights(**now.manifest["weights"]), now.manifest.get("encoder")
    if encoder is None:
        return _way(now, weights, None, tuning.by_words(now), asked)
    assert now.encode is not None and now.vectors is not None
    return _way(now, weights, encoder, _both(now, _vectors(now.encode, asked), encoder, now.vectors), asked)


def _way(
    index: Index, weights: Weights, encoder: dict[str, Any] | None, ranking: Ranking, asked: Sequence[Question]
) -> _Way:
    words = f"BM25 k1={weights.k1:g} b={weights.b:g} titles={weights.titles}"
    if encoder is None:
        name = words
    elif not encoder["text"]:
        name = encoder["name"]
    else:
        name = f"{words} + {encoder['vector'] / encoder['text']:g} {encoder['name']}"
    return _Way(name, weights, encoder, ranking, tuning.ranks(index, ranking, asked))


def _by_words(now: Index, asked: Sequence[Question], folder: Path) -> list[_Way]:
    ways = []
    for done, weights in enumerate(GRID):
        progress.report("weights", done, len(GRID), now.id)
        own = folder / str(done)
        own.mkdir()
        index = reweighted(now, weights, own)
        ways.append(_way(index, weights, None, tuning.by_words(index), asked))
    progress.report("weights", len(GRID), len(GRID), now.id)
    return ways


def _by_vectors(now: Index, weights: Weights, asked: Sequence[Question], name: str, made: Path) -> list[_Way]:
    """Vectors alone, and fused with BM25 under the weights that do best alone; they are written into `made`."""
    encoder = opened_encoder(name)
    before = now if now.manifest.get("encoder", {}).get("name") == name else None
    width = encoded(now.passages, made, name, encoder.passages, before)
    questions = _vectors(encoder.questions, asked)
    held = Vectors(made, now.manifest["passages"], width)
    own = made / "words"
    own.mkdir()
    index, ways = reweighted(now, weights, own), []
    for text, vector in FUSIONS:
        about = {"name": name, "width": width, "text": text, "vector": vector}
        ways.append(_way(index, weights, about, _both(index, questions, about, held), asked))
    return ways


def _vectors(encode: Encode, asked: Sequence[Question]) -> dict[str, Any]:
    texts = list(dict.fromkeys(one.text for one in asked))
    return dict(zip(texts, encode(texts), strict=True))


def _both(index: Index, questions: Mapping[str, Any], encoder: Mapping[str, Any], held: Vectors) -> Ranking:
    def ranking(question: str) -> Sequence[Candidate]:
        return fused(index.pool(question, questions[question], held), encoder["text"], encoder["vector"])

    return ranking


def _kept(now: Index, best: _Way, sure: tuning.Threshold | None, made: Path) -> Index:
    """The index that ranks in the best way: `now` where it does so already."""
    changes: dict[str, Any] = {}
    if best.encoder is not None:
        changes["encoder"] = best.encoder
    if sure is not None:
        changes["sure"] = sure.sure
    about: Mapping[str, Any] = now.manifest
    before = {key: about[key] for key in ("encoder", "sure") if key in about}
    if before == changes and asdict(best.weights) == about["weights"]:
        return now
    # Where the index had vectors of that encoder and keeps them as they are, `made` has them too: tuning wrote both.
    return kept_as(now, best.weights, changes, made if best.encoder else None)


def _figures(ranks: Sequence[int], questions: Sequence[Question]) -> dict[str, Any]:
    """Of the questions as they were asked, and apart from them of paraphrases, where there are any."""
    kinds = {
        kind: tuning.recall([rank for rank, one in zip(ranks, questions, strict=True) if one.paraphrased == kind])
        for kind in (False, True)
    }
    told = {
        kind: {"recall@1": round(one.first, 4), "recall@5": round(one.five, 4), "mrr": round(one.mrr, 4)}
        for kind, one in kinds.items()
    }
    return told[False] | ({"paraphrased": told[True]} if kinds[True].questions else {})


def _there(index: Index, rows: list[list[Question]], path: Path) -> tuple[list[list[Question]], list[dict[str, Any]]]:
    """The rows whose answer the index holds, and of the others line, file and passage."""
    files = {Path(source["file"]).name for source in index.manifest["sources"]}
    found, unknown = [], []
    for row in rows:
        one = row[0]
        named = one.file is None or Path(one.file).name in files
        if named and (one.passage is None or answering(index, one) is not None):
            found.append(row)
        else:
            unknown.append({"line": one.line, "file": one.file, "passage": one.passage})
    if not found:
        raise UsageError(
            tr(f"{index.id} holds none of the files or passages that {path} names.",
               f"{path} にあるファイルや文章が {index.id} に一つもありません。"),
            tr(f"It holds, for one: {min(files)}", f"索引にあるもの（例）: {min(files)}"),
            code="unknown_answers", file=path, line=rows[0][0].line,
        )  # fmt: skip
    return found, unknown


def _questions(path: Path) -> list[list[Question]]:
    """For each row its question and the paraphrases of it."""
    asked = []
    for row in read_rows(path):
        if not isinstance(row, RawRow):
            raise SodateError(f"{path}:{row.line}: {row.message}", code=row.code, file=path, line=row.line)
        text, file, passage = (row.data.get(key) for key in ("question", "file", "passage"))
        others = row.data.get("paraphrases") or []
        texts = [text, *others] if isinstance(others, list) else [None]
        if not all(isinstance(one, str) and one.strip() for one in texts) or not (file or passage):
            raise SodateError(
                tr(f"{path}:{row.line} needs `question`, and `file` or `passage`; `paraphrases` are a list of texts.",
                   f"{path}:{row.line} には question と、file または passage が必要です。"
                   "paraphrases は文字列のリストです。"),
                code="wrong_rows", file=path, line=row.line,
            )  # fmt: skip
        known = file and str(file), passage and str(passage), row.line
        asked.append([Question(str(one), *known, at > 0) for at, one in enumerate(texts)])
    if not asked:
        said = tr(f"{path} has no rows.", f"{path} に行がありません。")
        raise UsageError(said, fill(), code="no_rows", file=path)
    return asked
