"""`why`: the training rows that moved a reply most, up and down; and those that harm held-out rows most."""

from __future__ import annotations

import datetime
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sodate.api.training_data import TrainingData, read_data
from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import sha256_json
from sodate.core.recipe import METHODS, Recipe, validated
from sodate.core.runs import RunFolder
from sodate.core.text import tr
from sodate.core.types import Conversation, Message
from sodate.data.datasets import located
from sodate.release.lookup import identity, look_up
from sodate.release.registry import Version, find_version

if TYPE_CHECKING:
    from sodate.render.renderer import Rendered, Renderer
    from sodate.train.influence import Moment
    from sodate.train.loop import Plan

KIND = 3  # of what is kept; raised when it is made otherwise


def why(
    version: str, prompt: str | Sequence[Message], *, reply: str | None = None, system: str = "", top: int = 10
) -> dict[str, Any]:
    """The training rows that raised the log-probability of `reply` to `prompt` most, and that lowered it most.

    Without `reply` it is the version's own. A `score` is how many nats the row's steps changed it by, to first order,
    as the gradients of the adapter's weights at the run's checkpoints say (TracIn, 2002.08484; LESS, 2402.04333);
    `noise` is the standard deviation of a typical one, from keeping gradients as projections. The first question about
    a version makes these, which takes as long as its training did, or two or three times that; later ones find them.

    Raises UsageError for a version that no adapter was trained for with supervised examples, SodateError `changed`
    where its training files are not what they were.
    """
    exact = _trained(version)[0].id
    messages = [Message("user", prompt)] if isinstance(prompt, str) else list(prompt)
    if system:
        messages.insert(0, Message("system", system))
    said = _own_reply(exact, messages) if reply is None else reply
    traced = _traced(exact)  # from here on products are made as the run made them
    before = (replace(m, weight=0.0) if m.role == "assistant" else m for m in messages)
    conversation = Conversation((*before, Message("assistant", said)))
    products, norms, size = traced.asked([[*_last_reply(traced.renderer.render(conversation))]])
    shares = traced.shares()
    found = (products * shares).sum(axis=1)
    noise = math.sqrt(((norms * shares) ** 2 @ (size**2)).mean() / traced.wide)
    return {
        "version": traced.version.id,
        "reply": said,
        "up": traced.rows_of(found, top),
        "down": traced.rows_of(found, top, lowest=True),
        "noise": noise,
        **traced.about(),
    }


