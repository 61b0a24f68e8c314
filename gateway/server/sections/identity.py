"""Where people come from."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.server.fields import Name
from gateway.server.sections.section import Section, not_yet


class Provider(Section):
    """A source of identities. This version knows the gateway's own users."""

    id: Name
    type: Annotated[Literal["password"], not_yet("oidc", "saml", "oauth2", "ldap", what="the provider type")]


class Identity(Section):
    """Where people come from."""

    providers: Annotated[tuple[Provider, ...], Field(min_length=1)] = (Provider(id="local", type="password"),)

    @model_validator(mode="after")
    def _one_password_provider(self) -> Self:
        if len(self.providers) > 1:
            raise ValueError("there is one provider of type password")
        return self
