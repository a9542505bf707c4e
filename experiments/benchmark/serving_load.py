"""Clients of a server: good requests, whose answers are compared, and bad ones."""

import asyncio
import collections
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from attention_jax.core.extras import needed

with needed("serve"):
    import aiohttp

_MOST_TEXTS = 4  # of a request
_PATIENCE_SECONDS = 120.0  # of a client, after which an answer is missing
_SOON = 0.05  # seconds within which a client hangs up
_JSON = {"Content-Type": "application/json"}
# Bad bodies, with the statuses that they must get.
BAD: dict[str, tuple[str, bytes, int]] = {
    "no JSON": ("/translate", b'{"texts": [', 400),
    "no list": ("/translate", b'{"texts": 3}', 400),
    "no such field": ("/translate", b'{"texts": ["a"], "beams": 3}', 400),
    "too long a text": ("/translate", json.dumps({"texts": ["a " * 5000]}).encode(), 400),
    "too long a body": ("/translate", b" " * (2**20 - 1), 413),
    "no such address": ("/nowhere", b"{}", 404),
}
HANGS_UP = "hangs up"


class Load(NamedTuple):
    """A load.

    Attributes:
      clients: that ask at the same time, each one thing after another.
      seconds: how long.
      bad: share of requests that are bad.
      seed: of what they ask.
    """

    clients: int
    seconds: float
    bad: float = 0.2
    seed: int = 0


class Tally:
    """Outcomes of a load.

    Attributes:
      seconds: latency of each good request that was answered.
      texts: that were translated.
      outcomes: how often what came of requests: "answered", "sent away", or the bad ones by kind.
      wrong: descriptions of answers that are not what they must be.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.texts = 0
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []

    def summary(self, seconds: float) -> dict[str, Any]:
        """Numbers of a load that took so many seconds."""
        own = sorted(self.seconds) or [float("nan")]
        return {
            "median_ms": 1e3 * statistics.median(own),
            "p95_ms": 1e3 * own[min(len(own) - 1, int(0.95 * len(own)))],
            "most_ms": 1e3 * own[-1],
            "answered_a_second": len(self.seconds) / seconds,
            "texts_a_second": self.texts / seconds,
            "requests_a_second": sum(self.outcomes.values()) / seconds,
            "outcomes": dict(sorted(self.outcomes.items())),
            "wrong": len(self.wrong),
            "first_wrong": self.wrong[:3],
        }


async def put_load(
    address: str,
    expected: Mapping[str, str],
    load: Load,
    *,
    look: Callable[[float], None] = lambda share: None,
) -> Tally:
    """Puts a server under load, and compares what it answers.

    Args:
      address: of the server, such as `http://127.0.0.1:8000`.
      expected: texts, and the translation of each.
      load: how much of it.
      look: called every now and then, with the share of the time that is over.
    """
    tally, start = Tally(), time.monotonic()

    async def watch() -> None:
        while (share := (time.monotonic() - start) / load.seconds) < 1:
            look(share)
            await asyncio.sleep(min(1.0, load.seconds / 20))

    async def client(number: int) -> None:
        draw = random.Random(load.seed * 10_000 + number)
        patience = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
        async with aiohttp.ClientSession(address, timeout=patience) as session:
            while time.monotonic() - start < load.seconds:
                ask = _ask_badly if draw.random() < load.bad else _ask_well
                await ask(session, draw, expected, tally)

    await asyncio.gather(watch(), *map(client, range(load.clients)))
    return tally


async def _ask_well(
    session: aiohttp.ClientSession, draw: random.Random, expected: Mapping[str, str], tally: Tally
) -> None:
    texts = draw.choices(list(expected), k=draw.randint(1, _MOST_TEXTS))
    begin = time.perf_counter()
    status, found = await _post(session, "/translate", json.dumps({"texts": texts}).encode())
    if status == 503:
        tally.outcomes["sent away"] += 1
        return await asyncio.sleep(0.2)
    tally.outcomes["answered"] += 1
    tally.seconds.append(time.perf_counter() - begin)
    tally.texts += len(texts)
    wanted = {"translations": [expected[text] for text in texts]}
    if status != 200 or found != wanted:
        tally.wrong.append(f"{texts}: {status} {found}")


async def _ask_badly(
    session: aiohttp.ClientSession, draw: random.Random, expected: Mapping[str, str], tally: Tally
) -> None:
    kind = draw.choice([*BAD, HANGS_UP])
    tally.outcomes[kind] += 1
    if kind == HANGS_UP:
        body = json.dumps({"texts": draw.choices(list(expected), k=_MOST_TEXTS)}).encode()
        return await _hang_up(_post(session, "/translate", body), draw.uniform(0, _SOON))
    path, body, wanted = BAD[kind]
    status, found = await _post(session, path, body)
    if status != wanted or list(found) != ["error"]:
        tally.wrong.append(f"{kind}: {status} {found}")


async def _post(session: aiohttp.ClientSession, path: str, body: bytes) -> tuple[int, Any]:
    try:
        async with session.post(path, data=body, headers=_JSON) as response:
            return response.status, await response.json()
    except (aiohttp.ClientError, TimeoutError) as error:
        return 0, f"{type(error).__name__}: {error}"


async def _hang_up(request: Awaitable[Any], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await request
    except TimeoutError:
        return
