"""The seed's agent: the Claude Agent SDK on the three servers, through wharf. Reads the prompt from the command line."""

import asyncio
import os
import sys
from pathlib import Path

from claude_agent_sdk import AssistantMessage, ClaudeAgentOptions, ResultMessage, TextBlock, ToolUseBlock, query

WHARF = os.environ.get("WHARF_URL", "http://127.0.0.1:7800")
TYPE = os.environ.get("MCP_TYPE", "sse")  # or http
SERVERS = ["monitoring-analysis", "workflow-orchestration", "log-analytics"]

mcp_servers = {
    server: {
        "type": TYPE,
        "url": f"{WHARF}/plugins/{server}/{'sse' if TYPE == 'sse' else 'mcp'}",
        "headers": {"Authorization": f"Bearer {os.environ['WHARF_TOKEN']}"},
    }
    for server in SERVERS
}

options = ClaudeAgentOptions(
    system_prompt="You handle incidents: find the root cause, remediate it, verify, and document the resolution.",
    model=os.environ.get("MODEL", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    permission_mode="bypassPermissions",
    mcp_servers=mcp_servers,
    strict_mcp_config=True,
    tools=["Skill", "Read"],  # nobody approves what it does, so it gets no shell and writes nothing but by the servers
    skills=["log-analytics"],
    setting_sources=["project"],
    cwd=Path(__file__).parent.parent,
    max_turns=20,
)


async def main(prompt: str) -> int:
    failed = True
    async for message in query(prompt=prompt, options=options):
        if isinstance(message, AssistantMessage):
            for block in message.content:
                if isinstance(block, TextBlock):
                    print(block.text, flush=True)
                elif isinstance(block, ToolUseBlock):
                    print(f"-> {block.name} {block.input}", flush=True)
        elif isinstance(message, ResultMessage):
            failed = message.is_error
    return int(failed)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(" ".join(sys.argv[1:]) or "Customers cannot pay. Find out why and fix it.")))
