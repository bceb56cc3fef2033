"""`doctor`: what is wrong with this setup, and what to do about it."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.home import home, models_dir
from sodate.core.text import en, ja, tr

LITTLE_BYTES = 2_000_000_000
NAMED = 5  # of the files that others may read


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Something to mend: what is wrong, and the way out."""

    code: str
    message: str
    fix: str

    def to_json(self) -> dict[str, Any]:
        """As programs read it, its sentences in the language of the reader."""
        return {key: str(value) for key, value in asdict(self).items()}


def doctor() -> list[Diagnosis]:
    """Looks at SODATE_HOME (who may read it, what is damaged, room left) and at what this machine lacks.

    Changes nothing, and starts nothing but the sandbox's own trial. An empty list: all is well.
    """
    return [*_readable_by_others(), *_leftovers(), *_damaged(), *_little_room(), *_slow(), *_no_sandbox()]


def _readable_by_others() -> list[Diagnosis]:
    """SODATE_HOME itself decides; files within count only where it is open. Links are not followed."""
    root = home()
    if not root.exists() or not root.stat().st_mode & 0o077:
        return []
    wide = [path for path in sorted(root.rglob("*")) if not path.is_symlink() and path.stat().st_mode & 0o077]
    names = ", ".join(str(path.relative_to(root)) for path in wide[:NAMED])
    more = tr(f" {len(wide)} files and folders in it are open too: {names}.",
              f"中の {len(wide)} 個のファイルとフォルダーも同様です: {names}") if wide else ""  # fmt: skip
    return [
        Diagnosis(
            "readable_by_others",
            tr(f"Other users of this machine may look into {root}, where prompts and replies lie.{en(more)}",
               f"{root} にはプロンプトと返答が保存されますが、ほかの利用者も中を見られます。{ja(more)}"),
            f"chmod -R go= {root}",
        )
    ]  # fmt: skip


def _leftovers() -> list[Diagnosis]:
    left = sorted(home().glob("*/.*.tmp")) if home().exists() else []
    return [
        Diagnosis(
            "leftovers",
            tr(f"{len(left)} unfinished files or folders lie in {home()}, such as {left[0].name}.",
               f"{home()} に書きかけのファイルやフォルダーが {len(left)} 個あります (例: {left[0].name})。"),
            tr("If no sodate runs now, delete them.", "sodate を実行していなければ、削除してください。"),
        )
    ] if left else []  # fmt: skip


def _damaged() -> list[Diagnosis]:
    """Models and versions that could not be loaded."""
    from sodate.library.store import list_models
    from sodate.release.lookup import look_up
    from sodate.release.registry import list_versions

    found = []
    try:
        names = [entry.id for entry in list_models()] + [version.id for version in list_versions()]
    except SodateError as error:
        return [Diagnosis(error.code, error.message, error.fix)]
    for name in names:
        try:
            look_up(name)
        except SodateError as error:
            found.append(Diagnosis(error.code, error.message, error.fix))
    return found


def _little_room() -> list[Diagnosis]:
    there = next(folder for folder in (models_dir(), *models_dir().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    return [
        Diagnosis(
            "little_room",
            tr(f"Only {free / 1e9:.1f} GB are free for {home()}.", f"{home()} の空きは {free / 1e9:.1f} GB だけです。"),
            tr("Free some space, or set SODATE_HOME to a larger disk.",
               "空きを作るか、SODATE_HOME を大きなディスクに向けてください。"),
        )
    ] if free < LITTLE_BYTES else []  # fmt: skip


def _slow() -> list[Diagnosis]:
    built = any(Path(__file__).parents[1].glob("kernels/_compiled*.so"))
    return [] if built else [
        Diagnosis(
            "not_compiled",
            tr("The compiled parts are missing: training and replies take longer.",
               "コンパイル済みの部分がないため、学習と返答に時間がかかります。"),
            tr("Install a C compiler with OpenMP (gcc), then run make setup again.",
               "OpenMP の使える C コンパイラー (gcc) を入れて、もう一度 make setup を実行してください。"),
        )
    ]  # fmt: skip


def _no_sandbox() -> list[Diagnosis]:
    from sodate.grade import sandbox

    try:
        sandbox.backend()
    except SodateError as error:
        return [Diagnosis(error.code, error.message, error.fix)]
    return []
