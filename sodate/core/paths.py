"""What is said of a path that somebody gave: why the system refused it, and which one beside it may be meant."""

from __future__ import annotations

import difflib
import errno
from pathlib import Path

from sodate.core.text import Sentence, tr

_REASONS = {
    errno.ENOENT: "見つかりません",
    errno.EISDIR: "フォルダーです",
    errno.ENOTDIR: "途中にフォルダーでないものがあります",
    errno.EACCES: "権限がありません",
    errno.EPERM: "許可されていません",
    errno.EROFS: "書き込めないファイルシステムです",
    errno.ENAMETOOLONG: "名前が長すぎます",
    errno.ELOOP: "リンクが循環しています",
    errno.ENOSPC: "ディスクに空きがありません",
    errno.EDQUOT: "ディスクの割り当てを超えました",
    errno.EIO: "読み書きに失敗しました",
    errno.EEXIST: "すでにあります",
    errno.ENOTEMPTY: "空ではありません",
    errno.EMFILE: "開いているファイルが多すぎます",
    errno.ENFILE: "開いているファイルが多すぎます",
    errno.EADDRINUSE: "すでに使われています",
    errno.EADDRNOTAVAIL: "このマシンのアドレスではありません",
}
FOLDER_READ = 10_000  # names in a folder that are compared; in a larger one no name is proposed


def refusal(error: OSError | UnicodeError) -> Sentence:
    """Why a file of text could not be read, or another path used, in both languages: the system knows its reasons in
    English alone, and the decoder names a byte where a person wants the encoding."""
    if isinstance(error, UnicodeError):
        return tr("it is not UTF-8", "UTF-8 ではありません")
    english = error.strerror or str(error)
    return tr(english, _REASONS.get(error.errno or 0, english))


def is_file(path: str | Path) -> bool:
    """Whether what may be the name of a file, and may be another text, names one: a text too long for a name does not,
    where `Path.is_file` fails."""
    try:
        return Path(path).is_file()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def no_file(path: Path) -> Sentence:
    """That a path names no file, or a folder instead."""
    if path.is_dir():
        return tr(f"{path} is a folder, not a file.", f"{path} はフォルダーです。ファイルを指定してください。")
    return tr(f"{path} is not a file.", f"{path} というファイルはありません。")


def near(path: str | Path) -> Path | None:
    """The file in the same folder whose name is most like that of `path`, which is not there."""
    path = Path(path)
    try:
        names = [one.name for _, one in zip(range(FOLDER_READ + 1), path.parent.iterdir(), strict=False)]
    except OSError:
        return None
    found = difflib.get_close_matches(path.name, names, 1, 0.75) if len(names) <= FOLDER_READ else []
    return path.parent / found[0] if found else None
