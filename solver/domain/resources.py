"""Amounts of node resources, as integers in fixed units."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from solver.domain.errors import InvalidRequest

GPU = "gpu"  # thousandths of a device
CPU = "cpu"  # thousandths of a core
MEMORY = "memory"  # bytes
PODS = "pods"
EPHEMERAL_STORAGE = "ephemeral-storage"  # bytes
MILLI_GPU = 1000

#: Largest amount of one resource: 4 PiB. Two thousand of them stay inside 64 bits: what the pods of one node hold is
#: checked where it is added up, and what many nodes have is added up by `solver.domain.snapshot.exact_sum`.
MAX_AMOUNT = 2**42 * 1000


@dataclass(frozen=True, slots=True)
class Resources:
    """What a pod asks for or a node has: resource name → amount, each > 0 or absent.

    Units: `gpu` and `cpu` in thousandths, `memory` and `ephemeral-storage` in bytes, `pods` and extended
    resources as counts. Raises InvalidRequest for a negative amount or one above `MAX_AMOUNT`.
    """

    items: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        for name, amount in self.items:
            if not 0 <= amount <= MAX_AMOUNT:
                raise InvalidRequest(f"resource {name}: {amount} is out of range (0 to {MAX_AMOUNT})")

    @classmethod
    def of(cls, amounts: Mapping[str, int]) -> "Resources":
        """Canonical form: sorted by name, zeros dropped."""
        return cls(tuple(sorted((name, amount) for name, amount in amounts.items() if amount)))

    @classmethod
    def total(cls, parts: Iterable["Resources"]) -> "Resources":
        """Sum over `parts`."""
        sums: dict[str, int] = {}
        for part in parts:
            for name, amount in part.items:
                sums[name] = sums.get(name, 0) + amount
        return cls.of(sums)

    def __getitem__(self, name: str) -> int:
        return next((amount for key, amount in self.items if key == name), 0)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self.items)

    def names(self) -> tuple[str, ...]:
        """Names of the resources present."""
        return tuple(name for name, _ in self.items)

    @property
    def gpus(self) -> int:
        """Whole devices of `gpu` alone; of every kind together: `solver.domain.accelerators.Accelerators.devices`."""
        return self[GPU] // MILLI_GPU
