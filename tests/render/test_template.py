"""Chat templates as programs from strangers: what they may make, and what stops them."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from sodate.render.template import TemplateError, compile_template

DOUBLED = "{% set ns = namespace(x='aaaaa') %}{% for i in range(TIMES) %}STEP{% endfor %}{{ ns.x | length }}"
STEPS = {
    "tilde": "{% set ns.x = ns.x ~ ns.x %}",
    "plus": "{% set ns.x = ns.x + ns.x %}",
    "times": "{% set ns.x = ns.x * 2 %}",
    "percent": "{% set ns.x = '%s%s' % (ns.x, ns.x) %}",
    "format": "{% set ns.x = '{0}{0}'.format(ns.x) %}",
    "join": "{% set ns.x = ''.join([ns.x, ns.x]) %}",
    "filter": "{% set ns.x = [ns.x, ns.x] | join %}",
    "replace": "{% set ns.x = ns.x | replace('a', 'aa') %}",
    "block": "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}",
    "macro": "{% macro twice(s) %}{{ s }}{{ s }}{% endmacro %}{% set ns.x = twice(ns.x) %}",
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sodate.render.template.MAX_MADE", 10_000)


@pytest.mark.parametrize("step", STEPS)
def test_a_text_may_double_until_too_much_was_made(step: str, small: None) -> None:
    # 5 characters doubled n times are 10 + 20 + … = 10 (2ⁿ - 1) on the way: 1270 by n = 7, over 10 000 by n = 10.
    source = DOUBLED.replace("STEP", STEPS[step])
    assert compile_template(source.replace("TIMES", "4"))() == "80"
    with pytest.raises(TemplateError, match="over 10000 bytes"):
        compile_template(source.replace("TIMES", "40"))()


def test_what_was_made_is_added_up(small: None) -> None:
    hoard = "{% set ns = namespace(x='a' * 100) %}{% for i in range(TIMES) %}{% set ns.y = EACH %}{% endfor %}done"
    for each in ("ns.x ~ 'b'", "ns.x + 'b'", "ns.x | upper", "ns.x.upper()", "ns.x[1:]", "ns.x | list"):
        source = hoard.replace("EACH", each)
        assert compile_template(source.replace("TIMES", "10"))() == "done"  # 10 × about 100, 200 or 800
        with pytest.raises(TemplateError, match="over 10000 bytes"):
            compile_template(source.replace("TIMES", "200"))()


@pytest.mark.parametrize("text", [
    "'a'.ljust(N)", "'a'.rjust(N)", "'a'.center(N)", "''.zfill(N)", "'\t'.expandtabs(tabsize=N)",
    "('a' | safe).ljust(N)", "'a' | center(N)", "'a\nb' | indent(N)", "'%Nd' % 1", "'%.Nf' % 1.0", "'%Nd' | format(1)",
    "'{:N}'.format(1)", "'%*d' % (N, 1)", "'{:{}}'.format(1, N)", "'{a:{b}}'.format_map({'a': 1, 'b': N})",
    "'a' * N", "[0] * N", "(b | list) * N", "b.replace('a', b)", "b | replace('', b)", "b | replace(new=b, old='a')",
    "b.join(b)", "b | join(b)", "('%(a)s' * 9999) % {'a': b}", "('{0}' * 9999).format(b)", "b | indent(b)",
    "b.translate({97: b})", "[[]] | tojson(indent=N)", "1 .to_bytes(N, 'big')", "[b] | batch(N, b) | list",
    "[1] | slice(N) | list", "lipsum(N)", "[range(99999) | list] * 999 | sum(start=[])", "2.5 | round(N, 'ceil')",
    "strftime_now('%Y' * 9999999)",
])  # fmt: skip
def test_nothing_is_begun_that_could_be_too_long(text: str) -> None:
    render = compile_template(f"{{% set b = 'a' * 99999 %}}{{{{ ({text}) | length }}}}".replace("N", "1500000000"))
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError):
            render()
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("use", [
    "{{ ns.x }}", "{{ ns.x ~ '' }}", "{{ ns.x | string }}", "{{ ns.x | tojson }}", "{{ ns.x | join }}",
    "{{ '%s' % ns.x }}", "{{ '{}'.format(ns.x) }}", "{{ ns.x | upper }}",
])  # fmt: skip
def test_a_list_that_holds_itself_many_times_over_is_longer_than_it_looks(use: str, small: None) -> None:
    source = (
        "{% set ns = namespace(x=['a']) %}{% for i in range(TIMES) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}" + use
    )
    assert compile_template(source.replace("TIMES", "2"))().lower().count("a") == 4
    with pytest.raises(TemplateError, match="over 10000 bytes"):
        compile_template(source.replace("TIMES", "40"))()


def test_json_as_deep_as_it_is_indented_is_counted_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sodate.render.template.MAX_MADE", 1_000_000)
    nested = "{% set ns = namespace(x=[]) %}{% for i in range(N) %}{% set ns.x = [ns.x] %}{% endfor %}"
    render = compile_template(nested.replace("N", "3") + "{{ ns.x | tojson(indent=50) }}")
    assert len(render()) == 8 + 6 + 2 * (50 + 100) + 150  # brackets, line ends, two indents a level but the last
    render = compile_template(nested.replace("N", "300") + "{{ ns.x | tojson(indent=50) | length }}")
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError, match="over 1000000 bytes"):
            render()
        assert tracemalloc.get_traced_memory()[1] < 5_000_000  # 3.2 MB with the nested lists; 9 MB if it were made
    finally:
        tracemalloc.stop()


TWICE = "{% for a in l %}{% for b in l %}BODY{% endfor %}{% endfor %}"


@pytest.mark.parametrize(("source", "most"), [
    ("{{ " + "+".join(["x"] * 200) + " }}", 3_000_000),
    ("{% set y = x | safe %}{{ " + "+".join(["y"] * 200) + " }}", 4_000_000),
    ("{% set y %}" + TWICE.replace("BODY", "{% if l %}a{% endif %}") + "{% endset %}", 3_000_000),
    ("{% set y %}" + TWICE.replace("BODY", "a{{ '' }}") + "{% endset %}", 3_000_000),
    ("{% macro m() %}" + TWICE.replace("BODY", "{{ none }}") + "{% endmacro %}{{ m() }}", 3_000_000),
    (TWICE.replace("BODY", "{{ x }}"), 9_000_000),
    ("{{ wide.replace('あ', many) }}", 2_500_000),
])  # fmt: skip
def test_what_is_put_together_of_many_pieces_is_bounded_on_the_way(
    source: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain template is rendered in this process: what it holds is ours."""
    monkeypatch.setattr("sodate.render.template.MAX_MADE", 1_000_000)
    monkeypatch.setattr("sodate.render.template.MAX_CHARS", 1_000_000)
    render = compile_template(source)
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError, match=r"over 1000000 (bytes|characters)"):
            render(x="x" * 50_000, l=[1] * 2_000, wide="あ" * 10, many="い" * 40_000)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", [
    "x.split()", "x.split('a')", "x.split(maxsplit=9999999)", "x.rsplit('a')", "x.splitlines()", "x | list",
    "x | map('upper') | list", "x | map('upper') | join", "''.join(x | map('upper'))",
])  # fmt: skip
def test_no_list_is_made_that_is_too_long_for_one(text: str) -> None:
    render = compile_template(f"{{{{ ({text}) | length }}}}")
    assert render(x="a \n" * 100).isdigit()
    tracemalloc.start()
    try:
        with pytest.raises(TemplateError, match="a list of over 100000 items"):
            render(x="a \n" * 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert compile_template("{{ x.split(' ', 1) }}{{ x.rsplit(' ', maxsplit=1) }}{{ x.split(sep='b') }}")(
        x="a b c"
    ) == ("['a', 'b c']['a b', 'c']['a ', ' c']")


@pytest.mark.parametrize("source", [
    "{% if 'b' in l %}{% endif %}" * 900, "{{ l" + " | map('trim')" * 40 + " | list | length }}",
    "{% for a in l | map('trim') | select('string') %}{% endfor %}" * 400,
])  # fmt: skip
def test_the_clock_is_looked_at_within_every_step(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is a second further at each look: a thousand looks and more, where there were a few."""
    looks = iter(range(10**9))
    monkeypatch.setattr("sodate.render.template.time.monotonic", lambda: float(next(looks)))
    monkeypatch.setattr("sodate.render.template.MAX_SECONDS", 500.0)
    with pytest.raises(TemplateError, match="longer than 500 s"):
        compile_template(source)(l=["a"] * 1_000)


class Hungry:
    def __str__(self) -> str:
        raise MemoryError


@pytest.mark.parametrize(("source", "why"), [
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "refused: it calls itself without end"),
    ("{{ " + "(" * 9000 + "1" + ")" * 9000 + " }}", "not compile: it calls itself without end, or is nested too deep"),
    ("{% for a in b %}" * 25 + "{% endfor %}" * 25, "not compile: too many statically nested blocks"),
    ("{{ hungry }}", "refused: it needs more memory than there is"),
    ("{{ 1 // 0 }}", "refused: .*zero"), ("{{ '{1}'.format(1) }}", "refused: .*index"), ("{{ 1e999 * 2 }}", "refused"),
    ("{% set ns = namespace(x=9) %}{% for i in range(40) %}{% set ns.x = ns.x * ns.x %}{% endfor %}", "too large"),
])  # fmt: skip
def test_however_a_template_fails_it_is_the_templates_error(source: str, why: str) -> None:
    with pytest.raises(TemplateError, match=why):
        compile_template(source)(**({"hungry": Hungry()} if "hungry" in source else {}))


@pytest.mark.parametrize(("text", "given"), [
    ("'a' + 'b' + ('c' + 'd') + 'e' ~ 1", "abcde1"), ("1 + 2 * 3 - (4 + 5)", "-2"), ("-1 + (2 if x else 3) + 4", "6"),
    ("[1] + [2, x]", "[1, 2, None]"), ("'ab' * 2 + 'c'", "ababc"), ("7 % 4 + 2 ** 3", "11"),
    ("2.5 * 1700000000", "4250000000.0"), ("'%s%s' | format('a', 1)", "a1"),
    ("'%s is %5.1f%% of {%d}' % ('a', 2.25, 1700000000)", "a is   2.2% of {1700000000}"),
    ("'{{{}}}: {:>4}'.format(1700000000, 'b')", "{1700000000}:    b"), ("'a-b'.replace('-', '+', 1)", "a+b"),
    ("'7'.zfill(3) + 'a'.ljust(2) + 'b'.center(3)", "007a  b "), ("['a', 1, x] | join('-')", "a-1-None"),
    ("messages | map(attribute='role') | join(',')", "user,tool"),
    ("messages | join(',', attribute='role')", "user,tool"),
    ("','.join(messages | map(attribute='role'))", "user,tool"), ("messages | length + 1", "3"),
    ("'a\nb' | indent(2, true)", "  a\n  b"), ("[1, 2.5] | sum", "3.5"), ("[[1], [2]] | sum(start=[])", "[1, 2]"),
    ("messages[1:] | tojson", '[{"role": "tool"}]'), ("[1] | tojson(indent=2)", "[\n  1\n]"),
    ("{'é': 1} | tojson", '{"é": 1}'), ("[1, 2] | tojson(separators=(',', ':'))", "[1,2]"),
    ("'<' | safe + '<'", "<&lt;"), ("'a-b' | replace(old='-', new='+')", "a+b"),
    ("'abc'[::-1] + 'abc'[1] + messages[0].role", "cbabuser"), ("missing ~ 'a' ~ true ~ [1]", "aTrue[1]"),
])  # fmt: skip
def test_all_else_gives_what_jinja_gives(text: str, given: str) -> None:
    assert compile_template(f"{{{{ {text} }}}}")(x=None, messages=[{"role": "user"}, {"role": "tool"}]) == given


def test_long_conversations_are_no_attack() -> None:
    text = "w " * 500_000
    cases: list[tuple[str, Any]] = [
        ("text.replace('w', 'ww').find(' ', 999_999)", 1_000_001), ("(text ~ text) | length", 2_000_000),
        ("text.strip().split(' ', 3) | length", 4), ("(text | truncate(500_000, true)) | length", 500_000),
        # One place for a long text, in a long text.
        ("(text ~ '{tools}').replace('{tools}', text) | length", 2_000_000), ("('<%s>' % text) | length", 1_000_002),
        ("'<{}>'.format(text) | length", 1_000_002), ("([text, text] | join('\n')) | length", 2_000_001),
    ]  # fmt: skip
    for expression, wanted in cases:
        assert compile_template(f"{{{{ {expression} }}}}")(text=text) == str(wanted)


def test_a_macros_arguments_may_have_any_name() -> None:
    source = "{% macro m(context, obj) %}{{ context }}{{ obj }}{% endmacro %}{{ m(context=1, obj=2) }}"
    assert compile_template(source)() == "12"
