"""The process that trains one job: told what to do by its standard input, it says what happens on its standard output.

    python -m sodate.jobs.training        < {"recipe": {…}, "run": null, "job": "ftjob-…", "project": "…"}

Lines of JSON, each with a `kind`: run, decisions, step, weights, warning, then done, stopped or failed. It ends when
its input is closed: whoever started it is gone, and its job is somebody else's by now.
"""

from __future__ import annotations

from typing import Any

from sodate.api.versions import find_version
from sodate.core import home
from sodate.core.errors import SodateError, fault
from sodate.core.runs import RunFolder
from sodate.core.text import en
from sodate.jobs import naming, process


def main() -> None:
    """Trains, or goes on with the run that there is."""
    asked, say = process.told()

    def heard(kind: str, data: Any) -> None:
        if kind == "run":
            say("run", run=data.name)
            _tell_again(data, asked["job"], say)
        elif kind == "decisions":
            say("decisions", values={decision.key: decision.value for decision in data})
        elif kind == "step":
            say("step", line=data)
        elif kind == "weights":
            version = data.register(naming.version_name(asked["job"], data.step))
            say("weights", step=data.step, version=version)
        elif kind == "warning":
            say("warning", text=en(data))

    home.work_for(asked["project"])
    try:
        say("done", result=_train(asked, heard))
    except SodateError as error:
        if error.code == "interrupted":
            say("stopped")
        else:
            say("failed", code=error.code, message=en(error.message), fix=en(error.fix), param=error.param)
    except Exception as error:
        say("failed", code="unexpected", message=fault(error), fix="", param=None)


def _tell_again(run: RunFolder, job: str, say: process.Say) -> None:
    """What a run before this process did: whoever listened then may have died before it wrote all of it down."""
    for line in run.metrics():
        say("step", line=line)
        version = find_version(naming.version_name(job, line["step"]))
        if version is not None:
            say("weights", step=line["step"], version=version.id)


def _train(asked: dict[str, Any], heard: Any) -> dict[str, Any]:
    from sodate.api.training import resume, train
    from sodate.core.recipe import METHODS, validated

    recipe, run = asked["recipe"], asked["run"]
    if run is not None and (home.runs_dir() / run / "run.json").exists():
        return resume(run, on_event=heard)
    return train(validated(METHODS[recipe["method"]], recipe, ""), on_event=heard)


if __name__ == "__main__":
    main()
