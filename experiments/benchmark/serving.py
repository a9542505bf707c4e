"""A server of a trained run under load: latency, throughput, wrong answers, memory.

    python -m experiments.benchmark.serving --run=runs/mine --output=serving.json
    python -m experiments.benchmark.serving --run=runs/mine --clients=32 --seconds=600 --bad=0.2

starts `experiments.serve` in a process of its own. Each of --clients sends requests one after
another: good ones of one to four sentences of the run's tests, and a share of --bad ones, which are
no JSON, of wrong types, too long, or hang up before their answer. Each answer is compared with the
translation of each text alone, which this process computes beforehand. Printed are latency, answers
a second, what came of how many requests, how many were wrong, and the server's resident memory:
when it is ready, after a tenth of the time, and at the end.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from experiments.benchmark import rows
from experiments.benchmark.rows import Row
from experiments.benchmark.serving_load import Load, put_load
from experiments.common import flags
from experiments.common.config import DeviceFlags
from experiments.common.experiment import find
from experiments.common.flags import Flag
from experiments.common.load_run import load_run, run_folder_of
from experiments.common.served import Translates

SUITE = "serving"
_SETTLED = 0.1  # share of the time after which memory is that of a server at work


class ServingBenchmark(NamedTuple):
    """A server under load.

    Attributes:
      run: folder of a run of experiments.translation.
      clients: that ask at the same time.
      seconds: of load.
      bad: share of requests that are bad.
      texts: different sentences that are asked for.
      rows: texts a batch of the server.
      seed: of what is asked.
      output: JSON file of the results.
    """

    run: str | None = None
    clients: Annotated[int, Flag(low=1)] = 32
    seconds: Annotated[float, Flag(low=1.0)] = 120.0
    bad: Annotated[float, Flag(low=0.0, high=1.0)] = 0.2
    texts: Annotated[int, Flag(low=1)] = 200
    rows: Annotated[int, Flag(low=1)] = 8
    seed: Annotated[int, Flag(low=0)] = 0
    output: str | None = None


def main() -> None:
    """Puts a server of --run under load, prints what came of it, and writes it."""
    config = flags.config_from_flags(ServingBenchmark())
    folder = run_folder_of(config.run, "serve")
    results = rows.start(SUITE)
    expected = translations(folder, config.texts, config.rows)
    with server(folder, [f"--rows={config.rows}"]) as (process, address):
        row = measure(process.pid, address, expected, config)
    print(json.dumps(row.facts, indent=1))
    rows.write(rows.finished(rows.added(results, row)), config.output)


def translations(folder: Path, count: int, of_rows: int) -> dict[str, str]:
    """Sentences of a run's tests, and the translation of each by itself.

    Raises:
      ValueError: the run does not translate.
    """
    run = load_run(folder)
    assert run.experiment.serve is not None  # or `run_folder_of` refuses
    served = run.experiment.serve(run, of_rows)
    if not isinstance(served, Translates):
        raise ValueError(
            f"`--run` must be of experiments.translation; {folder} is of "
            f"experiments.{run.experiment.name}. Name another."
        )
    tests = find(run.experiment.name).load(run.config).tests
    sources = dict.fromkeys(example.source for own in tests.values() for example in own)
    return {text: served.translate([text], None)[0] for text in list(sources)[:count]}


@contextlib.contextmanager
def server(
    folder: Path, arguments: Sequence[str] = ()
) -> "Generator[tuple[subprocess.Popen[str], str], None, None]":
    """A server of a run in a process of its own, once it is ready, and its address.

    Raises:
      RuntimeError: it ends before, or does not end well.
    """
    command = [sys.executable, "-P", "-m", "experiments.serve", f"--run={folder}", "--port=0"]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        for line in process.stdout:
            if found := re.match(r"ready: (\S+)", line):
                yield process, found[1]
                break
        process.send_signal(signal.SIGTERM)
        if code := process.wait(60):
            raise RuntimeError(f"the server ended with {code}")
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def measure(process: int, address: str, expected: dict[str, str], config: ServingBenchmark) -> Row:
    """The row of a load on a server.

    Args:
      process: its number.
      address: where it listens.
      expected: texts and their translations.
      config: of the load.
    """
    memory = [resident_bytes(process)]

    def look(share: float) -> None:
        if share >= _SETTLED and len(memory) == 1:
            memory.append(resident_bytes(process))

    load = Load(config.clients, config.seconds, config.bad, config.seed)
    start = time.monotonic()
    tally = asyncio.run(put_load(address, expected, load, look=look))
    found: dict[str, Any] = tally.summary(time.monotonic() - start)
    memory.append(resident_bytes(process))
    case = {name: getattr(config, name) for name in ("clients", "seconds", "bad", "rows", "texts")}
    return Row(
        SUITE,
        case,
        ours_ms=found["median_ms"],
        repeats=len(tally.seconds),
        facts=found | {"resident_bytes": memory},
    )


def resident_bytes(process: int) -> int:
    """Resident memory of a process."""
    pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    flags.launch(main, ServingBenchmark(), DeviceFlags())
