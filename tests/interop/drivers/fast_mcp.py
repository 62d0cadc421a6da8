"""A client on FastMCP. Argument: what to do, as JSON; stdout: the report."""

import asyncio
import json
import os
import sys

from fastmcp import Client
from fastmcp.client.transports import SSETransport, StdioTransport, StreamableHttpTransport

asked = []


async def sample(_messages, _params, _context):
    asked.append("sampling/createMessage")
    return "sampled by interop"


async def elicit(_message, _kind, _params, _context):
    asked.append("elicitation/create")
    return {"name": "interop"}


async def roots(_context):
    asked.append("roots/list")
    return ["file:///interop"]


def transport(to):
    if "command" in to:
        program, *args = to["command"]
        return StdioTransport(command=program, args=args, env=dict(os.environ))
    if "sse" in to:
        return SSETransport(to["sse"], headers=to.get("headers"))
    return StreamableHttpTransport(to["url"], headers=to.get("headers"))


async def call(client, tool, given):
    asked.clear()
    progress = []

    async def on_progress(done, total, _message):
        progress.append([done, total])

    try:
        result = await client.call_tool(tool, given, progress_handler=on_progress, raise_on_error=False)
    except Exception as error:
        return dict(tool=tool, error=repr(error))
    text = "\n".join(getattr(block, "text", f"<{block.type}>") for block in result.content)
    return dict(tool=tool, text=text, failed=result.is_error, progress=progress, asked=list(asked))


async def main(to, calls):
    answers = dict(sampling_handler=sample, elicitation_handler=elicit, roots=roots)
    async with Client(transport(to), **answers) as client:
        report = dict(server=client.server_info.name if client.server_info else None)
        report |= dict(protocol=client.protocol_version, listed=[], calls=[])
        report["listed"] = [tool.name for tool in await client.list_tools()]
        for each in calls:
            report["calls"].append(await call(client, each["tool"], each["arguments"]))
        print(json.dumps(report), flush=True)


asyncio.run(main(**json.loads(sys.argv[1])))
