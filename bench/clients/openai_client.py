"""What users of OpenAI's own client do: chat, a stream, log-probabilities, parsed replies, tools, stored replies,
completions, responses, embeddings, models. Run by openai.sh."""

from __future__ import annotations

import json
import os
from typing import Any, Literal

import openai
from pydantic import BaseModel


class Order(BaseModel):
    """An order."""

    product: Literal["apples", "pears"]
    urgent: bool


client, model = openai.OpenAI(max_retries=0), os.environ["MODEL"]
asked: Any = {"model": model, "temperature": 0, "messages": [{"role": "user", "content": "Name a fruit."}]}
whole = client.chat.completions.create(**asked, max_tokens=30, logprobs=True, top_logprobs=2, n=2)
said = whole.choices[0].message.content
assert said and whole.choices[1].message.content == said and whole.system_fingerprint and whole.usage
assert whole.choices[0].logprobs and whole.choices[0].logprobs.content
chunks = list(
    client.chat.completions.create(**asked, max_tokens=30, stream=True, stream_options={"include_usage": True})
)
assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == said and chunks[-1].usage
parsed = client.chat.completions.parse(**asked, response_format=Order)
assert isinstance(parsed.choices[0].message.parsed, Order)
parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
called = client.chat.completions.create(**asked, tools=tools, tool_choice="required", max_tokens=60)
call: Any = (called.choices[0].message.tool_calls or [])[0]
assert call.function.name == "weather" and json.loads(call.function.arguments)["city"]
kept = client.chat.completions.create(**asked, max_tokens=5, store=True, metadata={"kind": "bench"})
assert kept.id in [one.id for one in client.chat.completions.list(metadata={"kind": "bench"}, limit=5, order="desc")]
assert client.chat.completions.delete(kept.id).deleted
scored = client.completions.create(model=model, prompt="One, two,", max_tokens=1, temperature=0, echo=True, logprobs=1)
assert scored.choices[0].text.startswith("One, two,")
response = client.responses.create(model=model, input="Name a fruit.", temperature=0, max_output_tokens=30)
assert response.output_text == said and client.responses.retrieve(response.id).id == response.id
with client.responses.stream(model=model, input="Name a fruit.", temperature=0, max_output_tokens=30) as stream:
    assert stream.get_final_response().output_text == said
vectors = client.embeddings.create(model=model, input=["apple", "pear"]).data
assert len(vectors) == 2 and len(vectors[0].embedding) == len(vectors[1].embedding)
assert client.models.retrieve(client.models.list().data[0].id).object == "model"
try:
    client.models.retrieve("no/such:model")
except openai.NotFoundError as error:
    assert error.code == "model_not_found" and error.request_id
else:
    raise AssertionError("an unknown model was found")
print(f"openai {openai.__version__}: chat, streams, parse, tools, store, completions, responses, embeddings, models")
