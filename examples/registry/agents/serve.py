"""Serves one A2A agent that answers a message with a message, and registers it if it is told where.

Its card is at `/.well-known/agent-card.json`, JSON-RPC at `/`.
"""

import argparse
import os
from contextlib import asynccontextmanager

import uvicorn
from a2a.helpers import get_message_text, new_text_message
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from fastmcp import Client
from starlette.applications import Starlette


class Answers(AgentExecutor):
    def __init__(self, answer):
        self.answer = answer

    async def execute(self, context, event_queue):
        reply = self.answer(get_message_text(context.message))
        await event_queue.enqueue_event(new_text_message(reply, context_id=context.context_id))

    async def cancel(self, context, event_queue):
        raise NotImplementedError("every answer is given at once; there is nothing to cancel")


def serve(agent_id, description, skills, answer):
    """`skills` maps the name of a skill to what it does; `answer` makes a text of a text."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--registry", help="URL of the registry's MCP endpoint; its token is read from REGISTRY_TOKEN")
    options = parser.parse_args()
    url = f"http://127.0.0.1:{options.port}"
    card = AgentCard(
        name=agent_id,
        description=description,
        version="1.0.0",
        supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")],
        capabilities=AgentCapabilities(streaming=False),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id=name, name=name, description=what, tags=[name]) for name, what in skills.items()],
    )
    handler = DefaultRequestHandler(agent_executor=Answers(answer), task_store=InMemoryTaskStore(), agent_card=card)

    @asynccontextmanager
    async def registered(_app):
        if options.registry:
            record = {"agent_id": agent_id, "agent_url": url, "description": description, "capabilities": list(skills)}
            async with Client(options.registry, auth=os.environ.get("REGISTRY_TOKEN")) as registry:
                await registry.call_tool("register_agent", record)
        yield

    routes = [*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")]
    uvicorn.run(Starlette(routes=routes, lifespan=registered), host="127.0.0.1", port=options.port)
