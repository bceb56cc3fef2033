"""What LangChain's users do: invoke, stream, structured output, a forced tool, embeddings. Run by langchain.sh."""

from __future__ import annotations

import os
from typing import Literal

from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel


class Order(BaseModel):
    """An order."""

    product: Literal["apples", "pears"]
    urgent: bool


def weather(city: str) -> str:
    """The weather in a city."""
    return city


model = os.environ["MODEL"]
chat = ChatOpenAI(model=model, temperature=0, max_completion_tokens=40, max_retries=0)
said = chat.invoke("Name a fruit.")
assert said.content and said.response_metadata["system_fingerprint"]
assert "".join(str(chunk.content) for chunk in chat.stream("Name a fruit.")) == said.content
order = chat.with_structured_output(Order).invoke("Please send pears at once.")
assert isinstance(order, Order)
called = chat.bind_tools([weather], tool_choice="weather").invoke("How is the weather in Osaka?")
assert called.tool_calls[0]["name"] == "weather" and isinstance(called.tool_calls[0]["args"]["city"], str)
vectors = OpenAIEmbeddings(model=model, check_embedding_ctx_length=False).embed_documents(["apple", "pear"])
assert len(vectors) == 2 and len(vectors[0]) == len(vectors[1])
print("langchain-openai: invoke, stream, structured output, tool, embeddings")
