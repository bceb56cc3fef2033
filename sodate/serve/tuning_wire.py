"""What comes in about fine-tuning jobs, as OpenAI's clients send it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.serve.wire import Body, Metadata, Wire

Auto = Literal["auto"]
Epochs = Annotated[int, Field(ge=1, le=50)]
Batch = Annotated[int, Field(ge=1, le=256)]
Multiplier = Annotated[float, Field(gt=0)]


class Hyperparameters(Wire):
    n_epochs: Epochs | Auto = "auto"
    batch_size: Batch | Auto = "auto"
    learning_rate_multiplier: Multiplier | Auto = "auto"


class DpoHyperparameters(Hyperparameters):
    beta: Annotated[float, Field(gt=0, le=2)] | Auto = "auto"


class ReinforcementHyperparameters(Hyperparameters):
    reasoning_effort: Literal["default", "low", "medium", "high"] | None = None
    compute_multiplier: Annotated[float, Field(gt=1e-5, le=10)] | Auto = "auto"
    eval_interval: Annotated[int, Field(ge=1)] | Auto = "auto"
    eval_samples: Annotated[int, Field(ge=1)] | Auto = "auto"


class Supervised(Wire):
    hyperparameters: Hyperparameters = Hyperparameters()


class Dpo(Wire):
    hyperparameters: DpoHyperparameters = DpoHyperparameters()


class Reinforcement(Wire):
    grader: dict[str, Any]
    hyperparameters: ReinforcementHyperparameters = ReinforcementHyperparameters()
    response_format: dict[str, Any] | None = None


class Method(Wire):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: Reinforcement | None = None


class Wandb(Wire):
    project: str
    name: str | None = None
    entity: str | None = None
    tags: list[Annotated[str, Field(max_length=64)]] = Field([], max_length=50)


class Integration(Wire):
    type: Literal["wandb"]
    wandb: Wandb


class JobRequest(Body):
    """POST /v1/fine_tuning/jobs"""

    model: str = Field(max_length=300)
    training_file: str = Field(max_length=100)
    validation_file: str | None = Field(None, max_length=100)
    suffix: str | None = Field(None, min_length=1, max_length=64)
    seed: int | None = Field(None, ge=0, le=2_147_483_647)
    metadata: Metadata | None = None
    integrations: list[Integration] | None = Field(None, max_length=5)
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None

    @model_validator(mode="after")
    def _whole(self) -> JobRequest:
        kind = self.method.type if self.method else "supervised"
        if self.hyperparameters is not None and kind != "supervised":
            said = tr("hyperparameters is for supervised jobs; give them within method.",
                      "hyperparameters は supervised 用です。method の中に書いてください。")  # fmt: skip
            raise _wrong(said, "hyperparameters")
        for other in ("supervised", "dpo", "reinforcement"):
            if self.method and other != kind and getattr(self.method, other) is not None:
                raise _wrong(tr(f"The method is {kind}, and there are settings of {other}.",
                                f"method は {kind} ですが、{other} の設定があります。"), f"method.{other}")  # fmt: skip
        if kind == "reinforcement":
            if self.method is None or self.method.reinforcement is None:
                raise _missing("method.reinforcement.grader")
            if self.validation_file is None:
                raise _missing("validation_file")
        return self

    def plain(self) -> dict[str, Any]:
        """The request as a job keeps it, with a whole `method`."""
        kind = self.method.type if self.method else "supervised"
        own = getattr(self.method, kind) if self.method else None
        if own is None:
            own = Dpo() if kind == "dpo" else Supervised(hyperparameters=self.hyperparameters or Hyperparameters())
        made = self.model_dump(exclude={"method", "hyperparameters"})
        return {**made, "method": {"type": kind, kind: own.model_dump(exclude_none=True)}}


def _wrong(message: str, param: str) -> UsageError:
    return UsageError(message, code="invalid_value", param=param)


def _missing(param: str) -> UsageError:
    return UsageError(tr(f"Missing required parameter: {param}.", f"必須の {param} がありません。"),
                      code="missing_parameter", param=param)  # fmt: skip


class PermissionRequest(Body):
    """POST …/permissions"""

    project_ids: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(min_length=1, max_length=100)
