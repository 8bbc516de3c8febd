"""`huddle controller`: applies plans to a live cluster, until it is told to end."""

import asyncio
import os
import signal
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adapters.cli import later
from adapters.cli.addresses import address_option
from adapters.cli.durations import duration
from adapters.cli.extender_options import extender_config, extender_options
from adapters.cli.extras import needs_extra
from adapters.cli.inputs import compute_domain_option
from adapters.cli.memory import MIB, memory_limit_option, memory_mib
from adapters.cli.responsive import stay_responsive
from adapters.cli.serve import LEVELS
from adapters.cli.server_options import server_address, server_options
from adapters.cli.solving import ServerAddress, access_of

if TYPE_CHECKING:
    from adapters.apply.round import Solver
    from adapters.apply.run import Controller, ControllerConfig

HELP = """Place the gangs of a live cluster: all pods of a gang or none, and keep it so.

It watches nodes, pods, Gangs, PodGroups and LeaderWorkerSets. Pods that carry the scheduling gate huddle.scheduler/gang
are pinned to their nodes and let go, for any scheduler to bind; pods with schedulerName huddle it binds itself. What
it plans stands in Placements (kubectl get placements). Several may run: one works, the others wait for its Lease.
With --extender-listen it is also the extender of a kube-scheduler, which then asks it where every GPU pod may go.

\b
Examples:
  huddle controller
  huddle controller --kubeconfig admin.conf --no-leader-election --listen 127.0.0.1:8080
  huddle controller --extender-listen 0.0.0.0:8443 --extender-cert tls.crt --extender-key tls.key \\
    --extender-client-ca ca.crt

Options may also be set as HUDDLE_CONTROLLER_<OPTION>. The log goes to stderr as JSON lines. SIGTERM lets it finish the
calls under way and give the Lease back; a second one ends it at once.

\b
Exit codes: 0 ended as told, 2 it cannot start (one line), 1 a defect of huddle.
"""

_Body = TypeVar("_Body", bound=Callable[..., Any])

#: Shares of --lease-duration after which the holder stops, and between two attempts.
RENEW, RETRY = 2 / 3, 2 / 15
#: Gangs that are planned beside all others at most, because they take long.
BESIDE = 2
_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@click.command(
    "controller",
    cls=later.Command,
    help=HELP,
    short_help="Apply plans to a live cluster.",
    context_settings={"auto_envvar_prefix": "HUDDLE_CONTROLLER"},
)
@click.option("--kubeconfig", metavar="FILE", help="Default: as for kubectl; inside a pod its service account.")
@click.option("--context", metavar="NAME", help="Context of the kubeconfig; default: the current one.")
@click.option("--namespace", "namespaces", metavar="NAME", multiple=True, help="Only gangs of these; default: all.")
@duration("--grace", "2m", "Longest that part of a gang may hold nodes before it is given back.")
@duration("--fair-after", "60s", "Gangs that waited so long go before others of their priority.")
@duration("--refused-after", "20s", "Until a pod that its scheduler refuses gets another node.")
@duration("--unheard-after", "90s", "Until a pod that no scheduler binds gets another node.")
@duration("--silent-after", "5m", "Until pods on a node that is not ready are replaced.")
@duration("--time-limit", "5s", "Budget of one solve.")
@memory_limit_option
@click.option(
    "--max-gang-priority",
    metavar="N",
    type=click.IntRange(-(2**31), 2**31 - 1),
    default=0,
    show_default=True,
    help="Highest priority that a gang may state; more counts only as far as all its pods have it.",
)
@server_options
@click.option(
    "--listen", metavar="HOST:PORT", callback=address_option, help="Serve /healthz, /readyz and /metrics there."
)
@click.option("--lease-namespace", metavar="NAME", help="Of the Lease; default: that of its pod, else huddle-system.")
@click.option("--lease-name", metavar="NAME", default="huddle-controller", show_default=True, help="Of the Lease.")
@duration("--lease-duration", "15s", "Until others take over from a controller that fell silent.")
@click.option("--no-leader-election", is_flag=True, help="It is the only one: work without a Lease.")
@extender_options
@click.option(
    "--accelerator",
    "accelerators",
    metavar="NAME",
    multiple=True,
    help="A further resource that is a whole device, as nvidia.com/gpu is; * stands for anything.",
)
@compute_domain_option
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="How much is logged.")
def controller_command(
    time_limit: float,
    memory_limit: int | None,
    log_level: str,
    compute_domain: str,
    max_gang_priority: int,
    **given: Any,
) -> None:
    """Wire it up and run it."""
    address = server_address(**_taken(given, "server"))
    memory = memory_mib(memory_limit, address)
    asked = _taken(given, "extender_")
    with needs_extra("huddle controller", "kubernetes"):
        from adapters.apply.gangs import LiveGangs
        from adapters.apply.run import Controller
        from adapters.extender.server import Extender
        from adapters.manifests.gangs import GangOptions
        from solver.service import logs
        from solver.service.config import Level, Logs

    logs.configure(Logs(Level(log_level)))
    settings, served = config(**given), extender_config(**asked)
    door = Extender(served) if served else None
    options = GangOptions(
        compute_domain=compute_domain, accelerators=settings.accelerators, max_priority=max_gang_priority
    )
    reader = partial(LiveGangs, options=options)
    with _solvers(address, time_limit, memory, settings.instance) as (solver, *others):
        stay_responsive()
        asyncio.run(run_until_told(Controller(settings, solver, reader, door, others)))


