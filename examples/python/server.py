"""An MCP server over stdio in plain Python: no package, no install."""

import json
import sys
from collections import Counter

REVISIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]


class RpcError(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def words(text):
    if not isinstance(text, str):
        raise TypeError('the argument "text" is not a string')
    return dict(Counter(text.lower().split()).most_common())


TOOLS = {
    "words": {
        "run": words,
        "description": "Counts the words of a text",
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string", "description": "the text"}},
            "required": ["text"],
        },
    },
}


def initialize(params):
    asked = params.get("protocolVersion")
    return {
        "protocolVersion": asked if asked in REVISIONS else REVISIONS[-1],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "python-example", "version": "1.0.0"},
    }


def list_tools(_params):
    public = ("description", "inputSchema")
    return {"tools": [{"name": name, **{key: tool[key] for key in public}} for name, tool in TOOLS.items()]}


def call_tool(params):
    tool = TOOLS.get(params.get("name"))
    if tool is None:
        raise RpcError(-32602, f"unknown tool: {params.get('name')}")
    try:
        data = tool["run"](**params.get("arguments") or {})
    except Exception as error:  # The model reads this and may try again; a JSON-RPC error would not reach it.
        return {"content": [{"type": "text", "text": f"{type(error).__name__}: {error}"}], "isError": True}
    return {"content": [{"type": "text", "text": json.dumps(data)}], "structuredContent": data}


METHODS = {"initialize": initialize, "ping": lambda _: {}, "tools/list": list_tools, "tools/call": call_tool}


def answer(line):
    try:
        message = json.loads(line)
    except ValueError as error:
        return {"id": None, "error": {"code": -32700, "message": str(error)}}
    if not isinstance(message, dict) or "id" not in message or "method" not in message:
        return None  # notifications and answers want none
    try:
        method = METHODS.get(message["method"])
        if method is None:
            raise RpcError(-32601, f"method not found: {message['method']}")
        return {"id": message["id"], "result": method(message.get("params") or {})}
    except RpcError as error:
        return {"id": message["id"], "error": {"code": error.code, "message": str(error)}}
    except Exception as error:
        return {"id": message["id"], "error": {"code": -32603, "message": f"{type(error).__name__}: {error}"}}


# Logs go to stderr: stdout belongs to the protocol. The process ends by itself when stdin ends.
print("python-example is ready", file=sys.stderr, flush=True)
for line in sys.stdin.buffer:
    if line.strip() and (reply := answer(line)) is not None:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **reply}) + "\n")
        sys.stdout.flush()
