"""What whoever asks is told when a route wants a fresher or stronger proof than the session has.

A person is sent to the page that asks for it; a program reads in `WWW-Authenticate` what is missing (RFC 9470 §3).
Whether something is missing is the pipeline's to say.
"""

from __future__ import annotations

from gateway.edge.exchange import Exchange
from gateway.exchange.step_up import Assurance, Factor, Lack, Requirement


def step_up_page(x: Exchange, now: float) -> bytes:
    """Name the page where the person proves what is missing, with a query that says what that is."""
    need, lack = _need(x), _lack(x, now)
    page = b"/.gateway/mfa?step_up=" + lack.encode("ascii")
    if lack is Lack.FACTOR and need.factor is not None:
        return page + b"&factor=" + need.factor.encode("ascii")
    if lack is not Lack.AUTH_AGE and need.acr is not None:  # a younger proof must be as strong, too
        return page + b"&acr=" + need.acr.encode("ascii")
    if lack is Lack.MFA_AGE and need.factor is not None:  # and of the same kind
        return page + b"&factor=" + need.factor.encode("ascii")
    if lack is Lack.AUTH_AGE and need.auth_age_s is not None:
        return page + b"&max_age=%d" % need.auth_age_s
    return page


def step_up_challenge(x: Exchange) -> bytes:
    """Write the challenge of a 401: the rung and the age that would be enough, as RFC 9470 §3 names them."""
    need, entry = _need(x), x.entry
    bearer = entry is not None and entry.session.credential == "bearer"
    words = [
        b'%b realm="gateway"' % (b"Bearer" if bearer else b"Session"),
        b'error="insufficient_user_authentication"',
        b'error_description="The address needs a fresher or stronger proof of who asks"',
    ]
    acr = need.acr
    if need.factor is Factor.WEBAUTHN:
        acr = Assurance.PHISHING_RESISTANT
    elif acr is None and (need.mfa_age_s is not None or need.factor is not None):
        acr = Assurance.AAL2
    if acr is not None:
        words.append(b'acr_values="%b"' % acr.encode("ascii"))
    ages = [age for age in (need.auth_age_s, need.mfa_age_s) if age is not None]
    if ages:
        words.append(b'max_age="%d"' % min(ages))
    return b", ".join(words)


def _need(x: Exchange) -> Requirement:
    return x.route.requirement or Requirement()


def _lack(x: Exchange, now: float) -> Lack:
    lack = _need(x).lack(x.entry.session, now) if x.entry is not None else None
    return lack or Lack.MFA_AGE