def _taken(given: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Options whose names begin like this; they are not in `given` any more."""
    return {name: given.pop(name) for name in list(given) if name.startswith(prefix)}


@contextmanager
def _solvers(
    address: ServerAddress | None, time_limit_s: float, memory: int, instance: str
) -> Iterator[Sequence["Solver"]]:
    """The service that is named, else the engine, which takes half a second to load; several, each for one thread."""
    if address is None:
        from adapters.cli.live_solver import LiveSolver
        from solver.workers.workers import Workers

        with closing(Workers(1 + BESIDE, memory * MIB, threads=1 + BESIDE)) as workers:
            yield [LiveSolver(time_limit_s, workers, memory) for _ in range(1 + BESIDE)]
        return
    access_of(address)
    from adapters.cli.remote_solver import RemoteSolver

    names = [instance, *(f"{instance}-{at}" for at in range(1, 1 + BESIDE))]
    with ExitStack() as open_:
        yield [open_.enter_context(closing(RemoteSolver(address, time_limit_s, name))) for name in names]


def config(
    kubeconfig: str | None,
    context: str | None,
    namespaces: Sequence[str],
    grace: float,
    fair_after: float,
    refused_after: float,
    unheard_after: float,
    silent_after: float,
    listen: tuple[str, int] | None,
    lease_namespace: str | None,
    lease_name: str,
    lease_duration: float,
    no_leader_election: bool,
    accelerators: Sequence[str] = (),
) -> "ControllerConfig":
    """The settings that the options come to."""
    from adapters.apply.lease import LeaseTimes
    from adapters.apply.run import ControllerConfig, LeaseAt
    from adapters.apply.settings import Settings
    from solver.domain.accelerators import Accelerators

    times = LeaseTimes(lease_duration, RENEW * lease_duration, RETRY * lease_duration)
    return ControllerConfig(
        instance=f"{os.environ.get('HOSTNAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}",
        kubeconfig=kubeconfig,
        context=context,
        namespaces=tuple(namespaces),
        settings=Settings(
            grace_s=grace,
            refused_s=refused_after,
            unheard_s=unheard_after,
            silent_node_s=silent_after,
            fair_after_s=fair_after,
        ),
        listen=listen,
        lease=None if no_leader_election else LeaseAt(lease_namespace or own_namespace(), lease_name, times),
        accelerators=Accelerators(tuple(accelerators)),
    )


def own_namespace() -> str:
    """The namespace of the pod this runs in, else the one that the installation makes."""
    try:
        return _ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        return "huddle-system"


async def run_until_told(controller: "Controller") -> None:
    """Run until SIGTERM or SIGINT; a second signal ends the process at once."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def told() -> None:
        if stop.is_set():
            os._exit(0)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    await controller.run(stop)
