"""`train` and `resume`: a recipe in, a run folder and an immutable version out."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sodate.api.loading import Reference, refer
from sodate.core import home
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import sha256_file
from sodate.core.recipe import METHODS, SFTRecipe, load_recipe, validated
from sodate.core.runs import RunFolder, now
from sodate.core.text import tr
from sodate.core.types import Conversation
from sodate.model.store import find
from sodate.model.wheels import BUILT_IN

Listener = Callable[[str, Any], None]
"""Told what happens: "loading" name, "checked" Checked, "run" RunFolder, "decisions" list, "step" metrics line."""


def train(
    recipe: SFTRecipe | str | Path | None = None, *, on_event: Listener = lambda kind, data: None, **keys: Any
) -> dict[str, Any]:
    """Trains by a recipe (or a YAML file, or keys alone) and registers a version; returns the run's summary.

    Raises UsageError for the recipe, SodateError for data or model, Interrupted when stopped with a checkpoint kept.
    """
    if not isinstance(recipe, SFTRecipe):
        recipe = load_recipe(Path(recipe) if recipe else None, keys)
    if recipe.name is not None:
        _check_name(recipe.name)
    return _execute(_absolute(recipe), None, on_event)


def _absolute(recipe: SFTRecipe) -> SFTRecipe:
    """The recipe with absolute paths, so that a run can be resumed from any folder."""
    paths: dict[str, Any] = {"data": tuple(str(Path(p).absolute()) for p in recipe.data)}
    for key in ("eval", "init_adapter"):
        if (value := getattr(recipe, key)) is not None:
            paths[key] = str(Path(value).absolute())
    if Path(recipe.model).exists():
        paths["model"] = str(Path(recipe.model).absolute())
    if recipe.template is not None and recipe.template.endswith(".jinja"):
        paths["template"] = str(Path(recipe.template).absolute())
    return recipe.model_copy(update=paths)


def _check_name(name: str) -> None:
    """A version's name is a plain name, and not a model's: `name` must go on meaning the model."""
    home.checked_name(name, "name")
    if name in BUILT_IN or find(name) is not None:
        raise UsageError(
            tr(f"name = {name!r} is the name of a base model.", f"name = {name!r} は基盤モデルの名前です。"),
            tr("Choose another name for the version.", "バージョンには別の名前を付けてください。"),
        )


def resume(run: str, *, on_event: Listener = lambda kind, data: None) -> dict[str, Any]:
    """Goes on with an interrupted run from its newest sound checkpoint; a finished run is returned as it is."""
    folder = RunFolder.find(run)
    manifest = folder.manifest
    if manifest["status"] == "done":
        result: dict[str, Any] = manifest["result"]
        return result
    kind = METHODS[manifest["recipe"]["method"]]
    return _execute(validated(kind, manifest["recipe"], str(folder.path / "run.json")), folder, on_event)


def _execute(recipe: SFTRecipe, run: RunFolder | None, on_event: Listener) -> dict[str, Any]:
    from sodate.data.check import check
    from sodate.release.registry import code_version
    from sodate.render.renderer import Renderer

    on_event("loading", recipe.model)
    reference = refer(recipe.model)
    if reference.template is not None:  # a version: `orders` may mean another one by the time the run is resumed
        recipe = recipe.model_copy(update={"model": reference.name})
    renderer = Renderer.from_folder(reference.folder, recipe.template or reference.template)
    context = _context_length(reference.folder)
    limit = context if recipe.max_length == "auto" else recipe.max_length
    held_out = Path(recipe.eval) if recipe.eval else None
    shared: dict[str, Any] = {
        "renderer": renderer,
        "columns": recipe.columns or None,
        "encoding": recipe.encoding,
        "max_length": limit,
    }
    checked = check([Path(p) for p in recipe.data], against=held_out, **shared)
    on_event("checked", checked)
    examples = [e for e in checked.iter_examples() if isinstance(e, Conversation)]
    if not examples:
        raise _nothing_to_train(recipe.data, checked)
    watched = check([held_out], **shared) if held_out else None
    if watched and watched.ledger.set_aside:
        on_event("checked", watched)
    held = [renderer.render(e) for e in watched.iter_examples() if isinstance(e, Conversation)] if watched else []
    about = {
        "recipe": recipe.model_dump(mode="json"),
        "base": reference.base,
        "renderer": renderer.digest,
        "template_source": renderer.source,
        "data": {
            "sha256": checked.fingerprint(),
            "rows_in": checked.ledger.rows_in,
            "rows_used": checked.ledger.rows_used,
        },
        "start": {"model": reference.name, "adapter_sha256": _adapter_hash(recipe, reference)},
        "eval": {"sha256": watched.fingerprint(), "rows_used": watched.ledger.rows_used} if watched else None,
        "code": code_version(),
    }
    if watched and not held:
        raise _nothing_to_train((str(held_out),), watched)
    if run is None:
        run = RunFolder.create(about)
    else:
        _refuse_changes(run, about)
    on_event("run", run)
    with run.locked():
        try:
            return _train_locked(recipe, reference, renderer, examples, held, run, on_event)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt) or getattr(error, "exit_code", 1) == 130
            with contextlib.suppress(OSError, SodateError):  # a full disk: the status is then told by the lock
                run.update(status="interrupted" if stopped else "failed", error=str(error), ended_at=now())
            raise


def _train_locked(
    recipe: SFTRecipe,
    reference: Reference,
    renderer: Any,
    examples: list[Conversation],
    held: list[Any],
    run: RunFolder,
    on_event: Listener,
) -> dict[str, Any]:
    from sodate.model import fused, load, lora
    from sodate.model.store import safe_name
    from sodate.release.registry import list_versions, register
    from sodate.train import loop
    from sodate.train.resolve import Facts, resolve
    from sodate.train.sft import SFT

    rows = [renderer.render(example) for example in examples]
    device = load.pick_device(recipe.device)
    model = load.load_base(reference.folder, device=device, dtype=load.pick_dtype(recipe.dtype, device))
    resolved = resolve(recipe, Facts(
        rows=len(rows), longest=max(len(s.ids) for row in [*rows, *held] for s in row),
        hidden_size=model.config.hidden_size, targets=lora.all_targets(model), cuda=device.type == "cuda",
        has_eval=bool(held),
    ))  # fmt: skip
    adapter = _prepare(model, recipe, reference, resolved)
    if adapter is not None:
        fused.prepare(model)
    on_event("decisions", resolved.decisions)
    run.update(status="running", plan=asdict(resolved.plan), decisions=[asdict(d) for d in resolved.decisions],
               device=str(device), threads=loop.threads())  # fmt: skip
    names = [f"{Path(e.source.file).name}:{e.source.line}" if e.source else "?" for e in examples]
    method = SFT(model, rows, held, names=names, micro_tokens=resolved.micro_tokens)
    state = loop.train(model, method, resolved.plan, run, lambda line: on_event("step", line))

    def write_weights(folder: Path) -> None:
        if adapter is not None:
            (folder / "adapter").mkdir()
            load.save_adapter(model, adapter, reference.base, folder / "adapter")
        else:
            (folder / "model").mkdir()
            load.save_full(model, reference.folder, folder / "model")

    manifest = run.manifest
    kept = ("recipe", "plan", "base", "start", "renderer", "template_source", "data", "eval")
    name = recipe.name or safe_name(Path(recipe.data[0]).name.split(".")[0])
    # A run killed between registering and saying so has its version already.
    lines = run.metrics()
    report = {
        "steps": state.step, "tokens": state.tokens,
        "supervised_tokens": state.supervised_tokens, "train_seconds": state.train_seconds,
        "peak_rss_bytes": peak_rss_bytes(), "first_loss": lines[0]["loss"], "final_loss": lines[-1]["loss"],
        "best_step": state.best_step, "best_eval_loss": state.best_loss, "stopped_early": state.stopped,
    }  # fmt: skip
    about = {"run": run.name, **{k: manifest[k] for k in kept}, "report": report}
    version = next((v for v in list_versions(name) if v.manifest.get("run") == run.name), None) or register(
        name, about, renderer.template, write_weights
    )
    result = {"run": run.name, "version": version.id, "run_dir": str(run.path), **report}
    run.update(status="done", result=result, ended_at=now())
    return result


def _nothing_to_train(files: tuple[str, ...], checked: Any) -> SodateError:
    """Why no row of these files is a conversation with a trained reply."""
    if checked.ledger.rows_used and checked.format.startswith("preference"):
        return SodateError(
            tr(f"{', '.join(files)} holds preference pairs; they can be checked, but not trained on yet.",
               f"{', '.join(files)} は選好データです。検査はできますが、学習にはまだ対応していません。"),
            tr("Training needs prompts with one reply each.", "学習には返答が 1 つずつ要ります。"),
        )  # fmt: skip
    if checked.ledger.rows_used:
        return SodateError(
            tr(f"The rows of {', '.join(files)} are {checked.format}; training needs prompts with replies.",
               f"{', '.join(files)} の行は {checked.format} です。教師あり学習にはプロンプトと返答の組が必要です。"),
            tr("If a column holds the reply, name it: --columns prompt=COLUMN,completion=COLUMN.",
               "返答の列があれば指定してください: --columns prompt=列,completion=列"),
        )  # fmt: skip
    first = next(iter(checked.ledger.set_aside), None)
    reason = f" {first.file}:{first.line}: {first.message}" if first else ""
    return SodateError(
        tr(
            f"Every row of {', '.join(files)} is set aside.{reason}",
            f"{', '.join(files)} の全行が除外されました。{reason}",
        ),
        tr("`sodate data check` lists all reasons.", "`sodate data check` ですべての理由を確認できます。"),
    )


def _adapter_hash(recipe: SFTRecipe, reference: Reference) -> str | None:
    folder = Path(recipe.init_adapter) if recipe.init_adapter else reference.adapter
    return sha256_file(folder / "adapter_model.safetensors") if folder else None


def _prepare(model: Any, recipe: SFTRecipe, reference: Reference, resolved: Any) -> Any:
    """Puts the adapter on (or makes everything trainable); returns its configuration, None for full fine-tuning."""
    from sodate.model import load, lora

    start = Path(recipe.init_adapter) if recipe.init_adapter else reference.adapter
    if recipe.adapter == "full":
        if recipe.init_adapter:
            raise UsageError(tr("init_adapter needs adapter=lora.", "init_adapter には adapter=lora が必要です。"))
        if start is not None:
            load.load_adapter(model, start)
            lora.merge(model)
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return None
    if start is None:
        config = lora.LoraConfig(resolved.lora_rank, resolved.lora_alpha, resolved.lora_targets)
        lora.add(model, config, recipe.seed)
        return config
    config = load.load_adapter(model, start)
    for key, value in (("lora_rank", config.rank), ("lora_alpha", config.alpha)):
        given = getattr(recipe, key)
        if given not in ("auto", value):
            raise UsageError(
                tr(
                    f"{key} = {given}, but the adapter in {start} has {value}.",
                    f"{key} = {given} ですが、{start} のアダプタは {value} です。",
                ),
                tr(f"Leave {key} out.", f"{key} の指定を外してください。"),
            )
    return config


def _refuse_changes(run: RunFolder, about: dict[str, Any]) -> None:
    """A resumed run must see the same data, model and template, or it would not be the same run."""
    manifest = run.manifest
    for key, what in (("data", tr("training data", "学習データ")), ("eval", tr("held-out data", "評価データ")),
                      ("base", tr("base model", "基盤モデル")), ("start", tr("initial adapter", "初期アダプタ")),
                      ("renderer", tr("template or tokenizer", "テンプレートまたはトークナイザー"))):  # fmt: skip
        if manifest[key] != about[key]:
            raise SodateError(
                tr(
                    f"The {what} changed since run {run.name} began.",
                    f"実行 {run.name} の開始後に{what}が変わりました。",
                ),
                tr(
                    "Start a new run; resuming would mix two datasets in one result.",
                    "新しく実行してください。再開すると異なる内容が混ざります。",
                ),
            )


def _context_length(folder: Path) -> int:
    from sodate.core.files import read_json

    config = read_json(folder / "config.json")
    return int(config.get("max_position_embeddings") or 2**31 - 1)


def peak_rss_bytes() -> int:
    """Highest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
