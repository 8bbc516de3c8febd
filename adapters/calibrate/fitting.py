"""From measured transfers to the tier of a level: time = setup + bytes / (bandwidth per GPU · GPUs of an engine).

Least squares of the relative error, so that small transfers, which tell the set-up, count as much as large ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from solver.domain.errors import InvalidRequest
from solver.domain.levels import Tier

#: Fewest different sizes of one level: two always lie on a line, whatever they mean.
FEWEST_SIZES = 3
#: Largest relative error of any point with which a fit is believed.
MOST_ERROR = 0.25


@dataclass(frozen=True, slots=True)
class Transfer:
    """One measured transfer between two engines. level: where they meet. gpus: of the smaller engine.

    size: in bytes, above 0. ms: how long it took, above 0.
    """

    level: str
    size: int
    ms: float
    gpus: int = 1


@dataclass(frozen=True, slots=True)
class Fitted:
    """The tier that some transfers of a level tell, and how well it predicts them: relative errors, 0.1 = 10 %."""

    level: str
    tier: Tier
    points: int
    mean_error: float
    largest_error: float


def fit(transfers: Iterable[Transfer]) -> tuple[Fitted, ...]:
    """The tier of each level, in the order in which they come.

    Raises InvalidRequest for a level with too few different sizes, whose times do not grow with the size, or whose
    best fit is worse than MOST_ERROR.
    """
    by_level: dict[str, list[Transfer]] = {}
    for transfer in transfers:
        by_level.setdefault(transfer.level, []).append(transfer)
    return tuple(_fit(level, found) for level, found in by_level.items())


def predicted_ms(tier: Tier, transfer: Transfer) -> float:
    """How long a transfer takes over a tier."""
    return tier.setup_us / 1000 + transfer.size / (tier.gbps * transfer.gpus * 1e6)


def _fit(level: str, transfers: Sequence[Transfer]) -> Fitted:
    shares = {transfer.size / transfer.gpus for transfer in transfers}
    if len(shares) < FEWEST_SIZES:
        problem = f"{len(shares)} different sizes per GPU are too few to tell set-up from bandwidth"
        raise InvalidRequest(f"level {level}: {problem}; {FEWEST_SIZES} are needed")
    setup_ms, per_byte_ms = _line(transfers)
    if per_byte_ms <= 0:
        raise InvalidRequest(f"level {level}: its times do not grow with the bytes, so they tell no bandwidth")
    try:
        tier = Tier(gbps=_rounded(1 / (per_byte_ms * 1e6)), setup_us=_rounded(setup_ms * 1000))
    except InvalidRequest as error:
        raise InvalidRequest(f"level {level}: {error}") from error
    errors = [abs(predicted_ms(tier, transfer) / transfer.ms - 1) for transfer in transfers]
    found = Fitted(level, tier, len(transfers), sum(errors) / len(errors), max(errors))
    if found.largest_error > MOST_ERROR:
        worst = max(zip(errors, transfers, strict=True), key=lambda pair: pair[0])[1]
        problem = f"no set-up and bandwidth fit: the best are {found.largest_error:.0%} off"
        raise InvalidRequest(f"level {level}: {problem} at {worst.size} bytes in {worst.ms:g} ms")
    return found


def _line(transfers: Sequence[Transfer]) -> tuple[float, float]:
    """Set-up in ms, not negative, and ms per byte and GPU, with the least sum of squared relative errors."""
    times = np.array([transfer.ms for transfer in transfers])
    sizes = np.array([transfer.size / transfer.gpus for transfer in transfers])
    columns = np.stack([1 / times, sizes / times], axis=1)
    (setup, slope), *_ = np.linalg.lstsq(columns, np.ones(len(times)), rcond=None)
    if setup >= 0:
        return float(setup), float(slope)
    ratio = sizes / times
    return 0.0, float(ratio.sum() / (ratio * ratio).sum())


def _rounded(value: float) -> float:
    """Four digits: no measurement tells more."""
    return float(f"{value:.4g}")


def as_levels(fitted: Iterable[Fitted]) -> list[Mapping[str, object]]:
    """Entries for `spec.topology.levels` of a Cluster."""
    return [{"name": each.level, "gbps": each.tier.gbps, "setupUs": each.tier.setup_us} for each in fitted]
