"""What `import sodate` offers: a change here is a change for everybody who wrote a program against it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import metadata

import sodate

VERBS = {
    "check": "(files, *, against, model, columns, encoding, max_length)",
    "decide": "(model, data, *, options, calibrate, promise, columns, encoding, limit, on_problem)",
    "evaluate": "(models, data, graders, *, baseline, limit, shots, columns, encoding, cluster, slices, margin, "
    "max_new_tokens, batch_size, seed, title, replay, on_event)",
    "harmful": "(version, against, *, columns, encoding, top)",
    "export": "(name, *, to, out, format)",
    "load": "(name, *, device, dtype)",
    "load_reward": "(name, *, device, dtype)",
    "merge": "(name, *, into, data, dtype, device)",
    "pull": "(name, revision, *, on_progress, wait)",
    "resume": "(run, *, on_event)",
    "train": "(recipe, *, on_event, **keys)",
    "verifying": "()",
    "why": "(version, prompt, *, reply, system, top)",
}
KINDS = {"Message", "Recipe", "Sampling", "SodateError", "UsageError"}


def names(function: object) -> str:
    """The parameters without their types and defaults."""
    parts: list[str] = []
    for parameter in inspect.signature(function).parameters.values():  # type: ignore[arg-type]
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        parts.append(f"**{parameter.name}" if parameter.kind is parameter.VAR_KEYWORD else parameter.name)
    return f"({', '.join(parts)})"


def test_the_surface_is_these_names_and_no_others() -> None:
    assert set(sodate.__all__) == {*VERBS, *KINDS, "__version__"} <= set(dir(sodate))
    assert sodate.__version__ == metadata.version("sodate")
    assert all(inspect.isclass(getattr(sodate, name)) for name in KINDS)


def test_every_verb_takes_at_least_what_it_took() -> None:
    for verb, before in VERBS.items():
        wanted = [name for name in before.strip("()").split(", ") if name != "*"]
        now = names(getattr(sodate, verb)).strip("()").split(", ")
        assert [name for name in now if name in wanted] == wanted, verb


def test_a_type_costs_no_torch_and_an_unknown_name_is_an_attribute_error() -> None:
    code = (
        "import sys, sodate\nfrom sodate import Message, Sampling, SodateError\n"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)\nassert not hasattr(sodate, 'reticulate')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_a_room_does_not_hide_a_verb() -> None:
    import sodate.train.loop
    from sodate.train.loop import Plan  # noqa: F401

    assert callable(sodate.train)
