"""What the asker of a page may see of the machine's runs and versions."""

from __future__ import annotations

from fastapi import Request

from sodate.api.versions import find_version
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.jobs.belonging import Belonging, belonging
from sodate.serve.settings import DEFAULT_PROJECT
from sodate.serve.who import Asker


def of(request: Request) -> Belonging:
    """Everything for the owner, else what is the project's."""
    asker: Asker = request.state.asker
    return belonging(asker.project, asker.role == "own")


def again(see: Belonging) -> Belonging:
    """What the same project sees by now."""
    return belonging(see.project, see.everything)


def check_house(request: Request) -> None:
    """SodateError `not_found` for a project that has nothing but its jobs."""
    asker: Asker = request.state.asker
    if asker.role != "own" and asker.project != DEFAULT_PROJECT:
        raise hidden()


def check_run(sight: Belonging, run: str) -> None:
    """Another project's run is not there."""
    if not sight.sees_run(run):
        raise UsageError(
            tr(f"There is no run {run!r}.", f"実行 {run!r} はありません。"), code="run_not_found", param="run"
        )


def check_version(sight: Belonging, version: str) -> None:
    """Another project's version is not there, by whatever name it is asked for."""
    found = find_version(version) if sight.sees_version(version) else None
    if not sight.sees_version(version if found is None else found.id):
        raise UsageError(
            tr(f"There is no version {version!r}.", f"バージョン {version!r} はありません。"),
            code="version_not_found", param="version",
        )  # fmt: skip


def hidden() -> SodateError:
    """For what another project has."""
    return SodateError(tr("There is nothing at this address.", "このアドレスには何もありません。"), code="not_found")
