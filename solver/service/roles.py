"""What callers may do, and what each method of the service asks for."""

from collections.abc import Mapping
from enum import StrEnum


class Role(StrEnum):
    """What a caller may do; each role may do what the ones before it may."""

    READ = "read"  # look at what is held
    PLAN = "plan"  # ask for plans, which costs processor time
    WRITE = "write"  # change the state and the ledger

    def may(self, needed: "Role") -> bool:
        """Whether this role is enough for what needs `needed`."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


HEALTH = "grpc.health.v1.Health"
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

#: Full method name → role it needs. A method that is not listed here is refused to everybody.
NEEDED: Mapping[str, Role] = {
    f"/{HEALTH}/Check": Role.READ,
    f"/{HEALTH}/Watch": Role.READ,
    **{f"/{service}/ServerReflectionInfo": Role.READ for service in REFLECTION},
    "/huddle.v1.ClusterService/PutSnapshot": Role.WRITE,
    "/huddle.v1.ClusterService/ApplyDeltas": Role.WRITE,
    "/huddle.v1.ClusterService/DropCluster": Role.WRITE,
    "/huddle.v1.ClusterService/GetState": Role.READ,
    "/huddle.v1.LedgerService/Reserve": Role.WRITE,
    "/huddle.v1.LedgerService/Confirm": Role.WRITE,
    "/huddle.v1.LedgerService/Release": Role.WRITE,
    "/huddle.v1.LedgerService/List": Role.READ,
    "/huddle.v1.LedgerService/Watch": Role.READ,
    "/huddle.v1.PlacementService/Plan": Role.PLAN,
    "/huddle.v1.PlacementService/PlanStream": Role.PLAN,
    "/huddle.v1.PlacementService/Explain": Role.PLAN,
}
