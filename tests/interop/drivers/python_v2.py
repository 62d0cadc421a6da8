"""A client on Python's mcp 2.x, which finds out the era by itself. Argument: what to do, as JSON; stdout: the report."""

import asyncio
import json
import os
import sys

import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

asked = []


async def sample(_context, _params):
    asked.append("sampling/createMessage")
    content = types.TextContent(type="text", text="sampled by interop")
    return types.CreateMessageResult(role="assistant", content=content, model="interop")


async def elicit(_context, _params):
    asked.append("elicitation/create")
    return types.ElicitResult(action="accept", content={"name": "interop"})


async def roots(_context):
    asked.append("roots/list")
    return types.ListRootsResult(roots=[types.Root(uri="file:///interop", name="interop")])


def server(to):
    if "command" in to:
        program, *args = to["command"]
        return StdioServerParameters(command=program, args=args, env=dict(os.environ))
    if "sse" in to:
        return sse_client(to["sse"], headers=to.get("headers"))
    return streamable_http_client(to["url"], http_client=create_mcp_http_client(headers=to.get("headers")))


async def call(client, tool, given):
    asked.clear()
    progress = []

    async def on_progress(done, total, _message):
        progress.append([done, total])

    try:
        result = await client.call_tool(tool, given, progress_callback=on_progress)
    except Exception as error:
        return dict(tool=tool, error=repr(error))
    text = "\n".join(getattr(block, "text", f"<{block.type}>") for block in result.content)
    return dict(tool=tool, text=text, failed=bool(result.is_error), progress=progress, asked=list(asked))


async def main(to, calls):
    answers = dict(sampling_callback=sample, elicitation_callback=elicit, list_roots_callback=roots)
    async with Client(server(to), mode="legacy" if "sse" in to else "auto", **answers) as client:
        name = client.server_info.name if client.server_info else None
        report = dict(server=name, protocol=client.protocol_version, listed=[], calls=[])
        cursor = None
        while True:
            page = await client.list_tools(cursor=cursor)
            report["listed"] += [tool.name for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                break
        for each in calls:
            report["calls"].append(await call(client, each["tool"], each["arguments"]))
        print(json.dumps(report), flush=True)


asyncio.run(main(**json.loads(sys.argv[1])))
