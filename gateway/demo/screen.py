"""The portal's screens: Jinja2 templates, autoescaped, with the visitor and the hit counter on each."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from gateway.demo.visitor import visitor_of

HERE = Path(__file__).parent
HITS = web.RequestKey("hits", int)
"""How often this browser came by, set by the portal's cookie middleware."""

_TEMPLATES = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def screen(request: web.Request, template: str, *, status: int = 200, **values: object) -> web.Response:
    """Render `template` for whoever asks."""
    html = _TEMPLATES.get_template(template).render(
        visitor=visitor_of(request.headers), hits=request.get(HITS, 1), **values
    )
    return web.Response(text=html, status=status, content_type="text/html")


def see_other(request: web.Request, path: str) -> web.Response:
    """Redirect to `path` with an absolute address on the Host that was asked for, over plain HTTP: this portal never heard of TLS."""
    return web.Response(status=302, headers={"Location": f"http://{request.host}{path}"})
