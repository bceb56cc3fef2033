"""Templates that are not plain are rendered by another process, whose limits hold while this one goes on."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sodate.render import isolated, template
from sodate.render.template import TemplateError, compile_template
from tests import templates, tiny

# No loop runs long, and nothing is made that is large: one comparison of two lists that hold others many times over.
SHARED = (
    "{% set a = namespace(x=[1]) %}{% set b = namespace(x=[1]) %}{% for i in range(40) %}"
    "{% set a.x = [a.x, a.x] %}{% set b.x = [b.x, b.x] %}{% endfor %}{{ a.x == b.x }}"
)
LONG = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The sources that another process was asked about."""
    sources: list[str] = []
    ask = isolated.ask

    def told(request: dict[str, str], seconds: float) -> dict[str, str]:
        sources.append(request["source"])
        return ask(request, seconds)

    monkeypatch.setattr(isolated, "ask", told)
    compile_template.cache_clear()
    yield sources
    compile_template.cache_clear()


def test_templates_of_real_families_are_plain_and_stay_in_this_process(asked: list[str]) -> None:
    for source in (*templates.THINKING.values(), *templates.CALLING.values(), *tiny.TEMPLATES.values()):
        compile_template(source)
    assert asked == []


@pytest.mark.parametrize("text", [
    "{{ [x, [x]] }}", "{% set l = [x] %}{{ [l] }}", "{% set y = x %}{{ [y] }}", "{{ {'a': x} }}", "{{ x | sort }}",
    "{{ x | batch(2) }}", "{{ x | map('tojson') | list }}", "{{ x * 2 }}", "{{ 2 ** 3 }}", "{{ '%s' | format(x) }}",
    "{{ x.format(1) }}", "{{ range(3) }}", "{{ dict(a=x) }}", "{% macro m(p) %}{{ [p] }}{% endmacro %}{{ m(x) }}",
    "{% for a in x recursive %}{{ loop(a) }}{% endfor %}", "{{ x | unique | list }}", "{{ x.y() }}", "{{ x(1) }}",
    "{{ x.rsplit(y) }}", "{{ x.strip(y) }}", "{{ x.lstrip(y) }}", "{{ x.rstrip('" + "ab" * 40 + "') }}",
    "{{ x | trim('" + "ab" * 40 + "') }}", "{{ x }}" + " " * 100_000,
])  # fmt: skip
def test_what_could_take_long_in_one_step_is_not_plain(text: str, asked: list[str]) -> None:
    compile_template(text)
    assert asked == [text]


def test_both_ways_give_the_same_text() -> None:
    variables = {"messages": [{"role": "user", "content": "日本 <b>"}], "tools": None, "add_generation_prompt": True}
    for source in (tiny.CHATML, "{{ messages | map('tojson') | list | sort | join }} {{ strftime_now('%Y') }}"):
        assert compile_template(source)(**variables) == template.compile_here(source)(**variables)


@pytest.mark.parametrize("source", [SHARED, LONG])
def test_the_deadline_holds_and_the_rest_of_the_process_goes_on(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    render = compile_template(source)
    compile_template("{{ [[1]] }}")()  # a worker is there
    monkeypatch.setattr(template, "MAX_SECONDS", 1.0)
    ended = threading.Event()
    longest = 0.0

    def watch() -> None:
        nonlocal longest
        last = time.monotonic()
        while not ended.wait(0.005):
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        began = time.monotonic()
        with pytest.raises(TemplateError, match="longer than 1 s"):
            render()
        took = time.monotonic() - began
        ended.set()
        watching.result()
    assert took < 1.2 + 0.3  # a fifth, and some for a machine that is busy with other things
    assert longest < 0.5  # blocked in this process it would be all of it
    assert compile_template("{{ [[2]] }}")() == "[[2]]"  # the next one has a new worker


def test_memory_has_a_ceiling_and_the_next_template_is_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "MEMORY", 64 << 20)
    idle: list[isolated.Worker] = []
    monkeypatch.setattr(isolated, "_idle", idle)
    compile_template.cache_clear()
    try:
        with pytest.raises(TemplateError, match="more memory than there is"):
            compile_template("{% set a = 'a' * 90000000 %}{{ a | length }}")()
        assert compile_template("{{ [[3]] }}")() == "[[3]]"
    finally:
        for worker in idle:
            isolated._end(worker)


def test_a_worker_that_was_killed_is_followed_by_another_and_few_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    idle: list[isolated.Worker] = []
    monkeypatch.setattr(isolated, "_idle", idle)
    monkeypatch.setattr(template, "MAX_SECONDS", 0.3)
    render, soon = compile_template(SHARED), compile_template("{{ [[1]] }}")
    try:
        with ThreadPoolExecutor(6) as pool:
            assert [one.result() for one in [pool.submit(soon) for _ in range(12)]] == ["[[1]]"] * 12
            assert 0 < len(idle) <= isolated.KEPT
        while len(idle) > 1:
            isolated._end(idle.pop())
        killed = idle[0].process
        with pytest.raises(TemplateError, match="longer than"):
            render()
        assert [one.process.poll() for one in idle] == [None] and idle[0].process is not killed
    finally:
        for worker in idle:
            isolated._end(worker)


def test_a_worker_is_asked_however_many_files_are_open() -> None:
    """select(2) knows no descriptor above 1023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with ThreadPoolExecutor(2) as pool:  # two at once: one of them starts a worker of its own
            render = compile_template("{{ [[4]] }}")
            assert [one.result() for one in [pool.submit(render) for _ in range(4)]] == ["[[4]]"] * 4
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_two_renders_at_once_do_not_share_what_they_may_make(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "MAX_MADE", 10_000)
    sources = ["{% for m in l %}{% set x = m ~ text %}{% endfor %}done", "{% for m in l %}{% set x = [[m ~ text]] %}"]
    sources[1] += "{% endfor %}done"
    for source in sources:  # each makes 7 000 characters
        render = compile_template(source)
        with ThreadPoolExecutor(4) as pool:
            made = [pool.submit(render, l=["a"] * 70, text="b" * 99) for _ in range(8)]
            assert [one.result() for one in made] == ["done"] * 8


def test_a_source_that_does_not_compile_says_so_wherever_it_is_compiled() -> None:
    for source in ("{% if %}", "{{ x | nofilter }}", "{{ [[1]] | nofilter }}"):
        with pytest.raises(TemplateError, match="does not compile"):
            compile_template(source)
