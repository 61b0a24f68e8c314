"""The operator's name and look on the gateway's own pages, for all tenants and for one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.pages.branding import Branding as Brand
from gateway.server.fields import Location
from gateway.server.sections.section import Section

Words = Annotated[str, Field(strict=True, min_length=1)]


class Branding(Section):
    """The operator's name and look on the gateway's own pages."""

    name: Words | None = None
    """Shown beside the mark and in titles; absent = the host."""
    logo: Location | None = None
    """An SVG file, shown instead of mark and name."""
    accent: Words | None = None
    accent_dark: Words | None = None
    help_text: Words | None = None
    help_url: Words | None = None

    def values(self, logo: bytes) -> Brand:
        """Build what the pages show, with the bytes of the logo. Raises ValueError: the key, then what is wrong with it."""
        return Brand(
            name=self.name or "",
            logo=logo,
            accent=self.accent or "",
            accent_dark=self.accent_dark or "",
            help_text=self.help_text or "",
            help_url=self.help_url or "",
        )

    def over(self, general: Branding) -> Branding:
        """Return the general look with what a tenant says in its place. Name and logo go together, as do text and address of the help, and the colours."""
        together = (("name", "logo"), ("accent", "accent_dark"), ("help_text", "help_url"))
        own: dict[str, object] = {}
        for keys in together:
            if not self.model_fields_set.isdisjoint(keys):
                own |= {key: getattr(self, key) for key in keys}
        return general.model_copy(update=own)
