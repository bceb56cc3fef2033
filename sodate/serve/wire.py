"""What comes in, as OpenAI's clients send it. Names that change nothing here are taken; unknown ones are refused."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sodate.core.errors import UsageError
from sodate.core.nesting import MAX_DEPTH, too_deep
from sodate.core.text import tr

MAX_TOKENS = 1_000_000
MAX_STOPS = 16  # OpenAI has 4; evaluation harnesses send more
MAX_STOP_CHARS = 1000  # its beginnings are looked for at the end of a reply after every token


class Wire(BaseModel):
    """Strict: a number is not text, and text is not a number. NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nothing(cls, value: Any) -> Any:
        """A null under a name that is not known asks for nothing: clients write out what they leave unset."""
        if cls.model_config["extra"] != "forbid" or not isinstance(value, dict) or None not in value.values():
            return value
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {name: one for name, one in value.items() if one is not None or name in known}


class Body(Wire):
    """A whole request: all text in it can be written as UTF-8, and every number as JSON has it."""

    @model_validator(mode="before")
    @classmethod
    def _writable(cls, value: Any) -> Any:
        if isinstance(value, bytes):  # it came as something else than JSON, and nobody has read it
            raise UsageError(
                tr("The body has to come as JSON.", "本文は JSON で送ってください。"),
                tr("Send the header Content-Type: application/json.",
                   "Content-Type: application/json ヘッダーを付けてください。"),
                code="invalid_json",
            )  # fmt: skip
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
            text.encode()
            if text.count("{") + text.count("[") > MAX_DEPTH and too_deep(value):  # by recursion here, or further in
                raise RecursionError
        except UnicodeEncodeError:
            raise UsageError(
                tr("A text holds half a surrogate pair.", "文字列に片方だけのサロゲートが含まれています。"),
                code="invalid_value",
            ) from None
        except ValueError:
            raise UsageError(
                tr("A number is NaN or infinite.", "NaN または無限大の数が含まれています。"), code="invalid_value"
            ) from None
        except RecursionError:
            raise UsageError(tr("It is nested too deep.", "入れ子が深すぎます。"), code="invalid_value") from None
        return value


Free = dict[str, Any]
"""An object that is handed on as it is: a schema, a tool."""

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class Part(Wire):
    """A piece of a message. Only text is read; the other kinds are named in the refusal."""

    model_config = ConfigDict(extra="allow", strict=True)
    type: str = Field(max_length=64)
    text: str | None = None
    refusal: str | None = None


class FunctionCall(Wire):
    name: str
    arguments: str


class Call(Wire):
    model_config = ConfigDict(extra="ignore", strict=True)
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(Wire):
    """A turn. What an earlier reply carried beside its content may be sent back, and is not read."""

    model_config = ConfigDict(extra="ignore", strict=True)
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[Call] | None = None
    function_call: FunctionCall | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None


