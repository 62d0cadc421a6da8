"""How a server of this folder speaks MCP: by its argument, else by MCP_TRANSPORT, else on stdio."""

import os
import sys

from mcp.server.mcpserver import MCPServer

TRANSPORTS = ("stdio", "sse", "streamable-http")


def run(server: MCPServer, port_variable: str, default_port: int) -> None:
    transport = sys.argv[1] if len(sys.argv) > 1 else os.getenv("MCP_TRANSPORT", "stdio")
    if transport not in TRANSPORTS:
        print(f"the transport {transport!r} is none of {', '.join(TRANSPORTS)}", file=sys.stderr)
        sys.exit(78)
    where = {}
    if transport != "stdio":
        port = int(os.getenv(port_variable, default_port))
        where = {"host": os.getenv("MCP_HOST", "127.0.0.1"), "port": port}
    place = f" on {where['host']}:{where['port']}" if where else ""
    name = {"sse": "SSE", "streamable-http": "streamable HTTP"}.get(transport, transport)
    # stdout belongs to the protocol
    print(f"Starting {server.name} (MCP) with {name} transport{place}", file=sys.stderr, flush=True)
    server.run(transport, **where)
