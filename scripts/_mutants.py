"""Mutation testing: seeded single-line changes of the library, tried against its tests.

    scripts/mutants --count=200 --seed=0 --output=mutants.jsonl

A mutant is tried against the fast tests of its file first, then against those of its room, then
against the slow tests of its file, then, if all miss it, against the whole fast suite. Annotations
and docstrings are not mutated. One that survives is either equivalent or a test that is missing.
"""

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[1]
ROOMS = ("core", "engine", "data", "decoding", "training", "evaluation")
# A test that never ends notices its mutant.
SECONDS = {"file": 300, "room": 900, "slow": 3600, "suite": 1800}
_RESULTS = (1, 2)  # exit codes of pytest: tests failed, or could not be collected


class Mutant(NamedTuple):
    """One changed line."""

    file: str
    line: int
    operator: str
    occurrence: int


def mutants(file: Path) -> Iterator[Mutant]:
    """Every mutant of a file, outside annotations and docstrings."""
    text = file.read_text(encoding="utf-8")
    untouched, nodes = _without_effect(text), list(ast_nodes(get_ast(text)))
    for name in operator_names():
        kind = get_operator(name)
        if kind.arguments():
            continue
        operator = kind()
        spots = (spot for node in nodes for spot in operator.mutation_positions(node))
        for occurrence, ((line, column), _) in enumerate(spots):
            if (line, column) not in untouched:
                yield Mutant(file.relative_to(ROOT).as_posix(), line, name, occurrence)


def _without_effect(text: str) -> set[tuple[int, int]]:
    """The lines and columns of annotations, and of strings that stand alone."""
    found: list[ast.expr] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            found += [node.returns] if node.returns else []
        elif isinstance(node, ast.arg | ast.AnnAssign):
            found += [node.annotation] if node.annotation else []
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found.append(node.value)
    lengths = [len(line) for line in text.splitlines()]
    spots = set()
    for node in found:
        last, end = node.end_lineno or node.lineno, node.end_col_offset or 0
        for line in range(node.lineno, last + 1):
            first = node.col_offset if line == node.lineno else 0
            spots |= {(line, at) for at in range(first, end if line == last else lengths[line - 1])}
    return spots


def drawn(rooms: list[str], count: int, seed: int) -> list[Mutant]:
    """As many mutants, of as many lines, each line as likely."""
    by_line: dict[tuple[str, int], list[Mutant]] = {}
    for room in rooms:
        for file in sorted((ROOT / "attention_jax" / room).rglob("*.py")):
            for mutant in mutants(file):
                by_line.setdefault((mutant.file, mutant.line), []).append(mutant)
    generator = random.Random(seed)
    lines = generator.sample(sorted(by_line), min(count, len(by_line)))
    return [generator.choice(by_line[line]) for line in lines]


def tried(mutant: Mutant, copy: Path, until: str) -> dict[str, str]:
    """The change that a mutant makes, and the first set of tests that notices it, or "none".

    Args:
      until: the last set of tests that is tried.
    """
    path = copy / mutant.file
    before = path.read_text(encoding="utf-8")
    after = mutate_code(before, get_operator(mutant.operator)(), mutant.occurrence)
    assert after is not None
    old, new = (text.splitlines()[mutant.line - 1].strip() for text in (before, after))
    try:
        path.write_text(after, encoding="utf-8")
        noticed = next(
            (name for name, tests in _tests(mutant, copy, until) if _fails(name, tests, copy)),
            "none",
        )
    finally:
        path.write_text(before, encoding="utf-8")
    return {**mutant._asdict(), "before": old, "after": new, "noticed": noticed}


def _tests(mutant: Mutant, copy: Path, until: str) -> Iterator[tuple[str, list[str]]]:
    source = Path(mutant.file)
    folder = Path("tests", *source.parts[1:-1])
    own = copy / folder / f"test_{source.stem.lstrip('_')}.py"
    if own.exists():
        yield "file", [mutant.file, str(own)]
    yield "room", [mutant.file, f"tests/{source.parts[1]}"]
    if own.exists():
        yield "slow", ["-m", "slow", str(own)]
    if until == "suite":
        yield "suite", []


def _fails(name: str, tests: list[str], copy: Path) -> bool:
    many = ["-n", "auto", "--dist", "loadfile"] if name == "suite" else ["-n", "0"]
    command = [sys.executable, "-P", "-m", "pytest", "-x", "-q", "--no-header", *many, *tests]
    environment = os.environ | {"PYTHONPATH": str(copy)}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, timeout=SECONDS[name], capture_output=True
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode in _RESULTS


def main() -> None:
    """Tries those mutants that the output does not hold yet; prints the share that was noticed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=200, help="lines to change (200)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (0)")
    parser.add_argument("--rooms", default=",".join(ROOMS), help="rooms, joined by commas")
    parser.add_argument(
        "--until", choices=["slow", "suite"], default="suite", help="last tests tried"
    )
    parser.add_argument("--output", default="mutants.jsonl", help="results, a line a mutant")
    flags = parser.parse_args()
    output = Path(flags.output)
    found = (
        [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
    )
    done = {tuple(row[name] for name in Mutant._fields) for row in found}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".venv*", ".git", "runs"))
        for mutant in drawn(flags.rooms.split(","), flags.count, flags.seed):
            if tuple(mutant) in done:
                continue
            found.append(tried(mutant, copy, flags.until))
            with output.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found[-1]) + "\n")
            print(f"{len(found)}/{flags.count}", found[-1], flush=True)
    noticed = sum(row["noticed"] != "none" for row in found)
    print(f"{noticed} of {len(found)} mutants noticed, {noticed / len(found):.1%}")


if __name__ == "__main__":
    main()
