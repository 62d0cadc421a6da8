"""Monitoring & Analysis: how the fleet is, what its logs say, and which service is to blame."""

import json
import os
from collections import Counter

import fleet
from mcp.server.fastmcp import FastMCP
from serving import serve

mcp_server = FastMCP("monitoring-analysis", host="127.0.0.1", port=int(os.environ.get("PORT", "9001")))


@mcp_server.tool(structured_output=False)
async def get_system_metrics(service: str | None = None) -> str:
    """Retrieve current system metrics, of one service or of all"""
    metrics = fleet.metrics()
    wanted = [fleet.known(service)] if service else list(metrics)
    return json.dumps({"at": fleet.NOW.isoformat(), "services": {name: metrics[name] for name in wanted}})


@mcp_server.tool(structured_output=False)
async def analyze_logs(service: str | None = None, timeframe: str = "1h") -> str:
    """Analyze application logs for patterns: levels, the most frequent errors, when they began"""
    entries = fleet.logs(timeframe, service)
    errors = [entry for entry in entries if entry["level"] == "ERROR"]
    patterns = Counter((entry["service"], entry["message"]) for entry in errors)
    return json.dumps(
        {
            "entries": len(entries),
            "levels": Counter(entry["level"] for entry in entries),
            "errors": [
                {"service": name, "message": message, "count": count}
                for (name, message), count in patterns.most_common(5)
            ],
            "first_error_at": errors[0]["timestamp"] if errors else None,
        }
    )


@mcp_server.tool(structured_output=False)
async def root_cause_analysis() -> str:
    """Perform deep RCA: follow the failing services down to the one that fails by itself"""
    metrics = fleet.metrics()
    failing = [service for service in metrics if metrics[service]["status"] != "healthy"]
    # It calls nobody who fails: the others fail because of it.
    suspects = [service for service in failing if not set(fleet.CALLS[service]) & set(failing)]
    if not suspects:
        return json.dumps({"root_cause": None, "detail": "every service is healthy"})
    service = suspects[0]
    errors = Counter(entry["message"] for entry in fleet.logs("1h", service) if entry["level"] == "ERROR")
    evidence = {"metrics": metrics[service], "errors": dict(errors.most_common(3))}
    fault = next(fault for fault in fleet.FAULTS if fault["error"] in errors)
    return json.dumps(
        {
            "service": service,
            "root_cause": fault["cause"],
            "affected": [name for name in failing if name != service],
            "evidence": evidence,
            "recommended_action": fault["remedy"],
        }
    )


@mcp_server.tool(structured_output=False)
async def verify_health(service: str | None = None) -> str:
    """Verify system health status, of one service or of all"""
    status = {name: metrics["status"] for name, metrics in fleet.metrics().items()}
    wanted = {fleet.known(service): status[service]} if service else status
    return json.dumps({"healthy": set(wanted.values()) == {"healthy"}, "services": wanted})


if __name__ == "__main__":
    serve(mcp_server)
