"""An MCP server that says lines as they stand in a file and keeps what it hears: it reads no more of a message than whose
turn it is, so that nothing in it can smooth a byte.

    literal.py SCRIPT HEARD

SCRIPT holds sections, `= METHOD` or `= tools/call NAME`, each with the lines to say then. @ID@ is the id of the request,
@TOKEN@ its progress token, and `?` waits for an answer of the client.
"""

import json
import sys

script, heard = sys.argv[1:]
acts, act = {}, []
for line in open(script, "rb").read().split(b"\n"):
    if line.startswith(b"= "):
        act = acts.setdefault(line[2:].decode(), [])
    elif line:
        act.append(line)
ears = open(heard, "ab", 0)


def hear():
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit(0)
    ears.write(line)
    return json.loads(line)


def answer(message):
    """Plays the section of a request; what else is asked while it waits is answered meanwhile."""
    if "id" not in message or "method" not in message:
        return
    params = message.get("params")
    params = params if isinstance(params, dict) else {}
    key = message["method"]
    if key == "tools/call":
        key += " " + params["name"]
    own = {b"@ID@": message["id"], b"@TOKEN@": params.get("_meta", {}).get("progressToken")}
    default = b'{"jsonrpc":"2.0","id":@ID@,"error":{"code":-32601,"message":"no such method"}}'
    for line in acts.get(key, [default]):
        if line == b"?":
            while "method" in (other := hear()):
                answer(other)
            continue
        for name, value in own.items():
            line = line.replace(name, json.dumps(value).encode())
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()


while True:
    answer(hear())
