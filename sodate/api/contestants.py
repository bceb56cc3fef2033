"""Who answers in an evaluation: the models that were named, and the baselines beside them.

A tuned version says little alone. Beside it stand its base model, the base with a prompt, and with examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sodate.core.errors import UsageError
from sodate.core.paths import is_file, refusal
from sodate.core.text import blank, en, ja, tr
from sodate.core.types import Conversation, Message, Preference
from sodate.data.datasets import located
from sodate.evaluate.run import with_prompt, with_shots
from sodate.release.lookup import is_known
from sodate.release.registry import find_version

SHOTS = 3  # examples that are taken of a version's own training rows


@dataclass(frozen=True, slots=True)
class Contestant:
    """`name` in the report; `model` answers, with `shots` as turns before the prompt and `system` in place of its own
    system turn."""

    name: str
    model: str
    shots: tuple[Message, ...] = ()
    system: str = ""

    def asked(self, prompt: Sequence[Message]) -> list[Message]:
        """The prompt of a row as this contestant gets it."""
        head = [m for m in prompt[:1] if m.role == "system"]
        rest = prompt[len(head) :]
        first = [Message("system", self.system)] if self.system else head
        return [*first, *self.shots, *rest]


@dataclass(frozen=True, slots=True)
class Field:
    """All contestants, those of one model together, the names of the baselines, and what of the baselines that a tuned
    version should have is not there."""

    contestants: list[Contestant]
    baselines: list[str]
    missing: list[str] = field(default_factory=list)


def field_of(
    names: Sequence[str],
    elsewhere: Sequence[str],
    baseline: str | None,
    *,
    shots: str | Path | None = None,
    prompt: str | Path | None = None,
    baselines: bool | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> Field:
    """The contestants. `baselines` brings the first version's base model and, where its training rows are still there,
    the base with three of them as examples; `shots` are a file of others, `prompt` a system prompt or a file of one.
    None does so where a version would stand alone.

    UsageError for shots or a prompt without a model as the baseline, and for files that hold none.
    """
    alone = len(set(names)) == 1 and not elsewhere
    wanted, base = alone if baselines is None else baselines, _base(names)
    below = base if wanted and baseline is None else None
    chosen = baseline or below or [*names, *elsewhere][0]
    asked = [name for name in dict.fromkeys([*([] if below else [chosen]), *names, chosen]) if name not in elsewhere]
    found = {name: [Contestant(name, name)] for name in asked}
    extra = []
    if (shots is not None or prompt is not None) and chosen in elsewhere:
        option = "shots" if shots is not None else "prompt"
        raise UsageError(
            tr(f"--{option} needs a model as the baseline.",
               f"--{option} には、比較の基準となるモデルが必要です。"),
            code="bad_value", param=option,
        )  # fmt: skip
    if prompt is not None:
        extra.append(Contestant(with_prompt(chosen), chosen, system=_prompt(prompt)))
    examples = examples_in(located(shots), columns, encoding) if shots is not None else ()
    if not examples and wanted and chosen == base:
        examples = _of_training(names)
    if examples:
        count = sum(m.role == "assistant" and m.weight != 0 for m in examples)
        extra.append(Contestant(with_shots(chosen, count), chosen, shots=examples))
    if chosen in found:
        found[chosen] += extra
    missing = _missing(names, [*asked, *(one.name for one in extra)], extra)
    return Field([one for own in found.values() for one in own], [chosen, *(one.name for one in extra)], missing)


def _base(names: Sequence[str]) -> str | None:
    """The base model of the first version among the models, if it is here."""
    versions = [version for name in names if (version := find_version(name)) is not None]
    base = str(versions[0].manifest["base"]) if versions else ""
    return base if base and is_known(base) else None


def _of_training(names: Sequence[str]) -> tuple[Message, ...]:
    """The first rows that the first version was trained on, as turns; none where they are gone or are no such rows."""
    version = next((version for name in names if (version := find_version(name)) is not None), None)
    files = version.manifest["recipe"].get("data") if version is not None else None
    for file in [files] if isinstance(files, str) else files or []:
        if Path(file).is_file():
            try:
                return examples_in(Path(file), None, None, SHOTS)
            except UsageError:
                continue
    return ()


def _missing(names: Sequence[str], there: Sequence[str], extra: Sequence[Contestant]) -> list[str]:
    """Which baselines a version among the models was not measured beside, in words."""
    version = next((version for name in names if (version := find_version(name)) is not None), None)
    if version is None:
        return []
    base = str(version.manifest["base"])
    gone = []
    if base not in there:
        gone.append(tr(f"its base model ({base})", f"ベースモデル ({base})"))
    if not any(one.system for one in extra):
        gone.append(tr("the base with its best prompt (--prompt; sodate ladder finds one)",
                       "ベースモデルに最良のプロンプトを付けたもの (--prompt。sodate ladder で探せます)"))  # fmt: skip
    if not any(one.shots for one in extra):
        gone.append(tr("the base with examples (--shots)", "ベースモデルに例を入れたもの (--shots)"))
    if not gone:
        return []
    said = tr(", ", "、").join(gone)
    way = tr(" --baselines brings it.", "--baselines で加わります。") if base not in there else tr("", "")
    return [tr(f"Not measured beside {version.id}: {en(said)}.{en(way)}",
               f"{version.id} と並べて測っていないもの: {ja(said)}。{ja(way)}")]  # fmt: skip


def _prompt(given: str | Path) -> str:
    """A system prompt: the text of a file, or the text itself."""
    path = Path(given)
    try:
        text = path.read_text("utf-8-sig") if is_file(path) else str(given)
    except (OSError, UnicodeDecodeError) as error:
        why = refusal(error)
        raise UsageError(
            tr(f"{path} cannot be read: {en(why)}.", f"{path} を読めません: {ja(why)}"),
            code="file_unreadable", param="prompt", file=path,
        ) from None  # fmt: skip
    if blank(text):
        raise UsageError(tr("The prompt is empty.", "プロンプトが空です。"), code="bad_value", param="prompt")
    return text.strip()


def examples_in(
    path: Path, columns: Mapping[str, str] | None, encoding: str | None, most: int | None = None
) -> tuple[Message, ...]:
    """The rows of a file (the first `most`), up to the last wanted reply of each, as turns before a prompt; without
    their system turns."""
    from sodate.data.check import check

    checked = check([path], columns=columns, encoding=encoding)
    found = (e.lesson if isinstance(e, Preference) else e for e in checked.iter_examples())
    examples = [e for e in found if isinstance(e, Conversation)][:most]
    if not examples:
        raise UsageError(
            tr(f"{path} has no conversation to show as an example.", f"{path} には例に使える会話がありません。"),
            tr("--shots wants rows with a reply, as for training.",
               "--shots には、学習用と同じ返答つきの行を指定してください。"),
            code="wrong_rows", param="shots", file=path,
        )  # fmt: skip
    return tuple(m for e in examples for m in (*e.prompt, e.reply) if m is not None and m.role != "system")
