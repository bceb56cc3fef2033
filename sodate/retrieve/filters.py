"""Filters of searches: comparisons of a document's attributes, and all or any of several.

{"type": "eq", "key": "region", "value": "jp"}, or one of ne, gt, gte, lt, lte, in, nin; {"type": "and", "filters": […]}
or "or".
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from sodate.core.errors import UsageError
from sodate.core.text import tr

Attributes = Mapping[str, str | float | bool]
DEEPEST = 16  # filters within filters
MOST = 256  # comparisons in all
_COMPARED = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
_ORDER = tuple(_COMPARED)
_SETS = ("in", "nin")
_KINDS = ("eq", "ne", *_ORDER, *_SETS)


def check(given: Any, param: str) -> None:
    """UsageError naming the part of a filter that is none, `param` being the whole."""
    _check(given, param, 0, [0])


def _check(given: Any, where: str, depth: int, count: list[int]) -> None:
    count[0] += 1
    if depth > DEEPEST or count[0] > MOST:
        raise _wrong(where, tr(f"Filters are at most {MOST}, nested {DEEPEST} deep.",
                               f"フィルターは {MOST} 個、入れ子は {DEEPEST} 段までです。"))  # fmt: skip
    if not isinstance(given, Mapping):
        raise _wrong(where, tr("A filter is an object.", "フィルターはオブジェクトにしてください。"))
    kind = given.get("type")
    if kind in ("and", "or"):
        inner = given.get("filters")
        if set(given) != {"type", "filters"} or not isinstance(inner, list) or not inner:
            raise _wrong(where, tr(f"'{kind}' needs `filters`, a list that is not empty.",
                                   f"'{kind}' には空でないリスト filters が必要です。"))  # fmt: skip
        for at, one in enumerate(inner):
            _check(one, f"{where}.filters[{at}]", depth + 1, count)
        return
    if kind not in _KINDS:
        raise _wrong(f"{where}.type", tr(f"A filter's type is one of {', '.join((*_KINDS, 'and', 'or'))}.",
                                         f"type は {', '.join((*_KINDS, 'and', 'or'))} のどれかです。"))  # fmt: skip
    if set(given) != {"type", "key", "value"} or not isinstance(given.get("key"), str):
        raise _wrong(where, tr("A comparison needs `key` and `value`.", "比較には key と value が必要です。"))
    value = given["value"]
    values = value if kind in _SETS and isinstance(value, list) else [value]
    fits = (int, float) if kind in _ORDER else (str, int, float, bool)
    if (kind in _SETS) != isinstance(value, list) or not all(isinstance(one, fits) for one in values):
        raise _wrong(f"{where}.value", tr(f"The value does not fit '{kind}'.", f"'{kind}' に合わない value です。"))
    if kind in _ORDER and isinstance(value, bool):
        raise _wrong(f"{where}.value", tr(f"'{kind}' compares numbers.", f"'{kind}' は数を比べます。"))


def _wrong(where: str, message: str) -> UsageError:
    return UsageError(message, code="invalid_value", param=where)


def fits(given: Mapping[str, Any] | None, attributes: Attributes) -> bool:
    """Whether attributes pass a filter that was checked. One that is not there is unequal to everything."""
    if given is None:
        return True
    kind = given["type"]
    if kind == "and":
        return all(fits(one, attributes) for one in given["filters"])
    if kind == "or":
        return any(fits(one, attributes) for one in given["filters"])
    wanted: Any = given["value"]
    own = attributes.get(given["key"])
    if kind in _SETS:
        return any(_same(own, one) for one in wanted) is (kind == "in")
    if kind in ("eq", "ne"):
        return _same(own, wanted) is (kind == "eq")
    if isinstance(own, bool) or not isinstance(own, int | float):
        return False
    return bool(_COMPARED[kind](own, wanted))


def _same(own: str | float | bool | None, wanted: str | float | bool) -> bool:
    """Equal, and of one kind: true is not 1."""
    return bool(isinstance(own, bool) == isinstance(wanted, bool) and own == wanted)
