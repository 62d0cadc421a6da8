"""An MCP server on stdio that never listens to a cancellation: `late {ms, text}` is answered when its time has come."""

import json
import sys
import threading
import time

lock = threading.Lock()


def send(message):
    with lock:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def answer(request, text):
    result = {"content": [{"type": "text", "text": text}]}
    send({"jsonrpc": "2.0", "id": request["id"], "result": result})


def late(request, arguments):
    time.sleep(arguments["ms"] / 1000)
    answer(request, arguments["text"])


LATE = {
    "name": "late",
    "inputSchema": {"type": "object", "properties": {"ms": {"type": "integer"}, "text": {"type": "string"}}},
}

for line in sys.stdin:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params", {})
    if "id" not in message:
        continue
    if method == "initialize":
        hello = {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "stubborn", "version": "1"},
        }
        send({"jsonrpc": "2.0", "id": message["id"], "result": hello})
    elif method == "tools/list":
        send({"jsonrpc": "2.0", "id": message["id"], "result": {"tools": [LATE]}})
    elif method == "tools/call":
        threading.Thread(target=late, args=(message, params["arguments"]), daemon=True).start()
    elif method == "ping":
        send({"jsonrpc": "2.0", "id": message["id"], "result": {}})
    else:
        error = {"code": -32601, "message": "Method not found"}
        send({"jsonrpc": "2.0", "id": message["id"], "error": error})
