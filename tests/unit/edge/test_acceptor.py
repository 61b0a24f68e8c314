"""Why a handshake failed, out of a closed list: whatever OpenSSL calls it, the label is one of ours."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from gateway.edge.acceptor import why


def failed(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "label"),
    [
        (failed("HTTP_REQUEST"), "not_tls"),
        (failed("UNSUPPORTED_PROTOCOL"), "version"),
        (failed("NO_SUITABLE_KEY_SHARE"), "no_shared_cipher"),
        (failed("PEER_DID_NOT_RETURN_A_CERTIFICATE"), "certificate_missing"),
        (failed("CERTIFICATE_VERIFY_FAILED"), "certificate_refused"),
        (failed("TLSV1_ALERT_UNKNOWN_CA"), "client_alert"),
        (failed("SSLV3_ALERT_CERTIFICATE_UNKNOWN"), "client_alert"),
        (failed("CALLBACK_FAILED"), "unknown_name"),
        (failed("SOMETHING_NEW"), "other"),
        (ssl.SSLError(1, "no reason"), "other"),
        (ConnectionAbortedError("SSL handshake is taking longer than 5 seconds"), "timeout"),
        (ConnectionResetError(), "closed"),
        (BrokenPipeError(), "closed"),
        (OSError(24, "too many open files"), "other"),
        (asyncio.CancelledError(), "other"),
    ],
)
def test_every_failure_has_a_label_of_a_closed_list(error: BaseException, label: str) -> None:
    assert why(error) == label
