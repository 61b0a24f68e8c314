"""How a multipart body is built: how many parts it has, and how much is said about each (RFC 2046 section 5.1, RFC 7578).

What the parts hold, and whether they are files, is not read here.
"""

from __future__ import annotations

from gateway.inspection.shape.limits import Bound, MultipartLimits, ShapeError


def check(body: bytes, boundary: bytes, limits: MultipartLimits) -> None:
    """Look at the parts of a body that is held whole, in linear time.

    Raises:
        ShapeError: it is beyond a limit, or has no part and no end.

    """
    delimiter = b"--" + boundary
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter)
    parts = 0
    while at >= 0:
        start = body.find(delimiter, at) + len(delimiter)
        if body[start : start + 2] == b"--":
            return
        parts += 1
        if parts > limits.parts:
            raise ShapeError(Bound.PARTS, at)
        following = body.find(b"\r\n" + delimiter, start)
        _check_head(body, start, following if following >= 0 else len(body), limits)
        at = following
    raise ShapeError(Bound.MALFORMED, len(body))


def _check_head(body: bytes, start: int, end: int, limits: MultipartLimits) -> None:
    """Look at the header of a part: from behind the delimiter to the first empty line."""
    head_end = body.find(b"\r\n\r\n", start, min(end, start + limits.head_bytes + 4))
    if head_end < 0:
        bound = Bound.PART_HEAD if end - start > limits.head_bytes else Bound.MALFORMED
        raise ShapeError(bound, start)
    if body.count(b"\r\n", start, head_end) > limits.fields:
        raise ShapeError(Bound.PART_FIELDS, start)
