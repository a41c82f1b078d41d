"""Measures the cluster with one asyncio client, many requests in flight."""

import asyncio
import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

import attrs
import click

from kvraft.cli import statuses
from kvraft.cli.options import cluster_options, fail, write_json, write_table
from kvraft.cli.progress import Progress
from kvraft.client import AsyncClient, ClientError

PERCENTILES: Final = (50, 90, 99, 99.9)
KEYS: Final = 10_000
PROGRESS_S: Final = 0.1
PREFIX: Final = "kvraft-bench/"
"""Prefix of every key that is written."""


@attrs.define
class Measured:
    """The results of the requests so far: latencies in seconds, and how often each error came."""

    latencies_s: list[float] = attrs.field(factory=list)
    errors: dict[str, int] = attrs.field(factory=dict)
    begun_at: float = attrs.field(factory=time.monotonic)
    seconds: float = 0.0

    def failed(self, error: ClientError) -> None:
        """Count a request that failed, by the code or the class of its error."""
        name = error.code or type(error).__name__
        self.errors[name] = self.errors.get(name, 0) + 1

    def described(self) -> dict[str, Any]:
        """Return the figures: counts, seconds, requests per second, and latency percentiles in milliseconds."""
        ordered = sorted(self.latencies_s)
        percentiles = {
            f"p{each:g}_ms": round(1000 * ordered[min(len(ordered) - 1, int(len(ordered) * each / 100))], 3)
            for each in PERCENTILES
            if ordered
        }
        return {
            "requests": len(ordered),
            "errors": self.errors,
            "seconds": round(self.seconds, 3),
            "requests_per_second": round(len(ordered) / self.seconds) if self.seconds else 0,
            **percentiles,
        }


async def measure(
    client: AsyncClient,
    *,
    seconds: float,
    clients: int,
    value_bytes: int,
    reads: float,
    progress: Callable[[Measured], object],
) -> Measured:
    """Send requests for `seconds`, and keep `clients` of them in flight; return the results."""
    await client.get(PREFIX)  # finds the leader before the measurement starts
    measured = Measured()
    random = Random()
    end = measured.begun_at + seconds
    value = b"x" * value_bytes

    async def ask_again_and_again() -> None:
        while (begin := time.monotonic()) < end:
            key = f"{PREFIX}{random.randrange(KEYS)}"
            try:
                await (client.get(key) if random.random() < reads else client.set(key, value))
            except ClientError as error:
                measured.failed(error)
            else:
                measured.latencies_s.append(time.monotonic() - begin)

    async def report() -> None:
        while True:
            progress(measured)
            await asyncio.sleep(PROGRESS_S)

    reporter = asyncio.create_task(report())
    await asyncio.gather(*[ask_again_and_again() for _ in range(clients)])
    measured.seconds = time.monotonic() - measured.begun_at
    reporter.cancel()
    return measured


@click.command("bench")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="How long.")
@click.option("--in-flight", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Requests at a time.")
@click.option("--value-bytes", type=click.IntRange(0, 1_000_000), default=100, show_default=True, help="Of each value.")
@click.option("--reads", type=click.FloatRange(0.0, 1.0), default=0.0, show_default=True, help="Share of reads.")
@cluster_options
def bench_command(
    seconds: float, in_flight: int, value_bytes: int, reads: float, nodes: str | None, timeout: float, output: str
) -> int:
    """Measure throughput and latency. Writes up to 10,000 keys that begin with kvraft-bench/."""

    async def run(progress: Callable[[Measured], object]) -> Measured:
        async with AsyncClient(nodes, timeout=timeout, exactly_once=False) as client:
            return await measure(
                client, seconds=seconds, clients=in_flight, value_bytes=value_bytes, reads=reads, progress=progress
            )

    with Progress("finding the leader", output, "s", seconds) as progress:

        def show(measured: Measured) -> None:
            progress.done = min(seconds, round(time.monotonic() - measured.begun_at, 1))
            rate = len(measured.latencies_s) / progress.done if progress.done else 0.0
            progress.what = f"{rate:,.0f} requests/s"

        measured = asyncio.run(run(show))
    figures = measured.described()
    if output == "json":
        write_json(figures)
    else:
        write_table(("figure", "value"), [(name, _shown(value)) for name, value in figures.items()])
    if not measured.latencies_s:
        raise fail(f"not one request succeeded: {measured.errors}", statuses.UNAVAILABLE)
    return statuses.OK


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
