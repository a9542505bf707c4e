"""Random flags for every script: each call goes on, or ends in one line of ours and leaves nothing.

    python -P -m tests.experiments.flag_fuzz --count=3000 --output=calls.jsonl
    python -P -m tests.experiments.flag_fuzz --count=300 --update --output=updates.jsonl

writes a line for each call, and goes on after the last where the file is there. A call is known by
its number: `--first=123 --count=1` repeats that one. Calls go up to where a program would be
compiled; with `--update` to the first update of training, the first answer, or the page.
"""

import argparse
import contextlib
import gc
import io
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

if __name__ == "__main__":
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import numpy as np
from absl import flags as absl_flags
from flax import nnx

from attention_jax.evaluation import budgets
from attention_jax.training import loop, prepare, step
from experiments import predict, visualize
from experiments.common import endings, experiment, flags, run_folder, train
from experiments.common.config import DeviceFlags
from experiments.compare import __main__ as compare
from experiments.compare import training
from tests.support.flag_values import JUNK, argument
from tests.support.flag_world import RUNS, World
from tests.support.paths import ROOT

TRAINING = experiment.names()
SCRIPTS = (*TRAINING, "compare", "predict", "visualize")
# Programs that calls lead to; what is compiled before them is small.
PROGRAMS = frozenset(
    "jit_whole jit_gather jit__decode_batch jit__piece jit__align_batch jit_logs jit__weights_of "
    "jit__occlusion jit_decode jit_read".split()
)
SECONDS = 120  # of computation, after which a call hangs
MEMORY = 12 * 2**30  # of the process, beyond which an array is refused
OURS = tuple(str(ROOT / room) for room in ("attention_jax", "experiments"))


class Reached(BaseException):
    """A call has come as far as it is to go."""


class Call(NamedTuple):
    """A command line: which script, with which arguments."""

    script: str
    arguments: tuple[str, ...]


class Ending(NamedTuple):
    """How a call ended.

    Attributes:
      kind: "went on", "refused" or "fault".
      said: the line that it ended in, or the last of a traceback.
      place: of the code that refused.
    """

    kind: str
    said: str = ""
    place: str = ""


def draw_call(number: int, world: World, seed: int = 0) -> Call:
    """The call of a number: a tiny one that would go on, and up to four flags that may be odd."""
    draw = np.random.default_rng((seed, number))
    script = SCRIPTS[number % len(SCRIPTS)]
    fixed, groups = _fixed(script, draw, world)
    known = list({name: x for group in groups for name, x in flags.fields(group).items()}.values())
    paths = world.paths
    odd = [
        argument(known[i], draw, paths) for i in draw.integers(len(known), size=draw.integers(1, 5))
    ]
    if draw.random() < 0.06:
        files = [f"--flagfile={path}" for path in paths]
        odd.insert(0, str(draw.choice(JUNK if draw.random() < 0.6 else files)))
    return Call(script, (*fixed, *odd))


def _fixed(script: str, draw: np.random.Generator, world: World) -> tuple[list[str], list[tuple]]:
    """Arguments of a call that goes on, and the groups whose flags it takes."""
    if script in TRAINING:
        fixed = [*world.sizes(script, draw.random() < 0.5), f"--run={world.out}/run"]
        return fixed, [experiment.find(script).config]
    if script == "compare":
        name = str(draw.choice(TRAINING))
        fixed = [f"--experiment={name}", f"--folder={world.out}/run", "--seeds=1", "--match=steps"]
        costs = ["--cost_lengths=8"] if experiment.find(name).has_costs else []
        groups = [compare.CompareConfig(), experiment.find(name).config]
        return [*fixed, *world.sizes(name), *costs], groups
    name = str(draw.choice(list(RUNS)))
    fixed = [f"--run={world.folder}/runs/{name}"]
    given = {"images": "--file=W/pictures/cat", "speech": "--file=W/sounds/1.wav"}
    given |= {"language": "--text=the cat"}
    asked = given.get(RUNS[name][0], "--text=a b").replace("W", str(world.folder))
    config: Any = (predict.PredictConfig if script == "predict" else visualize.VisualizeConfig)()
    more = [f"--output={world.out}/page.html"] if script == "visualize" else []
    own = experiment.find(RUNS[name][0]).config
    return [*fixed, *([asked] if draw.random() < 0.8 else []), *more], [config, config, own]


