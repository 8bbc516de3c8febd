"""Gangs whose states no table holds: a plan that passes the checks, and a bound that says how good it is."""

import pytest

from solver.domain.gang import Gang
from solver.domain.plan import GangPlan, Status
from solver.domain.snapshot import Snapshot
from solver.planner import Engine, Options, plan
from solver.search import solve
from support.builders import cluster, flow, gang, node, role


@pytest.fixture(scope="module")
def site() -> Snapshot:
    """1,024 nodes in 64 racks and four zones, with 2 to 8 GPUs free: two nodes in three are partly taken."""
    free = (8, 5, 2, 8, 6, 3, 4)
    return cluster(
        *(
            node(f"n{at}", gpus=free[(at + at // 16) % 7], rack=f"r{at // 16}", zone=f"z{at // 256}")
            for at in range(1024)
        )
    )


def solved(site: Snapshot, of: Gang, engine: Engine = Engine.AUTO) -> GangPlan:
    """The answer, of merged tables for sure."""
    taken = []

    def noted(*arguments: object, **options: object) -> object:
        taken.append(True)
        return solve_large(*arguments, **options)  # type: ignore[arg-type]

    solve_large = solve.solve_large
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve, "solve_large", noted)
        (answer,) = plan(site, [of], Options(engine, time_limit_s=120)).gangs
    assert taken
    return answer


def check(answer: GangPlan, pods: int) -> dict[str, float]:
    """A plan of all pods with no value below its bound; returns the bounds by term."""
    assert answer.status in (Status.OPTIMAL, Status.FEASIBLE)
    assert len(answer.assignments) == pods
    bounds = {term.term: term.bound for term in answer.objective if term.bound is not None}
    assert all(bounds.get(term.term, term.value) <= term.value for term in answer.objective)
    return {name: float(bound) for name, bound in bounds.items()}


@pytest.mark.parametrize("engine", [Engine.AUTO, Engine.TREE])
def test_five_roles_of_nine(site: Snapshot, engine: Engine) -> None:
    """100,000 states: a plan, and a positive bound on its transfer."""
    sizes = {"a": 8, "b": 4, "c": 2, "d": 4, "e": 1}
    flows = [flow(*pair, gb=at + 1) for at, pair in enumerate(("ab", "bc", "cd", "de"))]
    of = gang(*(role(name, 9, gpus=gpus) for name, gpus in sizes.items()), flows=flows)
    assert check(solved(site, of, engine), 45)["transfer_us"] > 0


def test_512_pods_in_two_roles_that_prefer_a_rack(site: Snapshot) -> None:
    """Containment is proven, and the bound on transfer is within five percent."""
    of = gang(role("prefill", 128), role("decode", 384), flows=[flow("prefill", "decode")], preferred="rack")
    answer = solved(site, of)
    bounds = check(answer, 512)
    values = {term.term: float(term.value) for term in answer.objective}
    assert bounds["containment_steps"] == values["containment_steps"]
    assert bounds["containment_domains"] == values["containment_domains"]
    assert bounds["transfer_us"] >= 0.95 * values["transfer_us"]


def test_hundreds_of_pods_in_five_roles(site: Snapshot) -> None:
    """Count vectors beyond listing: a plan still, bounded flow by flow."""
    flows = [flow(*pair, gb=at + 1) for at, pair in enumerate(("ab", "bc", "cd", "de"))]
    of = gang(*(role(name, 60, gpus=1 + at % 2) for at, name in enumerate("abcde")), flows=flows)
    assert check(solved(site, of, Engine.TREE), 300)["transfer_us"] > 0


def test_one_gpu_too_many_is_refused_with_proof(site: Snapshot) -> None:
    """Five roles that ask for one pod more than all nodes together take: infeasible, not unknown."""
    room = sum(int(amount) // 4000 for amount in site.free[:, site.resources.index("gpu")])
    sizes = [room // 5 + (at < room % 5) for at in range(5)]
    fits = gang(*(role(name, count, gpus=4) for name, count in zip("abcde", sizes, strict=True)))
    many = gang(*(role(name, count + (name == "e"), gpus=4) for name, count in zip("abcde", sizes, strict=True)))
    assert solved(site, fits, Engine.TREE).status in (Status.OPTIMAL, Status.FEASIBLE)
    assert solved(site, many, Engine.TREE).status is Status.INFEASIBLE
