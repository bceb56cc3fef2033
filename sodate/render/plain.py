"""Which chat templates may be rendered in this process: those in which no single step can take long.

A plain template is made of the listed constructs only. They have no way to put a list that the template made into
another one, so nothing can be shared and compared without end; lists have at most MAX_ITEMS items, texts are counted
(`sodate/render/template.py`), and between two looks at the clock stand a bounded number of steps. Everything else is
rendered by a process with limits (`sodate/render/isolated.py`).
"""

from __future__ import annotations

from jinja2 import nodes

MAX_SOURCE = 100_000  # characters
MAX_SOUGHT = 64  # characters of a text to search for from the end, or to strip: Python takes that many times as long
MAX_COMPARED = 200  # places at which two values are compared that may both be lists

_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Name, nodes.Const, nodes.Getattr,
    nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
    nodes.Neg, nodes.Add, nodes.Sub, nodes.Concat, nodes.CondExpr, nodes.Assign, nodes.AssignBlock, nodes.NSRef,
    nodes.Call, nodes.Macro, nodes.Keyword, nodes.Mod, nodes.List, nodes.Tuple, nodes.Break, nodes.Continue,
)  # fmt: skip
_FILTERS = {
    "capitalize", "count", "d", "default", "dictsort", "first", "int", "items", "join", "last", "length", "list",
    "lower", "map", "reject", "rejectattr", "replace", "reverse", "safe", "select", "selectattr", "string", "title",
    "tojson", "trim", "upper",
}  # fmt: skip
_TESTS = {
    "boolean", "defined", "eq", "equalto", "even", "false", "float", "integer", "iterable", "mapping", "ne", "none",
    "number", "odd", "sequence", "string", "true", "undefined",
}  # fmt: skip
_METHODS = {
    "endswith", "find", "get", "items", "join", "keys", "lower", "lstrip", "replace", "rsplit", "rstrip", "split",
    "splitlines", "startswith", "strip", "title", "upper", "values",
}  # fmt: skip
_SEEKING = {"lstrip", "rsplit", "rstrip", "strip"}
_MAPPED = {"lower", "string", "trim", "upper"}
_FUNCTIONS = {"namespace", "raise_exception", "strftime_now"}
_VERDICTS = (nodes.Compare, nodes.Not, nodes.Test, nodes.And, nodes.Or, nodes.Const)


def is_short(source: str) -> bool:
    """Whether a template may be parsed here, to see what it is made of."""
    return len(source) <= MAX_SOURCE


def is_plain(tree: nodes.Template, source: str) -> bool:
    """Whether every construct of a parsed template is a listed one."""
    everything = [tree, *tree.find_all(nodes.Node)]
    macros = {node.name for node in everything if isinstance(node, nodes.Macro)}
    assigned = {
        name.name for node in everything if isinstance(node, (nodes.Assign, nodes.AssignBlock, nodes.Macro))
        for name in _targets(node)
    }  # fmt: skip
    looped = {
        name.name for node in everything if isinstance(node, nodes.For) for name in [node.target]
        if isinstance(name, nodes.Name)
    }  # fmt: skip
    compared = sum(isinstance(node, nodes.Compare) and not _cheap(node) for node in everything)
    elements = looped - assigned  # never a list that the template made
    return compared <= MAX_COMPARED and all(_is_listed(node, macros, elements) for node in everything)


def _is_listed(node: nodes.Node, macros: set[str], elements: set[str]) -> bool:
    if type(node) not in _NODES:
        return False
    if isinstance(node, nodes.For):
        return not node.recursive
    if isinstance(node, nodes.Filter):
        return node.name in _FILTERS and node.dyn_args is None and node.dyn_kwargs is None and _applies(node)
    if isinstance(node, nodes.Test):
        return node.name in _TESTS
    if isinstance(node, nodes.Call):
        called = node.node
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            return False
        if isinstance(called, nodes.Getattr):
            return called.attr in _METHODS and (called.attr not in _SEEKING or all(map(_is_short_text, node.args)))
        return isinstance(called, nodes.Name) and called.name in _FUNCTIONS | macros
    if isinstance(node, nodes.List):
        return all(isinstance(one, nodes.Const) or _names(one, elements) for one in node.items)
    if isinstance(node, nodes.Tuple):
        return node.ctx == "store" or all(isinstance(one, nodes.Const) for one in node.items)
    if isinstance(node, nodes.Mod):
        return isinstance(node.right, nodes.Const) and isinstance(node.right.value, int)
    return True


def _applies(node: nodes.Filter) -> bool:
    """A filter that applies others by name is given constants: an attribute to look up, or a listed test."""
    given = [*node.args, *(word.value for word in node.kwargs)]
    constants = all(isinstance(one, nodes.Const) for one in given)
    named = [getattr(one, "value", None) for one in node.args]
    if node.name == "map":
        return constants and (set(named) <= _MAPPED and [word.key for word in node.kwargs] in ([], ["attribute"]))
    if node.name in ("select", "reject"):
        return constants and set(named[:1]) <= _TESTS
    if node.name in ("selectattr", "rejectattr"):
        return constants and set(named[1:2]) <= _TESTS
    if node.name == "trim":
        return all(map(_is_short_text, given))
    return constants or node.name in ("d", "default")


def _is_short_text(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const) and (not isinstance(node.value, str) or len(node.value) <= MAX_SOUGHT)


def _cheap(node: nodes.Compare) -> bool:
    """A comparison with a constant, or of two verdicts."""
    sides = [node.expr, *(one.expr for one in node.ops)]
    return sum(isinstance(one, nodes.Const) for one in sides) >= len(sides) - 1 or all(
        isinstance(one, _VERDICTS) for one in sides
    )


def _names(node: nodes.Node, names: set[str]) -> bool:
    return isinstance(node, nodes.Name) and node.name in names


def _targets(node: nodes.Node) -> list[nodes.Name]:
    """The names a statement gives a value to."""
    if isinstance(node, nodes.Macro):
        return list(node.args)
    target = node.target  # type: ignore[attr-defined]
    return [target] if isinstance(target, nodes.Name) else list(target.find_all(nodes.Name))
