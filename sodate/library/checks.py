"""Refusals before anything is loaded: remote code, pickles, lying headers, models that cannot write text.

Nothing here allocates by what a file claims: sizes are compared with the file, shapes with a model on the meta device.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.files import read_json
from sodate.core.text import tr

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
# What is taken of a model folder besides its weights: configuration, tokenizer, template, licence. Never code.
TAKEN_SUFFIXES = (".json", ".jinja", ".model", ".txt", ".md", ".html")  # the last for licences
TAKEN_NAMES = ("LICENSE", "LICENCE", "NOTICE")
NOT_TAKEN = ("adapter_config.json", "requirements.txt", "sodate-model.json")  # the last is another copy's manifest
CONFIGS = ("config.json", "tokenizer_config.json", "generation_config.json", "processor_config.json")
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself
MAX_LAYERS = 2_000
# Bits of one element, by safetensors dtype name.
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}

Shapes = dict[str, tuple[int, ...]]


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Raises SodateError if this config.json asks for code, or names a model that does not write text left to right."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    refuse_remote_code(config, where)
    model_type = config.get("model_type")
    named = [str(name) for name in config.get("architectures") or []]
    label = named[0] if named else str(model_type)
    choose = tr(
        "Choose a decoder model that generates text, such as Llama, Qwen, Gemma or Mistral.",
        "Llama、Qwen、Gemma、Mistral など、文章を生成するデコーダー型モデルを選んでください。",
    )
    expected = CAUSAL.get(model_type) if isinstance(model_type, str) else None
    heads = {expected} if isinstance(expected, str) else set(expected or ())
    if not heads or config.get("is_encoder_decoder") or (named and not heads & set(named)):
        raise SodateError(
            tr(
                f"{where}: {label} has no causal language-model head, or is not known to this transformers version.",
                f"{where}: {label} は因果言語モデルの出力層を持たないか、この版の transformers では扱えません。",
            ),
            choose,
        )
    if isinstance(config.get("text_config"), Mapping):
        raise SodateError(
            tr(
                f"{where}: {label} also reads images or sound. Only models of text alone are supported.",
                f"{where}: {label} は画像や音声も読むモデルです。対応しているのはテキスト専用のモデルだけです。",
            ),
            tr(
                "Take the family's text-only checkpoint (for Gemma 3: Gemma3ForCausalLM, such as gemma-3-1b-it).",
                "同系列のテキスト専用版を使ってください (Gemma 3 なら gemma-3-1b-it などの Gemma3ForCausalLM)。",
            ),
        )
    layers = config.get("num_hidden_layers")
    if layers is not None and (not isinstance(layers, int) or not 0 < layers <= MAX_LAYERS):
        raise SodateError(
            tr(f"{where}: num_hidden_layers is {layers!r}.", f"{where}: num_hidden_layers が {layers!r} です。"), choose
        )


def refuse_remote_code(value: Any, where: str) -> None:
    """`auto_map` anywhere in a configuration means: import this Python file. It is never done here."""
    if isinstance(value, Mapping):
        if "auto_map" in value:
            raise SodateError(
                tr(
                    f"{where} asks to run code that comes with the model (auto_map). That is never done here.",
                    f"{where} はモデル付属のコードの実行 (auto_map) を求めています。ここでは決して実行しません。",
                ),
                tr(
                    "Use a model whose architecture is built into transformers.",
                    "transformers に組み込まれたアーキテクチャのモデルを使ってください。",
                ),
                code="remote_code",
                file=where,
            )
        for inner in value.values():
            refuse_remote_code(inner, where)
    elif isinstance(value, list):
        for inner in value:
            refuse_remote_code(inner, where)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model, in order. Raises where there are none or a name leaves it."""
    index_path = folder / "model.safetensors.index.json"
    if index_path.exists():
        index = read_json(index_path)
        mapping = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(mapping, dict) or not mapping:
            raise SodateError(tr(f"{index_path} has no weight_map.", f"{index_path} に weight_map がありません。"))
        names = sorted({str(name) for name in mapping.values()})
        for name in names:
            if (
                name in {"", ".", ".."}
                or "\0" in name
                or "/" in name
                or "\\" in name
                or not name.endswith(".safetensors")
            ):
                raise SodateError(
                    tr(
                        f"{index_path} names {name!r}, which is not a safetensors file of this folder.",
                        f"{index_path} が、このフォルダーの safetensors ファイルでない {name!r} を指しています。",
                    )
                )
        files = [folder / name for name in names]
    else:
        files = [folder / "model.safetensors"]
        if not files[0].exists():
            _explain_no_weights(folder)
    for file in files:
        if not file.is_file():
            raise SodateError(tr(f"{file} is missing.", f"{file} がありません。"))
    return files


