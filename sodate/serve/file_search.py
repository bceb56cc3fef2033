"""The tool file_search of a response: what is looked for, the item that tells of it, and the citations in the reply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sodate.api.retrieval import PASSAGES
from sodate.core import quoted
from sodate.core.errors import UsageError
from sodate.core.ids import new_id
from sodate.core.text import tr
from sodate.jobs import vector_search
from sodate.jobs.vector_search import Hit
from sodate.serve.wire import FileSearch, ResponseTool

RESULTS = "file_search_call.results"  # what `include` may ask for


@dataclass(frozen=True, slots=True)
class Searched:
    """A search that was made: what for, and what was found, best first, the first `shown` of which the model sees."""

    queries: Sequence[str]
    hits: Sequence[Hit]
    shown: int = 0
    id: str = field(default_factory=lambda: new_id("fs_"))

    def item(self, status: str, results: bool) -> dict[str, Any]:
        """The search as an output item; `results`: with what was found."""
        told = [
            {"file_id": hit.file, "filename": hit.filename, "score": round(hit.score, 6), "attributes": hit.attributes,
             "text": hit.passage.text}
            for hit in self.hits
        ]  # fmt: skip
        return {"id": self.id, "type": "file_search_call", "status": status, "queries": list(self.queries),
                "results": told if results else None}  # fmt: skip

    def citations(self, text: str) -> list[dict[str, Any]]:
        """An annotation for each mark such as [1] that names a passage: the file, and where in the text the mark
        ends."""
        return [
            {"type": "file_citation", "index": end, "file_id": self.hits[number - 1].file,
             "filename": self.hits[number - 1].filename}
            for number, end in quoted.marks(text)
            if 0 < number <= self.shown
        ]  # fmt: skip


def tool(tools: Sequence[ResponseTool | FileSearch]) -> FileSearch | None:
    """The search among the tools of a request; UsageError for several."""
    found = [one for one in tools if isinstance(one, FileSearch)]
    if len(found) > 1:
        raise UsageError(
            tr("One file_search is enough: it takes several vector stores.",
               "file_search は 1 つだけ指定してください。ベクトルストアは複数指定できます。"),
            code="invalid_value", param="tools",
        )  # fmt: skip
    return found[0] if found else None


def search(asked: FileSearch, query: str, project: str) -> Searched:
    """Looks for the query in the stores that the tool names."""
    threshold = asked.ranking_options and asked.ranking_options.score_threshold
    hits = vector_search.search(
        project, asked.vector_store_ids, [query], asked.max_num_results or PASSAGES, filters=asked.filters,
        threshold=threshold or 0.0, where="tools.file_search.filters",
    )  # fmt: skip
    return Searched([query], hits)
