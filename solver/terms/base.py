"""What every objective term offers: integers for the bound, expressions for the model."""

from fractions import Fraction
from typing import Protocol

from solver.compile.view import DomainView, Expr
from solver.domain.snapshot import Ints


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

    def hole_times(self) -> Ints:
        """[host states] how often a node's hole counts; asked only where `holes` is set."""

    def express(self, view: DomainView) -> Expr:
        """The same for one domain of the model."""
