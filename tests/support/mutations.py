"""Messages made wrong at random: fields with extreme values, and bytes that are changed, cut or put in."""

import random
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_WHOLE = (0, 1, -1, 2, 7, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63))
_REAL = (0.0, -1.0, 1e-300, 1e300, float("inf"), float("-inf"), float("nan"))
_TEXTS = ("", " ", "/", "a/b/c", "default/x", "\x00", "ü" * 300, "../../etc", "prod", "n0", "zone", "9" * 400, "1/0")
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def mutated_fields(message: Message, rng: random.Random) -> bytes:
    """The message with one to four of its fields changed; it still decodes."""
    changed = type(message)()
    changed.CopyFrom(message)
    for _ in range(rng.randint(1, 4)):
        _mutate(changed, rng)
    return changed.SerializeToString()


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """The bytes changed in a few places; they may decode or not."""
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(4):
            case 0 if at < len(found):
                found[at] ^= 1 << rng.randrange(8)
            case 1:
                found[at:at] = rng.randbytes(rng.randint(1, 4))
            case 2:
                del found[at : at + rng.randint(1, 8)]
            case 3:
                del found[at:]
    return bytes(found)


def _mutate(message: Message, rng: random.Random) -> None:
    """Change one field of the message, or of one inside it."""
    fields: Sequence[FieldDescriptor] = message.DESCRIPTOR.fields
    if not fields:
        return
    field = rng.choice(fields)
    if field.message_type is not None and not _is_map(field):
        inner = _inner(message, field, rng)
        if inner is not None and rng.random() < 0.8:
            _mutate(inner, rng)
        else:
            message.ClearField(field.name)
    elif field.is_repeated:
        _mutate_many(message, field, rng)
    elif rng.random() < 0.2:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _value(field, rng))


def _inner(message: Message, field: FieldDescriptor, rng: random.Random) -> Message | None:
    """A message inside, one of several or one that is made for it."""
    held: Any = getattr(message, field.name)
    if not field.is_repeated:
        return held  # type: ignore[no-any-return]
    if held and rng.random() < 0.8:
        return rng.choice(held)  # type: ignore[no-any-return]
    return held.add()  # type: ignore[no-any-return]


def _mutate_many(message: Message, field: FieldDescriptor, rng: random.Random) -> None:
    held: Any = getattr(message, field.name)
    if _is_map(field):
        assert field.message_type is not None
        key, value = field.message_type.fields
        if value.message_type is None:
            held[_value(key, rng)] = _value(value, rng)
    elif held and rng.random() < 0.5:
        held[rng.randrange(len(held))] = _value(field, rng)
    else:
        held.extend(_value(field, rng) for _ in range(rng.randint(1, 3)))


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _value(field: FieldDescriptor, rng: random.Random) -> Any:
    kind = field.cpp_type
    if kind in _RANGES:
        low, high = _RANGES[kind]
        return min(max(rng.choice((*_WHOLE, rng.randint(-5, 300))), low), high)
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return rng.choice((*_REAL, rng.random()))
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    return rng.choice(_TEXTS)
