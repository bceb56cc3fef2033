"""The key of masked files: what each pseudonym stood for. It is as secret as the data was, and lies apart from it."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.files import fsync_dir, full_disk_said, read_json
from sodate.core.text import tr
from sodate.data.mask import MY_NUMBER, REMOVED, Pseudonyms

SCHEMA_VERSION = 1
_PSEUDONYM = re.compile(r"顧客[A-Z]{1,6}(?![A-Za-z])|\bCustomer [A-Z]{1,6}\b|\b[A-Z][A-Z_]{3,20}_[0-9]{1,9}\b")


def read(path: Path) -> Pseudonyms:
    """The pseudonyms of a key. SodateError where it is not there or none."""
    about = read_json(path)
    try:
        names = Pseudonyms(str(about["style"]))
        for kind, name, value in about["values"]:
            names.remember(str(kind), str(name), str(value))
        names.count_from(about["counts"])
    except (KeyError, TypeError, ValueError):
        raise SodateError(
            tr(f"{path} is not a key of sodate data mask.", f"{path} は sodate data mask の鍵ではありません。"),
            code="damaged", param="key", file=path,
        ) from None  # fmt: skip
    return names


def write(path: Path, names: Pseudonyms) -> None:
    """Writes the key for its owner alone, whole or not at all."""
    values = [[kind, name, names.known[name]] for kind, name in names.kinds() if kind != MY_NUMBER]
    about = {"schema_version": SCHEMA_VERSION, "style": names.style, "counts": names.counts, "values": values}
    path.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_said(path):
        handle, temp = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")  # 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(about, file, ensure_ascii=False, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(temp).replace(path)
        except BaseException:
            Path(temp).unlink(missing_ok=True)
            raise
        fsync_dir(path.parent)


def pseudonyms_in(text: str) -> Iterator[str]:
    """What stands in a text and looks like a pseudonym: none that is given may be like it."""
    return (found[0] for found in _PSEUDONYM.finditer(text))


def restorer(names: Pseudonyms) -> Callable[[Any], Any]:
    """What puts the values back into any JSON value."""
    known = {name: value for name, value in names.known.items() if name != REMOVED}
    longest_first = sorted(known, key=len, reverse=True)
    pattern = re.compile(
        "|".join(re.escape(name) + ("(?![A-Z0-9])" if name[-1].isalnum() else "") for name in longest_first)
    )

    def restore(value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(lambda found: known[found[0]], value) if known else value
        if isinstance(value, dict):
            return {restore(key): restore(item) for key, item in value.items()}
        return [restore(item) for item in value] if isinstance(value, list) else value

    return restore
