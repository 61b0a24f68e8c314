"""How many files an edge process needs for what its configuration allows, and how many the system gives it."""

from __future__ import annotations

import resource
from typing import Final

from gateway.exchange.errors import GatewayError
from gateway.server.settings import Settings

RESERVE: Final = 320
"""Beside clients and portals: listeners, the pages, the store, the audit trail, upstreams that a reload leaves behind."""
FEWEST: Final = 64
"""Client connections below which there is no point in serving."""


def files_needed(settings: Settings) -> int:
    """Count the files of one edge process with every connection open that it may have."""
    portals = sum(upstream.max_connections for upstream in settings.upstreams.values())
    return settings.http.max_connections + portals + RESERVE


def allow_files(wanted: int) -> int:
    """Raise this process's limit on open files to `wanted`, or as far as the system lets it. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, soft), hard))
    return max(limit, soft)


def room_for_clients(settings: Settings, files: int) -> int:
    """How many client connections fit into `files`, at most as many as are configured. Raises GatewayError."""
    wanted = settings.http.max_connections
    room = min(wanted, files - (files_needed(settings) - wanted))
    if room < min(FEWEST, wanted):
        raise GatewayError(
            f"the limit on open files is {files}, and {files_needed(settings)} are needed; raise it (ulimit -n, LimitNOFILE), "
            "or lower http.max_connections and max_connections of the upstreams"
        )
    return room
