"""GGUF to a safetensors model folder in float32: once, so that every later load takes seconds.

transformers knows how each architecture's tensors are named and permuted, so it reads the weights. The tokenizer it
builds is finished here: llama.cpp names the way text is split before merging, and a wrong split gives other tokens
without any error.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.limited import limited
from sodate.core.text import tr
from sodate.library.config import check_config, for_older_readers, model_config
from sodate.library.gguf_file import GgufFile, read_gguf, write_without_vocabulary

Progress = Callable[[float, str], None]
# For what transformers and tokenizers make of one model's files, without its weights. Gemma's tokenizer, of the
# largest, takes 3 s and 0.6 GB.
LIMITS: dict[str, Any] = {"seconds": 60, "memory": 3_000_000_000}

CONTROL = 3  # GGUF token type of a special token
# Names of `tokenizer.ggml.pre` (llama.cpp's list): plain GPT-2 splitting, and the same with every digit on its own.
PLAIN_SPLITS = {"gpt-2", "phi-2", "olmo", "mpt", "jais", "trillion", "roberta-bpe", "gigachat"}
DIGIT_SPLITS = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
# Vocabularies in which a whole word that is a token wins over its merges; Llama 3 also starts every text with BOS.
WHOLE_WORD_SPLITS = {"llama3", "llama-v3", "llama-bpe", "tekken"}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no chatter from transformers inside; its settings come back afterwards."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        # The bar of the GGUF reader obeys no setting; it goes to stderr.
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def convert_gguf(source: Path, target: Path, work: Path, progress: Progress) -> GgufFile:
    """Writes config, float32 weights, tokenizer and template of the GGUF file `source` into the folder `target`.

    `work` is an empty folder on the same disk for one temporary file. Raises SodateError where the file is unsound,
    or is not a model this conversion gets exactly right.
    """
    progress(0.0, tr("Checking the GGUF file", "GGUF ファイルを検査しています"))
    gguf = read_gguf(source)
    refuse_unfaithful(gguf)
    progress(0.1, tr("Converting the tokenizer", "トークナイザーを変換しています"))
    import tokenizers  # noqa: F401 (so that the child has it)
    from transformers.integrations import gguf as _converters  # noqa: F401 (likewise)

    what = tr(f"{source}: the tokenizer", f"{source}: トークナイザー")
    limited(lambda: write_tokenizer(gguf, target), what, **LIMITS)
    progress(0.3, tr("Converting the weights to float32", "重みを float32 に変換しています"))
    write_weights(gguf, target, work)
    progress(1.0, tr("Converted", "変換しました"))
    return gguf


def refuse_unfaithful(gguf: GgufFile) -> None:
    """Refuses what would load and then answer wrongly: unknown splitting, rotary scaling the conversion drops."""
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    meta = gguf.metadata
    refuse_wrong_kinds(gguf)
    pull_original = tr(
        "Pull the original safetensors model instead (hub id or folder).",
        "元の safetensors 形式のモデル (ハブの ID またはフォルダー) を取り込んでください。",
    )
    if not isinstance(meta.get("tokenizer.ggml.tokens"), list):
        raise SodateError(
            tr(f"{gguf.path} has no tokenizer.", f"{gguf.path} にトークナイザーがありません。"),
            pull_original,
            code="model_unsupported",
            file=gguf.path,
        )
    split = meta.get("tokenizer.ggml.pre", "default")
    known = PLAIN_SPLITS | DIGIT_SPLITS | set(GGUF_PRE_TOKENIZER_SPLITS)
    if meta.get("tokenizer.ggml.model") == "gpt2" and split not in known:
        raise SodateError(
            tr(
                f"{gguf.path}: its tokenizer splits text in a way not known here ({split!r}); tokens would be wrong.",
                f"{gguf.path}: トークナイザーの分割方法 {split!r} は未対応のため、正しいトークンになりません。",
            ),
            pull_original,
            code="model_unsupported",
            file=gguf.path,
        )
    scaling = meta.get(f"{gguf.architecture}.rope.scaling.type", "none")
    if scaling != "none" or any(tensor.name.startswith("rope_f") for tensor in gguf.tensors):
        raise SodateError(
            tr(
                f"{gguf.path} scales its rotary positions, which a conversion from GGUF would lose.",
                f"{gguf.path} は回転位置埋め込みを拡大しており、GGUF からの変換では失われます。",
            ),
            pull_original,
            code="model_unsupported",
            file=gguf.path,
        )


def refuse_wrong_kinds(gguf: GgufFile) -> None:
    """A text where a number belongs, or the other way round, before anything is worked out with it."""
    tokenizer = "tokenizer.ggml."
    kinds: dict[str, type[Any]] = {
        **dict.fromkeys(("general.alignment", f"{tokenizer}bos_token_id", f"{tokenizer}eos_token_id"), int),
        **dict.fromkeys((f"{tokenizer}eot_token_id", f"{tokenizer}unknown_token_id"), int),
        **dict.fromkeys((f"{tokenizer}model", f"{tokenizer}pre", "tokenizer.chat_template"), str),
        **dict.fromkeys((f"{tokenizer}{name}" for name in ("tokens", "scores", "token_type", "merges")), list),
        f"{tokenizer}add_bos_token": bool,
    }
    for key, kind in kinds.items():
        value = gguf.metadata.get(key, kind())
        texts = key in (f"{tokenizer}tokens", f"{tokenizer}merges") and value
        if not isinstance(value, kind) or (texts and not all(isinstance(text, str) for text in value)):
            raise SodateError(
                tr(f"{gguf.path}: {key} is {str(value)[:40]}, which is not a {kind.__name__}.",
                   f"{gguf.path}: {key} の値 {str(value)[:40]} は {kind.__name__} ではありません。"),
                code="damaged", param=key,
            )  # fmt: skip


def write_tokenizer(gguf: GgufFile, target: Path) -> None:
    """tokenizer.json, tokenizer_config.json and, where the file has one, chat_template.jinja."""
    from transformers.integrations.gguf import convert_gguf_tokenizer

    meta = {key.removeprefix("tokenizer.ggml."): value for key, value in gguf.metadata.items()}
    tokens: list[str] = meta["tokens"]
    fields = {"model": "tokenizer_type", "pre": "pre_tokenizer_type", "add_space_prefix": "add_prefix_space"}
    fields |= {key: key for key in ("tokens", "scores", "token_type", "merges", "precompiled_charsmap")}
    try:
        with quiet():
            backend, _ = convert_gguf_tokenizer(
                gguf.architecture, {name: meta[key] for key, name in fields.items() if key in meta}
            )
    except Exception as error:  # tokenizers raises plain Exception for merges that make no sense
        raise SodateError(
            tr(
                f"{gguf.path}: the tokenizer cannot be converted ({error}).",
                f"{gguf.path}: トークナイザーを変換できません ({error})。",
            ),
            code="model_unsupported",
            file=gguf.path,
        ) from None

    named = {
        role: _token(gguf, tokens, meta.get(f"{key}_token_id"))
        for role, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
    }
    described = _finished(json.loads(backend.to_str()), gguf, named["bos"])
    (target / "tokenizer.json").write_text(json.dumps(described, ensure_ascii=False), "utf-8")
    config: dict[str, Any] = {f"{role}_token": token for role, token in named.items() if token is not None}
    config |= {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
    }
    length = gguf.metadata.get(f"{gguf.architecture}.context_length")
    if isinstance(length, int):
        config["model_max_length"] = length
    _dump(config, target / "tokenizer_config.json")
    template = gguf.metadata.get("tokenizer.chat_template")
    if isinstance(template, str) and template:
        (target / "chat_template.jinja").write_text(template, "utf-8")


def _token(gguf: GgufFile, tokens: list[str], token_id: object) -> str | None:
    if token_id is None:
        return None
    if not isinstance(token_id, int) or not 0 <= token_id < len(tokens):
        raise SodateError(
            tr(
                f"{gguf.path}: special token {token_id} is outside the vocabulary of {len(tokens)}.",
                f"{gguf.path}: 特殊トークン {token_id} が語彙 {len(tokens)} の外にあります。",
            ),
            code="model_unsupported",
            file=gguf.path,
        )
    return tokens[token_id]


def _finished(described: dict[str, Any], gguf: GgufFile, bos: str | None) -> dict[str, Any]:
    """The tokenizer as JSON, with the splitting, the whole-word rule and the BOS that the GGUF file asks for."""
    meta = gguf.metadata
    split = meta.get("tokenizer.ggml.pre", "default") if meta.get("tokenizer.ggml.model") == "gpt2" else ""
    if split in DIGIT_SPLITS:
        digits = {"type": "Digits", "individual_digits": True}
        described["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, described["pre_tokenizer"]]}
    if split in WHOLE_WORD_SPLITS:
        described["model"]["ignore_merges"] = True
    if split == "qwen2":
        described["normalizer"] = {"type": "NFC"}
    bos_by_default = meta.get("tokenizer.ggml.model") == "llama" or split in WHOLE_WORD_SPLITS
    described["post_processor"] = None
    if bos is not None and meta.get("tokenizer.ggml.add_bos_token", bos_by_default):
        first = {"SpecialToken": {"id": bos, "type_id": 0}}
        text, other = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
        described["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [first, text],
            "pair": [first, text, first, other],
            "special_tokens": {bos: {"id": bos, "ids": [meta["tokenizer.ggml.bos_token_id"]], "tokens": [bos]}},
        }
    return described


def write_weights(gguf: GgufFile, target: Path, work: Path) -> None:
    """config.json, generation_config.json and model.safetensors (float32; a tied output layer is not stored twice)."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig
    from transformers.integrations.gguf import GGUF_CONFIG_ARCHS

    # The newer reader takes the vocabulary's size from the file itself, and is quick: it gets the whole file. Either
    # lies alone in a folder: transformers would also take an adapter that lies beside it.
    whole = gguf.architecture in GGUF_CONFIG_ARCHS
    alone = work / "gguf"
    alone.mkdir()
    file = alone / "weights.gguf"
    if whole:
        file.symlink_to(gguf.path.resolve())
    else:
        write_without_vocabulary(gguf, file)

    def described() -> dict[str, Any]:
        try:
            with quiet():
                config = AutoConfig.from_pretrained(
                    str(alone), gguf_file=file.name, local_files_only=True, trust_remote_code=False
                )
        except Exception as error:
            raise cannot_convert(gguf, error) from error
        values: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
        return values | {"vocab_size": len(gguf.metadata["tokenizer.ggml.tokens"])}

    try:
        about = {k: v for k, v in limited(described, str(gguf.path), **LIMITS).items() if k != "quantization_config"}
        check_config(about, str(gguf.path))
        config = model_config(about, str(gguf.path))
        limited(lambda: check_size(config, gguf), str(gguf.path), **LIMITS)
        with quiet():
            model, loading = AutoModelForCausalLM.from_pretrained(
                str(alone),
                gguf_file=file.name,
                config=config,
                dtype=torch.float32,
                attn_implementation="eager",
                # Says that the result is plain float32; without it the model counts as quantised and cannot be saved.
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except (SodateError, MemoryError):
        raise
    except Exception as error:  # each architecture has its own ways to fail
        raise cannot_convert(gguf, error) from error
    finally:
        shutil.rmtree(alone)
    if absent := sorted(loading["missing_keys"]):
        raise SodateError(
            tr(
                f"{gguf.path} lacks {len(absent)} weights of its architecture, {absent[0]!r} first.",
                f"{gguf.path} には {len(absent)} 個の重みが足りません (最初は {absent[0]!r})。",
            ),
            code="model_unsupported",
            file=gguf.path,
        )
    model.config._name_or_path = ""
    end_of_turn = gguf.metadata.get("tokenizer.ggml.eot_token_id")
    if end_of_turn is not None and end_of_turn != model.generation_config.eos_token_id:
        model.generation_config.eos_token_id = [model.generation_config.eos_token_id, end_of_turn]
    with quiet():
        model.save_pretrained(str(target))
    stored = json.loads((target / "config.json").read_text("utf-8"))
    stored.pop("_model_name_or_path", None)
    _dump(for_older_readers(stored), target / "config.json")


def cannot_convert(gguf: GgufFile, error: Exception) -> SodateError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return SodateError(
        tr(
            f"{gguf.path} (architecture {gguf.architecture!r}) cannot be converted: {reason}",
            f"{gguf.path} (アーキテクチャ {gguf.architecture!r}) を変換できません: {reason}",
        ),
        tr("Pull the original safetensors model instead.", "元の safetensors 形式のモデルを取り込んでください。"),
        code="model_unsupported",
        file=gguf.path,
    )


def check_size(config: Any, gguf: GgufFile) -> None:
    """SodateError where the metadata describes a model with more weights than the file has: it would be allocated."""
    import torch
    from transformers import AutoModelForCausalLM

    with quiet(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", trust_remote_code=False)
    count = sum(parameter.numel() for parameter in model.parameters())
    if count > 1.05 * gguf.parameters:
        raise SodateError(
            tr(f"{gguf.path}: its metadata describe {count:,} weights, but it holds {gguf.parameters:,}.",
               f"{gguf.path}: メタデータでは重み {count:,} 個ですが、"
               f"ファイルには {gguf.parameters:,} 個しかありません。"),
            code="damaged",
        )  # fmt: skip


def _dump(value: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", "utf-8")
