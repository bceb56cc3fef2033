"""`open_service`: versions and base models loaded together, each under the names it is asked by."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sodate.api.answering import Served, Service
from sodate.api.engines import check_engine
from sodate.api.following import Follower
from sodate.api.loading import Model, load, load_together, renderer_of, shares
from sodate.api.retrieval import Retriever, index_of, of_version, retriever
from sodate.api.text_stream import TokenBytes
from sodate.api.worker import EngineThread
from sodate.core.errors import SodateError, UsageError
from sodate.core.giving_way import Sign
from sodate.core.text import tr
from sodate.library.store import find
from sodate.release.aliases import list_aliases, target
from sodate.release.lookup import look_up
from sodate.release.registry import OF_A_JOB, find_version, held, list_versions


def open_service(
    names: Sequence[str] = (), aliases: Sequence[str] = (), engine: str = "torch", index: str | None = None
) -> Service:
    """Loads what is to answer: `names`, or the newest version of every name and every alias. `aliases` are
    NAME=VERSION, for this service alone.

    While it is open, its versions can't be deleted. Where a version is named by an alias that `release promote` moves,
    the service follows it. With `index`, passages that it finds stand before each question.

    UsageError for an alias of another form, for names that are not known, and where there is nothing to serve.
    """
    check_engine(engine)
    asking = retriever(index) if index else None
    pairs = [_pair(alias) for alias in aliases]
    wanted = list(dict.fromkeys([*(names or _newest(bool(pairs))), *(version for _, version in pairs)]))
    holding = contextlib.ExitStack()
    with holding:
        for name in wanted:
            if (version := find_version(name)) is not None:
                holding.enter_context(held(version))
                if asking is None:
                    index_of(version)  # one that is gone is said before anything is loaded
        moving = {name: name for name in wanted if target(name) is not None}
        moving |= {name: version for name, version in pairs if version in moving}
        models = load_together(wanted, more=bool(moving), engine=engine)
        sign = Sign()
        holding.callback(sign.close)
        service = _service(wanted, models, pairs, sign, asking, holding.pop_all().close)
    service.open_version = lambda version: _asking(_beside(service, version, sign, engine), asking)
    service.close_version = lambda served: _shut(service, served)
    if moving:
        service.on_close(Follower(service, moving).close)
    return service


def _service(
    wanted: Sequence[str], models: Sequence[Model], pairs: Sequence[tuple[str, str]], sign: Sign,
    asking: Retriever | None, release: Callable[[], None],
) -> Service:  # fmt: skip
    threads: dict[int, EngineThread] = {}
    served: dict[str, Served] = {}
    known: dict[str, Served] = {}
    for name, model in zip(wanted, models, strict=True):
        if id(model.engine) not in threads:
            threads[id(model.engine)] = EngineThread(model.engine, sign=sign)
        one = _asking(as_served(model, threads[id(model.engine)]), asking)
        served.setdefault(one.id, one)
        known[name] = served[one.id]
        if target(name) is None and "@" in one.id:  # what an alias means need not be the newest
            known[one.id.rpartition("@")[0]] = served[one.id]
    return Service(list(served.values()), known | {alias: known[version] for alias, version in pairs}, release)


def _asking(served: Served, asking: Retriever | None) -> Served:
    """With passages before its questions: of the server's index, or else of the version's own."""
    return replace(served, retriever=asking or of_version(served.id))


def _pair(alias: str) -> tuple[str, str]:
    name, equals, version = alias.partition("=")
    if not (name and equals and version) or len(name) > 200 or not name.isprintable():
        raise UsageError(
            tr(f"An alias is NAME=VERSION, not {alias!r}.", f"エイリアスは 名前=バージョン の形です: {alias!r}"),
            code="bad_value", param="alias",
        )  # fmt: skip
    return name, version


def _newest(enough: bool) -> list[str]:
    """The newest version of each name that writes replies, and every alias; none that is a project's own."""
    found = {
        version.name: version.id
        for version in list_versions()
        if version.head is None and not version.name.startswith(OF_A_JOB)
    }
    found |= {alias: alias for alias in list_aliases()}
    if not found and not enough:
        raise UsageError(
            tr("There is no version to serve.", "提供できるバージョンがありません。"),
            tr("Train one, or name a base model: sodate serve smollm2-135m.",
               "学習するか、ベースモデルを指定してください: sodate serve smollm2-135m"),
            code="version_not_found",
        )  # fmt: skip
    return list(found.values())


def as_served(model: Model, thread: EngineThread) -> Served:
    """A loaded model as it answers."""
    version, files = find_version(model.files.name), model.files
    entry = None if version else find(files.name)
    created_at = version.manifest["created_at"] if version else entry.pulled_at if entry else ""
    seconds = int(datetime.fromisoformat(created_at).timestamp()) if created_at else 0
    shares = bool(model.version) or files.adapter is None  # else its adapter is merged into the weights
    exact = version.id if version else files.base
    return Served(
        exact, files.base if shares else exact, model.renderer, TokenBytes(model.renderer), thread, model.version,
        model.engine.context_length, seconds, model.model,
        _selecting(model.engine),
    )  # fmt: skip


def _beside(service: Service, name: str, sign: Sign, word: str) -> Served:
    """A version loaded beside those that answer, by the engine that `word` names: over weights that are there, where
    it can share them."""
    if word != "torch":
        model = load(name, engine=word)
        return as_served(model, EngineThread(model.engine, sign=sign))
    files = look_up(name)
    host = next((one for one in service.all if one.base == files.base and one.model is not None), None)
    if files.adapter is None or not shares(files):
        model = load(name)
        return as_served(model, EngineThread(model.engine, sign=sign))
    if host is None:  # the next version of this base goes beside this one
        model = load_together([name, files.base])[0]
        return as_served(model, EngineThread(model.engine, sign=sign))
    adapter, engine = files.adapter, host.engine.engine
    if files.name not in engine.versions:  # type: ignore[attr-defined]  # it computes here: the torch engine
        host.engine.call(lambda: engine.add_version(files.name, adapter)).result()  # type: ignore[attr-defined]
    return as_served(Model(files, renderer_of(files), host.model, engine, files.name), host.engine)


def _shut(service: Service, served: Served) -> None:
    """Frees what the service has no name for any more: the version beside others, or its engine. SodateError `busy`
    while its last replies are under way."""
    engine: Any = served.engine.engine
    if served.engine in service.engines:
        if served.version:
            served.engine.call(lambda: engine.remove_version(served.version)).result()
    elif served.engine.running or served.engine.waiting:
        raise SodateError(tr(f"{served.id} still answers.", f"{served.id} はまだ応答中です。"), code="busy")
    else:
        served.engine.close()


def _selecting(engine: Any) -> Callable[[str], None]:
    """Readies the engine's model for a forward of one version's rows."""
    return lambda version: engine.versions.selection.of([version], engine.model.device)
