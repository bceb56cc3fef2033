"""Models ready to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from sodate.core import progress
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.core.types import Message, ModelFiles
from sodate.release.lookup import look_up
from sodate.release.registry import find_version

Date = Literal["trained", "today"]  # the day that a template prints: that of the training, or the day's own
SLOTS = 64  # replies that a model makes at once, where memory allows it

if TYPE_CHECKING:
    from sodate.adapt.files import AdapterConfig
    from sodate.core.engine import Constraint, Engine, Sampling
    from sodate.generate.engine import Reply
    from sodate.render.renderer import Renderer


class Model:
    """A model ready to answer, with the renderer it was trained with.

    `engine` makes its replies; several versions over one base share it, each by its name there (`version`). `model` is
    what the engine torch computes with; with another engine it is None.
    """

    def __init__(self, files: ModelFiles, renderer: Renderer, model: Any, engine: Engine, version: str = "") -> None:
        self.files = files
        self.renderer = renderer
        self.model = model
        self.engine = engine
        self.version = version
        self._numbers = 0  # requests of replies(), counted down: a server counts up

    def replies(
        self,
        prompts: Sequence[Sequence[Message]],
        sampling: Sampling,
        *,
        tools: Sequence[Sequence[Mapping[str, Any]]] | None = None,
        constraint: Constraint | None = None,
        batch_size: int = 32,
        on_reply: Callable[[int, Reply], None] | None = None,
        on_token: Callable[[int, int], None] | None = None,
    ) -> list[Reply]:
        """A reply to each prompt, as token ids, each held to the `constraint`.

        What prompts begin with is remembered, for those of later calls too.
        """
        from sodate.generate.engine import numbered, run

        ids = [self.renderer.prompt(p, tools[i] if tools else ()) for i, p in enumerate(prompts)]
        self._numbers -= len(ids)
        requests = numbered(ids, self.renderer.stop_ids, sampling, first=self._numbers, version=self.version)
        requests = [replace(one, constraint=constraint) for one in requests]
        finished = 0

        def reply_done(number: int, reply: Reply) -> None:
            nonlocal finished
            finished += 1
            progress.report("replies", finished, len(ids), self.files.name)
            if on_reply:
                on_reply(number, reply)

        progress.report("replies", 0, len(ids), self.files.name)
        return run(self.engine, requests, min(batch_size, SLOTS), on_reply=reply_done, on_token=on_token)

    def reply(
        self, messages: Sequence[Message] | str, *, on_text: Callable[[str], None] | None = None,
        on_thought: Callable[[str], None] | None = None, **sampling: Any,
    ) -> Message:  # fmt: skip
        """The assistant's next message. A string is one user turn; keywords are those of `Sampling`.

        `on_text` gets the answer as it comes, in pieces of whole characters, `on_thought` the reasoning before it.
        """
        from sodate.core.engine import Sampling

        ids: list[int] = []
        said = ["", ""]  # of the reasoning and of the answer

        def on_token(_number: int, token: int) -> None:
            ids.append(token)
            for part, (tell, text) in enumerate(zip((on_thought, on_text), self.renderer.split(ids), strict=True)):
                before = said[part]
                # An unfinished character decodes to the replacement mark; it is said once it is whole.
                if tell and text.startswith(before) and text != before and not text.endswith("\ufffd"):
                    tell(text[len(before) :])
                    said[part] = text

        turns = [Message("user", messages)] if isinstance(messages, str) else messages
        (ready,) = self.replies([turns], Sampling(**sampling), on_token=on_token if on_text or on_thought else None)
        return self.renderer.parse(ready.ids)


def load(
    name: str, *, device: str = "auto", dtype: str = "auto", date: Date = "trained", engine: str = "torch"
) -> Model:
    """A version or base model, ready to answer. An adapter is merged into the weights where it can be, unless those
    were published in few bits and are read so; then it stands beside them.

    A template that prints the date is told the day it was told in training, or with `date="today"` the day's own.
    `engine` is "torch", "llamacpp" or "upstream:URL"; `device` and `dtype` are torch's.
    """
    if engine != "torch":
        from sodate.api.engines import load_by

        return load_by(engine, [name], date)[0]
    return _ready(files_of(name, date), device, dtype)


def files_of(name: str, date: Date = "trained") -> ModelFiles:
    """What the name of a model that answers stands for; UsageError for one that only scores."""
    files = look_up(name)
    version = find_version(name)
    if version is not None and version.head is not None:
        raise UsageError(
            tr(f"{version.id} is a reward model: it scores replies and writes none.",
               f"{version.id} は報酬モデルです。返答を採点するもので、生成はできません。"),
            f"sodate.load_reward({version.id!r})",
            code="wrong_model", param="model",
        )  # fmt: skip
    return replace(files, date=None) if date == "today" else files


def _ready(files: ModelFiles, device: str, dtype: str) -> Model:
    from sodate.adapt import adapters
    from sodate.adapt import files as adapter_files
    from sodate.generate import decoding
    from sodate.generate.torch_engine import TorchEngine
    from sodate.model import fused

    model, config = with_adapter(replace(files, adapter=None), device, dtype)
    # Weights that were published in few bits stay so, and their adapter beside them: folded in, they would need all.
    beside = files.adapter is not None and shares(files) and decoding.packs(model)
    if files.adapter is not None and not beside:
        config = adapter_files.load_adapter(model, files.adapter)
    if config is None or adapter_files.merges(config):
        adapters.merge(model)
    fused.replace_modules(model, model.get_input_embeddings().weight.dtype)
    choice = decoding.freeze(model)
    renderer = renderer_of(files)
    engine = TorchEngine(model, slots=SLOTS, tokenizer=renderer.tokenizer, rates=choice.rates)
    if beside and files.adapter is not None:
        engine.add_version(files.name, files.adapter)
    return Model(files, renderer, model, engine, files.name if beside else "")


def shares(files: ModelFiles) -> bool:
    """Whether these weights, with the adapter if there is one, can be used by several versions at once."""
    from sodate.adapt import files as adapter_files
    from sodate.adapt.lora import LoraConfig

    config = None if files.adapter is None else adapter_files.read_adapter(files.adapter)
    return not files.quantised and (config is None or (isinstance(config, LoraConfig) and not config.dora))


def renderer_of(files: ModelFiles) -> Renderer:
    """The renderer that belongs to a version or base model."""
    from sodate.render.renderer import Renderer

    return Renderer.from_folder(files.folder, files.template, date=files.date)


def load_together(
    names: Sequence[str], *, more: bool = False, device: str = "auto", dtype: str = "auto", engine: str = "torch"
) -> list[Model]:
    """Versions and base models, ready to answer, in the order of their names.

    LoRA and rsLoRA versions of one base share its weights and one engine, each beside the others; so does the base
    itself. All else has weights and an engine of its own, as by `load`; with `more` to come, only what can't share.
    """
    if engine != "torch":
        from sodate.api.engines import load_by

        return load_by(engine, names)

    def base(name: str) -> str | None:
        """The folder of the weights that the name could share, if it could."""
        files, version = look_up(name), find_version(name)
        return str(files.folder) if shares(files) and (version is None or version.head is None) else None

    folders = [base(name) for name in names]  # what is not known is said before torch is imported
    from sodate.generate.torch_engine import TorchEngine

    ready: dict[str, Model] = {}
    models = []
    for name, folder in zip(names, folders, strict=True):
        if folder is None or (folders.count(folder) == 1 and not more):
            models.append(load(name, device=device, dtype=dtype))
            continue
        files = look_up(name)
        first = ready.get(folder)
        if first is None:
            bare = replace(files, adapter=None)
            first = ready[folder] = _ready(bare, device, dtype)
        version, shared = "" if files.adapter is None else files.name, first.engine
        assert isinstance(shared, TorchEngine)
        if files.adapter is not None and version not in shared.versions:
            shared.add_version(version, files.adapter)
        models.append(Model(files, renderer_of(files), first.model, shared, version))
    return models


def with_adapter(files: ModelFiles, device: str, dtype: str) -> tuple[Any, AdapterConfig | None]:
    """The model as it was trained: its adapter beside its weights, in 4 bits if they were; and the adapter's kind."""
    from sodate.adapt import files as adapter_files
    from sodate.model import load as loading

    where = loading.pick_device(device)
    model = loading.load_base(
        files.folder, device=where, dtype=loading.pick_dtype(dtype, where), quantised=files.quantised
    )
    return model, adapter_files.load_adapter(model, files.adapter) if files.adapter is not None else None