def end(call: Call) -> Ending:
    """Runs a call, and says how it ended."""
    try:
        _run(call)
    except Reached:
        return Ending("went on")
    except SystemExit as stop:
        return _refused(str(stop.code), "")
    except (Exception, KeyboardInterrupt) as error:
        said = endings.line(error)
        if said is None:
            return Ending("fault", f"{type(error).__name__}: {error}"[:300], _place(error))
        return _refused(said, _place(error) if said == endings.in_one_line(error) else "")
    return Ending("went on")


def _refused(said: str, place: str) -> Ending:
    ours = "\n" not in said and said.strip() and (not place or place.split(":")[0] != "elsewhere")
    return Ending("refused" if ours else "fault", said[:400], place)


def _place(error: BaseException) -> str:
    """The file and function where an error arose, "elsewhere" before it unless it is ours."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    ours = frame.filename.startswith(OURS) or isinstance(error, absl_flags.Error)
    name = os.path.relpath(frame.filename, ROOT) if ours else f"elsewhere:{frame.filename}"
    return f"{name}:{frame.name}"


def _run(call: Call) -> None:
    """What `flags.launch` does of a command line, without ending the process."""
    name, more = call.script, call.script not in TRAINING
    groups: dict[str, list[tuple]] = {
        "compare": [compare.CompareConfig(), DeviceFlags()],
        "predict": [predict.PredictConfig()],
        "visualize": [visualize.VisualizeConfig()],
    }
    own = absl_flags.FlagValues()
    for group in groups.get(name) or [experiment.find(name).config]:
        flags.define(group, own)
    rest = flags.read(own, [name, *call.arguments], known_only=more)
    if len(rest) > 1 and not more:
        sys.exit(f"error: unexpected argument {rest[1]!r}; options start with --.")
    with mock.patch.object(flags, "FLAGS", own):
        if name in TRAINING:
            return train.run(experiment.find(name))
        main = {"compare": compare.main, "predict": predict.main, "visualize": visualize.main}[name]
        main(list(call.arguments))


def _stop(*args: object, **named: object) -> None:
    raise Reached


@contextlib.contextmanager
def until_compiled() -> Iterator[None]:
    """Calls end where a program would be compiled, and models have shapes for parameters."""
    compiled = jax._src.compiler.compile_or_get_cached

    def compile_or_stop(backend: Any, module: Any, *args: Any, **named: Any) -> Any:
        if str(module.operation.attributes["sym_name"]).strip('"') in PROGRAMS:
            raise Reached
        return compiled(backend, module, *args, **named)

    with (
        mock.patch.object(jax._src.compiler, "compile_or_get_cached", compile_or_stop),
        mock.patch.object(prepare, "start", _shapes),
        mock.patch.object(train, "_extent", lambda *_: ""),
        mock.patch.object(run_folder, "accept", _stop),
        mock.patch.object(training, "carry_out", _stop),
        mock.patch.object(budgets, "flops", lambda *call: len(str(jax.eval_shape(*call)))),
    ):
        yield


def _shapes(build: Any, transform: Any, seed: int, layout: Any = None) -> tuple:
    """`step.start` with shapes for arrays; the model is built once, not again for its graph."""
    assert layout is None  # calls have no mesh that is there
    graphs, graph_of = [], nnx.graphdef

    def built(key: Any) -> Any:
        model = build(key)
        graphs.append(graph_of(model))
        return model

    nothing = lambda _: None  # noqa: E731
    with (
        mock.patch.object(nnx, "eval_shape", nothing),
        mock.patch.object(nnx, "graphdef", nothing),
    ):
        _, state = step.begin(built, transform, seed)
    shapes = jax.eval_shape(state)
    return graphs[0], shapes


@contextlib.contextmanager
def until_trained() -> Iterator[None]:
    """Calls end where training would begin, or is planned; of data and models there are shapes."""
    with mock.patch.object(loop, "fit", _stop), mock.patch.object(compare, "make_plans", _stop):
        yield


@contextlib.contextmanager
def until_updated() -> Iterator[None]:
    """Training ends after its first update, a comparison when it is planned."""
    own_step = loop._Loop._step

    def once(self: Any) -> None:
        own_step(self)
        jax.block_until_ready(self.state)
        raise Reached

    with (
        mock.patch.object(loop._Loop, "_step", once),
        mock.patch.object(loop._Loop, "_evaluate_if_due", lambda self, last: None),
        mock.patch.object(training, "carry_out", _stop),
    ):
        yield


@contextlib.contextmanager
def limited(world: World) -> Iterator[None]:
    """Quietly, in a folder of the world, with little time."""

    def late(*_: object) -> None:
        raise TimeoutError(f"it takes longer than {SECONDS} s")

    before, here = signal.signal(signal.SIGPROF, late), os.getcwd()
    os.chdir(world.out)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    stdin = io.TextIOWrapper(io.BytesIO(b"a b\nb c\n"))
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            mock.patch.object(sys, "stdin", stdin),
            warnings.catch_warnings(action="ignore"),
        ):
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        os.chdir(here)


def check(call: Call, world: World) -> Ending:
    """How a call ends; a fault too where a refused one has left or changed something."""
    before = _files(world.folder)
    with limited(world):
        ending = end(call)
    after = _files(world.folder)
    if ending.kind == "refused" and after != before:
        changed = sorted(str(x) for x, _ in set(after.items()) ^ set(before.items()))
        ending = Ending("fault", f"left {', '.join(dict.fromkeys(changed))}; {ending.said}", "left")
    for path in sorted(set(after) - set(before), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    return ending


def _files(folder: Path) -> dict[Path, tuple[int, int] | None]:
    """Files with sizes and times, and folders."""
    found: dict[Path, tuple[int, int] | None] = {}
    for path, folders, files in os.walk(folder):
        found |= {Path(path, name): None for name in folders}
        for name in files:
            state = os.lstat(os.path.join(path, name))
            found[Path(path, name)] = state.st_size, state.st_mtime_ns
    return found


def run(calls: Mapping[int, Call | None], asked: argparse.Namespace) -> Counter[str]:
    """Runs calls, those of their numbers where they are not given; how many ended in which way."""
    counts: Counter[str] = Counter()
    until = until_updated if asked.update else until_compiled
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "world")
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        for count, (number, given) in enumerate(calls.items(), 1):
            call = draw_call(number, world, asked.seed)
            if given is not None:
                there = [x.replace("WORLD", str(world.folder)) for x in given.arguments]
                call = given._replace(arguments=tuple(there))
            with until():
                ending = check(call, world)
            counts[ending.kind] += 1
            row = json.dumps({"number": number, **ending._asdict(), **call._asdict()})
            row = row.replace(str(world.folder), "WORLD")
            if ending.kind == "fault":
                print(row, flush=True)
            if asked.output:
                with asked.output.open("a") as file:
                    file.write(f"{row}\n")
            if count % 100 == 0:
                jax.clear_caches()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=300, help="Calls in all.")
    parser.add_argument("--first", type=int, default=0, help="Number of the first call.")
    parser.add_argument("--seed", type=int, default=0, help="Of all calls.")
    parser.add_argument("--update", action="store_true", help="To the first update.")
    parser.add_argument("--output", type=Path, help="JSON lines; goes on after the last.")
    parser.add_argument("--again", type=Path, help="Such lines: their faults alone.")
    asked = parser.parse_args()
    gc.set_threshold(100_000, 50, 100)  # tracing makes many objects that stay
    calls: dict[int, Call | None] = dict.fromkeys(range(asked.first, asked.first + asked.count))
    if asked.again:
        rows = map(json.loads, asked.again.read_text().splitlines())
        calls = {
            row["number"]: Call(row["script"], tuple(row["arguments"]))
            for row in rows
            if row["kind"] == "fault"
        }
    done = asked.output.read_text().splitlines() if asked.output and asked.output.exists() else []
    counts = Counter(json.loads(line)["kind"] for line in done)
    print(dict(counts + run(dict(list(calls.items())[len(done) :]), asked)))


if __name__ == "__main__":
    main()
