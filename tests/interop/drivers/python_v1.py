"""A client on Python's mcp 1.x (revisions up to 2025-11-25). Argument: what to do, as JSON; stdout: the report."""

import asyncio
import json
import os
import sys

import mcp.types as types
from mcp import ClientSession, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client

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


def transport(to):
    if "command" in to:
        program, *args = to["command"]
        return stdio_client(StdioServerParameters(command=program, args=args, env=dict(os.environ)))
    if "sse" in to:
        return sse_client(to["sse"], headers=to.get("headers"))
    return streamablehttp_client(to["url"], headers=to.get("headers"))


async def call(session, tool, given):
    asked.clear()
    progress = []

    async def on_progress(done, total, _message):
        progress.append([done, total])

    try:
        result = await session.call_tool(tool, given, progress_callback=on_progress)
    except Exception as error:
        return dict(tool=tool, error=repr(error))
    text = "\n".join(getattr(block, "text", f"<{block.type}>") for block in result.content)
    return dict(tool=tool, text=text, failed=result.isError, progress=progress, asked=list(asked))


async def main(to, calls):
    answers = dict(sampling_callback=sample, elicitation_callback=elicit, list_roots_callback=roots)
    async with transport(to) as streams, ClientSession(streams[0], streams[1], **answers) as session:
        began = await session.initialize()
        report = dict(server=began.serverInfo.name, protocol=began.protocolVersion, listed=[], calls=[])
        cursor = None
        while True:
            page = await session.list_tools(cursor)
            report["listed"] += [tool.name for tool in page.tools]
            cursor = page.nextCursor
            if cursor is None:
                break
        for each in calls:
            report["calls"].append(await call(session, each["tool"], each["arguments"]))
        print(json.dumps(report), flush=True)


asyncio.run(main(**json.loads(sys.argv[1])))
