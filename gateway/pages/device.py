"""A browser's name for people, read from its User-Agent: "Firefox on Windows".

A hint for recognising one's own sessions, nothing more: the field is whatever the client says,
so no decision ever rests on it.
"""

from __future__ import annotations

import re

_MAX_CHARACTERS = 512

# Order matters: most browsers also carry the names of those they imitate.
_BROWSERS = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"\bEdgA?/|\bEdgiOS/|\bEdge/", "Edge"),
        (r"\bOPR/|\bOPiOS/|\bOpera\b", "Opera"),
        (r"\bVivaldi/", "Vivaldi"),
        (r"\bSamsungBrowser/", "Samsung Internet"),
        (r"\bYaBrowser/", "Yandex Browser"),
        (r"\bDuckDuckGo/", "DuckDuckGo"),
        (r"\bBrave/", "Brave"),
        (r"\bFirefox/|\bFxiOS/", "Firefox"),
        (r"\bHeadlessChrome/|\bChromium/", "Chromium"),
        (r"\bChrome/|\bCriOS/", "Chrome"),
        (r"\bMSIE |\bTrident/", "Internet Explorer"),
        (r"\bVersion/[\d.]{1,16} (?:Mobile/\w{1,16} )?Safari/", "Safari"),
        (r"^curl/", "curl"),
        (r"^Wget/", "Wget"),
        (r"^python-|\baiohttp/|\bpython-requests/", "a Python program"),
        (r"^Go-http-client/", "a Go program"),
        (r"^okhttp/", "an Android app"),
    )
)
_SYSTEMS = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"\biPhone\b|\biPod\b", "iPhone"),
        (r"\biPad\b", "iPad"),
        (r"\bAndroid\b", "Android"),
        (r"\bCrOS\b", "ChromeOS"),
        (r"\bWindows\b", "Windows"),
        (r"\bMac OS X\b|\bMacintosh\b", "macOS"),
        (r"\bFreeBSD\b", "FreeBSD"),
        (r"\bOpenBSD\b", "OpenBSD"),
        (r"\bLinux\b|\bX11\b", "Linux"),
    )
)

UNKNOWN_DEVICE = "Unknown device"


def describe_device(user_agent: str) -> str:
    """Name the browser and system of a User-Agent field; `Unknown device` where neither is known."""
    text = user_agent[:_MAX_CHARACTERS]
    browser = next((name for pattern, name in _BROWSERS if pattern.search(text)), "")
    system = next((name for pattern, name in _SYSTEMS if pattern.search(text)), "")
    if browser and system:
        return f"{browser} on {system}"
    if browser:
        return browser[0].upper() + browser[1:]
    return f"A browser on {system}" if system else UNKNOWN_DEVICE
