"""What a domain of the model offers to rules and terms; solver.model implements it."""

from collections.abc import Sequence
from typing import Any, Protocol

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

    def excess(self, left: Sequence[int], right: Sequence[int], by_left: int, by_right: int) -> Expr:
        """At least max(0, n_left · by_left − n_right · by_right)."""

    def present(self, roles: Sequence[int]) -> Expr:
        """1 when any pod of the roles is here, and only then."""

    def while_present(self, roles: Sequence[int], weights: Sequence[int]) -> Expr:
        """At most Σ weight · pods over all roles, and 0 unless any pod of `roles` is here."""

    def closed(self, group: int) -> Expr:
        """At most the number of whole replicas of the group that the pods here make up."""
