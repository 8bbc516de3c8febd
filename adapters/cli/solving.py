"""Answering what the files ask: with the engine in this process, or by a service."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.cli.course import Course
from solver.domain.errors import InvalidRequest, SourceUnavailable
from solver.domain.gang import Gang
from solver.domain.plan import Notice, Plan
from solver.domain.snapshot import Snapshot

if TYPE_CHECKING:
    from solver.service.access import Access

#: The service's own limit decides.
_MOST_MESSAGE_BYTES = 2**30


@dataclass(frozen=True)
class Inputs:
    """What the files said. notices: about the cluster and what is no gang; of_gang: by gang name.

    sources: gang name → file and object it comes from.
    """

    snapshot: Snapshot
    gangs: Sequence[Gang]
    notices: tuple[Notice, ...] = ()
    of_gang: Mapping[str, tuple[Notice, ...]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the gangs, in input order."""
        return tuple(gang.name for gang in self.gangs)

    def add_notices(self, plan: Plan) -> Plan:
        """The plan with what the readers had to say put in front of what the planner says."""
        gangs = tuple(replace(gang, warnings=(*self.of_gang.get(gang.name, ()), *gang.warnings)) for gang in plan.gangs)
        return replace(plan, gangs=gangs, warnings=(*self.notices, *plan.warnings))


@dataclass(frozen=True)
class Wish:
    """How to search.

    engine: name of a `solver.planner.Engine`. fair_before: see plan_batch(). memory_mib: most memory, see Options.
    """

    engine: str = "auto"
    time_limit_s: float = 5.0
    batch: bool = False
    fair_before: datetime | None = None
    memory_mib: int = 1024


@dataclass(frozen=True)
class ServerAddress:
    """A service that answers instead. target: `HOST:PORT`; the files are PEM certificates and a bearer token."""

    target: str
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    token_file: Path | None = None


def solve(inputs: Inputs, wish: Wish, server: ServerAddress | None = None, course: Course | None = None) -> Plan:
    """The answer, here or there, with the notices of the readers.

    course: asks for an early end, and keeps what is known so far.
    """
    course = course or Course()
    try:
        found = solve_there(inputs, wish, server, course) if server else solve_here(inputs, wish, course)
        return inputs.add_notices(found)
    except InvalidRequest as error:
        raise InvalidRequest(_located(inputs, str(error))) from error


def solve_here(inputs: Inputs, wish: Wish, course: Course) -> Plan:
    """Load the engine and call it; OR-Tools takes more than half a second to import."""
    from adapters.cli.progress import progress
    from solver.batch.plan import plan_batch
    from solver.planner import Engine, Options, plan

    with progress(sys.stderr, course, wish.time_limit_s) as reporter:
        options = Options(Engine(wish.engine), wish.time_limit_s, wish.memory_mib)
        if wish.batch:
            before = wish.fair_before
            return plan_batch(inputs.snapshot, inputs.gangs, options, reporter, stop=course, fair_before=before)
        return plan(inputs.snapshot, inputs.gangs, options, reporter, stop=course)


def solve_there(inputs: Inputs, wish: Wish, server: ServerAddress, course: Course) -> Plan:
    """Ask a service about the cluster that the files describe; it keeps nothing of it.

    What it tells on the way is shown, and is the answer when the call is to end early.
    """
    access = access_of(server)
    from adapters.cli.progress import progress
    from solver.search.options import Engine
    from solver.service.client import Client
    from solver.service.errors import ServiceError
    from solver.service.replies import Cancelled, TimedOut
    from solver.service.requests import Ask, Planned

    ask = Ask(Engine(wish.engine), wish.time_limit_s, wish.batch, wish.fair_before, plans=True)
    if not inputs.gangs:
        return Plan(())
    with Client(access) as client, progress(sys.stderr, course, wish.time_limit_s) as reporter:
        reporter.stage("", f"asking {server.target}")
        try:
            for news in client.plan_stream(inputs.snapshot, inputs.gangs, ask, course):
                if isinstance(news, Planned):
                    return news.plan
                if news.gang:
                    reporter.stage(news.gang, f"solved by {server.target}")
                    reporter.improved(news.gang, news.objective)
                if news.so_far is not None:
                    reporter.planned(news.so_far)
            raise SourceUnavailable("the service ended the call without an answer")
        except Cancelled:
            return course.known(inputs.names)
        except TimedOut:
            notice = Notice("server_timeout", server.target, "", "the service did not answer in time")
            known = course.known(inputs.names)
            return replace(known, warnings=(*known.warnings, notice))
        except (SourceUnavailable, ServiceError) as error:
            raise SourceUnavailable(f"--server {server.target}: {error}") from error


def access_of(server: ServerAddress) -> "Access":
    """How to reach the service. Raises InvalidRequest for files that are no good, and without the extra `client`."""
    # Messages of gRPC's core say nothing that the error does not.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from solver.service.access import Access
    except ImportError as error:
        raise InvalidRequest(f"--server needs the extra `client` ({error.name} is not installed)") from error
    return Access(
        server.target,
        ca_file=server.ca_file,
        cert_file=server.cert_file,
        key_file=server.key_file,
        token=_token(server.token_file),
        max_message_bytes=_MOST_MESSAGE_BYTES,
    )


def _token(path: Path | None) -> str | None:
    """The bearer token in a file, without the white space around it."""
    if path is None:
        return None
    try:
        words = path.read_text(encoding="ascii").split()
    except OSError as error:
        raise InvalidRequest(f"{path}: the token cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path}: expected one bearer token of plain characters") from error
    if len(words) != 1:
        raise InvalidRequest(f"{path}: expected one bearer token and nothing else")
    return words[0]


def _located(inputs: Inputs, problem: str) -> str:
    """A complaint about a gang, by name or by number, with the file and object it comes from in front."""
    for at, gang in enumerate(inputs.gangs):
        if problem.startswith(f"gangs[{at}]"):
            return f"{inputs.sources.get(gang.name, gang.name)}: {problem.removeprefix(f'gangs[{at}]').lstrip('.: ')}"
    for name, source in inputs.sources.items():
        if problem.startswith(f"gang {name}: "):
            return f"{source}: {problem.removeprefix(f'gang {name}: ')}"
    return problem
