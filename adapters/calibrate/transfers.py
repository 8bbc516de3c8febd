"""Measured transfers from a file: CSV with a header, or JSON with a list of objects; columns level, bytes, ms, gpus."""

import csv
import io
import math
from collections.abc import Iterator, Mapping
from typing import Any

from adapters.calibrate.fitting import Transfer
from adapters.files.json_text import read_json
from adapters.files.parsed import TextError
from adapters.kubernetes.objects import shown
from solver.domain.errors import InvalidRequest

_NEEDED, _KNOWN = ("level", "bytes", "ms"), ("level", "bytes", "ms", "gpus")
_MOST_BYTES, _MOST_MS, _MOST_GPUS = 10**15, 1e9, 100_000
_MOST_ROWS = 1_000_000


def read_transfers(text: str, source: str) -> list[Transfer]:
    """The transfers of a file. Raises InvalidRequest, one line, with the row and column that is wrong."""
    rows = _json(text, source) if text.lstrip().startswith(("[", "{")) else _csv(text, source)
    found = []
    for number, row in rows:
        if number > _MOST_ROWS:
            raise InvalidRequest(f"{source}: more than {_MOST_ROWS} transfers")
        found.append(_transfer(row, f"{source}: row {number}"))
    if not found:
        raise InvalidRequest(f"{source}: holds no transfer")
    return found


def _csv(text: str, source: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    header = [(name or "").strip() for name in reader.fieldnames or ()]
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        raise InvalidRequest(f"{source}: the header lacks {', '.join(missing)}; it needs {', '.join(_NEEDED)}")
    reader.fieldnames = header
    try:
        yield from ((number, row) for number, row in enumerate(reader, 1))
    except csv.Error as error:
        raise InvalidRequest(f"{source}: line {reader.line_num}: {error}") from error


def _json(text: str, source: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        found = [parsed.value for parsed in read_json(text)]
    except TextError as error:
        raise InvalidRequest(f"{source}: {error}") from error
    rows = found[0].get("transfers") if len(found) == 1 and isinstance(found[0], Mapping) else found[0]
    if not isinstance(rows, list):
        raise InvalidRequest(f"{source}: must be a list of transfers, or hold one under `transfers`")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise InvalidRequest(f"{source}: row {number}: must be a mapping, not {shown(row)}")
        yield number, row


def _transfer(row: Mapping[str, Any], where: str) -> Transfer:
    unknown = [str(name) for name in row if name not in _KNOWN]
    if unknown:
        raise InvalidRequest(f"{where}: {unknown[0]} is no known column; known are {', '.join(_KNOWN)}")
    level = row.get("level")
    if not isinstance(level, str) or not level.strip():
        raise InvalidRequest(f"{where}: level: must be the name of a level, not {shown(level)}")
    size, ms = _number(row, "bytes", where, _MOST_BYTES), _number(row, "ms", where, _MOST_MS)
    gpus = _number(row, "gpus", where, _MOST_GPUS) if row.get("gpus") not in (None, "") else 1.0
    for name, value in (("bytes", size), ("gpus", gpus)):
        if not value.is_integer():
            raise InvalidRequest(f"{where}: {name}: must be a whole number, not {value:g}")
    return Transfer(level.strip(), int(size), ms, int(gpus))


def _number(row: Mapping[str, Any], name: str, where: str, most: float) -> float:
    value = row.get(name)
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{where}: {name}: must be a number, not {shown(value)}") from None
    if not (math.isfinite(number) and 0 < number <= most):
        raise InvalidRequest(f"{where}: {name}: {shown(value)} is out of range (above 0, to {most:g})")
    return number
