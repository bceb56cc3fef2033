"""References to models, and models ready to answer.

A reference is a version (`orders@1`, or `orders` for its newest) or a base model (`smollm2-135m`, a hub id, a folder).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.core.types import Message
from sodate.model.store import find
from sodate.release.registry import find_version

if TYPE_CHECKING:
    from sodate.generate.engine import Reply, Sampling
    from sodate.model.load import AdapterConfig
    from sodate.render.renderer import Renderer


@dataclass(frozen=True, slots=True)
class Reference:
    """What a name stands for: a folder of weights, an adapter over it, the template to use."""

    name: str
    base: str  # what an adapter trained on it would need: a model's id in the store, or a version with all weights
    folder: Path
    adapter: Path | None
    template: str | None  # None: the folder's own
    quantised: bool = False  # the adapter was trained on the weights in 4 bits


def refer(name: str) -> Reference:
    """Resolves a reference; raises SodateError or UsageError saying what is known."""
    version = find_version(name)
    if version is None:
        from sodate.model.sources import resolve

        model = resolve(name)
        return Reference(name, model.id, model.path, None, None)
    base = version.manifest["base"]
    template = (version.path / "template.jinja").read_text("utf-8")
    if version.adapter is None:
        return Reference(version.id, version.id, version.path / "model", None, template)
    quantised = version.manifest.get("adapter") == "qlora"
    entry = find(base)
    if entry is not None:
        return Reference(version.id, base, entry.path, version.adapter, template, quantised)
    if find_version(base) is not None:  # an adapter over a version with all weights
        return Reference(version.id, base, refer(base).folder, version.adapter, template, quantised)
    raise SodateError(
        tr(f"{version.id} needs the base model {base}, which is not here.",
           f"{version.id} に必要な基盤モデル {base} がありません。"),
        f"sodate models pull {base.rpartition('@')[0]}",
    )  # fmt: skip


class Model:
    """A model ready to answer, with the renderer it was trained with."""

    def __init__(self, reference: Reference, renderer: Renderer, model: Any) -> None:
        self.reference = reference
        self.renderer = renderer
        self.model = model

    def replies(
        self,
        prompts: Sequence[Sequence[Message]],
        sampling: Sampling,
        *,
        tools: Sequence[Sequence[Mapping[str, Any]]] | None = None,
        batch_size: int = 32,
        on_reply: Callable[[int, Reply], None] | None = None,
        on_token: Callable[[int, int], None] | None = None,
    ) -> list[Reply]:
        """A reply to each prompt, as token ids."""
        from sodate.generate.engine import generate

        ids = [self.renderer.prompt(p, tools[i] if tools else ()) for i, p in enumerate(prompts)]
        return generate(
            self.model,
            ids,
            self.renderer.stop_ids,
            sampling,
            batch_size=batch_size,
            on_reply=on_reply,
            on_token=on_token,
        )

    def reply(self, messages: Sequence[Message] | str, **sampling: Any) -> Message:
        """The assistant's next message. A string is one user turn; keywords are those of `Sampling`."""
        from sodate.generate.engine import Sampling

        turns = [Message("user", messages)] if isinstance(messages, str) else messages
        return self.renderer.parse(self.replies([turns], Sampling(**sampling))[0].ids)


def load(name: str, *, device: str = "auto", dtype: str = "auto") -> Model:
    """A version or base model, ready to answer. Adapters that can be are merged into the weights: nothing per token."""
    from sodate.model import adapters, decoding, fused
    from sodate.model import load as loading
    from sodate.render.renderer import Renderer

    reference = refer(name)
    version = find_version(name)
    if version is not None and version.head is not None:
        raise UsageError(
            tr(f"{version.id} is a reward model: it scores replies and writes none.",
               f"{version.id} は報酬モデルです。返答を採点するもので、生成はできません。"),
            f"sodate.load_reward({version.id!r})",
        )  # fmt: skip
    renderer = Renderer.from_folder(reference.folder, reference.template)
    model, config = with_adapter(reference, device, dtype)
    if config is None or loading.merges(config):
        adapters.merge(model)
    fused.prepare(model, model.get_input_embeddings().weight.dtype)
    decoding.prepare(model)
    return Model(reference, renderer, model)


def with_adapter(reference: Reference, device: str, dtype: str) -> tuple[Any, AdapterConfig | None]:
    """The model as it was trained: its adapter beside its weights, in 4 bits if they were; and the adapter's kind."""
    from sodate.model import load as loading

    where = loading.pick_device(device)
    model = loading.load_base(
        reference.folder, device=where, dtype=loading.pick_dtype(dtype, where), quantised=reference.quantised
    )
    return model, loading.load_adapter(model, reference.adapter) if reference.adapter is not None else None
