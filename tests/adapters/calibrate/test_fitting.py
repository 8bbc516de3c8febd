"""Tiers from measured transfers."""

import pytest

from adapters.calibrate.fitting import Transfer, as_levels, fit, predicted_ms
from solver.domain.errors import InvalidRequest
from solver.domain.levels import Tier

TOKENS = (128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
#: Published by the Mooncake project: milliseconds of a KV cache between two engines of eight GPUs, by prompt tokens.
#: vLLM with Qwen3-8B (147,456 bytes a token) on H800, and SGLang with Qwen3-235B (385,024 bytes a token) on H20.
PUBLISHED = {
    147_456: (0.54, 0.61, 0.92, 1.50, 2.51, 4.75, 8.84, 16.43, 31.65),
    385_024: (2.07, 2.58, 2.98, 3.96, 6.43, 10.95, 20.31, 39.14, 76.78),
}


def measured(tier: Tier, *sizes: int, gpus: int = 1, level: str = "rack") -> list[Transfer]:
    """What transfers of these sizes would take over a tier."""
    return [
        Transfer(level, size, predicted_ms(tier, Transfer(level, size, 1.0, gpus)), gpus) for size in sizes
    ]  # fmt: skip


@pytest.mark.parametrize("per_token", PUBLISHED)
def test_published_transfers_are_met_within_a_tenth(per_token: int) -> None:
    """Every point of both tables."""
    times = zip(TOKENS, PUBLISHED[per_token], strict=True)
    (found,) = fit(Transfer("rack", tokens * per_token, ms, 8) for tokens, ms in times)
    assert found.points == 9
    assert found.largest_error < 0.1
    assert 18 <= found.tier.gbps <= 22


def test_exact_times_give_the_tier_back() -> None:
    """Levels come in the order of the file, each with its own tier."""
    near, far = Tier(40, 400), Tier(10, 600)
    transfers = measured(near, 10**6, 10**8, 10**9, gpus=4) + measured(far, 10**6, 10**7, 10**9, level="zone")
    found = fit(transfers)
    assert [(each.level, each.tier) for each in found] == [("rack", near), ("zone", far)]
    assert max(each.largest_error for each in found) < 1e-9
    assert as_levels(found)[0] == {"name": "rack", "gbps": 40.0, "setupUs": 400.0}


def test_a_set_up_is_never_negative() -> None:
    """Where the best line would start below zero, it starts at zero."""
    (found,) = fit([Transfer("rack", size, ms) for size, ms in ((10**6, 0.09), (10**7, 1.0), (10**8, 10.4))])
    assert found.tier.setup_us == 0
    assert found.largest_error < 0.15


def test_two_sizes_are_too_few() -> None:
    """Repeated sizes tell nothing new; three different ones are enough."""
    two = measured(Tier(40, 400), 10**6, 10**6, 10**8)
    with pytest.raises(InvalidRequest, match="level rack: 2 different sizes per GPU are too few"):
        fit(two)
    assert fit([*two, *measured(Tier(40, 400), 10**7)])[0].points == 4


def test_times_that_do_not_grow_are_refused() -> None:
    """They tell no bandwidth."""
    with pytest.raises(InvalidRequest, match="do not grow with the bytes"):
        fit([Transfer("rack", 10**size, 1.0 / size) for size in (6, 7, 8)])


def test_a_bad_fit_is_refused() -> None:
    """The point that is furthest off stands in the message; just inside the limit it is taken."""
    tier = Tier(1, 0)
    good = measured(tier, 10**7, 10**8, 10**9)
    with pytest.raises(InvalidRequest, match=r"are \d+% off at \d+ bytes in"):
        fit([*good, Transfer("rack", 10**9, 2000.0)])
    (found,) = fit([*good, Transfer("rack", 10**9, 1300.0)])
    assert 0.1 < found.largest_error <= 0.25


def test_a_tier_out_of_range_is_refused() -> None:
    """A bandwidth that no tier may have names its level."""
    with pytest.raises(InvalidRequest, match=r"level rack: gbps .* out of range"):
        fit(Transfer("rack", size, size / 100) for size in (10, 100, 1000))
