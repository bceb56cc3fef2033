"""Whose a run or a version is: a job's belongs to the job's project, all others to whoever has the command line."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from sodate.api.weights import OF_A_JOB
from sodate.core.errors import SodateError
from sodate.core.runs import RunFolder
from sodate.db.connection import reading
from sodate.db.tables import TunedModel, TuningJob

COMMAND_LINE = "default"  # the project of what was made there


@dataclass(frozen=True, slots=True)
class Belonging:
    """What a project sees; `everything` for whoever owns the machine."""

    project: str
    everything: bool
    runs: dict[str, tuple[str, str]]  # run → project, job
    versions: dict[str, str]  # version → project

    def sees_run(self, run: str) -> bool:
        """A run of a job that nobody has noted yet is the owner's alone, like one that is not there."""
        return self.everything or (self.runs[run][0] if run in self.runs else _of_no_job(run)) == self.project

    def sees_version(self, version: str) -> bool:
        """Versions of jobs that nobody has any more are the owner's alone."""
        nobody = "" if version.startswith(OF_A_JOB) else COMMAND_LINE
        return self.everything or self.versions.get(version, nobody) == self.project

    @property
    def sees_house(self) -> bool:
        """Whether what the command line made (aliases, reports, indexes, studies) is this project's."""
        return self.everything or self.project == COMMAND_LINE

    def job_of(self, run: str) -> str | None:
        found = self.runs.get(run)
        return None if found is None else found[1]


def _of_no_job(run: str) -> str:
    try:
        name = RunFolder.find(run).kept.get("recipe", {}).get("name")
    except SodateError:
        return ""
    return "" if str(name).startswith(OF_A_JOB) else COMMAND_LINE


def belonging(project: str, everything: bool) -> Belonging:
    """What there is of jobs, and what `project` sees of it and of the rest."""
    with reading() as session:
        jobs = session.execute(
            sa.select(TuningJob.run, TuningJob.project, TuningJob.id, TuningJob.version).where(
                TuningJob.run.is_not(None)
            )
        ).all()
        tuned = session.execute(sa.select(TunedModel.version, TunedModel.project)).all()
    versions = {row.version: row.project for row in jobs if row.version} | {row.version: row.project for row in tuned}
    return Belonging(project, everything, {str(row.run): (row.project, row.id) for row in jobs}, versions)
