"""Models ready to answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.core.types import Message, ModelFiles
from sodate.release.lookup import look_up
from sodate.release.registry import find_version

if TYPE_CHECKING:
    from sodate.adapt.files import AdapterConfig
    from sodate.generate.engine import Reply, Sampling
    from sodate.render.renderer import Renderer


class Model:
    """A model ready to answer, with the renderer it was trained with."""

    def __init__(self, files: ModelFiles, renderer: Renderer, model: Any) -> None:
        self.files = files
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
    from sodate.adapt import adapters
    from sodate.adapt import files as adapter_files
    from sodate.generate import decoding
    from sodate.model import fused
    from sodate.render.renderer import Renderer

    files = look_up(name)
    version = find_version(name)
    if version is not None and version.head is not None:
        raise UsageError(
            tr(f"{version.id} is a reward model: it scores replies and writes none.",
               f"{version.id} は報酬モデルです。返答を採点するもので、生成はできません。"),
            f"sodate.load_reward({version.id!r})",
            code="wrong_model", param="model",
        )  # fmt: skip
    renderer = Renderer.from_folder(files.folder, files.template)
    model, config = with_adapter(files, device, dtype)
    if config is None or adapter_files.merges(config):
        adapters.merge(model)
    fused.prepare(model, model.get_input_embeddings().weight.dtype)
    decoding.prepare(model)
    return Model(files, renderer, model)


def with_adapter(files: ModelFiles, device: str, dtype: str) -> tuple[Any, AdapterConfig | None]:
    """The model as it was trained: its adapter beside its weights, in 4 bits if they were; and the adapter's kind."""
    from sodate.adapt import files as adapter_files
    from sodate.model import load as loading

    where = loading.pick_device(device)
    model = loading.load_base(
        files.folder, device=where, dtype=loading.pick_dtype(dtype, where), quantised=files.quantised
    )
    return model, adapter_files.load_adapter(model, files.adapter) if files.adapter is not None else None
