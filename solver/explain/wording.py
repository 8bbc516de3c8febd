"""Reasons in words: amounts in the units people use, and what was excluded."""

from collections.abc import Sequence

from solver.domain.gang import Role
from solver.domain.plan import Reason, ReasonCode
from solver.domain.resources import GPU, MILLI_GPU


def with_exclusions(text: str, excluded: Sequence[tuple[str, int]]) -> str:
    """A sentence, and after it how many nodes each cause excluded."""
    return "; ".join([text, *(f"{counted(count, 'node')} excluded by {cause}" for cause, count in excluded)])


def counted(number: float, noun: str) -> str:
    """A number with its noun in the right form."""
    return f"{number:g} {noun}" if number == 1 else f"{number:g} {noun}s"


def amount_text(resource: str, amount: int, short: bool = False) -> str:
    """An amount in the unit people use; short leaves the resource's name out."""
    if resource == GPU:
        return f"{amount / MILLI_GPU:g}" if short else counted(amount / MILLI_GPU, "GPU")
    if resource == "cpu":
        return f"{amount / 1000:g} CPUs"
    if resource in ("memory", "ephemeral-storage"):
        size = f"{round(amount / 2**30, 3):,g} GiB" if amount % 2**20 == 0 else f"{amount:,} bytes"
        return size if short else f"{size} {resource}"
    return f"{amount}" if short else f"{amount} {resource}"


def in_devices(resource: str, amount: int) -> int:
    """GPUs as whole devices, everything else in its own unit."""
    return amount // MILLI_GPU if resource == GPU else amount


def reason(code: ReasonCode, message: str, objects: Sequence[str] = (), **numbers: int) -> Reason:
    """A reason whose numbers are given by name."""
    return Reason(code, message, tuple(objects), numbers)


def request_text(role: Role) -> str:
    """What one pod of a role asks for, GPUs first."""
    asked = sorted(role.requests, key=_gpus_first)
    return ", ".join(amount_text(resource, amount) for resource, amount in asked) or "1 pod"


def _gpus_first(item: tuple[str, int]) -> tuple[bool, str]:
    return item[0] != GPU, item[0]
