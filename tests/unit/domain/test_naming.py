"""Natural order of names."""

from solver.domain.naming import natural_key


def test_runs_of_digits_compare_as_numbers() -> None:
    """However long they are; equal keys only for equal names."""
    names = ["9" * 6000, "a", "a1", "a01", "a2", "a10", "a10b", "1" + "0" * 6000, "b" + "7" * 5000]
    ordered = sorted({*names}, key=natural_key)
    assert ordered[2:] == ["a", "a01", "a1", "a2", "a10", "a10b", "b" + "7" * 5000]
    assert len({natural_key(name) for name in names}) == len(names)
