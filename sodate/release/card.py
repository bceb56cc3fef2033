"""The README.md that leaves the house with an export: what it is, what it was made of, how good it was, how to load it.

Everything in it is read from records: the version's manifest, the base's, reports that measured the version, and the
agreement of this very export.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sodate.core.text import tr


@dataclass(frozen=True, slots=True)
class Facts:
    """What a card is made of. `version` is a manifest, or None for a base model; `reports` are result documents by
    name; `notes` are sentences about this export alone."""

    name: str
    kind: str  # adapter, merged, gguf, gguf-lora, ollama
    format: str
    file: str  # the file or folder that is loaded
    base: str
    base_source: str
    licence: str | None
    version: Mapping[str, Any] | None
    agreement: Mapping[str, Any]
    hashes: Mapping[str, str]
    reports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()


def card(facts: Facts) -> str:
    """The card, in the reader's language, with the front matter that model hubs read."""
    parts = [_front(facts), f"# {facts.name}", _what(facts), _loading(facts), _data(facts), _metrics(facts)]
    parts += [_agreement(facts), _limits(facts), _files(facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(facts: Facts) -> str:
    library = {"adapter": "peft", "merged": "transformers"}.get(facts.kind, "gguf")
    lines = [
        "---",
        f"library_name: {library}",
        "pipeline_tag: text-generation",
        f"license: {facts.licence or 'unknown'}",
    ]
    base = facts.base_source if "/" in facts.base_source else facts.base  # a hub's id, if it came from one
    return "\n".join([*lines, f"base_model: {_quoted(base)}", "tags: [sodate]", "---"])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _what(facts: Facts) -> str:
    licence, source = facts.licence, "" if facts.base_source == facts.base else f" ({facts.base_source})"
    form = tr(f"Form: {facts.kind}, {facts.format}.", f"形式: {facts.kind}、{facts.format}")
    base = tr(f"Base: {facts.base}{source}. Licence of the base: {licence or 'not known'}; its text lies beside "
              "this file where the base brought one, and holds for what is made from it.",
              f"ベース: {facts.base}{source}。ベースのライセンス: {licence or '不明'}。"
              "ベースに付属するライセンス文書は同じ場所にあり、派生物にも適用されます。")  # fmt: skip
    if facts.version is None:
        return f"{form} {base}"
    recipe = facts.version["recipe"]
    code, day = facts.version.get("code", "?"), str(facts.version.get("created_at"))[:10]
    adapter, seed = facts.version.get("adapter", "full"), recipe.get("seed")
    made = tr(f"Trained by sodate {code} on {day}: method {recipe['method']}, adapter {adapter}, seed {seed}.",
              f"sodate {code} で {day} に学習: {recipe['method']}、アダプター {adapter}、シード {seed}")  # fmt: skip
    return f"{form} {base}\n\n{made}"


def _loading(facts: Facts) -> str:
    said = {
        "adapter": (
            "```python\nfrom peft import PeftModel\n"
            "from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig\n\n"
            f'folder, base = ".", "BASE"  # {facts.base}\n'
            'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype="float32"), folder)\n'
            "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
            "settings = GenerationConfig.from_pretrained(folder)  # where a reply ends\n```"
        ),
        "merged": (
            "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            'model = AutoModelForCausalLM.from_pretrained(".")\ntokenizer = AutoTokenizer.from_pretrained(".")\n```'
        ),
        "gguf": f"```sh\nllama-server --model {facts.file} --jinja\n```",
        "gguf-lora": (
            f"```sh\nsodate export {facts.base} --to gguf --format f32 --out base\n"
            f"llama-server --model base/*.gguf --lora {facts.file} \\\n"
            "  --jinja --chat-template-file chat_template.jinja\n```"
        ),
        "ollama": f"```sh\nollama create {facts.name.partition('@')[0]} -f Modelfile\n```",
    }[facts.kind]
    return tr("## How to load it", "## 読み込み方") + "\n\n" + said


def _data(facts: Facts) -> str:
    if facts.version is None:
        return ""
    lines = []
    for name, about in (
        (tr("training data", "学習データ"), facts.version.get("data")),
        (tr("held out", "検証データ"), facts.version.get("eval")),
    ):
        if about:
            used, of, digest = about.get("rows_used"), about.get("rows_in"), about.get("sha256")
            counted = tr(f"{used} of {of} rows", f"{of} 行中 {used} 行")
            lines.append(f"- {name}: {counted}, SHA-256 `{digest}`")
    return tr("## Data", "## データ") + "\n\n" + "\n".join(lines)


def _metrics(facts: Facts) -> str:
    """Every measurement of this version that is still on disk, with its interval and against what it was compared."""
    if facts.version is None:
        return ""
    lines = []
    for name, report in facts.reports.items():
        mine = {given for given, exact in report["measured"].items() if exact == facts.name}
        for one in report["results"]:
            if one["model"] in mine:
                points = f"{100 * one['mean']:.1f} | {_interval(one['ci'])} | {report['n']}"
                lines.append(f"| {one['grader']} | {points} | {name} |")
        for one in report["comparisons"]:
            if one["candidate"] in mine:
                points = f"{100 * one['diff']:+.1f} | {_interval(one['ci'])} | {report['n']}"
                lines.append(f"| {one['grader']} − {one['baseline']} | {points} | {name}: {one['verdict']} |")
    if lines:
        head = tr("| grader | points of 100 | 95 % interval | items | report |",
                  "| 採点 | 点 (100 点満点) | 95% 信頼区間 | 件数 | レポート |")  # fmt: skip
        said = "\n".join([head, "|---|---:|---:|---:|---|", *lines])
    else:
        said = str(tr("No report on this machine measured this version: nothing is known of its quality.",
                      "このバージョンを測定したレポートはありません。品質は分かっていません。"))  # fmt: skip
    return tr("## Metrics", "## 評価") + "\n\n" + said


def _interval(ci: Sequence[float] | None) -> str:
    return "–" if ci is None else f"[{100 * ci[0]:.1f}, {100 * ci[1]:.1f}]"


def _agreement(facts: Facts) -> str:
    one = facts.agreement
    same = f"{100 * one['greedy_equal']:.0f} %"
    return (
        tr("## Agreement with the version", "## バージョンとの一致")
        + "\n\n"
        + tr(f"Loaded again by its own engine ({one['package']}) over {one['conversations']} conversations: token ids "
             f"identical; {same} of the greedy replies identical; KL of the next token {one['kl_mean']:.2g} nats on "
             f"average, {one['kl_max']:.2g} at most ({one['places']} places); it stops by itself.",
             f"実際に使うエンジン ({one['package']}) で読み込み直し、{one['conversations']} 件の会話で確認: "
             f"トークン ID はすべて一致。貪欲な返答の {same} が一致。KL は平均 {one['kl_mean']:.2g}、最大 "
             f"{one['kl_max']:.2g} ナット ({one['places']} か所)。返答は自分で終わります。")
    )  # fmt: skip


def _limits(facts: Facts) -> str:
    lines = [
        tr("It answers well, if at all, what resembles its training data. Measure it on your own rows first.",
           "うまく答えられるのは、学習データに似たものだけです。使う前に自分のデータで測ってください。"),
        tr("What users write is not guarded outside of sodate: control tokens spelled in a message become control "
           "tokens in most engines.",
           "sodate の外では利用者の入力は保護されず、多くのエンジンで、文中の制御トークンがそのまま働きます。"),
        *facts.notes,
    ]  # fmt: skip
    return tr("## Limits", "## 制限") + "\n\n" + "\n".join(f"- {line}" for line in lines)


def _files(facts: Facts) -> str:
    lines = [f"| `{name}` | `{digest}` |" for name, digest in facts.hashes.items()]
    return "\n".join([tr("| file | SHA-256 |", "| ファイル | SHA-256 |"), "|---|---|", *lines])
