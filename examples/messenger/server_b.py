"""MCP server B, the responder: passes messages to a language model. `http_server.py` serves the same over HTTP."""

import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime, timezone

from mcp.server.mcpserver import MCPServer

import transport
from ai_provider import MAX_TOKENS, Piece, ProviderError, chosen
from cost_calculator import cost, known_models
from models import Context, Health, Message, Model, Models, ProviderInfo, Reply, Request, Usage

PROVIDER, provider = chosen()
mcp = MCPServer("Server B")
state = {"processed": 0, "error": None}


@mcp.tool()
async def process_message(message: Message, context: Context = None, model: Model = None) -> Reply:
    """Asks the language model and waits for its whole answer."""
    begun = time.monotonic()
    request = Request(message=message, context=context, model=model)
    model = model or provider.default_model
    try:
        answer = await provider.complete(request, model)
    except ProviderError as error:
        state["error"] = str(error)
        raise
    return Reply(
        status="success",
        aiResponse=answer.text,
        provider=PROVIDER,
        model=model,
        usage=settle(model, answer),
        timestamp=datetime.now(timezone.utc).isoformat(),
        processingTime=round(time.monotonic() - begun, 3),
    )


async def process_stream(request: Request) -> AsyncIterator[str | Usage]:
    """The answer in pieces as the model writes them, then what it took. Not a tool: MCP has it as server A's."""
    model = request.model or provider.default_model
    tokens = Piece()
    try:
        async for piece in provider.stream(request, model):
            if piece.text:
                yield piece.text
            if piece.prompt_tokens is not None:
                tokens = piece
    except ProviderError as error:
        state["error"] = str(error)
        raise
    yield settle(model, tokens)


@mcp.tool()
async def health_check() -> Health:
    """Whether the last call to the provider worked. Does not call it: that would cost."""
    status = "degraded" if state["error"] else "healthy"
    return Health(status=status, provider=PROVIDER, messagesProcessed=state["processed"], error=state["error"])


@mcp.tool()
async def get_provider_info() -> ProviderInfo:
    """The provider and its defaults."""
    return ProviderInfo(provider=PROVIDER, defaultModel=provider.default_model, maxTokens=MAX_TOKENS)


def list_models() -> Models:
    models = known_models(PROVIDER) or [provider.default_model]
    return Models(provider=PROVIDER, models=models, default=provider.default_model)


def settle(model: str, took: Piece) -> Usage:
    """Counts a call that worked and logs its cost."""
    state["processed"] += 1
    state["error"] = None
    tokens = (took.prompt_tokens, took.completion_tokens)
    total = None if None in tokens else sum(tokens)
    price = cost(PROVIDER, model, *tokens)
    print(f"{PROVIDER} {model}: {total} tokens, {price} USD", file=sys.stderr, flush=True)
    return Usage(promptTokens=tokens[0], completionTokens=tokens[1], totalTokens=total, estimatedCost=price)


if __name__ == "__main__":
    transport.run(mcp, "MCP_PORT_B", 8002)
