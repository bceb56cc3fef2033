"""Tiny tokenizers and models made in the test: seconds to build, the same shapes of trouble as the large ones."""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEXT = [
    "Dear shop, please send twelve red apples and two boxes of pears to our office by Friday. Thank you!",
    '{"customer": "Anna", "items": [{"product": "apple", "quantity": 12}], "urgent": false}',
    "ご注文ありがとうございます。商品の到着まで少々お待ちください。返品は七日以内にお願いいたします。",
    "You are a helpful assistant. user system assistant model tool 0123456789 \n\n def f(x):\n    return x",
]

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n' "
    "+ m['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
LLAMA3 = (
    "{% for m in messages %}"
    "{% set c = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.first %}{% set c = bos_token + c %}{% endif %}{{ c }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
# Llama-3's and Qwen's split: line breaks never merge with what follows. GPT-2's (SmolLM2) cuts before the last one.
SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEMPLATES = {"chatml": CHATML, "gemma": GEMMA, "llama3": LLAMA3}
SPECIAL = [
    "<bos>", "<eos>", "<pad>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>",
    "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
]  # fmt: skip


def tokenizer(vocabulary: int = 420, *, gpt2: bool = False) -> Tokenizer:
    """A byte-level BPE trained on TEXT, with the control tokens of all three template families."""
    made = Tokenizer(models.BPE())
    if gpt2:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        split = pre_tokenizers.Split(Regex(SPLIT), behavior="isolated")
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXT, trainer)
    made.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    return made


def oracle(template: str, *, gpt2: bool = False) -> PreTrainedTokenizerFast:
    """transformers' own tokenizer over the same vocabulary and template."""
    named = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer(gpt2=gpt2), **named)
    wrapped.chat_template = template
    return wrapped


def llama_folder(
    folder: Path, template: str | None = CHATML, seed: int = 0, *, gpt2: bool = False, **config: object
) -> Path:
    """A Llama of two layers with random weights, saved as transformers saves it. `gpt2`: how its tokenizer splits."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    wrapped = oracle(template or "", gpt2=gpt2)
    if template is None:
        wrapped.chat_template = None
    sizes: dict[str, object] = {
        "vocab_size": len(wrapped), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "tie_word_embeddings": True,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
    }  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(**(sizes | config)))
    model.save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder
