"""Which Redis server has the gateway's keys: the one that is configured, the master that Sentinels name, the node of a Cluster.

It only says where to look. Whether the server there is the right one shows when it greets.
"""

from __future__ import annotations

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.redis_keys import Keys
from gateway.store.redis_link import Entry, Whereabouts, plainly, say
from gateway.store.redis_options import Address, RedisOptions, written
from gateway.store.tables import MARKS
from gateway.wire.resp import ErrorReply, command


class FixedServer:
    """One server."""

    watches = False

    def __init__(self, address: Address) -> None:
        self._address = address

    async def find(self) -> Address:
        """Return it."""
        return self._address

    def probe(self) -> tuple[bytes, ...]:
        """Say nothing."""
        return ()

    def told(self, reply: ErrorReply) -> None:
        """There is no other."""

    def failed(self) -> None:
        """There is no other."""


class SentinelMaster(FixedServer):
    """The master of a service that Sentinels watch."""

    watches = True

    def __init__(self, options: RedisOptions) -> None:
        self._options = options
        self._entry = Entry.of_sentinel(options)
        self._sentinels = list(options.nodes)

    async def find(self) -> Address:
        """Ask one Sentinel after the other, that which answered last first."""
        why = ""
        for sentinel in list(self._sentinels):
            try:
                found = await self._ask(sentinel)
            except OSError as error:
                why = f"{written(sentinel)} {plainly(error)}"
                self._sentinels.remove(sentinel)
                self._sentinels.append(sentinel)
                continue
            if found is not None:
                return found
            why = f"{written(sentinel)} does not know the service {self._options.service!r}"
        raise StoreUnavailableError(f"{self._options.place}: no master was found: {why}")

    async def _ask(self, sentinel: Address) -> Address | None:
        conversation = await self._entry.converse(sentinel)
        try:
            question = (command(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._options.service.encode()),)
            reply = (await say(conversation, self._entry.greeting, question))[-1]
        finally:
            conversation.abort()
        if isinstance(reply, list) and len(reply) == 2:  # noqa: PLR2004 - host and port
            host, port = reply
            if isinstance(host, bytes) and isinstance(port, bytes) and port.isdigit():
                return host.decode("ascii", "replace"), int(port)
        return None


class ClusterNode(FixedServer):
    """The node of a Cluster that serves the one slot of our keys; every node knows which."""

    def __init__(self, options: RedisOptions) -> None:
        self._seeds = list(options.nodes)
        self._turn = 0
        self._known: Address | None = None
        self._probe = (command(b"EXISTS", Keys(options.prefix).row(MARKS, b"probe")),)

    async def find(self) -> Address:
        """Return the node that was named last, or one of those that know."""
        return self._known or self._seeds[self._turn % len(self._seeds)]

    def probe(self) -> tuple[bytes, ...]:
        """Ask for one of our keys: another node says who has it."""
        return self._probe

    def told(self, reply: ErrorReply) -> None:
        """Go where MOVED leads: `MOVED slot host:port`."""
        words = reply.text.split(" ")
        if reply.code == "MOVED" and len(words) == 3:  # noqa: PLR2004 - MOVED, slot, address
            host, _, port = words[2].rpartition(":")
            if port.isdigit():
                # a node that was never told its own address leaves the host out
                self._known = (host or (self._known or self._seeds[self._turn % len(self._seeds)])[0], int(port))
                return
        self.failed()

    def failed(self) -> None:
        """Ask the next node that may know."""
        if self._known is None:
            self._turn += 1
        self._known = None


def whereabouts(options: RedisOptions) -> Whereabouts:
    """Return who knows where the keys of this configuration are."""
    match options.kind:
        case "sentinel":
            return SentinelMaster(options)
        case "cluster":
            return ClusterNode(options)
        case "standalone":
            return FixedServer(options.nodes[0])
