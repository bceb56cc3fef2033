"""The frame of every page: templates, languages, what texts and numbers look like, and the headers that go with it."""

from __future__ import annotations

import datetime
import functools
import gzip
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from fastapi import APIRouter
from jinja2.utils import url_quote
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sodate.core.errors import SodateError
from sodate.core.text import Sentence, language, reading_in, tr, visible
from sodate.jobs.files import called
from sodate.serve import errors, logins
from sodate.serve.pages.row_words import code_word, personal_word
from sodate.serve.pages.words import (
    counted,
    day,
    document,
    figure,
    left,
    method_word,
    metric_word,
    metric_words,
    number,
    percent,
    place,
    points,
    seconds,
    signed,
    size,
    status_word,
)
from sodate.serve.roles import may
from sodate.serve.who import Asker

HERE = Path(__file__).parent
LANGUAGE_COOKIE = "sodate_lang"
YEAR = 365 * 24 * 3600
MOST_TEXT = 4000  # characters of one text from data or a model that a page shows
# No script and no style but our files; nothing from elsewhere; in nobody's frame.
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
_ZIPPED = 1000  # bytes from which compressing is worth it

NAVIGATION = (
    ("/", tr("Overview", "概要")),
    ("/data", tr("Data", "データ")),
    ("/runs", tr("Runs", "学習")),
    ("/reports", tr("Reports", "評価レポート")),
    ("/ladder", tr("Ladder", "方法の比較")),
    ("/versions", tr("Versions", "バージョン")),
    ("/play", tr("Playground", "試す")),
    ("/judge", tr("Judge", "人の評価")),
    ("/review", tr("Review", "確認")),
    ("/index", tr("Index", "索引")),
    ("/keys", tr("Keys", "キーと記録")),
)


class Rooms:
    """A page and its JSON, answered by one function: the page shows what it returns, `/v1/sodate/…` tells it."""

    def __init__(self) -> None:
        self.pages = APIRouter(include_in_schema=False)
        self.wire = APIRouter(prefix="/v1/sodate")

    def shows(
        self, path: str, template: str, mark: Callable[[Mapping[str, Any]], str] = lambda shown: ""
    ) -> Callable[[Callable[..., Mapping[str, Any]]], Callable[..., Any]]:
        """Registers a function of a request that returns what there is to see. A page that is watched carries the
        `mark` of what it shows, to be compared with those that come later."""

        def register(view: Callable[..., Mapping[str, Any]]) -> Callable[..., Any]:
            @functools.wraps(view)
            def page(*args: Any, **given: Any) -> Response:
                shown = view(*args, **given)
                return render(given["request"], template, mark=mark(shown), **shown)

            @functools.wraps(view)
            def told(*args: Any, **given: Any) -> Response:
                return JSONResponse(plain(view(*args, **given)))

            self.pages.get(path, response_model=None, name=f"{view.__name__}_page")(page)
            self.wire.get(path if path != "/" else "/overview", response_model=None)(told)
            return view

        return register


def render(request: Request, template: str, http_status: int = 200, **about: Any) -> Response:
    """A page of ours, in the reader's language."""
    asker: Asker | None = request.scope["state"].get("asker")
    chosen = language()
    text = _environment().get_template(template).render(
        request=request, path=request.url.path, asker=asker, csrf=logins.csrf(asker.secret) if asker else "",
        can=lambda method, path: asker is not None and may(asker.role, method, path), lang=chosen,
        other=_elsewhere(request, "en" if chosen == "ja" else "ja"), static=static, navigation=NAVIGATION, **about,
    )  # fmt: skip
    content = text.encode("utf-8", "replace")
    answer = zipped(request, content, "text/html; charset=utf-8", http_status)
    answer.headers["content-security-policy"] = POLICY
    answer.headers["content-language"] = chosen
    said = request.query_params.get("lang")
    if said in ("en", "ja"):
        answer.set_cookie(LANGUAGE_COOKIE, said, max_age=YEAR, samesite="strict", httponly=True)
    return answer


