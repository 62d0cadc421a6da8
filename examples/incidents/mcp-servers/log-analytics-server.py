"""Log Analytics: raw logs for an agent to analyse, and a place where the scripts that it writes for that may run.

Scripts, logs and results are in ANALYTICS_DIR and nowhere else. The checks here tell an agent what it did wrong; what
holds a script that tries more is the sandbox of the manifest, which it inherits.
"""

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import fleet
from mcp.server.fastmcp import FastMCP
from serving import serve

mcp_server = FastMCP("log-analytics", host="127.0.0.1", port=int(os.environ.get("PORT", "9003")))
ANALYTICS = Path(os.environ.get("ANALYTICS_DIR", "analytics")).resolve()
SCRIPT_SECONDS = 30
OUTPUT_BYTES = 64 * 1024


def inside(path: str) -> Path:
    """Where a path leads, links followed; a relative one begins in the analysis folder."""
    target = (ANALYTICS / path).resolve()
    if not target.is_relative_to(ANALYTICS):
        raise ValueError(f"{path} is outside of the analysis folder: save it in {ANALYTICS} and name it from there")
    return target


@mcp_server.tool(structured_output=False)
async def get_raw_logs(incident_id: str, timeframe: str = "1h", service_filter: str | None = None) -> str:
    """Fetch 1000+ log entries as JSON. They are also saved in the analysis folder, as INCIDENT_ID-logs.json.

    Before there is an incident, its id can be any name.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]{1,40}", incident_id):
        raise ValueError(f"incident_id {incident_id!r} is neither one such as INC-0001 nor a plain name")
    entries = fleet.logs(timeframe, service_filter)
    path = ANALYTICS / f"{incident_id}-logs.json"
    path.write_text(json.dumps(entries))
    return json.dumps({"log_data_path": str(path), "count": len(entries), "entries": entries})


@mcp_server.tool(structured_output=False)
async def save_analysis_script(file_name: str, code: str) -> str:
    """Save a Python script in the analysis folder (for agents that have no tool of their own to write files)"""
    script = inside(file_name)
    if script.parent != ANALYTICS or script.suffix != ".py":
        raise ValueError(f"file_name {file_name!r} is not a plain name that ends in .py")
    script.write_text(code)
    return json.dumps({"script_path": str(script)})


@mcp_server.tool(structured_output=False)
async def execute_analysis_script(script_path: str, log_data_path: str) -> str:
    """Run generated Python analysis code, `python script log_data`, without network. Paths begin in the analysis folder."""
    script, data = inside(script_path), inside(log_data_path)
    for path in (script, data):
        if not path.is_file():
            raise ValueError(f"there is no file {path}: save it there first")
    if script.suffix != ".py":
        raise ValueError(f"script_path {script_path!r} does not end in .py: save the script under a name that does")
    results = script.with_suffix(".out")
    if results.resolve() == data:
        raise ValueError(f"{data.name} is where the output of {script.name} goes: save the data under another name")
    with results.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", script, data),
            cwd=ANALYTICS,
            env={},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            exit_code = await asyncio.wait_for(process.wait(), SCRIPT_SECONDS)
        except TimeoutError:
            raise ValueError(f"{script.name} did not end within {SCRIPT_SECONDS} s and was stopped") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its process group; what left that ends with the plugin
    with results.open("rb") as output:
        text = output.read(OUTPUT_BYTES).decode(errors="replace")
    if exit_code:
        raise ValueError(f"{script.name} ended with {exit_code}:\n{text}")
    return json.dumps({"exit_code": exit_code, "results_path": str(results), "output": text})


if __name__ == "__main__":
    ANALYTICS.mkdir(parents=True, exist_ok=True)
    serve(mcp_server)
