"""MCP server A, the messenger: sends messages to server B over HTTP."""

import json
import os
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
from dotenv import load_dotenv
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

import transport
from models import Health, Models, Reply

load_dotenv(Path(__file__).with_name(".env"))
SERVER_B_URL = os.getenv("SERVER_B_URL", "http://127.0.0.1:8000")
TIMEOUT_SECONDS = int(os.getenv("TIMEOUT_SECONDS", "120"))
mcp = MCPServer("Server A")


@mcp.tool()
async def send_message(message: str, model: str | None = None) -> Reply:
    """Sends a message to server B and waits for its language model's whole answer."""
    async with server_b("POST", "/process", json={"message": message, "model": model}) as response:
        return json.loads(await response.aread())


@mcp.tool()
async def send_message_stream(message: str, model: str | None = None, ctx: Context | None = None) -> str:
    """Sends a message to server B. Each piece of the answer is a progress notification; the result is all of it."""
    pieces = []
    async with server_b("POST", "/stream", json={"message": message, "model": model}) as response:
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                return "".join(pieces)
            data = json.loads(line.removeprefix("data: ") or "{}")
            if "error" in data:
                raise ToolError(f"Server B: {data['error']}")
            if "content" in data:
                pieces.append(data["content"])
                if ctx:
                    await ctx.report_progress(len(pieces), message=data["content"])
    raise ToolError(f"Server B broke off after {len(pieces)} pieces")


@mcp.tool()
async def check_server_b_health() -> Health:
    """Whether server B is there, and which provider it has."""
    async with server_b("GET", "/health") as response:
        return json.loads(await response.aread())


@mcp.tool()
async def list_available_models() -> Models:
    """The models of server B's provider whose price is known."""
    async with server_b("GET", "/models") as response:
        return json.loads(await response.aread())


@asynccontextmanager
async def server_b(method: str, path: str, **request):
    """A request to server B. Each failure becomes a tool's error that says what was tried."""
    try:
        async with (
            httpx2.AsyncClient(base_url=SERVER_B_URL, timeout=TIMEOUT_SECONDS) as client,
            client.stream(method, path, **request) as response,
        ):
            if response.is_error:
                raise ToolError(f"Server B answered {response.status_code}: {(await response.aread()).decode()[:500]}")
            yield response
    except httpx2.HTTPError as error:
        raise ToolError(f"Server B at {SERVER_B_URL} (SERVER_B_URL) does not answer: {error!r}") from error


if __name__ == "__main__":
    transport.run(mcp, "MCP_PORT_A", 8001)
