r"""Regular expressions as ECMA-262 writes them (with its `u` flag): the language of JSON Schema's patterns.

`\d` is 0 to 9, `\w` is ASCII, `$` is the very end, `.` is no line end. A pattern is rewritten for Rust's `fancy-regex`,
the engine inside `jsonschema_rs`: a search takes time in proportion to the text, or has a limit of steps where it looks
around or back. What only other languages know (`\A`, `\Z`, `(?P<n>…)`, `(?i)`) is refused with what to write instead.
"""

from __future__ import annotations

import re

Ranges = list[tuple[int, int]]  # of code points, both ends included, in order

LAST = 0x10FFFF
_LINE_ENDS: Ranges = [(0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)]
_CLASSES: dict[str, Ranges] = {
    "d": [(0x30, 0x39)],
    "w": [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
    "s": [
        (0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
        (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF),
    ],
}  # fmt: skip
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}

_ESCAPE = (
    r"\\(?:[dDwWsSbB]|[tnvfr]|c[A-Za-z]|0(?!\d)|x[0-9A-Fa-f]{2}|k<(?!\d)[\w$]+>|[1-9]\d{0,2}|[^0-9A-Za-z]"
    r"|u[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2}|u(?![Dd][89A-Fa-f])[0-9A-Fa-f]{4}"
    r"|u\{0*(?:10|[0-9A-Fa-f])?[0-9A-Fa-f]{1,4}\}|[pP]\{[A-Za-z_]+(?:=[A-Za-z_0-9]+)?\})"
)
_TOKEN = re.compile(
    rf"(?P<escape>{_ESCAPE})"
    r"|(?P<open>\((?:(?!\?)|\?(?:[:=!]|<[=!]|<(?!\d)[\w$]+>|(?=[ims-]+:)[ims]*(?:-[ims]+)?:)))"
    r"|(?P<close>\))"
    r"|(?P<class>\[(?:\\.|[^\]\\])*\])"
    r"|(?P<many>[*+?]\??|\{\d{1,4}(?:,\d{0,4})?\}\??)"
    r"|(?P<plain>\{(?![\d,]*\})|[^\\()\[*+?{])",
    re.DOTALL,
)
_NAMES = re.compile(r"\\.|\[(?:\\.|[^\]\\])*+\]?|(\((?!\?)|\(\?<((?!\d)[\w$]+)>)", re.DOTALL)
# How ECMA says what people write who have another language in mind.
_INSTEAD = (
    (r"\(\?P<", "(?<name>…)"), (r"\(\?P=", r"\k<name>"), (r"\(\?[a-z]+\)", "(?i:…)"), (r"\\A", "^"), (r"\\[zZ]", "$"),
    (r"\\h", r"[ \t]"), (r"\{,\d", "{0,n}"),
)  # fmt: skip


class NotEcmaError(ValueError):
    """The pattern is not ECMA-262's; the message names the place, and `instead` is what to write, or ""."""

    def __init__(self, pattern: str, place: int) -> None:
        here = pattern[place : place + 6]
        super().__init__(f"{here!r} at character {place + 1}" if here else "a bracket is not closed")
        self.instead = next((said for form, said in _INSTEAD if re.match(form, pattern[place:])), "")


def translate(pattern: str) -> str:
    """`pattern` as the engine writes it. Raises NotEcmaError; what else the engine refuses it says itself."""
    names = [match[2] or "" for match in _NAMES.finditer(pattern) if match[1]]
    known = {str(number) for number in range(1, len(names) + 1)} | set(names)
    out: list[str] = []
    open_groups: list[tuple[str, str, int]] = []  # how each began, the flags outside it, its number or 0
    count, finished = 0, dict[str, int]()
    flags, place, repeatable = "", 0, False
    while place < len(pattern):
        match = _TOKEN.match(pattern, place)
        if match is None or (match["many"] and not repeatable) or (match["close"] and not open_groups):
            raise NotEcmaError(pattern, place)
        repeatable = not match["many"]
        if opened := match["open"]:
            captures = opened == "(" or opened.endswith(">")
            count += captures
            open_groups.append((opened, flags, count if captures else 0))
            flags = _flags(opened, flags)
            out.append(_opening(opened, flags))
            repeatable = False
        elif match["close"]:
            opened, flags, number = open_groups.pop()
            if number:
                finished |= {str(number): number, names[number - 1]: number}
            repeatable = opened not in ("(?=", "(?!", "(?<=", "(?<!")
            out.append(")")
        elif match["class"]:
            out.append(_class(match["class"], pattern, place))
        elif escape := match["escape"]:
            if (escape[1] == "k" and escape[3:-1] not in known) or (
                escape[1] in "123456789" and escape[1:] not in known
            ):
                raise NotEcmaError(pattern, place)
            repeatable = escape not in (r"\b", r"\B")
            out.append(_escape(escape, finished))
        elif match["many"]:
            out.append(match["many"])
        else:
            repeatable = match[0] not in "^$|"
            out.append(_plain(match[0], flags))
        place = match.end()
    if open_groups:
        raise NotEcmaError(pattern, len(pattern))
    return "".join(out)


def _flags(opened: str, flags: str) -> str:
    """The flags inside a group: `(?i-s:` adds i and takes s away."""
    if not opened.endswith(":") or opened == "(?:":
        return flags
    added, _, removed = opened[2:-1].partition("-")
    return "".join(sorted((set(flags) | set(added)) - set(removed)))


def _opening(opened: str, flags: str) -> str:
    if opened.endswith(":"):  # `s` and `m` are in what . ^ and $ become
        return "(?i:" if "i" in flags else "(?-i:"
    return "(" if opened.endswith(">") else opened


def _others(ranges: Ranges) -> Ranges:
    """All characters outside `ranges`."""
    starts = [0, *(high + 1 for _, high in ranges)]
    ends = [*(low - 1 for low, _ in ranges), LAST]
    return [(low, high) for low, high in zip(starts, ends, strict=True) if low <= high]


def _literal(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and character.isalnum() else f"\\x{{{code:X}}}"


def _written(ranges: Ranges, negated: bool = False, *more: str) -> str:
    inner = [_literal(low) + (f"-{_literal(high)}" if high > low else "") for low, high in ranges]
    return f"[{'^' if negated else ''}{''.join(inner)}{''.join(more)}]"


def _plain(character: str, flags: str) -> str:
    if character == "^":
        return f"(?:^|(?<={_written(_LINE_ENDS)}))" if "m" in flags else "^"
    if character == "$":
        return f"(?:$|(?={_written(_LINE_ENDS)}))" if "m" in flags else "$"
    if character == ".":
        return _written([(0, LAST)] if "s" in flags else _others(_LINE_ENDS))
    return character if character == "|" else _literal(ord(character))


def _code(escape: str) -> int | None:
    """The character that an escape stands for; None for a class, a property, a border or a reference."""
    kind, rest = escape[1], escape[2:]
    if kind in _CONTROLS:
        return _CONTROLS[kind]
    if kind == "c":
        return ord(rest) % 32
    if kind in "xu":
        if "\\" in rest:
            high, low = (int(half, 16) for half in rest.split("\\u"))
            return 0x10000 + ((high - 0xD800) << 10) + low - 0xDC00
        return int(rest.strip("{}"), 16)
    if kind == "0":
        return 0
    return None if kind.isascii() and kind.isalnum() else ord(kind)


def _class_of(kind: str) -> Ranges:
    return _CLASSES[kind] if kind.islower() else _others(_CLASSES[kind.lower()])


def _escape(escape: str, finished: dict[str, int]) -> str:
    """An escape outside of brackets. `finished` are the groups that a reference may mean, by name and number."""
    kind = escape[1]
    if (code := _code(escape)) is not None:
        return _literal(code)
    if kind in "dDwWsS":
        return _written(_class_of(kind))
    if kind in "bB":
        word = _written(_CLASSES["w"])
        after, before = f"(?<={word})", f"(?={word})"
        not_after, not_before = f"(?<!{word})", f"(?!{word})"
        return (
            f"(?:{after}{not_before}|{not_after}{before})"
            if kind == "b"
            else f"(?:{after}{before}|{not_after}{not_before})"
        )
    if kind in "pP":
        return escape
    number = finished.get(escape[3:-1] if kind == "k" else escape[1:], 0)
    return f"(?:\\{number})" if number else "(?:)"  # of a group that has not matched yet: nothing


_MEMBER = re.compile(rf"{_ESCAPE}|[^\\]", re.DOTALL)


def _class(text: str, pattern: str, place: int) -> str:
    r"""A class in brackets. `[]` matches nothing and `[^]` anything; a hyphen beside a class such as `\d` is itself."""
    negated = text.startswith("[^")
    body, at = text[2 if negated else 1 : -1], 0
    members: list[int | str] = []
    while at < len(body):
        match = _MEMBER.match(body, at)
        if match is None or (match[0][0] == "\\" and match[0][1] in "Bk123456789"):
            raise NotEcmaError(pattern, place)
        at = match.end()
        code = ord(match[0]) if match[0][0] != "\\" else 8 if match[0] == r"\b" else _code(match[0])
        members.append(match[0] if code is None or match[0] == "-" else code)
    ranges: Ranges = []
    properties: list[str] = []
    at = 0
    while at < len(members):
        first, then, last = (*members[at : at + 3], "", "")[:3]
        at += 1
        if isinstance(first, int) and then == "-" and isinstance(last, int):
            if first > last:
                raise NotEcmaError(pattern, place)
            ranges.append((first, last))
            at += 2
        elif isinstance(first, int) or first == "-":
            code = first if isinstance(first, int) else ord("-")
            ranges.append((code, code))
        elif first[1] in "pP":
            properties.append(first)
        else:
            ranges += _class_of(first[1])
    if not ranges and not properties:
        return _written([(0, LAST)], not negated)
    return _written(ranges, negated, *properties)