def _explain_no_weights(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    if "adapter_config.json" in names:
        raise SodateError(
            tr(f"{folder} is an adapter, not a model.", f"{folder} はモデルではなくアダプターです。"),
            tr(
                f"Pull its base model, and pass this folder as --init-adapter {folder}.",
                f"元になるモデルを取り込み、このフォルダーは --init-adapter {folder} として渡してください。",
            ),
        )
    if pickles := [name for name in names if name.endswith(PICKLE_SUFFIXES)]:
        raise pickle_refusal(str(folder), pickles[0])
    if ggufs := [name for name in names if name.endswith(".gguf")]:
        raise SodateError(
            tr(
                f"{folder} holds a GGUF file, not safetensors.", f"{folder} には safetensors ではなく GGUF があります。"
            ),
            f"sodate models pull {folder / ggufs[0]}",
        )
    raise SodateError(
        tr(f"{folder} has no model.safetensors.", f"{folder} に model.safetensors がありません。"),
        tr(
            "Give a model folder saved as safetensors.",
            "safetensors 形式で保存されたモデルのフォルダーを渡してください。",
        ),
    )


def pickle_refusal(where: str, name: str) -> SodateError:
    return SodateError(
        tr(
            f"{where}: the weights ({name}) are a pickle, which can run code when it is opened. It is not opened here.",
            f"{where}: 重み ({name}) は pickle で、開くとコードが実行され得るため、ここでは開きません。",
        ),
        tr(
            "Use a revision with safetensors, or have the weights saved as safetensors by someone you trust.",
            "safetensors のある版を使うか、信頼できる人に safetensors で保存し直してもらってください。",
        ),
        code="pickle",
        file=where,
    )


def read_shapes(file: Path) -> Shapes:
    """Name → shape of every tensor in a safetensors file, its header checked byte by byte against the file.

    Raises SodateError for a pickle under this name, a header that is not what the format says, ranges that leave the
    file, overlap, leave holes, or do not fit shape × dtype.
    """

    def unsound(en: str, ja: str) -> SodateError:
        return SodateError(
            tr(f"{file} is not a sound safetensors file: {en}.", f"{file} は正しい safetensors ではありません: {ja}。"),
            tr("Download it again and compare its hash.", "もう一度ダウンロードし、ハッシュ値を確かめてください。"),
        )

    size = file.stat().st_size
    with file.open("rb") as handle:
        start = handle.read(8)
        if start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05"):
            raise pickle_refusal(str(file.parent), file.name)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
            raise unsound(f"its header length is {length} of {size} bytes", f"ヘッダー長 {length} / 全体 {size} バイト")
        raw = handle.read(length)
    try:
        header = json.loads(raw, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise unsound(f"its header is not JSON ({error})", f"ヘッダーが JSON ではありません ({error})") from None
    if not isinstance(header, dict):
        raise unsound("its header is not an object", "ヘッダーがオブジェクトではありません")
    header.pop("__metadata__", None)
    shapes: Shapes = {}
    ranges = []
    for name, entry in header.items():
        try:
            shape, (begin, end), bits = tuple(entry["shape"]), entry["data_offsets"], BITS[entry["dtype"]]
        except (KeyError, TypeError, ValueError):
            raise unsound(f"tensor {name!r} is described wrongly", f"テンソル {name!r} の記述が誤りです") from None
        if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
            raise unsound(f"tensor {name!r} is described wrongly", f"テンソル {name!r} の記述が誤りです")
        if (end - begin) * 8 != math.prod(shape) * bits:
            raise unsound(f"tensor {name!r} does not fit its bytes", f"テンソル {name!r} の形とバイト数が合いません")
        shapes[name] = shape
        ranges.append((begin, end, name))
    ranges.sort()
    for (_, end, _), (begin, _, name) in itertools.pairwise([(0, 0, ""), *ranges]):
        if begin != end:
            raise unsound(f"tensor {name!r} overlaps or leaves a hole", f"テンソル {name!r} に重なりか隙間があります")
    if not ranges or ranges[-1][1] != size - 8 - length:
        raise unsound("it is truncated, or longer than its header says", "途中で切れているか、余分なデータがあります")
    return shapes


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value


def check_shapes(config: Mapping[str, Any], shapes: Shapes, where: str) -> None:
    """Compares the stored shapes with those of the model the config describes, built without memory (meta device)."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from sodate.library.convert import quiet

    layers = config.get("num_hidden_layers")
    if isinstance(layers, int) and layers > len(shapes):
        raise SodateError(
            tr(
                f"{where}: config.json says {layers} layers, but there are only {len(shapes)} tensors.",
                f"{where}: config.json は {layers} 層ですが、テンソルは {len(shapes)} 個しかありません。",
            )
        )
    values = {key: value for key, value in config.items() if key not in {"model_type", "quantization_config"}}
    try:
        with quiet(), torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                AutoConfig.for_model(config["model_type"], **values), trust_remote_code=False
            )
    except Exception as error:  # whatever a poisoned number makes a model's constructor do
        raise SodateError(
            tr(
                f"{where}: config.json describes no valid model ({error}).",
                f"{where}: config.json が正しくありません ({error})。",
            )
        ) from error
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in shapes.items():
        if name in expected and "quantization_config" not in config and expected[name] != shape:
            raise SodateError(
                tr(
                    f"{where}: {name} has shape {list(shape)}, config.json says {list(expected[name])}.",
                    f"{where}: {name} の形は {list(shape)} ですが、config.json では {list(expected[name])} です。",
                )
            )
    # Only where the file speaks this model's own names is an absent one certain to be missing.
    tied = set(model._tied_weights_keys or ()) if model.config.get_text_config().tie_word_embeddings else set()
    absent = sorted(set(dict(model.named_parameters(remove_duplicate=False))) - set(shapes) - tied)
    if absent and set(shapes) <= set(expected):
        raise SodateError(
            tr(
                f"{where}: {len(absent)} weights are missing, {absent[0]!r} first.",
                f"{where}: 重みが {len(absent)} 個足りません (最初は {absent[0]!r})。",
            )
        )


def check_tokenizer(folder: Path, embeddings: int) -> tuple[int, bool]:
    """(vocabulary, has a chat template) of the folder's tokenizer. Every id must have one of `embeddings` rows."""
    from transformers import AutoTokenizer

    from sodate.library.convert import quiet

    if not any((folder / name).exists() for name in TOKENIZER_FILES):
        raise SodateError(
            tr(
                f"{folder} has no tokenizer (tokenizer.json).",
                f"{folder} にトークナイザー (tokenizer.json) がありません。",
            ),
            tr(
                "Put the base model's tokenizer files beside the weights.",
                "元のモデルのトークナイザーを重みと同じ場所に置いてください。",
            ),
        )
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
            vocabulary = tokenizer.get_vocab()
    except Exception as error:  # tokenizers raises plain Exception for a broken file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SodateError(
            tr(
                f"{folder}: the tokenizer cannot be read ({reason}).",
                f"{folder}: トークナイザーを読めません ({reason})。",
            )
        ) from error
    # Special tokens may lie past the end (image marks on a text model): nothing written by a user becomes one.
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    highest = max((number for number in vocabulary.values() if number not in special), default=-1)
    if highest < 0 or highest >= embeddings:
        raise SodateError(
            tr(
                f"{folder}: the tokenizer has id {highest}, but the model has {embeddings} embeddings.",
                f"{folder}: トークナイザーに ID {highest} がありますが、埋め込みは {embeddings} 個です。",
            ),
            tr(
                "The tokenizer and the weights belong to different models.",
                "トークナイザーと重みが別のモデルのものです。",
            ),
        )
    return len(vocabulary), bool(tokenizer.chat_template)


def is_taken(name: str) -> bool:
    """Whether a file beside the weights is taken, by its name."""
    if name in NOT_TAKEN or name.startswith("."):
        return False
    return name in TAKEN_NAMES or name.endswith(TAKEN_SUFFIXES)


def folder_files(folder: Path) -> list[Path]:
    """The files of a model folder that are taken: its weights, and configuration, tokenizer, template and licence."""
    others = [file for file in sorted(folder.iterdir()) if file.is_file() and is_taken(file.name)]
    return [*weight_files(folder), *others]


def check_folder(folder: Path) -> dict[str, Any]:
    """Every refusal that needs no allocation; returns architecture, parameters and context_length."""
    config_path = folder / "config.json"
    shards = weight_files(folder)
    if not config_path.exists():
        raise SodateError(
            tr(f"{folder} has no config.json.", f"{folder} に config.json がありません。"),
            tr("Give a complete model folder.", "モデル一式の入ったフォルダーを渡してください。"),
        )
    for name in CONFIGS:
        if (folder / name).exists():
            refuse_remote_code(read_json(folder / name), str(folder / name))
    config = read_json(config_path)
    if not isinstance(config, dict):
        raise SodateError(tr(f"{config_path} is not an object.", f"{config_path} がオブジェクトではありません。"))
    check_config(config, str(config_path))
    shapes = {}
    for shard in shards:
        shapes.update(read_shapes(shard))
    check_shapes(config, shapes, str(folder))
    return {
        "architecture": str((config.get("architectures") or [config["model_type"]])[0]),
        "parameters": sum(math.prod(shape) for shape in shapes.values()),
        "context_length": config.get("max_position_embeddings") or config.get("n_positions"),
    }


def tokenizer_facts(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    rows = config.get("vocab_size")
    if not isinstance(rows, int):
        raise SodateError(
            tr(f"{folder}: config.json has no vocab_size.", f"{folder}: config.json に vocab_size がありません。")
        )
    vocabulary, template = check_tokenizer(folder, rows)
    return {"vocabulary": vocabulary, "chat_template": template}
