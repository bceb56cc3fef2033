"""The failures of a project are grouped in a process beside the server: `python -m sodate.serve.pages.grouping`."""

from __future__ import annotations

from typing import Any

from sodate.jobs import apart
from sodate.learn.clusters import clusters


def grouped(project: str) -> Any:
    """The clusters, made in such a process."""
    return apart.apart("clusters", module="sodate.serve.pages.grouping", project=project)


if __name__ == "__main__":
    apart.main({"clusters": clusters})
