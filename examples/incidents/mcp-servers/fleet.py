"""The simulated fleet that the three servers look at: five services and one fault.

All of it follows from FLEET_SEED, so every server sees the same fleet and every run is the same. The only thing that
changes is the list of remediations, a file in FLEET_DIR. Its clock stands still at NOW.
"""

import json
import os
import random
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

SEED = int(os.environ.get("FLEET_SEED", "3"))
NOW = datetime(2026, 1, 15, 10, 0, tzinfo=timezone.utc)
FAULT_BEGAN = NOW - timedelta(minutes=20)
SECONDS_PER_ENTRY = 3

# Who calls whom.
CALLS = {
    "api-gateway": ["checkout", "catalog"],
    "checkout": ["payments", "inventory"],
    "catalog": ["inventory"],
    "payments": [],
    "inventory": [],
}

FAULTS = [
    {
        "service": "payments",
        "cause": "connection pool exhausted",
        "error": "ConnectionPoolTimeout: no free connection after 5000 ms (50 of 50 in use)",
        "signs": {"connections_percent": 100},
        "remedy": "increase_pool_size",
    },
    {
        "service": "inventory",
        "cause": "memory leak",
        "error": "OutOfMemoryError: heap of 512 MiB is full",
        "signs": {"memory_percent": 99},
        "remedy": "restart_service",
    },
    {
        "service": "checkout",
        "cause": "faulty release 4.2.0",
        "error": "TypeError: cart.total is undefined (release 4.2.0)",
        "signs": {"release_age_minutes": 20},
        "remedy": "rollback_release",
    },
]
FAULT = FAULTS[SEED % len(FAULTS)]
ACTIONS = sorted(fault["remedy"] for fault in FAULTS)


def known(service: str) -> str:
    if service not in CALLS:
        raise ValueError(f"no service {service!r}; there are {', '.join(CALLS)}")
    return service


def depends_on_fault(service: str) -> bool:
    return service == FAULT["service"] or any(map(depends_on_fault, CALLS[service]))


# === what was done about it ===


def _file() -> Path:
    return Path(os.environ.get("FLEET_DIR", "state"), "remediations.json")


def remediations() -> list[dict]:
    try:
        return json.loads(_file().read_text())
    except FileNotFoundError:
        return []


def remediate(incident_id: str, action: str, service: str) -> None:
    if action not in ACTIONS:
        raise ValueError(f"no action {action!r}; there are {', '.join(ACTIONS)}")
    done = {"incident_id": incident_id, "action": action, "service": known(service)}
    fresh = _file().with_suffix(".new")
    fresh.write_text(json.dumps([*remediations(), done]))
    fresh.replace(_file())  # a reader sees the old list or the new one, never half of one


def healed() -> bool:
    return any((done["service"], done["action"]) == (FAULT["service"], FAULT["remedy"]) for done in remediations())


# === what it shows ===


def metrics() -> dict[str, dict]:
    return {service: _metrics(service, broken=not healed() and depends_on_fault(service)) for service in CALLS}


def _metrics(service: str, broken: bool) -> dict:
    rng = random.Random(f"{SEED}:{service}:{broken}")
    faulty = broken and service == FAULT["service"]
    error_rate = rng.uniform(0.35, 0.5) if faulty else rng.uniform(0.1, 0.25) if broken else rng.uniform(0, 0.01)
    return {
        "status": "failing" if faulty else "degraded" if broken else "healthy",
        "error_rate": round(error_rate, 3),
        "latency_p99_ms": rng.randint(3000, 5500) if broken else rng.randint(80, 250),
        "cpu_percent": rng.randint(20, 60),
        "memory_percent": rng.randint(30, 60),
        "connections_percent": rng.randint(10, 40),
        "release_age_minutes": rng.randint(1000, 9000),
        **(FAULT["signs"] if faulty else {}),
    }


def minutes(timeframe: str) -> int:
    match = re.fullmatch(r"(\d{1,3})([mh])", timeframe)
    length = int(match[1]) * (60 if match[2] == "h" else 1) if match else 0
    if not 1 <= length <= 360:
        raise ValueError(f"timeframe {timeframe!r} is not 1m to 6h, such as '30m' or '1h'")
    return length


def logs(timeframe: str, service: str | None = None) -> list[dict]:
    """The entries of the time before NOW, oldest first; an hour holds 1,200 of all services."""
    count = minutes(timeframe) * 60 // SECONDS_PER_ENTRY
    entries = [_entry(age) for age in range(count, 0, -1)]
    return [entry for entry in entries if service is None or entry["service"] == known(service)]


def _entry(age: int) -> dict:
    rng = random.Random(f"{SEED}:entry:{age}")
    at = NOW - timedelta(seconds=age * SECONDS_PER_ENTRY)
    service = rng.choice(list(CALLS))
    level, message, latency = "INFO", f"{service} answered 200", rng.randint(20, 200)
    if at >= FAULT_BEGAN and depends_on_fault(service) and rng.random() < 0.6:
        level, latency = "ERROR", rng.randint(3000, 5500)
        message = FAULT["error"] if service == FAULT["service"] else _blame(service)
    elif rng.random() < 0.03:
        level, message, latency = "WARN", f"{service} answered slowly", rng.randint(500, 900)
    return {
        "timestamp": at.isoformat(),
        "level": level,
        "service": service,
        "message": message,
        "latency_ms": latency,
        "trace_id": f"{rng.getrandbits(64):016x}",
    }


def _blame(service: str) -> str:
    failing = next(callee for callee in CALLS[service] if depends_on_fault(callee))
    return f"UpstreamError: {failing} answered 503"