def harmful(
    version: str, against: str | Path, *, columns: Mapping[str, str] | None = None, encoding: str | None = None,
    top: int = 10,
) -> dict[str, Any]:  # fmt: skip
    """The training rows that pull away from the rows of `against`: the list to look at first when data is bad.

    A `score` is the length of the row's gradient and how far it reaches against that of the loss on `against`, both in
    lengths of a typical row's gradient, as a mean over the checkpoints of the run's second half: a row that is broken
    pulls hard at the end still (its influence on itself, 2002.08484, section 4.1), and not towards what is right. The
    weights before say less of it: there all rows pull alike, towards the task itself. `up` are the rows that reach
    furthest along with `against`; their score is that alone.
    """
    from sodate.data.tokenise import tokenise
    from sodate.train import influence
    from sodate.train.methods import named
    from sodate.train.rows import measure, rows_of

    traced = _traced(version, late=True)
    method = named("sft")
    prepared = tokenise([located(against)], renderer=traced.renderer, measure=measure(method, traced.renderer),
                        method="sft", columns=columns, encoding=encoding)  # fmt: skip
    held_out = rows_of(method, prepared)
    if not held_out.sequences:
        raise SodateError(
            tr(f"{against} has no row with a reply.", f"{against} に返答のある行がありません。"),
            code="no_rows", param="against", file=against,
        )  # fmt: skip
    products, norms, size = traced.asked(held_out.sequences)
    lengths, against_it = influence.pulls(products, norms, size)
    rows = traced.rows_of(lengths + against_it, top)
    return {
        "version": traced.version.id, "against": str(against), "n": len(held_out.sequences),
        "rows": rows, "up": traced.rows_of(against_it, top, lowest=True), "down": rows,
        "noise": 1 / math.sqrt(traced.wide * len(size)), **traced.about(),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Traced:
    """A version with all that its run left: rows, checkpoints, and the model that gradients are taken of."""

    version: Version
    renderer: Renderer
    data: TrainingData
    model: Any
    moments: Sequence[Moment]
    plan: Plan
    last: int  # step of the version's weights
    clips: Mapping[int, float]
    wide: int
    key: Mapping[str, Any]  # what the vectors of its rows depend on, beside the checkpoint
    adapting: Callable[[], AbstractContextManager[None]]  # within, as many threads as have a core, as in training

    def asked(self, rows: Sequence[list[Rendered]]) -> tuple[Any, Any, Any]:
        """By training row and checkpoint the products with the gradient of these rows' summed loss, and the lengths of
        the training rows' gradients; by checkpoint the length of that gradient."""
        import numpy as np

        from sodate.train import influence, kept_vectors

        sequences, kind = self.data.rows.sequences, kept_vectors.record(self.wide)
        products, norms = [], []
        with self.adapting():
            query = influence.query(self.model, rows, self.moments, self.wide)
            for moment, own in zip(self.moments, query, strict=True):
                make = functools.partial(influence.vectors, self.model, sequences, at=moment, wide=self.wide)
                folder = home.cache_dir() / "influence" / sha256_json({**self.key, "step": moment.step})[:32]
                said = tr(f"{self.version.id}, step {moment.step}", f"{self.version.id}、ステップ {moment.step}")
                vectors = kept_vectors.made(folder, len(sequences), kind, make, said)
                products.append(vectors.products(own))
                norms.append(vectors.norms())
        return np.stack(products, axis=1), np.stack(norms, axis=1), np.linalg.norm(query, axis=1).astype(float)

    def shares(self) -> Any:
        """What the steps of each row weigh at each checkpoint."""
        from sodate.train import influence

        weights, steps = influence.supervised_tokens(self.data.rows.sequences), [one.step for one in self.moments]
        return influence.shares(self.plan, weights, self.clips, steps, self.last)

    def rows_of(self, scores: Any, top: int, *, lowest: bool = False) -> list[dict[str, Any]]:
        """The rows of the highest scores, or of the lowest, with their place and what they say."""
        order = scores.argsort(kind="stable")
        picked = (order if lowest else order[::-1])[:top].tolist()
        return [{**self._place(number), "score": float(scores[number])} for number in picked]

    def _place(self, number: int) -> dict[str, Any]:
        from sodate.core.types import Preference
        from sodate.data.tokens import Names

        names = self.data.rows.names
        assert isinstance(names, Names)
        file, line = names.place(number)
        example = self.data.rows.examples[number]
        taken = example.lesson if isinstance(example, Preference) else example
        assert isinstance(taken, Conversation)
        prompt = next((m.content for m in reversed(taken.prompt) if m.role == "user"), "")
        return {"file": str(file), "line": line, "prompt": prompt, "reply": taken.reply.content if taken.reply else ""}

    def about(self) -> dict[str, Any]:
        """What the scores rest on."""
        steps = [moment.step for moment in self.moments]
        return {"training_rows": len(self.data.rows.sequences), "checkpoints": steps}


def _last_reply(sequences: Sequence[Rendered]) -> list[Rendered]:
    """Where history is rewritten each reply has a sequence of its own: the last one's."""
    return list(sequences[-1:])


def _own_reply(version: str, messages: Sequence[Message]) -> str:
    from sodate.api.loading import load
    from sodate.core.engine import Sampling

    model = load(version)
    try:
        (reply,) = model.replies([messages], Sampling(max_new_tokens=256))
        return model.renderer.text(reply.ids)
    finally:
        model.engine.close()


def _traced(name: str, *, late: bool = False) -> _Traced:
    """`late`: with the checkpoints of the run's second half alone."""
    import torch

    from sodate.adapt import files as adapter_files
    from sodate.model import fused, load, stored_precision
    from sodate.render.renderer import Renderer
    from sodate.train import influence, speed
    from sodate.train.adaptation import begin
    from sodate.train.loop import Plan

    version, recipe = _trained(name)
    manifest = version.manifest
    files = look_up(str((manifest.get("start") or {}).get("model") or recipe.model))
    start = begin(recipe, files)
    day = datetime.date.fromisoformat(manifest.get("date") or manifest["created_at"][:10])
    renderer = Renderer.from_folder(files.folder, recipe.template or files.template, date=day)
    data = read_data(recipe, files, renderer, lambda kind, told: None)
    if data.about["data"]["sha256"] != manifest["data"]["sha256"]:
        raise SodateError(
            tr(f"The files that {version.id} was trained on are not what they were.",
               f"{version.id} の学習に使ったファイルの内容が変わっています。"),
            tr(f"Put back what they held: {', '.join(recipe.data)}",
               f"学習時の内容に戻してください: {', '.join(recipe.data)}"),
            code="changed", param="data", file=recipe.data[0],
        )  # fmt: skip
    device = load.pick_device(recipe.device)
    run = RunFolder.find(manifest["run"])
    choice = speed.settle(recipe, files, device, run.manifest, whole=False, quantised=start.quantised)
    dtype: torch.dtype = getattr(torch, choice.kind.dtype)
    kept = stored_precision.precision(files.folder, dtype)
    model = load.load_base(files.folder, device=device, dtype=dtype, kept=kept, quantised=start.quantised)
    if start.folder is not None:
        adapter_files.load_adapter(model, start.folder)
    else:
        assert version.adapter is not None
        adapter_files.add_adapter(model, adapter_files.read_adapter(version.adapter), recipe.seed)
    fused.replace_modules(model, dtype)
    figures = manifest.get("report") or {}
    last = figures.get("best_step") or figures.get("steps") or figures.get("step") or manifest["plan"]["steps"]
    rows = data.rows.sequences
    checkpoints = influence.sound(run.path / "checkpoints", last)
    wide = influence.width(len(rows), len(checkpoints) + 1)
    moments = influence.moments(model, checkpoints, wide)
    if late:
        moments = [one for one in moments if 2 * one.step >= moments[-1].step]
    plan = Plan(**manifest["plan"])
    clips = influence.clipped(run.metrics(), plan.max_grad_norm)
    key = {"kind": KIND, "version": identity(version.id), "data": manifest["data"]["sha256"], "wide": wide}
    adapting = functools.partial(speed.adapting, choice, model, start.kind)
    return _Traced(version, renderer, data, model, moments, plan, last, clips, wide, key, adapting)


def _trained(name: str) -> tuple[Version, Recipe]:
    """The version and its recipe. UsageError where nothing can be said of it."""
    version = find_version(name)
    if version is None:
        raise UsageError(
            tr(f"There is no version {name!r}.", f"バージョン {name!r} はありません。"),
            "sodate versions list",
            code="version_not_found", param="version",
        )  # fmt: skip
    manifest = version.manifest
    method = manifest["recipe"].get("method")
    if version.adapter is None or method != "sft" or not manifest.get("run"):
        raise UsageError(
            tr(f"{version.id} has no adapter that was trained here on supervised examples.",
               f"{version.id} には、教師ありデータからここで学習したアダプターがありません。"),
            tr("why follows the gradients of such an adapter.", "why は、そのようなアダプターの勾配をたどります。"),
            code="wrong_model", param="version",
        )  # fmt: skip
    return version, validated(METHODS[method], manifest["recipe"], str(version.path / "version.json"))
