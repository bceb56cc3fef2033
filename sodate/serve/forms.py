"""Multipart forms, read piece by piece: fields into memory, which is bounded, a file to wherever it is to go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any, Protocol

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import en, ja, tr
from sodate.serve import errors

FIELD_BYTES = 10_000
GATHERED = 1 << 20  # bytes that are written to disk at once
DRAINED = 64 << 20  # bytes that are read of a form that was refused


class Sink(Protocol):
    """Where a file's bytes go."""

    def write(self, piece: bytes) -> None:
        """Takes the next piece."""


Opener = Callable[[str], AbstractContextManager[Any]]
"""From a file's name to the sink of its content; what the sink holds is kept when the context ends in peace."""


class _Form:
    """What the parser tells, in order. One part is open at a time."""

    def __init__(self, fields: frozenset[str], file: str) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.done = False
        self.received = False  # all of the body
        self.gathered = bytearray()  # of the file, and not written yet
        self._known, self._file = fields, file
        self._header, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._text = bytearray()

    def callbacks(self) -> Mapping[str, Any]:
        return {
            "on_part_begin": self._begin, "on_part_data": self._data, "on_part_end": self._end,
            "on_header_field": lambda data, a, b: self._header.extend(data[a:b]),
            "on_header_value": lambda data, a, b: self._value.extend(data[a:b]),
            "on_header_end": self._header_end, "on_headers_finished": self._opened, "on_end": self._finish,
        }  # fmt: skip

    def _begin(self) -> None:
        self._headers = {}

    def _header_end(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _opened(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or not name:
            raise broken(tr("a part has no name", "名前のない部分があります"))
        if name in self.fields or (name == self._file and self.filename is not None):
            raise UsageError(tr(f"Duplicate field: {name[:60]}", f"同じ項目が 2 つあります: {name[:60]}"),
                             code="invalid_value", param=name[:60])  # fmt: skip
        if name == self._file:
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace") or "upload"
        elif name not in self._known:
            said = tr(f"Unrecognized request argument supplied: {name[:60]}", f"知らない引数です: {name[:60]}")
            raise UsageError(said, code="unknown_parameter", param=name[:60])
        self._name = name
        self._text.clear()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == self._file:
            self.gathered += data[start:end]
            return
        self._text += data[start:end]
        if len(self._text) > FIELD_BYTES:
            raise UsageError(tr(f"{self._name} is too long.", f"{self._name} が長すぎます。"),
                             code="invalid_value", param=self._name)  # fmt: skip

    def _end(self) -> None:
        if self._name != self._file:
            try:
                self.fields[self._name] = self._text.decode("utf-8")
            except UnicodeDecodeError:
                raise broken(tr(f"{self._name} is not UTF-8", f"{self._name} が UTF-8 ではありません")) from None

    def _finish(self) -> None:
        self.done = True


async def read(
    request: Request, fields: frozenset[str], file: str, most: int, opener: Opener
) -> tuple[dict[str, str], str, Any]:
    """(fields, the file's name, its sink), once the whole form has come.

    UsageError for a form that is none, is cut off, or has unknown, double or missing parts; `request_too_large` for a
    file of more than `most` bytes. The sink's context then ends with the error.
    """
    form = _Form(fields, file)
    try:
        return await _read(request, form, file, most, opener)
    except SodateError:
        if not form.received:  # of one that was, nothing more comes
            await _drain(request)
        raise
    except ClientDisconnect:
        raise errors.Gone from None


async def _read(request: Request, form: _Form, file: str, most: int, opener: Opener) -> tuple[dict[str, str], str, Any]:
    boundary = _boundary(request)
    size = 0
    sink: Any = None
    with ExitStack() as stack:
        try:
            parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
            async for chunk in _pieces(request, form):
                for start in range(0, len(chunk), GATHERED):
                    parser.write(chunk[start : start + GATHERED])
                if form.filename is not None and sink is None:
                    sink = stack.enter_context(opener(form.filename))
                if len(form.gathered) >= GATHERED:
                    size = _counted(size, form.gathered, most)
                    await run_in_threadpool(_write, sink, form.gathered)
        except FormParserError:
            raise broken(tr("it is no multipart form", "multipart 形式ではありません")) from None
        if not form.done:
            raise broken(tr("it ends before its last boundary", "最後の区切りの前で終わっています"))
        if form.filename is None or sink is None:
            raise UsageError(tr(f"Missing required parameter: {file}.", f"必須の {file} がありません。"),
                             code="missing_parameter", param=file)  # fmt: skip
        _counted(size, form.gathered, most)
        await run_in_threadpool(_write, sink, form.gathered)
    return form.fields, form.filename, sink


async def _pieces(request: Request, form: _Form) -> AsyncIterator[bytes]:
    """The body as it comes; ClientDisconnect where the sender has gone."""
    while not form.received:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        form.received = not message.get("more_body", False)
        if message.get("body"):
            yield message["body"]


async def _drain(request: Request) -> None:
    """Reads on for a while: clients that are still sending don't look at an answer."""
    left = DRAINED
    with suppress(ClientDisconnect, SodateError):
        while left > 0:
            message = await request.receive()
            left -= len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body"):
                return


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise UsageError(
            tr("The body has to be multipart/form-data.", "本文は multipart/form-data にしてください。"),
            code="invalid_request",
        )
    return options[b"boundary"]


def _counted(before: int, more: bytes | bytearray, most: int) -> int:
    if before + len(more) > most:
        raise SodateError(tr(f"The file is larger than {most} bytes.", f"ファイルが {most} バイトを超えています。"),
                          code="request_too_large", param="file")  # fmt: skip
    return before + len(more)


def _write(sink: Sink, gathered: bytearray) -> None:
    sink.write(bytes(gathered))
    gathered.clear()


def broken(why: str) -> UsageError:
    """The form can't be read."""
    return UsageError(tr(f"The form can't be read: {en(why)}.", f"フォームを読み取れません: {ja(why)}"),
                      code="invalid_request")  # fmt: skip
