"""Engines by the word that names one: `torch`, `llamacpp`, `upstream:URL`. Each answers behind the same protocol."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from sodate.api.loading import Date, Model, files_of, renderer_of
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.core.types import ModelFiles
from sodate.release.lookup import is_known

TORCH, LLAMACPP, UPSTREAM = "torch", "llamacpp", "upstream:"


def check_engine(engine: str) -> None:
    """UsageError for a word that names no engine, SodateError where what it needs is not installed."""
    if engine == LLAMACPP:
        if find_spec("xllamacpp") is None:
            raise SodateError(
                tr("The engine llamacpp needs a package that is not installed: xllamacpp.",
                   "エンジン llamacpp に必要なパッケージがありません: xllamacpp"),
                'pip install "sodate[llamacpp]"',
                code="extra_missing",
            )  # fmt: skip
    elif engine.startswith(UPSTREAM):
        from sodate.generate.address import Address

        Address.of(engine.removeprefix(UPSTREAM))
    elif engine != TORCH:
        raise UsageError(
            tr(f"There is no engine {engine!r}.", f"エンジン {engine!r} はありません。"),
            tr("Use torch, llamacpp or upstream:URL.", "torch、llamacpp、upstream:URL のどれかです。"),
            code="bad_value", param="engine",
        )  # fmt: skip


def elsewhere(engine: str) -> bool:
    """Whether the engine may know models that are not here."""
    return engine.startswith(UPSTREAM)


def load_by(engine: str, names: Sequence[str], date: Date = "trained") -> list[Model]:
    """Versions and base models ready to answer by an engine other than torch, in the order of their names. Those of one
    base, or of one server, share an engine."""
    check_engine(engine)
    if engine == LLAMACPP:
        return _by_llamacpp(names, date)
    return _by_upstream(engine.removeprefix(UPSTREAM), names, date)


def _by_llamacpp(names: Sequence[str], date: Date) -> list[Model]:
    from sodate.api.engine_files import adapter_file, weights_file
    from sodate.generate.llamacpp import LlamaCpp

    engines: dict[Path, LlamaCpp] = {}
    models = []
    for name in names:
        files = files_of(name, date)
        adapter = None if files.adapter is None else adapter_file(files)  # refused before anything is converted
        if files.folder not in engines:
            engines[files.folder] = LlamaCpp(weights_file(files))
        engine, version = engines[files.folder], ""
        if adapter is not None:
            version = files.name
            engine.add_version(version, adapter)
        models.append(Model(files, renderer_of(files), None, engine, version))
    return models


def _by_upstream(url: str, names: Sequence[str], date: Date) -> list[Model]:
    """A model that is known here is asked for in its own token ids if the server takes them; any other in text."""
    from sodate.generate.address import Address
    from sodate.generate.upstream import Upstream, connect
    from sodate.render import as_bytes

    address = Address.of(url)
    engines: dict[bool, Upstream] = {}
    models = []
    for name in names:
        files = files_of(name, date) if is_known(name) else None
        renderer = None if files is None else renderer_of(files)
        asked, ids = connect(address, name, [renderer.stop_ids[0]] if renderer else None)
        engine = engines.setdefault(ids, Upstream(address, ids=ids))
        engine.add_version(asked)
        made = files or ModelFiles(asked, asked, Path(), None, None)
        models.append(Model(made, renderer if ids and renderer else as_bytes.renderer(), None, engine, asked))
    return models
