"""How an urlencoded form is built: how many fields it has, and how long their names and values are (WHATWG URL, section 5)."""

from __future__ import annotations

from gateway.inspection.shape.limits import Bound, FormLimits, ShapeError


def check(body: bytes, limits: FormLimits) -> None:
    """Look at a form before its fields are read, in linear time.

    Raises:
        ShapeError: it is beyond a limit.

    """
    if body.count(b"&") < limits.fields and len(body) <= min(limits.name_bytes, limits.value_bytes):
        return
    offset = 0
    for count, field in enumerate(body.split(b"&", limits.fields), 1):
        if count > limits.fields:
            raise ShapeError(Bound.FORM_FIELDS, offset)
        name, mark, value = field.partition(b"=")
        if len(name) > limits.name_bytes:
            raise ShapeError(Bound.FORM_NAME, offset)
        if len(value) > limits.value_bytes:
            raise ShapeError(Bound.FORM_VALUE, offset + len(name) + len(mark))
        offset += len(field) + 1
