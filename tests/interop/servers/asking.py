"""A stdio server on Python's mcp 2.x, modern and legacy, that does what its ready-made servers do not: it asks its
client, the model's one and the user's one, and it tells progress."""

import asyncio
from typing import Annotated

from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve, Sample
from mcp_types import CreateMessageResult, SamplingMessage, TextContent
from pydantic import BaseModel

server = MCPServer("asking")


class Name(BaseModel):
    name: str


async def who() -> Elicit[Name]:
    return Elicit("Who are you?", Name)


async def words() -> Sample:
    question = SamplingMessage(role="user", content=TextContent(type="text", text="Say something."))
    return Sample(messages=[question], max_tokens=16)


@server.tool()
async def greet(by: Annotated[Name, Resolve(who)]) -> str:
    """Asks the user for a name and greets"""
    return f"Hello, {by.name}"


@server.tool()
async def speak(said: Annotated[CreateMessageResult, Resolve(words)]) -> str:
    """Asks the client's model and tells what it said"""
    return f"it says: {said.content.text}"


@server.tool()
async def count(to: int, context: Context) -> str:
    """Counts up and tells the progress"""
    for step in range(1, to + 1):
        await context.report_progress(step, to)
        # Counting takes its time: a client that reads everything in one piece drops what stands before the answer.
        await asyncio.sleep(0.02)
    return f"counted to {to}"


server.run("stdio")