def zipped(request: Request, content: bytes, media_type: str, status: int = 200) -> Response:
    """An answer, compressed where the reader takes that."""
    headers = {"vary": "accept-encoding, accept-language, cookie"}
    if len(content) > _ZIPPED and "gzip" in request.headers.get("accept-encoding", ""):
        content = gzip.compress(content, 5, mtime=0)
        headers["content-encoding"] = "gzip"
    return Response(content, status, headers, media_type)


def error(request: Request, problem: SodateError) -> Response:
    """What is wrong, as a page."""
    status, body = errors.known(problem)
    return render(request, "error.html.jinja", status, message=body["error"]["message"], status_code=status)


def hop(request: Request, to: str) -> Response:
    """A page that leads to another at once, by a link of this site."""
    return render(request, "hop.html.jinja", to=to)


def plain(value: Any) -> Any:
    """As JSON takes it: sentences in the reader's language, null for numbers that are not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Sentence):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def digest(value: Any) -> str:
    """Another one for other content, whatever the reader's language."""
    with reading_in("en"):
        text = json.dumps(plain(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def quoted(text: Any) -> str:
    """A name as a part of an address."""
    return url_quote(str(text), for_qs=True).replace("+", "%20")


def static(name: str) -> str:
    """The address of a file of ours, which changes with its content."""
    return f"/static/{name}?{_digest(name)}"


@functools.cache
def _digest(name: str) -> str:
    return hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest()[:12]


def _elsewhere(request: Request, other: str) -> str:
    """This page in the other language."""
    there = request.url.include_query_params(lang=other)
    return f"{there.path}?{there.query}"


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
        # Names, cells and replies steer nothing: characters that are not seen are written out.
        # Where an uploaded file lies is nobody's business: it is called what its person called it.
        finalize=lambda value: (
            visible(called(str(value))) if isinstance(value, str) and not isinstance(value, Markup) else value
        ),
    )  # fmt: skip
    environment.globals |= {"tr": tr, "metric_words": metric_words}
    environment.filters |= {
        "foreign": foreign, "moment": moment, "day": day, "number": number, "percent": percent, "points": points,
        "span": seconds, "size": size, "figure": figure, "counted": counted, "left": left,
        "status": status_word, "quoted": quoted, "place": place, "code": code_word, "personal": personal_word,
        "method": method_word, "metric": metric_word, "signed": signed, "document": document,
    }  # fmt: skip
    return environment


def foreign(text: Any, most: int = MOST_TEXT) -> Markup:
    """Text from data, a name or a model: shown as it is, in its own writing direction, cut where it is very long."""
    whole = str(text)
    left = len(whole) - most
    shown = visible(called(whole[:most]).encode("utf-8", "replace").decode())
    rest = (
        Markup(' <span class="soft">{}</span>').format(tr(f"… {left:,} more characters", f"… 残り {left:,} 文字"))
        if left > 0
        else ""
    )
    return Markup('<bdi dir="auto">{}</bdi>{}').format(shown, rest)


def moment(value: Any) -> Markup:
    """A point in time (ISO 8601, or seconds since 1970): UTC, which the page turns into the reader's own time."""
    if value is None or value == "":
        return Markup("–")
    try:
        when = (
            datetime.datetime.fromtimestamp(value, datetime.UTC)
            if isinstance(value, int | float)
            else datetime.datetime.fromisoformat(str(value)).astimezone(datetime.UTC)
        )
    except (ValueError, OverflowError, OSError):
        return Markup("{}").format(visible(str(value)))
    text = tr(f"{when.day} {when:%b %Y, %H:%M} UTC", f"{when.year}年{when.month}月{when.day}日 {when:%H:%M} UTC")
    return Markup('<time datetime="{}">{}</time>').format(when.isoformat(timespec="seconds"), text)
