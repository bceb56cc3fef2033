#!/bin/sh
# Three of the chat templates that TRL ships lose parts of tool calls, each in its own way and without an error.
#
# Expected: an assistant turn with tool calls is rendered whole: every call, every closing mark, arguments that can be read back.
# Happens:  deepseek_r1_distill writes the mark that ends the calls, and the end of the sentence, after two calls but not
#           after one (deepseekv3 does after one); gptoss writes the first of two calls and drops the second; lfm2_2_5
#           writes calls as Python, but a line break or an apostrophe in an argument is not escaped (lfm2_v2 escapes it).
# Seen on 30 November 2026 with the templates in the wheel of trl 1.16.0, rendered by jinja2 3.1.6.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet jinja2==3.1.6
"$dir/venv/bin/pip" download --quiet --no-deps --only-binary :all: --dest "$dir" trl==1.16.0
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import ast
import json
import sys
import zipfile

import jinja2
import jinja2.ext
import jinja2.sandbox


class Generation(jinja2.ext.Extension):
    """The block that marks what a model writes; it changes nothing in the text."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def render(name, calls, content):
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": content, "tool_calls": calls}]
    text = zipfile.ZipFile("trl-1.16.0-py3-none-any.whl").read(f"trl/chat_templates/{name}.jinja").decode()
    extensions = [Generation, "jinja2.ext.loopcontrols"]
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    env.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    env.globals["strftime_now"] = lambda form: "2026-11-30"
    return env.from_string(text).render(messages=messages, bos_token="<BOS>", eos_token="<EOS>")


def call(arguments):
    return {"type": "function", "function": {"name": "note", "arguments": arguments}}


def is_python(text):
    try:
        ast.parse(text.split("<|tool_call_start|>")[1].split("<|tool_call_end|>")[0])
    except SyntaxError:
        return False
    return True


seen = {}
for name in ("deepseekv3", "deepseek_r1_distill"):
    for count, said in ((1, "one call"), (2, "two calls")):
        text = render(name, [call('{"text": "a"}')] * count, None)
        seen[f"{name}, {said}: closing mark written"] = "tool▁calls▁end" in text
text = render("gptoss", [call({"text": "first"}), call({"text": "second"})], "")
seen["gptoss, two calls: first written"], seen["gptoss, two calls: second written"] = "first" in text, "second" in text
for name in ("lfm2_v2", "lfm2_2_5"):
    for said, argument in (("plain", "a"), ("two lines", "a\nb"), ("apostrophe", "it's")):
        seen[f"{name}, {said}: arguments can be parsed"] = is_python(render(name, [call({"text": argument})], ""))
print("trl 1.16.0, jinja2", jinja2.__version__)
for name, value in seen.items():
    print(f"{name}: {value}")
if list(seen.values()) != [True, True, False, True, True, False, True, True, True, True, False, False]:
    sys.exit("This has changed.")
EOF
