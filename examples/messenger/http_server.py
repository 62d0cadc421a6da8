"""Server B over HTTP: the plain API that server A calls, and the MCP server at /mcp beside it."""

import json
import os
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse

import server_b
from ai_provider import ProviderError
from models import Health, Models, Reply, Request

HOST = os.getenv("HTTP_HOST", "127.0.0.1")
PORT = int(os.getenv("HTTP_PORT", "8000"))
mcp_app = server_b.mcp.streamable_http_app(host=HOST)


@asynccontextmanager
async def lifespan(_: FastAPI):
    async with server_b.mcp.session_manager.run():
        yield


app = FastAPI(title="Server B", lifespan=lifespan)


@app.get("/health")
async def health() -> Health:
    return await server_b.health_check()


@app.get("/models")
async def models() -> Models:
    return server_b.list_models()


@app.post("/process")
async def process(request: Request) -> Reply:
    try:
        return await server_b.process_message(**request.model_dump())
    except ProviderError as error:
        raise HTTPException(502, str(error)) from error


@app.post("/stream")
async def stream(request: Request) -> StreamingResponse:
    """Events: `{"content"}` for each piece, then `{"usage"}` or `{"error"}`, then `[DONE]` if all is there."""

    async def events():
        try:
            async for piece in server_b.process_stream(request):
                yield event({"content": piece} if isinstance(piece, str) else {"usage": piece})
            yield "data: [DONE]\n\n"
        except ProviderError as error:
            yield event({"error": str(error)})

    return StreamingResponse(events(), media_type="text/event-stream")


def event(data: dict) -> str:
    return f"data: {json.dumps(data)}\n\n"


app.mount("/", mcp_app)

if __name__ == "__main__":
    uvicorn.run(app, host=HOST, port=PORT)
