"""How many schemas one value may meet. Two references to a schema that has two of its own, forty levels deep, are 2⁴⁰:
the document is small, and checking any value against it would not end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

MAX_VISITS = 10_000  # schemas that the parts of a value on one path from its root meet; published ones have hundreds

# Where a schema applies to the value itself, to parts of it that differ, and to parts that may be the same.
_SAME_ONE = ("not", "if", "then", "else")
_SAME_LIST = ("allOf", "anyOf", "oneOf")
_SAME_NAMED = ("dependentSchemas", "dependencies")
_APART_LIST = ("prefixItems", "items")
_APART_NAMED = ("properties",)
_PARTS_ONE = (
    "items", "additionalItems", "contains", "additionalProperties", "propertyNames", "unevaluatedItems",
    "unevaluatedProperties",
)  # fmt: skip
_PARTS_NAMED = ("patternProperties",)


def visits(document: Any, pointed: Callable[[Any, str], Any]) -> int:
    """How many schemas a value meets at most along one path into it, no more than MAX_VISITS + 1.

    `pointed` follows a JSON Pointer in the document. A schema within itself counts once: the engine remembers what it
    has found there. RecursionError where schemas are nested deeper than Python calls.
    """
    known: dict[int, int] = {}
    roots, named = [document], dict[str, list[Any]]()
    for one in _objects(document):
        for key in ("$id", "id", "$anchor", "$dynamicAnchor"):
            if isinstance(one.get(key), str):
                named.setdefault(one[key].strip("#"), []).append(one)
        if isinstance(one.get("$id", one.get("id")), str):
            roots.append(one)

    def meant(target: str) -> list[Any]:
        """What a reference may lead to. Which resource a pointer starts in is not worked out: any of them."""
        where, _, pointer = target.partition("#")
        if pointer and not pointer.startswith("/"):
            return named.get(pointer, [])
        return [pointed(root, pointer) for root in (named.get(where, []) if where else roots)]

    def of(node: Any) -> int:
        if not isinstance(node, dict):
            return 1
        if id(node) not in known:
            known[id(node)] = 1  # as long as it is being looked at
            known[id(node)] = min(MAX_VISITS + 1, 1 + _same(node) + _parts(node))
        return known[id(node)]

    def _same(node: dict[str, Any]) -> int:
        inner = [node[key] for key in _SAME_ONE if key in node]
        inner += [one for key in _SAME_LIST if isinstance(node.get(key), list) for one in node[key]]
        inner += [one for key in _SAME_NAMED if isinstance(node.get(key), dict) for one in node[key].values()]
        targets = [node[key] for key in ("$ref", "$dynamicRef", "$recursiveRef") if isinstance(node.get(key), str)]
        return sum(map(of, inner)) + sum(max(map(of, meant(target)), default=0) for target in targets)

    def _parts(node: dict[str, Any]) -> int:
        apart = [one for key in _APART_NAMED if isinstance(node.get(key), dict) for one in node[key].values()]
        apart += [one for key in _APART_LIST if isinstance(node.get(key), list) for one in node[key]]
        shared = [node[key] for key in _PARTS_ONE if isinstance(node.get(key), dict)]
        shared += [one for key in _PARTS_NAMED if isinstance(node.get(key), dict) for one in node[key].values()]
        return max(map(of, apart), default=0) + sum(map(of, shared))

    return of(document)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def entries(value: Any) -> int:
    """The values in a JSON value, itself among them."""
    count, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        count += 1
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return count
