"""What LlamaIndex's users do: chat, a stream, a completion, a forced tool, structured output, embeddings. Run by
llamaindex.sh."""

from __future__ import annotations

import os
from typing import Literal

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class Order(BaseModel):
    """An order."""

    product: Literal["apples", "pears"]
    urgent: bool


def weather(city: str) -> str:
    """The weather in a city."""
    return city


model, url, key = (os.environ[name] for name in ("MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY"))
given = {"model": model, "api_base": url, "api_key": key, "temperature": 0, "max_tokens": 60, "max_retries": 0}
chat = OpenAILike(**given, is_chat_model=True, is_function_calling_model=True)
asked = [ChatMessage(role="user", content="Name a fruit.")]
said = chat.chat(asked)
assert said.message.content and said.raw.system_fingerprint
assert "".join(piece.delta or "" for piece in chat.stream_chat(asked)) == said.message.content
assert OpenAILike(**given, is_chat_model=False).complete("One, two, three,").text
tool = FunctionTool.from_defaults(weather)
called = chat.chat_with_tools([tool], "How is the weather in Osaka?", tool_required=True)
(call,) = chat.get_tool_calls_from_response(called)[:1]
assert call.tool_name == "weather" and isinstance(call.tool_kwargs["city"], str)
order = chat.as_structured_llm(Order).chat([ChatMessage(role="user", content="Please send pears at once.")])
assert isinstance(order.raw, Order)
embed = OpenAILikeEmbedding(model_name=model, api_base=url, api_key=key, max_retries=0)
vectors = embed.get_text_embedding_batch(["apple", "pear"])
assert len(vectors) == 2 and len(vectors[0]) == len(vectors[1]) and vectors[0] != vectors[1]
print("llama-index: chat, stream, completion, tool, structured output, embeddings")
