"""What is fuzzed: bytes in, and a value or an error that a person can mend out. Anything else is a finding."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sodate.adapt import files as adapter_files
from sodate.core.errors import SodateError
from sodate.core.types import Message
from sodate.core.yaml_files import yaml_value
from sodate.data import read
from sodate.data.ledger import Problem
from sodate.grade import parse_grader
from sodate.grade.base import Case
from sodate.grade.schemas import read_schema
from sodate.grade.structured import NotJsonError, read_json
from sodate.library import checks, convert, gguf_file
from sodate.render import template
from tests import templates, tiny

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True, slots=True)
class Target:
    """`run` takes an input and a folder to write in. `corpus` are inputs to begin with, `words` what it is made of."""

    run: Callable[[bytes, Path], None]
    corpus: tuple[bytes, ...]
    words: tuple[bytes, ...]


class Unforeseen(Exception):
    """A row was set aside for a reason that nobody thought of."""


def _read_all(rows: Iterable[Any]) -> None:
    for row in rows:
        if isinstance(row, Problem):
            str(row.message)
            if row.code == "unforeseen":
                raise Unforeseen(str(row.message))


def _json(data: bytes, folder: Path) -> None:
    for source in (read._jsonl, read._json):
        _read_all(source(io.BufferedReader(io.BytesIO(data)), "rows", "utf-8"))  # type: ignore[arg-type]


def _csv(data: bytes, folder: Path) -> None:
    for delimiter in ",\t":
        _read_all(read._table(io.BufferedReader(io.BytesIO(data)), "rows", delimiter, "utf-8"))  # type: ignore[arg-type]


def _rows(data: bytes, folder: Path) -> None:
    """A whole file: what kind it is, its encoding, whether it is packed."""
    for name in ("rows.csv", "rows.jsonl", "rows.json.gz"):
        (folder / name).write_bytes(data)
        try:
            _read_all(read.read_rows(folder / name))
        except SodateError as error:
            str(error)


def _gguf(data: bytes, folder: Path) -> None:
    (folder / "model.gguf").write_bytes(data)
    convert.refuse_unfaithful(gguf_file.read_gguf(folder / "model.gguf"))


def _safetensors(data: bytes, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(data)
    checks.read_shapes(folder / "model.safetensors")


_MESSAGES = [
    {"role": "system", "content": "S"}, {"role": "user", "content": "日本 <b>"},
    {"role": "assistant", "content": "a", "tool_calls": [{"function": {"name": "f", "arguments": {"x": [1, None]}}}]},
]  # fmt: skip


def _template(data: bytes, folder: Path) -> None:
    render = template.compile_template(data.decode("utf-8", "replace"))
    render(messages=_MESSAGES, tools=[], add_generation_prompt=True, bos_token="<s>", eos_token="</s>")


def _schema(data: bytes, folder: Path) -> None:
    try:
        document = read_json(data.decode("utf-8", "replace"))
    except NotJsonError:
        return
    schema = read_schema(document, "schema.json")
    for value in (None, 1e308, 10**30, "a" * 30, "2026-01-31", [1, 1, {"a": []}], {"a": {"a": "x"}, "b": 1}):
        "".join(map(str, schema.problems(value)))


_ADAPTER = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"],
    "bias": "none", "use_rslora": False, "use_dora": False, "inference_mode": True,
}  # fmt: skip
_BOTTLENECK = {"sodate_adapter": "bottleneck", "size": 16, "style": "pfeiffer"}


def _adapter(data: bytes, folder: Path) -> None:
    (folder / "adapter_config.json").write_bytes(data)
    adapter_files.read_adapter(folder)


def _yaml(data: bytes, folder: Path) -> None:
    with contextlib.suppress(yaml.YAMLError):
        yaml_value(data.decode("utf-8", "replace"))


_GRADERS = tuple(
    parse_grader(spec)
    for spec in ("exact", "equal", "label", "json:lenient=true", "fields:lenient=true", "number", "math", "honest",
                 "abstention", "text_similarity:metric=rouge_l", "tone_ja", "language", "citations", "regex:(a|b)+c")
)  # fmt: skip
_ASKED = (Message("user", "[1] 規約\n> 返品は 30 日以内です。\n\n何日ですか。"),)


def _reply(data: bytes, folder: Path) -> None:
    """A reply before every grader: a score and a reason, whatever it says."""
    text = data.decode("utf-8", "replace")[:2000]
    for grader in _GRADERS:
        for reference in ('{"a": 1}' if grader.name.startswith("fields") else "12",):
            (grade,) = grader.grade([Case(text, (reference,), _ASKED, {})])
            assert 0 <= grade.score <= 1 and str(grade.reason)


def _files(name: str) -> tuple[bytes, ...]:
    return tuple(file.read_bytes() for file in sorted((CORPUS / name).iterdir()))


def _ggufs() -> tuple[bytes, ...]:
    """A small sound file; the table and the numbers of it in other widths come by mutation."""

    def text(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    def entry(key: bytes, kind: int, value: bytes) -> bytes:
        return text(key) + struct.pack("<I", kind) + value

    words = b"".join(map(text, (b"<s>", b"a", b"b", b"ab")))
    entries = [
        entry(b"general.architecture", 8, text(b"llama")), entry(b"general.alignment", 4, struct.pack("<I", 32)),
        entry(b"llama.context_length", 4, struct.pack("<I", 64)),
        entry(b"llama.rope.freq_base", 6, struct.pack("<f", 1e4)),
        entry(b"tokenizer.ggml.model", 8, text(b"gpt2")), entry(b"tokenizer.ggml.pre", 8, text(b"smollm")),
        entry(b"tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 4) + words),
        entry(b"tokenizer.ggml.token_type", 9, struct.pack("<IQ4i", 5, 4, 3, 1, 1, 1)),
        entry(b"tokenizer.ggml.merges", 9, struct.pack("<IQ", 8, 1) + text(b"a b")),
        entry(b"tokenizer.ggml.add_bos_token", 7, b"\1"),
        entry(b"tokenizer.ggml.bos_token_id", 4, struct.pack("<I", 0)),
    ]  # fmt: skip
    table = b"".join(
        text(name) + struct.pack("<I2QIQ", 2, 32, 4, kind, start)
        for name, kind, start in ((b"token_embd.weight", 0, 0), (b"output.weight", 8, 512))
    )
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, len(entries)) + b"".join(entries) + table
    return (head + b"\0" * (-len(head) % 32) + bytes(512 + 136),)


def _safetensors_files() -> tuple[bytes, ...]:
    found = []
    for header, size in (
        ({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}, 24),
        ({"__metadata__": {"format": "pt"}, "b": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]},
          "c": {"dtype": "U8", "shape": [], "data_offsets": [8, 9]}}, 9),
        ({"q": {"dtype": "F4", "shape": [2, 8], "data_offsets": [0, 8]},
          "z": {"dtype": "I64", "shape": [0], "data_offsets": [8, 8]}}, 8),
    ):  # fmt: skip
        raw = json.dumps(header).encode()
        found.append(struct.pack("<Q", len(raw)) + raw + bytes(size))
    return tuple(found)


_TEMPLATES = tuple(
    source.encode()
    for source in (*tiny.TEMPLATES.values(), *templates.THINKING.values(), *templates.CALLING.values())
)  # fmt: skip

TARGETS = {
    "json": Target(_json, _files("json"), (
        b'{"messages": [', b'"role": "user"', b"[", b"{", b"]", b"}", b",", b":", b'"', b"\\", b'\\"', b"\\u0000",
        b"\\ud83d", b"\xef\xbb\xbf", b"\xff", b"\r\n", b"\n", b'"rows": [', b"\xe3\x81\x82",
    )),
    "csv": Target(_csv, _files("csv"), (
        b'"', b'""', b",", b"\t", b";", b"|", b"\r", b"\n", b"\r\n", b"sep=", b"\0", b"\xef\xbb\xbf", b"\xff",
        b"prompt",
        b"completion", b"\xe2\x80\x8b", b" ", b'="', b"\xe3\x80\x80",
    )),
    "rows": Target(_rows, (*_files("csv"), *_files("json"), *_files("rows")), (
        b"PAR1", b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"\xff\xfe", b"\xfe\xff", b"\x1b$B", b"\x82\xa0", b"<html", b"[{",
    )),
    "gguf": Target(_gguf, _ggufs(), (
        b"GGUF", b"general.alignment", b"split.count", b"tokenizer.ggml.tokens", b"tokenizer.chat_template",
        b"\xff" * 8,
    )),
    "safetensors": Target(_safetensors, _safetensors_files(), (
        b'"dtype"', b'"shape"', b'"data_offsets"', b"[", b"]", b"{", b"}", b",", b'"F32"', b'"BF16"', b'"F4"', b":",
        b'"__metadata__"', b"PK\x03\x04", b"\x80\x02",
    )),
    "template": Target(_template, (*_files("template"), *_TEMPLATES), (
        b"{{ ", b" }}", b"{% ", b" %}", b"{% if ", b"{% endif %}", b"{% for m in messages %}", b"{% endfor %}",
        b"{% set ",
        b"namespace(", b" | tojson", b" | trim", b" | join", b" | map(", b" ~ ", b" + ", b" * ", b"[", b"]", b"(", b")",
        b"messages", b"loop", b".__class__", b"raise_exception(", b"{% macro f(x) %}", b"{% endmacro %}", b"{#", b"-%}",
        b"range(", b"'", b'"', b" is defined", b" in ", b"[::-1]", b"{% generation %}", b" == ", b"self", b"cycler(",
    )),
    "adapter": Target(_adapter, tuple(json.dumps(one).encode() for one in (_ADAPTER, _BOTTLENECK)), (
        b'"r": ', b'"lora_alpha": ', b'"target_modules": ', b"[", b"]", b"{", b"}", b"1e999", b"NaN", b"null", b'"',
        b"-1", b"9" * 400,
    )),
    "yaml": Target(_yaml, (b"model: m\ndata: [a.jsonl, b]\nepochs: 3\nlr: 1e-4\nday: 2026-01-31\nx: {a: 1, b: ~}\n",), (
        b"&a ", b"*a", b"<<: ", b"!!", b"!!binary ", b"!!timestamp ", b"? ", b"- ", b"|\n  ", b">\n  ", b"---\n",
        b"%YAML", b": ", b"[", b"{", b"2026-02-30", b"0x", b"1:1:1", b".inf", b"\t", b"#",
    )),
    "reply": Target(_reply, _files("reply"), (
        b'{"a": 1}', b"```json\n", b"\\boxed{", b"\\frac{1}{2}", b"$x$", b"1,234.5", b"10^", b"1e400", b"**", b"=",
        b"[1]", b"<think>", b"(", b")", b"{", b"}", b"%", b"/", b"-", b"0x1F", b"...", b"I don't know",
        *(word.encode() for word in ("三千五百", "令和6年", "です。", "「", "」", "½", "分の", "\u200b")),
    )),
    "schema": Target(_schema, _files("schema"), (
        b'"$ref": "#"', b'"$ref": "#/$defs/a"', b'"$defs": {', b'"allOf": [', b'"anyOf": [', b'"not": {', b'"type": "',
        b'"pattern": "', b'"patternProperties": {', b'"format": "', b'"uniqueItems": true', b'"multipleOf": ', b"(?:",
        b"[^", b"{1,1000}", b"\\\\p{L}", b"(?<", b"\\\\1", b'"$schema": "', b'"const": ', b"{", b"}", b",", b":",
        b"[", b"]", b'"minimum": ', b'"unevaluatedProperties": false', b'"dependentSchemas": {',
    )),
}  # fmt: skip
