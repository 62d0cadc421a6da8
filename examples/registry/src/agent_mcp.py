"""A registry of agents as an MCP server: agents are registered under an id and found by what they can do.

    python -m fastmcp.cli run src/agent_mcp.py --transport sse --port 8080
    mcp run src/agent_mcp.py

`ATLAS_URL` names a MongoDB; without it the agents are kept in the SQLite file `REGISTRY_DB`. With `REGISTRY_TOKEN` set,
`/sse` asks for `Authorization: Bearer TOKEN`; `/health` never does.
"""

import hmac
import os
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated

from anyio import to_thread
from mcp.server import MCPServer
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field
from starlette.responses import JSONResponse
from typing_extensions import TypedDict

from agent_store import open_store

AgentId = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="as data-scientist-761966")]
Url = Annotated[str, Field(pattern="^https?://", max_length=2048, description="base URL; its A2A card is below it")]
Text = Annotated[str, Field(max_length=2000)]
Words = Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=50)]
READS = ToolAnnotations(read_only_hint=True)
REPEATABLE = ToolAnnotations(read_only_hint=False, idempotent_hint=True)


class Agent(TypedDict):
    agent_id: str
    agent_url: str
    description: str
    capabilities: list[str]
    tags: list[str]
    alive: bool
    last_update: str


class Agents(TypedDict):
    count: int
    agents: list[Agent]


class Token:
    """Lets in whoever holds the one token."""

    def __init__(self, token):
        self.token = token

    async def verify_token(self, token):
        if hmac.compare_digest(token.encode(), self.token.encode()):
            return AccessToken(token=token, client_id="registry", scopes=[])
        return None


def door():
    token = os.environ.get("REGISTRY_TOKEN")
    if not token:
        return {}
    # The SDK wants to know who issues the tokens; nobody does: the operator hands this one out.
    auth = AuthSettings(issuer_url="http://localhost", resource_server_url=None)
    return {"auth": auth, "token_verifier": Token(token)}


store = open_store()
mcp = MCPServer("NANDA Registry", instructions="Find an agent here, then talk to it by A2A at its agent_url.", **door())


def now():
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def found(agent_id, agent):
    if agent is None:
        raise ToolError(f"no agent {agent_id!r} is registered; list_agents shows those that are")
    return agent


@mcp.tool(annotations=READS)
def list_agents() -> Agents:
    """Lists all registered agents."""
    agents = store.all()
    return {"count": len(agents), "agents": agents}


@mcp.tool(annotations=READS)
def search_agents(q: Text = "", capabilities: Words = [], tags: Words = []) -> Agents:
    """Finds agents: `q` is part of an id, description, capability or tag; capabilities and tags must all be there."""
    agents = store.search(q, capabilities, tags)
    return {"count": len(agents), "agents": agents}


@mcp.tool(annotations=READS)
def get_agent(agent_id: AgentId) -> Agent:
    """Tells where an agent is and what it can do."""
    return found(agent_id, store.get(agent_id))


@mcp.tool(annotations=REPEATABLE)
def register_agent(
    agent_id: AgentId, agent_url: Url, description: Text = "", capabilities: Words = [], tags: Words = []
) -> Agent:
    """Registers an agent, or replaces what was registered under its id."""
    agent = {"agent_id": agent_id, "agent_url": agent_url, "description": description}
    agent |= {"capabilities": capabilities, "tags": tags, "alive": True, "last_update": now()}
    store.put(agent)
    return agent


@mcp.tool(annotations=REPEATABLE)
def update_agent(
    agent_id: AgentId,
    agent_url: Url | None = None,
    description: Text | None = None,
    capabilities: Words | None = None,
    tags: Words | None = None,
    alive: bool | None = None,
) -> Agent:
    """Changes the given fields of a registered agent."""
    given = {"agent_url": agent_url, "description": description, "capabilities": capabilities}
    given |= {"tags": tags, "alive": alive}
    changes = {field: value for field, value in given.items() if value is not None}
    return found(agent_id, store.update(agent_id, changes | {"last_update": now()}))


@mcp.tool(annotations=REPEATABLE)
def deregister_agent(agent_id: AgentId) -> dict[str, str]:
    """Removes an agent from the registry."""
    found(agent_id, store.delete(agent_id) or None)
    return {"deregistered": agent_id}


@mcp.tool(annotations=READS)
def health_check() -> dict[str, str]:
    """Tells whether the registry reaches its storage."""
    store.ping()
    return {"status": "healthy", "storage": store.name}


@mcp.tool(annotations=READS)
def stats() -> dict[str, int | dict[str, int]]:
    """Counts agents, and how many offer each capability and carry each tag."""
    agents = store.all()
    return {
        "total_agents": len(agents),
        "alive_agents": sum(agent["alive"] for agent in agents),
        "capabilities": Counter(word for agent in agents for word in agent["capabilities"]),
        "tags": Counter(word for agent in agents for word in agent["tags"]),
    }


@mcp.custom_route("/health", methods=["GET"])
async def health(_request):
    try:
        return JSONResponse(await to_thread.run_sync(health_check))
    except Exception as error:
        return JSONResponse({"status": "unhealthy", "storage": store.name, "error": type(error).__name__}, 503)


if __name__ == "__main__":
    mcp.run()
