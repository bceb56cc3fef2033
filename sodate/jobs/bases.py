"""What a job may begin with, or its grader ask: a tuned model of its project, something that is served, a base model,
or a version that the project sees (`belonging.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from sodate.api.answering import Served
from sodate.api.versions import find_version
from sodate.api.weights import OF_A_JOB, exact_name
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.db.connection import reading
from sodate.jobs import naming
from sodate.jobs.belonging import belonging


def find(model: str, project: str, served: Mapping[str, Served]) -> str:
    """The exact name of the version or base model that `model` means; UsageError (`model_not_available`) for none."""
    try:
        if naming.is_tuned(model):
            with reading() as session:
                return naming.find(session, model, project).version
        if model in served:
            return served[model].id
        if not model.startswith(OF_A_JOB) and _sees(project, model):
            return exact_name(model)
    except UsageError:
        pass
    raise UsageError(
        tr(f"Model {model[:150]} is not available for fine-tuning or does not exist.",
           f"モデル {model[:150]} はファインチューニングに使えないか、存在しません。"),
        code="model_not_available", param="model",
    )  # fmt: skip


def _sees(project: str, model: str) -> bool:
    """Whether what a name means is there for the project: base models are for all, versions are not, by their names as
    little as by an alias."""
    version = find_version(model)
    return version is None or belonging(project, False).sees_version(version.id)
