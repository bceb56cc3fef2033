"""/v1/vector_stores: collections of files that are searched, by a client or by the tool file_search."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.jobs import vector_files, vector_search, vector_stores
from sodate.jobs.vector_files import Attach
from sodate.serve.stored import page
from sodate.serve.wire import Body, Free, Metadata, Ranking, Wire

router = APIRouter(prefix="/v1/vector_stores")
POLL = {"openai-poll-after-ms": "250"}  # after which a client that waits for a file asks again

Cursor = Annotated[str | None, Query(max_length=100)]
Limit = Annotated[int, Query(ge=1, le=100)]
Order = Annotated[str, Query(pattern="^(asc|desc)$")]
Status = Annotated[str | None, Query(alias="filter", pattern="^(in_progress|completed|failed|cancelled)$")]
Name = Annotated[str, Field(max_length=512, pattern=r"^[^\x00]*$")]
Attributes = Annotated[
    dict[
        Annotated[str, Field(max_length=64)],
        Annotated[str, Field(max_length=512)] | bool | int | float,
    ],
    Field(max_length=16),
]


class Expiry(Wire):
    anchor: Literal["last_active_at"]
    days: int = Field(ge=1, le=365)


class Sizes(Wire):
    max_chunk_size_tokens: int = Field(ge=100, le=4096)
    chunk_overlap_tokens: int = Field(ge=0)


class Chunking(Wire):
    type: Literal["auto", "static"]
    static: Sizes | None = None


class CreateStore(Body):
    name: Name | None = None
    description: Name | None = None
    file_ids: list[str] | None = Field(None, max_length=500)
    expires_after: Expiry | None = None
    chunking_strategy: Chunking | None = None
    metadata: Metadata | None = None


class UpdateStore(Body):
    name: Name | None = None
    expires_after: Expiry | None = None
    metadata: Metadata | None = None


class AttachFile(Wire):
    file_id: str
    attributes: Attributes | None = None
    chunking_strategy: Chunking | None = None


class CreateFile(Body, AttachFile):
    """One file, alone."""


class CreateBatch(Body):
    file_ids: list[str] | None = Field(None, min_length=1, max_length=2000)
    files: list[AttachFile] | None = Field(None, min_length=1, max_length=2000)
    attributes: Attributes | None = None
    chunking_strategy: Chunking | None = None


class UpdateFile(Body):
    attributes: Attributes | None


class Search(Body):
    query: str | Annotated[list[str], Field(min_length=1, max_length=16)]
    filters: Free | None = None
    max_num_results: int = Field(10, ge=1, le=50)
    ranking_options: Ranking | None = None
    rewrite_query: bool | None = None


def _attach(file: str, attributes: Attributes | None, chunking: Chunking | None) -> Attach:
    if chunking is None or chunking.type == "auto":
        return Attach(file, attributes or {})
    sizes = chunking.static
    if sizes is None:
        raise UsageError(
            tr("Missing required parameter: chunking_strategy.static.",
               "必須の chunking_strategy.static がありません。"),
            code="missing_parameter", param="chunking_strategy.static",
        )  # fmt: skip
    if 2 * sizes.chunk_overlap_tokens > sizes.max_chunk_size_tokens:
        raise UsageError(
            tr("Chunks overlap by half of their size at most.", "重なりはチャンクの大きさの半分までです。"),
            code="invalid_value", param="chunking_strategy.static.chunk_overlap_tokens",
        )  # fmt: skip
    return Attach(file, attributes or {}, sizes.max_chunk_size_tokens, sizes.chunk_overlap_tokens)


# ── stores ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("", response_model=None)
def created(request: Request, asked: CreateStore) -> JSONResponse:
    """A new vector store, of files that are read from now on."""
    wanted = [_attach(id, None, asked.chunking_strategy) for id in dict.fromkeys(asked.file_ids or ())]
    actor, days = request.state.actor, asked.expires_after.days if asked.expires_after else None
    made = vector_stores.create(
        request.state.project, actor, asked.name or "", asked.description, asked.metadata or {}, days,
        lambda session, store: vector_files.attach(session, store, wanted, actor),
    )  # fmt: skip
    return JSONResponse(made)


@router.get("", response_model=None)
def listed(
    request: Request, after: Cursor = None, before: Cursor = None, limit: Limit = 20, order: Order = "desc"
) -> JSONResponse:
    """The project's vector stores."""
    found = vector_stores.listed(request.state.project, after=after, before=before, limit=limit, order=order)
    return JSONResponse(page(*found))


@router.get("/{id}", response_model=None)
def retrieved(request: Request, id: str) -> JSONResponse:
    """A vector store as it stands."""
    return JSONResponse(vector_stores.shown(id, request.state.project), headers=POLL)


@router.post("/{id}", response_model=None)
def updated(request: Request, id: str, asked: UpdateStore) -> JSONResponse:
    """Another name, expiry or metadata: what is given, null taking it away."""
    changes: dict[str, Any] = {}
    if "name" in asked.model_fields_set:
        changes["name"] = asked.name or ""
    if "expires_after" in asked.model_fields_set:
        changes["expires_days"] = asked.expires_after.days if asked.expires_after else None
    if "metadata" in asked.model_fields_set:
        changes["tags"] = asked.metadata or {}
    return JSONResponse(vector_stores.update(id, request.state.project, request.state.actor, **changes))


