"""What every objective term offers: integers for the bound, expressions for the model."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Protocol

from solver.domain.snapshot import Ints

Expr = Any  # a CP-SAT linear expression or an integer


class DomainView(Protocol):
    """One domain of the model: its counts, and the auxiliary quantities terms and rules may ask for.

    Products, closed replicas and absolutes are bounded from one side, the one a minimised objective pushes against.
    """

    level: int
    bits: int
    hole: int

    def pods(self, roles: Sequence[int]) -> Expr:
        """Pods of the roles together."""

    def replicas(self, group: int) -> Expr:
        """Replicas of a group that is counted whole here."""

    def product(self, left: int, right: int) -> Expr:
        """At most n_left · n_right, or n · (n − 1) when they are one role."""

    def absolute(self, left: Sequence[int], right: Sequence[int], by_left: int, by_right: int) -> Expr:
        """At least |n_left · by_left − n_right · by_right|."""

    def present(self, roles: Sequence[int]) -> Expr:
        """1 when any pod of the roles is here, and only then."""

    def closed(self, group: int) -> Expr:
        """At most the number of whole replicas of the group that the pods here make up."""


class Term(Protocol):
    """A term to minimise: Σ over domains of a function of the domain's counts, plus a constant, all integers.

    name: as in answers. value = (sum + constant) · unit. magnitude: bound on any partial sum. holes: whether a domain
    with pods also adds its hole (the GPUs free before).
    """

    name: str
    constant: int
    unit: Fraction
    magnitude: int
    holes: bool

    def cost(self, level: int, bits: int) -> Ints | None:
        """[states of the level's space] what a domain with path `bits` adds; None for nothing."""

    def express(self, view: DomainView) -> Expr:
        """The same for one domain of the model."""
