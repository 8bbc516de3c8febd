"""The one door to CP-SAT: the same answers here and in a child, faults are unknown, a stop ends the search."""

import threading

import pytest
from ortools.sat.python import cp_model

from solver.domain.budget import Budget
from solver.domain.errors import InternalError
from solver.domain.plan import Proof, Status
from solver.planner import Engine, Options, plan
from solver.search import cpsat
from solver.search.children import CHILDREN, WARY_SEARCHES
from solver.search.cpsat import Answer, run
from support.builders import cluster, flow, gang, node, role
from tests.unit.search.models import READY, easy, endless, faking, impossible, soon
from tests.unit.search.processes import becomes, own_children

SITE = cluster(node("a", 4), node("b", 4))
FITTING = gang(role("p", 2), role("d", 3), flows=[flow("p", "d")])
TOO_LARGE = gang(role("p", 9))
DIES = faking(READY + "os.read(0, 100); os._exit(3)")


@pytest.fixture(params=["here", "child"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where models are solved, whatever their size."""
    if request.param == "child":
        _all_in_children(monkeypatch)
    return str(request.param)


def _all_in_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpsat, "LARGE", -1)
    monkeypatch.setattr(cpsat, "LARGE_CHECK", -1)


@pytest.mark.parametrize("presolve", [True, False])
def test_an_optimum(place: str, presolve: bool) -> None:
    """Answer, bound and the values of expressions are the same in either place."""
    model = easy()
    x, y, on = (model.get_int_var_from_proto_index(at) for at in range(3))
    found = run(model, soon(), presolve)
    assert (found.answer, found.bound, found.solved) == (Answer.OPTIMAL, -11, True)
    assert [found.value(each) for each in (x, y, on, x - 2 * y + 3, 5)] == [-4, 7, 1, -15, 5]
    assert bool(own_children()) == (place == "child")


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("presolve", [True, False])
def test_no_solution(presolve: bool) -> None:
    """Infeasible is said in either place, without a bound and without values."""
    found = run(impossible(), soon(), presolve)
    assert (found.answer, found.bound, found.solved) == (Answer.INFEASIBLE, None, False)
    with pytest.raises(InternalError):
        found.value(1)


@pytest.mark.usefixtures("place")
def test_a_gap() -> None:
    """When time ends first, the solution comes with a proven bound below it."""
    model = endless()
    run(easy(), soon(), presolve=True)  # a child has started by now, which may take longer than what follows
    found = run(model, soon(3.0), presolve=True)
    assert found.answer is Answer.FEASIBLE
    assert found.bound is not None
    costs = model.proto.objective
    value = sum(
        weight * found.value(model.get_int_var_from_proto_index(at))
        for at, weight in zip(costs.vars, costs.coeffs, strict=True)
    )
    assert found.bound < value < 0


@pytest.mark.usefixtures("place")
def test_bounds_are_exact_integers() -> None:
    """A bound beyond what a double tells apart is not rounded."""
    model = cp_model.CpModel()
    large = model.new_int_var(2**55 + 1, 2**55 + 3, "")
    model.minimize(large)
    assert run(model, soon(), presolve=True).bound == 2**55 + 1


@pytest.mark.usefixtures("place")
def test_an_invalid_model_is_our_fault() -> None:
    """A domain that is no domain raises, with what is wrong with it."""
    model = cp_model.CpModel()
    model.new_int_var(0, 5, "").proto.domain[0] = 9
    with pytest.raises(InternalError, match="invalid"):
        run(model, soon(), presolve=True)


@pytest.mark.usefixtures("place")
def test_stop_ends_a_search() -> None:
    """What is set while the search runs ends it long before its time, without a claim of proof."""
    stop, before = threading.Event(), threading.active_count()
    threading.Timer(0.7, stop.set).start()
    found = run(endless(), soon(300.0, stop), presolve=True)
    assert found.answer in (Answer.FEASIBLE, Answer.UNKNOWN)
    assert becomes(lambda: threading.active_count() == before)
    assert CHILDREN.wary == 0


@pytest.mark.usefixtures("place")
def test_stop_before_the_start() -> None:
    """With a stop set before, nothing is solved or started."""
    stop = threading.Event()
    stop.set()
    assert run(easy(), soon(60.0, stop), presolve=True).answer is Answer.UNKNOWN
    assert not own_children()


def test_after_a_fault_small_models_are_solved_in_a_child() -> None:
    """The next searches run apart, whatever their size; after them small ones run here again."""
    CHILDREN.note_fault()
    for _ in range(WARY_SEARCHES):
        assert run(easy(), soon(), presolve=True).answer is Answer.OPTIMAL
    assert own_children()
    CHILDREN.close()
    assert run(easy(), soon(), presolve=True).answer is Answer.OPTIMAL
    assert not own_children()


def test_where_no_child_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is solved here then, and a time limit holds as well."""
    _all_in_children(monkeypatch)
    monkeypatch.setattr(CHILDREN, "command", ("/no/such/python",))
    assert run(easy(), soon(), presolve=True).answer is Answer.OPTIMAL
    assert run(impossible(), soon(), presolve=True).answer is Answer.INFEASIBLE
    assert run(endless(), soon(0.3), presolve=True).answer in (Answer.FEASIBLE, Answer.UNKNOWN)


@pytest.mark.parametrize("waiting", [FITTING, TOO_LARGE], ids=["fits", "does not fit"])
def test_a_crash_is_never_a_no(waiting: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every child crashing, CP-SAT alone does not know, and the tree goes on without its certificate."""
    _all_in_children(monkeypatch)
    monkeypatch.setattr(CHILDREN, "command", DIES)
    (alone,) = plan(SITE, [waiting], Options(Engine.CPSAT)).gangs
    assert (alone.status, alone.stats.proof) == (Status.UNKNOWN, Proof.NONE)
    (both,) = plan(SITE, [waiting], Options(Engine.AUTO)).gangs
    assert both.status is (Status.OPTIMAL if waiting is FITTING else Status.INFEASIBLE)
    assert both.stats.proof is Proof.TREE


def test_a_crash_after_a_plan_keeps_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the child dies after some terms are settled, the plan found by then is the answer, with its bounds."""
    answers = []

    def crashing_later(model: cp_model.CpModel, budget: Budget, presolve: bool) -> cpsat.Run:
        if len(answers) == 6:
            _all_in_children(monkeypatch)
            monkeypatch.setattr(CHILDREN, "command", DIES)
        answers.append(run(model, budget, presolve))
        return answers[-1]

    for module in ("elastic", "stages"):
        monkeypatch.setattr(f"solver.search.{module}.run", crashing_later)
    (found,) = plan(SITE, [FITTING], Options(Engine.CPSAT)).gangs
    assert answers[-1].answer is Answer.UNKNOWN
    assert found.status is Status.FEASIBLE
    bounds = [term.bound for term in found.objective]
    assert None in bounds
    assert any(bound is not None for bound in bounds)