class Function(Wire):
    name: str = Field(pattern="^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: Free | None = None
    strict: bool | None = None


class Tool(Wire):
    type: Literal["function"]
    function: Function

    def plain(self) -> dict[str, Any]:
        return {"type": "function", "function": self.function.model_dump(exclude_none=True)}


class Named(Wire):
    name: str


class NamedTool(Wire):
    type: Literal["function"] = "function"
    function: Named


class AllowedTools(Wire):
    mode: Literal["auto", "required"]
    tools: list[NamedTool] = Field(min_length=1, max_length=128)


class AllowedChoice(Wire):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class JsonSchema(Wire):
    name: str = Field(pattern="^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    json_schema: Free | None = Field(None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Wire):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(Wire):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Choosing(Body):
    """How tokens are chosen, in chat and completions alike."""

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    max_tokens: int | None = Field(None, le=MAX_TOKENS)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, float] | None = Field(None, max_length=1024)
    n: int | None = Field(None, ge=1, le=128)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    def stops(self) -> tuple[str, ...]:
        """The stop strings, as a tuple; UsageError where there are too many, or one is very long."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(given) > MAX_STOPS or max(map(len, given), default=0) > MAX_STOP_CHARS:
            raise UsageError(
                tr(f"At most {MAX_STOPS} stop strings of {MAX_STOP_CHARS} characters.",
                   f"stop は {MAX_STOP_CHARS} 文字以内のものを {MAX_STOPS} 個までです。"),
                code="invalid_value", param="stop",
            )  # fmt: skip
        return tuple(stop for stop in given if stop)


class ChatRequest(Choosing):
    model: str
    messages: list[ChatMessage] = Field(min_length=1, max_length=10_000)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = Field(None, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | AllowedChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = Field(None, min_length=1, max_length=128)  # tools in their older form
    function_call: Literal["none", "auto"] | Named | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    modalities: list[Literal["text"]] | None = None
    safety_identifier: str | None = None
    # They change nothing here: there is one model, one tier, no cache to steer and nobody to report.
    prediction: Free | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    reasoning_effort: str | None = None
    service_tier: str | None = None
    verbosity: str | None = None


Ids = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=MAX_TOKENS)]


class CompletionRequest(Choosing):
    model: str
    prompt: str | Ids | Annotated[list[str] | list[Ids], Field(max_length=2048)] | None = None
    max_tokens: int | None = Field(None, ge=0, le=MAX_TOKENS)
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool | None = None
    best_of: int | None = Field(None, ge=1, le=20)
    suffix: str | None = None
    return_token_ids: bool | None = None  # vLLM's words: ids beside the text, and instead of tokens' names
    return_tokens_as_token_ids: bool | None = None


class EmbeddingRequest(Body):
    model: str
    input: str | Annotated[list[str] | list[int] | list[list[int]], Field(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1, le=1_000_000)
    user: str | None = None


class ResponseTool(Wire):
    type: Literal["function"]
    name: str = Field(pattern="^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: Free | None = None
    strict: bool | None = None

    def plain(self) -> dict[str, Any]:
        return {"type": "function", "function": self.model_dump(exclude_none=True, exclude={"type"})}


class Ranking(Wire):
    """How found passages are ranked: in one way. Those whose score is below the threshold are left out."""

    ranker: Literal["none", "auto", "default-2024-11-15"] | None = None
    score_threshold: float | None = Field(None, ge=0, le=1)
    hybrid_search: Free | None = None


class FileSearch(Wire):
    type: Literal["file_search"]
    vector_store_ids: list[str] = Field(min_length=1, max_length=16)
    max_num_results: int | None = Field(None, ge=1, le=50)
    filters: Free | None = None
    ranking_options: Ranking | None = None


class HostedChoice(Wire):
    type: Literal["file_search"]


class ResponseNamed(Wire):
    type: Literal["function"]
    name: str


class ResponseAllowed(Wire):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[ResponseNamed | HostedChoice] = Field(min_length=1, max_length=128)


class ResponseItem(Wire):
    """A message, a call, or a call's result; what an earlier response carried beside them is not read."""

    model_config = ConfigDict(extra="ignore", strict=True)
    type: Literal["message", "function_call", "function_call_output", "reasoning", "file_search_call"] | None = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None


class TextFormat(Wire):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = Field(None, pattern="^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    json_schema: Free | None = Field(None, alias="schema")
    strict: bool | None = None


class TextOptions(Wire):
    format: TextFormat | None = None
    verbosity: str | None = None


class ResponseRequest(Body):
    model: str
    input: str | Annotated[list[ResponseItem], Field(min_length=1, max_length=10_000)]
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    metadata: Metadata | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    text: TextOptions | None = None
    tool_choice: Literal["none", "auto", "required"] | ResponseNamed | ResponseAllowed | HostedChoice | None = None
    tools: list[Annotated[ResponseTool | FileSearch, Field(discriminator="type")]] | None = Field(None, max_length=128)
    top_logprobs: int | None = Field(None, ge=0, le=20)
    top_p: float | None = Field(None, ge=0, le=1)
    background: Literal[False] | None = None
    # They change nothing here, as in ChatRequest.
    include: list[str] | None = None
    max_tool_calls: int | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    reasoning: Free | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    stream_options: StreamOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None
