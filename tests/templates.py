"""Chat templates of many families, written for the tests: short, each with what makes its family different."""

from __future__ import annotations

import re

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from sodate.render.renderer import Renderer

_IM = "<|im_start|>{{ m.role }}\n"
_LIST = "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
_PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
_HERMES = (
    '{% for c in m.tool_calls or [] %}\n<tool_call>\n{"name": "{{ c.function.name }}", "arguments": '
    "{{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}"
)
_TURN = "{% for m in messages %}{% if m.role == 'tool' %}<|im_start|>user\n<tool_response>{{ m.content }}"
_TURN += "</tool_response><|im_end|>\n{% else %}"


def _chatml(reply: str, prompt: str = _PROMPT, calls: str = _HERMES, head: str = _LIST) -> str:
    other = "{% if m.role != 'assistant' %}" + _IM + "{{ m.content }}<|im_end|>\n{% else %}"
    return head + _TURN + other + reply + calls + "<|im_end|>\n{% endif %}{% endif %}{% endfor %}" + prompt


_LAST_QUERY = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}"
)
# Qwen3's way: a thought in replies behind the last question only, an empty one where there is none.
QWEN = _chatml(
    "<|im_start|>assistant\n{% if loop.index0 > ns.last %}<think>\n{{ m.reasoning_content or '' }}\n</think>\n\n"
    "{% endif %}{{ m.content }}",
    head=_LIST + _LAST_QUERY,
)
# The generation prompt begins the thought, and replies are written with it.
OPENED = _chatml(
    "<|im_start|>assistant\n<think>\n{{ m.reasoning_content or '' }}\n</think>\n\n{{ m.content }}",
    prompt="{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
)
# DeepSeek-R1's way: the generation prompt begins a thought that no reply is ever written with.
DROPPED = _chatml(
    "<|im_start|>assistant\n{{ m.content.split('</think>') | last }}",
    prompt="{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
    calls="",
)
# Nemotron's way: an empty thought where the row has none, which is not what the generation prompt begins.
EMPTIED = _chatml(
    "<|im_start|>assistant\n{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n"
    "{% else %}<think></think>{% endif %}{{ m.content }}",
    prompt="{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
)
# SmolLM3's and Granite's way: the thought is part of the content.
INLINE = _chatml(
    "<|im_start|>assistant\n{{ m.content }}",
    head="{% if not tools %}<|im_start|>system\nThink between <think> and </think>.<|im_end|>\n{% endif %}" + _LIST,
)
HARMONY = (
    "<|start|>system<|message|>Valid channels: analysis, commentary, final.<|end|>"
    "{% if tools %}<|start|>developer<|message|>{{ tools | tojson }}<|end|>{% endif %}"
    "{% set ns = namespace(name='') %}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% if m.thinking and (loop.last or m.tool_calls) %}<|start|>assistant<|channel|>analysis<|message|>"
    "{{ m.thinking }}<|end|>{% endif %}{% if m.tool_calls %}{% set ns.name = m.tool_calls[0].function.name %}"
    "<|start|>assistant to=functions.{{ ns.name }}<|channel|>commentary json<|message|>"
    "{{ m.tool_calls[0].function.arguments | tojson }}<|call|>{% else %}"
    "<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
    "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}{% endif %}"
    "{% elif m.role == 'tool' %}<|start|>functions.{{ ns.name }} to=assistant<|channel|>commentary<|message|>"
    "{{ m.content | tojson }}<|end|>{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
_INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{% if tools and loop.last or tools and loop.first %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]"
    "{% endif %}[INST]{{ m.content }}[/INST]{% elif m.role == 'system' %}[SYSTEM_PROMPT]{{ m.content }}[/SYSTEM_PROMPT]"
    "{% elif m.role == 'tool' %}CHECK[TOOL_RESULTS]{\"content\": {{ m.content | tojson }}, "
    '"call_id": "{{ m.tool_call_id }}"}[/TOOL_RESULTS]{% elif m.tool_calls %}'
)
_NINE = (
    "{% if m.tool_call_id | length != 9 %}{{ raise_exception('ids have nine characters, not ' ~ m.tool_call_id) }}"
    "{% endif %}"
)
# Mistral's way: a JSON list with ids of exactly nine characters; or marks and ids of nine or more.
MISTRAL = (
    _INST.replace("CHECK", _NINE)
    + "[TOOL_CALLS][{% for c in m.tool_calls %}{% if c.id | length != 9 %}{{ raise_exception('nine') }}{% endif %}"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}'
    "{% if not loop.last %}, {% endif %}{% endfor %}]{{ eos_token }}{% else %}{{ m.content ~ eos_token }}{% endif %}"
    "{% endfor %}"
)
MISTRAL_MARKS = (
    _INST.replace("CHECK", _NINE.replace("!= 9", "< 9"))
    + "{{ m.content }}{% for c in m.tool_calls %}{% if c.id | length < 9 %}{{ raise_exception('nine') }}{% endif %}"
    "[TOOL_CALLS]{{ c.function.name }}[CALL_ID]{{ c.id[-9:] }}[ARGS]{{ c.function.arguments | tojson }}{% endfor %}"
    "{{ eos_token }}{% else %}{{ m.content ~ eos_token }}{% endif %}{% endfor %}"
)
# Llama 3.1's way: a bare JSON object, one a turn, and the result in a turn of its own role.
_HEADER = "<|start_header_id|>{{ ROLE }}<|end_header_id|>\n\n"
LLAMA = (
    "{{ bos_token }}{% if tools %}"
    + _HEADER.replace("{{ ROLE }}", "system")
    + "{{ tools | tojson }}<|eot_id|>{% endif %}"
    "{% for m in messages %}{% if m.tool_calls %}{% if m.tool_calls | length != 1 %}{{ raise_exception('one call') }}"
    "{% endif %}"
    + _HEADER.replace("{{ ROLE }}", "assistant")
    + '{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}'
    "<|eot_id|>{% else %}"
    + _HEADER.replace("ROLE", "'ipython' if m.role == 'tool' else m.role")
    + "{{ m.content }}<|eot_id|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}" + _HEADER.replace("{{ ROLE }}", "assistant") + "{% endif %}"
)
_VALUE = "{{ v if v is string else v | tojson }}"
XML = _chatml(
    "<|im_start|>assistant\n{{ m.content }}",
    calls="{% for c in m.tool_calls or [] %}\n<tool_call>\n<function={{ c.function.name }}>\n"
    "{% for k, v in c.function.arguments.items() %}<parameter={{ k }}>\n" + _VALUE + "\n</parameter>\n{% endfor %}"
    "</function>\n</tool_call>{% endfor %}",
)
ARGUMENT_TAGS = _chatml(
    "<|im_start|>assistant\n{{ m.content }}",
    calls="{% for c in m.tool_calls or [] %}\n<tool_call>{{ c.function.name }}\n"
    "{% for k, v in c.function.arguments.items() %}<arg_key>{{ k }}</arg_key>\n<arg_value>"
    + _VALUE
    + "</arg_value>\n{% endfor %}</tool_call>{% endfor %}",
)
# FunctionGemma's way: its own quotes, no system role, and results that have to name their tool.
_QUOTED = (
    "{% macro q(v) %}{% if v is string %}<escape>{{ v }}<escape>{% elif v is mapping %}{ {%- for k, x in v.items() %}"
    "{{ k }}:{{ q(x) }}{{ ',' if not loop.last }}{% endfor -%} }{% elif v is iterable %}[{% for x in v %}{{ q(x) }}"
    "{{ ',' if not loop.last }}{% endfor %}]{% else %}{{ v | tojson }}{% endif %}{% endmacro %}"
)
GEMMA = (
    _QUOTED + "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% if tools %}<start_of_turn>developer\n{{ tools | tojson }}<end_of_turn>\n{% endif %}"
    "{% for m in messages %}{% if m.role == 'tool' %}"
    "{% if not m.name %}{{ raise_exception('a result names its tool') }}{% endif %}"
    "<start_of_turn>user\n<start_function_response>response:{{ m.name }}{value:{{ q(m.content) }}}"
    "<end_function_response><end_of_turn>\n{% else %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}"
    "<start_function_call>call:{{ c.function.name }}{{ q(c.function.arguments) }}<end_function_call>{% endfor %}"
    "<end_of_turn>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
# DeepSeek's way: arguments wanted as text, marks of its own, and tools that the template never lists.
DEEPSEEK = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}"
    "<｜User｜>{{ m.content }}{% elif m.role == 'tool' %}<｜tool▁output▁begin｜>{{ m.content }}<｜tool▁output▁end｜>"
    "{% else %}<｜Assistant｜>{{ m.content }}{% if m.tool_calls %}<｜tool▁calls▁begin｜>{% for c in m.tool_calls %}"
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{{ c.function.name + '\n```json\n' + c.function.arguments + '\n```' }}"
    "<｜tool▁call▁end｜>{% endfor %}<｜tool▁calls▁end｜>{% endif %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
)
# Kimi's way: the name stands in the id only.
COUNTED = _chatml(
    "<|im_start|>assistant\n{{ m.content }}",
    calls="{% if m.tool_calls %}<|tool_calls_section_begin|>{% for c in m.tool_calls %}<|tool_call_begin|>{{ c.id }}"
    "<|tool_call_argument_begin|>{{ c.function.arguments | tojson }}<|tool_call_end|>{% endfor %}"
    "<|tool_calls_section_end|>{% endif %}",
)
PYTHON = _chatml(
    "<|im_start|>assistant\n{{ m.content }}",
    calls="{% if m.tool_calls %}<|tool_call_start|>[{% for c in m.tool_calls %}{{ c.function.name }}("
    "{% for k, v in c.function.arguments.items() %}{{ k }}={{ v | tojson }}{{ ', ' if not loop.last }}{% endfor %})"
    "{{ ', ' if not loop.last }}{% endfor %}]<|tool_call_end|>{% endif %}",
)
HERMES = _chatml("<|im_start|>assistant\n{{ m.content }}")
# No tools at all, and turns that have to alternate.
ALTERNATING = (
    "{{ bos_token }}{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}{{ raise_exception('roles') }}"
    "{% endif %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}"
    "{% endif %}<start_of_turn>{{ m.role }}\n{{ m.content }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>assistant\n{% endif %}"
)
# Writes calls, and nothing that could end one: DeepSeek-R1's does that after a single call.
ENDLESS = _chatml(
    "<|im_start|>assistant\n{{ m.content }}",
    calls="{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}",
).replace(
    "<|im_end|>\n{% endif %}{% endif %}{% endfor %}",
    "{{ '' if m.tool_calls else '<|im_end|>\n' }}{% endif %}{% endif %}{% endfor %}",
)
DATED = "<|im_start|>system\nToday is {{ strftime_now('%d %B %Y') }}.<|im_end|>\n" + HERMES

