"""What every gang of a batch reaches if the others are not there: none can do better among them."""

from solver.batch.state import Site, Standing
from solver.bound.warm import WarmTables
from solver.domain.budget import Budget
from solver.domain.plan import GangPlan, Status
from solver.planner import plan
from solver.search.options import MIN_TIME_LIMIT_S, Engine, Options

#: Longest time for one gang alone, in seconds.
ALONE_S = 2.0


class Alone:
    """Plans of single gangs on the cluster without the others, each made once, when it is first asked for."""

    def __init__(self, site: Site, engine: Engine, warm: WarmTables) -> None:
        self._site, self._warm = site, warm
        self._engine = Engine.CPSAT if engine is Engine.CPSAT else Engine.TREE
        self._plans: dict[int, GangPlan] = {}
        self._best: dict[int, Standing | None] = {}

    def look(self, at: int, budget: Budget) -> None:
        """Plan a gang that is not known yet; without time it stays unknown."""
        left = min(budget.left_s, ALONE_S)
        if at not in self._plans and left >= MIN_TIME_LIMIT_S:
            options = Options(self._engine, left, budget.memory_mib, levels=self._site.words)
            (found,) = plan(self._site.alone, [self._site.gangs[at]], options, warm=self._warm, stop=budget.stop).gangs
            self._plans[at] = found

    def nodes(self, at: int) -> set[str]:
        """Nodes the gang would use, none while it is unknown."""
        return {item.node for item in self._plans[at].assignments} if at in self._plans else set()

    def answer(self, at: int) -> GangPlan | None:
        """The plan of a gang alone, None while it is unknown."""
        return self._plans.get(at)

    def impossible(self, at: int) -> bool:
        """Whether it is proven that the gang cannot be placed."""
        known = self._plans.get(at)
        return known is not None and known.status is Status.INFEASIBLE

    def best(self, at: int) -> Standing | None:
        """The proven best standing of a gang, None where it is not known."""
        if at not in self._best:
            known = self._plans.get(at)
            if known is None:
                return None
            self._best[at] = self._site.standing(at, known) if known.status is Status.OPTIMAL else None
        return self._best[at]
