"""Workflow Orchestration: incidents, one file each, and what is done about them."""

import json
import os
import re
from pathlib import Path
from typing import Literal

import fleet
from mcp.server.fastmcp import FastMCP
from serving import serve

mcp_server = FastMCP("workflow-orchestration", host="127.0.0.1", port=int(os.environ.get("PORT", "9002")))
INCIDENTS = Path(os.environ.get("INCIDENTS_DIR", "incidents"))


def load(incident_id: str) -> dict:
    path = INCIDENTS / f"{incident_id}.json"
    if not re.fullmatch(r"INC-\d{4}", incident_id) or not path.exists():
        there = ", ".join(sorted(path.stem for path in INCIDENTS.glob("INC-*.json"))) or "none yet"
        raise ValueError(f"no incident {incident_id!r}; there are: {there}")
    return json.loads(path.read_text())


def save(incident: dict) -> str:
    text = json.dumps(incident, indent=2)
    fresh = INCIDENTS / "fresh"
    fresh.write_text(text)
    fresh.replace(INCIDENTS / f"{incident['id']}.json")
    return text


@mcp_server.tool(structured_output=False)
async def create_incident(
    title: str, service: str, severity: Literal["low", "medium", "high", "critical"] = "high", description: str = ""
) -> str:
    """Create incident tickets"""
    number = 1 + max((int(path.stem[4:]) for path in INCIDENTS.glob("INC-*.json")), default=0)
    return save(
        {
            "id": f"INC-{number:04}",
            "status": "open",
            "title": title,
            "service": fleet.known(service),
            "severity": severity,
            "description": description,
            "remediations": [],
            "notifications": [],
            "resolution": None,
        }
    )


@mcp_server.tool(structured_output=False)
async def execute_remediation(incident_id: str, action: str, service: str) -> str:
    """Execute remediation steps: increase_pool_size, restart_service or rollback_release"""
    incident = load(incident_id)
    fleet.remediate(incident_id, action, service)
    incident["status"] = "mitigating"
    incident["remediations"].append({"action": action, "service": service})
    return save(incident)


@mcp_server.tool(structured_output=False)
async def document_resolution(incident_id: str, root_cause: str, resolution: str) -> str:
    """Document incident resolution; only an incident after whose remediation the fleet is healthy can be resolved"""
    incident = load(incident_id)
    if not fleet.healed():
        raise ValueError(f"{incident_id} is not resolved: the fleet is not healthy; remediate it and verify_health first")
    incident["status"] = "resolved"
    incident["resolution"] = {"root_cause": root_cause, "resolution": resolution}
    return save(incident)


@mcp_server.tool(structured_output=False)
async def notify_team(incident_id: str, message: str, channel: str = "#incidents") -> str:
    """Send team notifications (kept in the incident's file: this example has nobody to send them to)"""
    incident = load(incident_id)
    incident["notifications"].append({"channel": channel, "message": message})
    save(incident)
    return json.dumps({"incident_id": incident_id, "channel": channel, "sent": len(incident["notifications"])})


if __name__ == "__main__":
    INCIDENTS.mkdir(parents=True, exist_ok=True)
    serve(mcp_server)
