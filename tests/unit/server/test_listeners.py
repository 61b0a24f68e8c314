from __future__ import annotations

import os
import socket

import pytest

from gateway.exchange.errors import ConfigurationError
from gateway.server.fields import Address
from gateway.server.listeners import Listeners, bind
from gateway.server.settings import Listener
from tests.machine import free_port


def listener(port: int) -> Listener:
    return Listener.model_validate({"address": f"127.0.0.1:{port}", "unsafe_plaintext": True})


def test_each_worker_has_its_own_socket_on_the_same_port() -> None:
    port = free_port()
    listeners = Listeners([listener(port)], workers=3)
    described = [listeners.of_worker(slot) for slot in range(3)]
    assert len({sockets[0].fd for sockets in described}) == 3
    assert {sockets[0].address for sockets in described} == {f"127.0.0.1:{port}"}
    assert described[0][0].kind == "plaintext"
    with socket.create_connection(("127.0.0.1", port)):
        pass
    listeners.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_taken_port_is_told_with_the_name_of_the_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught:
            Listeners([listener(free_port()), listener(port)], workers=2)
    assert caught.value.diagnostics == (
        f"listen[1]: 127.0.0.1:{port} is taken by another program; stop it, or choose another port",
    )


def test_a_port_that_another_gateway_would_share_is_taken_too() -> None:
    """SO_REUSEPORT: without a probe, two gateways of one user would silently split the connections."""
    port = free_port()
    first = Listeners([listener(port)], workers=1)
    with pytest.raises(ConfigurationError, match="is taken"):
        Listeners([listener(port)], workers=1)
    first.close()


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(ConfigurationError, match="is not an address of this machine"):
        bind("admin.address", Address("192.0.2.1", 9090))


def test_ipv6_listens_for_ipv6_alone() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    port = free_port()
    try:
        sock = bind("listen[0]", Address("::1", port))
    except ConfigurationError:
        pytest.skip("no IPv6 on loopback")
    with sock:
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_what_was_inherited_is_served_and_not_bound_anew() -> None:
    port = free_port()
    first = Listeners([listener(port)], workers=2)
    second = Listeners([listener(port)], workers=2, inherited=copies(first))
    before = [os.fstat(sockets[0].fd).st_ino for sockets in (first.of_worker(0), first.of_worker(1))]
    after = [os.fstat(sockets[0].fd).st_ino for sockets in (second.of_worker(0), second.of_worker(1))]
    assert before == after
    with socket.create_connection(("127.0.0.1", port)):
        pass
    first.close()
    second.close()


def test_fewer_workers_serve_all_sockets_that_there_are() -> None:
    """To close one would reset the connections that wait in it."""
    first = Listeners([listener(free_port())], workers=3)
    second = Listeners(first_of(first), workers=2, inherited=copies(first))
    assert [len(second.of_worker(worker)) for worker in range(2)] == [2, 1]
    assert len({described.fd for worker in range(2) for described in second.of_worker(worker)}) == 3
    first.close()
    second.close()


def test_more_workers_get_sockets_that_do_not_listen_yet() -> None:
    """A connection that came to one of them would be lost if the upgrade were given up."""
    first = Listeners([listener(free_port())], workers=1)
    second = Listeners(first_of(first), workers=2, inherited=copies(first))
    listening = [
        second_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        for sockets in second.by_address.values()
        for second_socket in sockets
    ]
    assert listening == [1, 0]
    first.close()
    second.close()


def test_a_listener_that_is_new_does_not_listen_yet_and_one_that_is_gone_is_let_go() -> None:
    first = Listeners([listener(free_port())], workers=1)
    inherited = copies(first)
    port = free_port()
    second = Listeners([listener(port)], workers=1, inherited=inherited)
    assert [sock.fileno() for sockets in inherited.values() for sock in sockets] == [-1]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    first.close()
    second.close()


def copies(listeners: Listeners) -> dict[str, list[socket.socket]]:
    return {address: [sock.dup() for sock in sockets] for address, sockets in listeners.by_address.items()}


def first_of(listeners: Listeners) -> list[Listener]:
    (address,) = listeners.by_address
    return [listener(int(address.rpartition(":")[2]))]
