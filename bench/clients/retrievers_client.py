"""What users of LangChain and LlamaIndex do with a vector store: a retriever of each over it, in a chain, with filters;
file_search bound to a chat model. Run by retrievers.sh."""

from __future__ import annotations

import os
from typing import Any

import openai
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough
from langchain_openai import ChatOpenAI
from llama_index.core.retrievers import BaseRetriever as LlamaRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

DOCUMENTS = {
    "returns.md": "# Returns\n\nGoods can be sent back within 30 days.\n",
    "post.md": "# Postage\n\nPostage is 5 euros, and free from 50 euros.\n",
    "hours.txt": "We are open from nine to five.",
}
client = openai.OpenAI(max_retries=0)
store = client.vector_stores.create(name="faq", expires_after={"anchor": "last_active_at", "days": 1})
files: Any = [
    {"file_id": client.files.create(file=(name, text.encode()), purpose="assistants").id, "attributes": {"name": name}}
    for name, text in DOCUMENTS.items()
]
batch = client.vector_stores.file_batches.create_and_poll(store.id, files=files)
assert batch.file_counts.completed == 3


class OfLangChain(BaseRetriever):
    """A vector store as LangChain sees it."""

    filters: Any = None

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        options = {"filters": self.filters} if self.filters else {}
        found = client.vector_stores.search(store.id, query=query, max_num_results=2, **options)
        return [
            Document(one.content[0].text, metadata={"source": one.filename, "score": one.score}) for one in found.data
        ]


class OfLlamaIndex(LlamaRetriever):
    """A vector store as LlamaIndex sees it."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = client.vector_stores.search(store.id, query=query_bundle.query_str, max_num_results=2)
        return [
            NodeWithScore(node=TextNode(text=one.content[0].text, metadata={"file": one.filename}), score=one.score)
            for one in found.data
        ]


asked = "How much is postage?"
(best, *_) = OfLangChain().invoke(asked)
assert best.metadata["source"] == "post.md" and 0 < best.metadata["score"] <= 1
only = OfLangChain(filters={"type": "ne", "key": "name", "value": "post.md"}).invoke(asked)
assert "post.md" not in {one.metadata["source"] for one in only}
chat = ChatOpenAI(model=os.environ["MODEL"], temperature=0, max_completion_tokens=20, max_retries=0)
prompt = ChatPromptTemplate.from_template("Passages:\n{passages}\n\nQuestion: {question}")
chain = {"passages": OfLangChain(), "question": RunnablePassthrough()} | prompt | chat | StrOutputParser()
assert chain.invoke(asked)
bound = ChatOpenAI(
    model=os.environ["MODEL"], use_responses_api=True, max_completion_tokens=20, max_retries=0
).bind_tools([{"type": "file_search", "vector_store_ids": [store.id]}])
said = bound.invoke(asked)
assert any(part["type"] == "file_search_call" for part in said.content) and said.usage_metadata
(first, *_) = OfLlamaIndex().retrieve(asked)
assert first.node.metadata["file"] == "post.md" and first.score
client.vector_stores.delete(store.id)
print("langchain and llama-index: retrievers, a chain, filters, file_search")
