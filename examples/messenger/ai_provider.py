"""The language models behind server B: mock, OpenAI or AWS Bedrock, chosen by AI_PROVIDER."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from dotenv import load_dotenv
from mcp.server.mcpserver.exceptions import ToolError

from cost_calculator import model_id
from models import Request

load_dotenv(Path(__file__).with_name(".env"))
MAX_TOKENS = int(os.getenv("AI_MAX_TOKENS", "1000"))
TIMEOUT_SECONDS = int(os.getenv("TIMEOUT_SECONDS", "120"))


class ProviderError(ToolError):
    """The provider did not answer. As a ToolError its text reaches the MCP client."""


@dataclass
class Piece:
    """An answer, or a part of one. The tokens are known at the end of a stream."""

    text: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Mock:
    """Calls nothing and costs nothing."""

    default_model = "mock-model"

    def __init__(self) -> None:
        self.numbers = count(1)

    async def complete(self, request: Request, model: str) -> Piece:
        said = f"You said: '{request.message}'. This is a test response without calling any external API."
        return self.counted(request, f"[MOCK RESPONSE #{next(self.numbers)}] {said}")

    async def stream(self, request: Request, model: str) -> AsyncIterator[Piece]:
        said = f"You said: '{request.message}'. This is a streaming test response."
        text = f"[MOCK STREAM #{next(self.numbers)}] {said}"
        for start in range(0, len(text), 16):
            yield Piece(text[start : start + 16])
        whole = self.counted(request, text)
        yield Piece("", whole.prompt_tokens, whole.completion_tokens)

    def counted(self, request: Request, text: str) -> Piece:
        return Piece(text, len(request.message.split()), len(text.split()))


class OpenAI:
    """OpenAI, or any server that speaks its API: the SDK reads OPENAI_API_KEY and OPENAI_BASE_URL."""

    def __init__(self) -> None:
        import httpx2
        import openai

        self.default_model = os.getenv("OPENAI_DEFAULT_MODEL", "gpt-4")
        self.failures = (openai.OpenAIError, httpx2.HTTPError)
        self.chat = openai.AsyncOpenAI(timeout=TIMEOUT_SECONDS).chat.completions

    async def complete(self, request: Request, model: str) -> Piece:
        try:
            answer = await self.chat.create(**self.question(request, model))
        except self.failures as error:
            raise ProviderError(f"openai: {error}") from error
        usage = answer.usage
        tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (None, None)
        return Piece(answer.choices[0].message.content or "", *tokens)

    async def stream(self, request: Request, model: str) -> AsyncIterator[Piece]:
        options = {"stream": True, "stream_options": {"include_usage": True}}
        finished = None
        try:
            async for chunk in await self.chat.create(**self.question(request, model), **options):
                for choice in chunk.choices:
                    finished = choice.finish_reason or finished
                    yield Piece(choice.delta.content or "")
                if chunk.usage:
                    yield Piece("", chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        except self.failures as error:
            raise ProviderError(f"openai: {error}") from error
        if not finished:
            raise ProviderError("openai: the stream broke off")

    def question(self, request: Request, model: str) -> dict:
        messages = [{"role": "user", "content": request.message}]
        if request.context:
            messages.insert(0, {"role": "system", "content": request.context})
        return {"model": model, "messages": messages, "max_completion_tokens": MAX_TOKENS}


class Bedrock:
    """AWS Bedrock by its Converse API: boto3 finds the credentials as everywhere else, and signs."""

    def __init__(self) -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        default = "anthropic.claude-3-5-sonnet-20241022-v2:0"
        self.default_model = os.getenv("BEDROCK_DEFAULT_MODEL", default)
        self.failures = (BotoCoreError, ClientError)
        region = os.getenv("AWS_REGION", "us-east-1")
        self.client = boto3.client("bedrock-runtime", region_name=region, config=Config(read_timeout=TIMEOUT_SECONDS))

    # boto3 blocks, so each of its steps runs in a thread.

    async def complete(self, request: Request, model: str) -> Piece:
        try:
            answer = await asyncio.to_thread(self.client.converse, **self.question(request, model))
        except self.failures as error:
            raise ProviderError(f"bedrock: {error}") from error
        text = "".join(block.get("text", "") for block in answer["output"]["message"]["content"])
        return Piece(text, answer["usage"]["inputTokens"], answer["usage"]["outputTokens"])

    async def stream(self, request: Request, model: str) -> AsyncIterator[Piece]:
        finished = False
        try:
            answer = await asyncio.to_thread(self.client.converse_stream, **self.question(request, model))
            events = iter(answer["stream"])
            while event := await asyncio.to_thread(next, events, None):
                finished = finished or "messageStop" in event
                if "contentBlockDelta" in event:
                    yield Piece(event["contentBlockDelta"]["delta"].get("text", ""))
                if "metadata" in event:
                    usage = event["metadata"]["usage"]
                    yield Piece("", usage["inputTokens"], usage["outputTokens"])
        except self.failures as error:
            raise ProviderError(f"bedrock: {error}") from error
        if not finished:
            raise ProviderError("bedrock: the stream broke off")

    def question(self, request: Request, model: str) -> dict:
        question = {
            "modelId": model_id("bedrock", model),
            "messages": [{"role": "user", "content": [{"text": request.message}]}],
            "inferenceConfig": {"maxTokens": MAX_TOKENS},
        }
        return question | ({"system": [{"text": request.context}]} if request.context else {})


def chosen() -> tuple[str, Mock | OpenAI | Bedrock]:
    """The provider that AI_PROVIDER names. What is missing ends the server with code 78: trying again will not help."""
    name = os.getenv("AI_PROVIDER", "mock").lower()
    providers = {"mock": Mock, "openai": OpenAI, "bedrock": Bedrock}
    if name not in providers:
        fail(f"AI_PROVIDER is {name!r}: write one of {', '.join(providers)}")
    try:
        return name, providers[name]()
    except Exception as error:
        fail(f"the provider {name} cannot be used: {error}")


def fail(why: str) -> None:
    print(why, file=sys.stderr)
    sys.exit(78)