THINKING = {
    "qwen": QWEN,
    "opened": OPENED,
    "dropped": DROPPED,
    "emptied": EMPTIED,
    "inline": INLINE,
    "harmony": HARMONY,
}
CALLING = {
    "hermes": HERMES, "qwen": QWEN, "mistral": MISTRAL, "mistral-marks": MISTRAL_MARKS, "llama": LLAMA, "xml": XML,
    "argument-tags": ARGUMENT_TAGS, "gemma": GEMMA, "deepseek": DEEPSEEK, "counted": COUNTED, "python": PYTHON,
    "harmony": HARMONY,
}  # fmt: skip
_CONTROL = re.compile(r"<\|\w+\|>|<｜[^｜]+｜>|<(?:start|end)_\w+>|<escape>|\[/?[A-Z]+(?:_[A-Z]+)*\]")


def tokenizer(template: str) -> Tokenizer:
    """Bytes, the template's control tokens, and <think> and <tool_call> as tokens that are not special."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    names = sorted({"<bos>", "<eos>", *_CONTROL.findall(template)})
    special = [AddedToken(name, special=True, normalized=False) for name in names]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + len(names), special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([], trainer)
    soft = [name for name in ("<think>", "</think>", "<tool_call>", "</tool_call>") if name in template]
    made.add_tokens([AddedToken(name, special=False, normalized=False) for name in soft])
    return made


def renderer(template: str, **more: object) -> Renderer:
    return Renderer(tokenizer(template), template, bos_token="<bos>", eos_token="<eos>", **more)  # type: ignore[arg-type]
