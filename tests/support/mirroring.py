"""A mirror at work inside a test, and waiting for what it shows."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from adapters.kubernetes.api import Api, Patience
from adapters.kubernetes.mirror import Mirror
from adapters.kubernetes.resources import MIRRORED, Resource
from adapters.kubernetes.watching import Rhythm

QUICK = Rhythm(pause_s=0.02, most_pause_s=0.2, absent_s=0.2)
PATIENT_S = 60.0


@asynccontextmanager
async def mirroring(
    kubeconfig: str,
    resources: Sequence[Resource] = MIRRORED,
    rhythm: Rhythm = QUICK,
    patience: Patience | None = None,
    api: type[Api] = Api,
) -> AsyncIterator[Mirror]:
    """A mirror that follows, from the start of the block to its end; not synced yet."""
    async with api(kubeconfig, patience=patience or Patience(pause_s=0.02)) as connected:
        mirror = Mirror(connected, resources=resources, rhythm=rhythm)
        task = asyncio.create_task(mirror.run())
        try:
            yield mirror
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(check: Callable[[], bool], what: str) -> None:
    """Wait until something holds; fails, saying `what`, when it does not for a minute."""
    try:
        async with asyncio.timeout(PATIENT_S):
            while not check():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None
