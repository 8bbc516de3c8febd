"""Files of measured transfers."""

import pytest

from adapters.calibrate.fitting import Transfer
from adapters.calibrate.transfers import read_transfers
from solver.domain.errors import InvalidRequest

FOUND = [Transfer("rack", 1000, 0.5, 8), Transfer("zone", 2000, 1.5)]


@pytest.mark.parametrize(
    "text",
    [
        "level,bytes,ms,gpus\nrack,1000,0.5,8\nzone,2000,1.5,\n",
        " gpus, ms, level, bytes\n8, 0.5, rack, 1000\n1, 1.5, zone, 2e3\n",
        '[{"level": "rack", "bytes": 1000, "ms": 0.5, "gpus": 8}, {"level": "zone", "bytes": 2000, "ms": 1.5}]',
        '{"transfers": [{"level": "rack", "bytes": 1000, "ms": 0.5, "gpus": 8},'
        ' {"level": "zone", "bytes": 2000, "ms": "1.5"}]}',
    ],
)
def test_every_form(text: str) -> None:
    """CSV with columns in any order, a JSON list, a list under its name."""
    assert read_transfers(text, "m") == FOUND


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "m: the header lacks level, bytes, ms"),
        ("level,bytes\n", "m: the header lacks ms"),
        ("level,bytes,ms\n", "m: holds no transfer"),
        ("level,bytes,ms\nrack,1,x\n", "m: row 1: ms: must be a number, not 'x'"),
        ("level,bytes,ms\nrack,1,1\nrack,-4,1\n", "m: row 2: bytes: '-4' is out of range"),
        ("level,bytes,ms\nrack,1.5,1\n", "m: row 1: bytes: must be a whole number"),
        ("level,bytes,ms\nrack,1,inf\n", "m: row 1: ms: 'inf' is out of range"),
        ("level,bytes,ms\n,1,1\n", "m: row 1: level: must be the name of a level"),
        ("level,bytes,ms,speed\nrack,1,1,1\n", "m: row 1: speed is no known column"),
        ("level,bytes,ms\nrack,1,1,7\n", "m: row 1: None is no known column"),
        ('{"a": 1}', "m: must be a list of transfers"),
        ("[1]", "m: row 1: must be a mapping"),
        ('[{"level": "rack", "bytes": true, "ms": 1}]', "m: row 1: bytes: must be a number, not true"),
        ("[{", "m: is not JSON"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, problem: str) -> None:
    """With the row and the column."""
    with pytest.raises(InvalidRequest) as refused:
        read_transfers(text, "m")
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)
