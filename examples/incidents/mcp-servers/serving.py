"""Serves a FastMCP server as streamable HTTP at /mcp and as HTTP+SSE at /sse, both by one process, and /health."""

import uvicorn
from mcp.server.fastmcp import FastMCP
from starlette.requests import Request
from starlette.responses import JSONResponse


def serve(mcp_server: FastMCP) -> None:
    @mcp_server.custom_route("/health", methods=["GET"])
    async def health(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "healthy", "server": mcp_server.name})

    app = mcp_server.streamable_http_app()
    app.router.routes.extend(mcp_server.sse_app().routes)
    settings = mcp_server.settings
    # Streams stay open for ever: who is asked to end does not wait for them.
    uvicorn.run(app, host=settings.host, port=settings.port, log_level="warning", timeout_graceful_shutdown=1)