@router.delete("/{id}", response_model=None)
def deleted(request: Request, id: str) -> JSONResponse:
    """Deletes a vector store. Its files stay."""
    vector_stores.delete(id, request.state.project, request.state.actor)
    return JSONResponse({"id": id, "object": "vector_store.deleted", "deleted": True})


@router.post("/{id}/search", response_model=None)
def searched(request: Request, id: str, asked: Search) -> JSONResponse:
    """The best passages for a query, or for any of several. Queries are looked for as they are."""
    queries = [asked.query] if isinstance(asked.query, str) else asked.query
    threshold = asked.ranking_options and asked.ranking_options.score_threshold
    hits = vector_search.search(
        request.state.project, [id], queries, asked.max_num_results, filters=asked.filters, threshold=threshold or 0.0
    )
    data = [
        {"file_id": hit.file, "filename": hit.filename, "score": round(hit.score, 6), "attributes": hit.attributes,
         "content": [{"type": "text", "text": hit.passage.text}]}
        for hit in hits
    ]  # fmt: skip
    return JSONResponse(
        {"object": "vector_store.search_results.page", "search_query": queries, "data": data, "has_more": False,
         "next_page": None}
    )  # fmt: skip


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("/{id}/files", response_model=None)
def attached(request: Request, id: str, asked: CreateFile) -> JSONResponse:
    """Attaches an uploaded file, which is read when it is its turn."""
    wanted = _attach(asked.file_id, asked.attributes, asked.chunking_strategy)
    return JSONResponse(vector_files.add(request.state.project, request.state.actor, id, wanted), headers=POLL)


@router.get("/{id}/files", response_model=None)
def files(
    request: Request, id: str, after: Cursor = None, before: Cursor = None, limit: Limit = 20, order: Order = "desc",
    status: Status = None,
) -> JSONResponse:  # fmt: skip
    """The files of a vector store."""
    found = vector_files.listed(
        request.state.project, id, after=after, before=before, limit=limit, order=order, status=status
    )
    return JSONResponse(page(*found))


@router.get("/{id}/files/{file}", response_model=None)
def file(request: Request, id: str, file: str) -> JSONResponse:
    """A file of a vector store as it stands."""
    return JSONResponse(vector_files.retrieved(request.state.project, id, file), headers=POLL)


@router.post("/{id}/files/{file}", response_model=None)
def file_updated(request: Request, id: str, file: str, asked: UpdateFile) -> JSONResponse:
    """Other attributes for a file."""
    project, actor = request.state.project, request.state.actor
    return JSONResponse(vector_files.update(project, actor, id, file, asked.attributes or {}))


@router.delete("/{id}/files/{file}", response_model=None)
def file_detached(request: Request, id: str, file: str) -> JSONResponse:
    """Takes a file out of a vector store. The file itself stays."""
    vector_files.detach(request.state.project, request.state.actor, id, file)
    return JSONResponse({"id": file, "object": "vector_store.file.deleted", "deleted": True})


@router.get("/{id}/files/{file}/content", response_model=None)
def file_content(request: Request, id: str, file: str) -> JSONResponse:
    """The text of a file as it was read, passage by passage."""
    found = vector_search.content(request.state.project, id, file)
    data = [{"type": "text", "text": passage.text} for passage in found]
    return JSONResponse(
        {"object": "vector_store.file_content.page", "data": data, "has_more": False, "next_page": None}
    )


# ── batches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@router.post("/{id}/file_batches", response_model=None)
def batch_created(request: Request, id: str, asked: CreateBatch) -> JSONResponse:
    """Attaches several files: `file_ids` that share attributes, or `files` with their own."""
    if (asked.file_ids is None) == (asked.files is None):
        raise UsageError(
            tr("Give either file_ids or files.", "file_ids か files のどちらかを指定してください。"),
            code="invalid_value", param="file_ids",
        )  # fmt: skip
    wanted = [_attach(id, asked.attributes, asked.chunking_strategy) for id in asked.file_ids or ()]
    wanted += [_attach(one.file_id, one.attributes, one.chunking_strategy) for one in asked.files or ()]
    only = list({one.file: one for one in wanted}.values())
    return JSONResponse(vector_files.add_batch(request.state.project, request.state.actor, id, only), headers=POLL)


@router.get("/{id}/file_batches/{batch}", response_model=None)
def batch(request: Request, id: str, batch: str) -> JSONResponse:
    """A batch as it stands."""
    return JSONResponse(vector_files.batch(request.state.project, id, batch), headers=POLL)


@router.post("/{id}/file_batches/{batch}/cancel", response_model=None)
def batch_cancelled(request: Request, id: str, batch: str) -> JSONResponse:
    """Leaves out the files that were not read yet. The body is empty, whatever its type says."""
    return JSONResponse(vector_files.cancel_batch(request.state.project, request.state.actor, id, batch))


@router.get("/{id}/file_batches/{batch}/files", response_model=None)
def batch_files(
    request: Request, id: str, batch: str, after: Cursor = None, before: Cursor = None, limit: Limit = 20,
    order: Order = "desc", status: Status = None,
) -> JSONResponse:  # fmt: skip
    """The files of a batch."""
    found = vector_files.listed(
        request.state.project, id, after=after, before=before, limit=limit, order=order, status=status, batch=batch
    )
    return JSONResponse(page(*found))
