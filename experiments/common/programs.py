"""Work of a compiled program on one device, read from its text: matrix products and collectives.

    found = read(jitted.lower(*shapes).compile().as_text())
    found.flops, found.moved

XLA's own cost analysis counts the body of a loop once; here a body counts as often as it runs, and
of the branches of a condition the one with the most work counts. Sizes are those of the program
after its division among devices, so all numbers are of one device.
"""

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r" *(?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+)\[([\d,]*)\]")
_OPERAND = re.compile(r"(?:(?P<type>[a-z]+\d+\[[\d,]*\])\S* )?%?(?P<name>[\w.\-]+)")
_CONTRACTED = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CALLED = re.compile(r"\b(?:calls|body|to_apply)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}|_computation=%?([\w.\-]+)")
# Scopes are lost where XLA rewrites a product, but those of loops stay; and no parameter has rows
# or heads, for each of which there would be a product of its own.
_PAIRS = re.compile(r'lhs_batch_dims=\{\d|op_name="[^"]*[/(]attention[/)]')
_MESH = re.compile(r"replica_groups=mesh\[(.*?)\](?:, device_ids=\(([\d,]+)\))? \{(.*?)\}")
_IOTA = re.compile(r"groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_LISTED = re.compile(r"groups=\{\{([\d,]+)\}")

# Bytes that a device sends in a ring of n, for each byte of the result.
SENT: dict[str, Callable[[int], float]] = {
    "all-gather": lambda n: (n - 1) / n,
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "reduce-scatter": lambda n: n - 1,
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1,
}


class Work(NamedTuple):
    """Work of a program, or of a part of it.

    Attributes:
      flops: floating-point operations of matrix products, two for each multiplication.
      pairs: those of them that pair queries with keys, and weights with values.
      moved: bytes that a device sends, by collective.
      open_loops: loops of a number of turns that the text does not tell; they are counted once.
    """

    flops: float = 0.0
    pairs: float = 0.0
    moved: dict[str, float] = {}
    open_loops: int = 0

    def plus(self, other: "Work", times: int = 1) -> "Work":
        """This work, and another one so many times."""
        kinds = sorted(self.moved | other.moved)
        get = lambda own, kind: own.moved.get(kind, 0.0)  # noqa: E731
        return Work(
            self.flops + times * other.flops,
            self.pairs + times * other.pairs,
            {kind: get(self, kind) + times * get(other, kind) for kind in kinds},
            self.open_loops + other.open_loops,
        )


class Widened(NamedTuple):
    """A mesh of which the program has only some of the shares along its first axis.

    Attributes:
      own: shares in the program.
      all: shares there are.
    """

    own: int
    all: int


_AS_IT_IS = Widened(1, 1)


def read(text: str, widened: Widened = _AS_IT_IS) -> Work:
    """The work of a program.

    Args:
      text: of the compiled program.
      widened: groups along the first axis of the mesh are counted as if they had all its shares.

    Raises:
      ValueError: a collective names its groups in a form that is not known.

    >>> line = "  x = f32[8]{0} all-reduce(y), replica_groups=[2,4]<=[8]"
    >>> read("ENTRY main () -> f32[8] {\\n" + line).moved
    {'all-reduce': 48.0}
    """
    bodies: dict[str, list[str]] = {}
    entry = name = ""
    for line in text.splitlines():
        if head := _HEAD.match(line):
            name = head[2]
            entry = name if head[1] else entry
        elif line.startswith(" "):
            bodies.setdefault(name, []).append(line)
    devices = re.search(r"num_partitions=(\d+)", text)
    return _Reader(bodies, int(devices[1]) if devices else None, widened).of(entry)


class _Reader:
    """Reads each computation of a program once."""

    def __init__(self, bodies: dict[str, list[str]], devices: int | None, widened: Widened):
        self.bodies, self.devices, self.widened = bodies, devices, widened
        self.known: dict[str, Work] = {}

    def of(self, name: str) -> Work:
        """The work of a computation, with all that it calls."""
        if name not in self.known:
            parts = [found for line in self.bodies.get(name, ()) if (found := _LINE.match(line))]
            types = {part[1]: part[2] for part in parts}
            found = Work()
            for part in parts:
                found = found.plus(*self._of_line(part, types))
            self.known[name] = found
        return self.known[name]

    def _of_line(self, line: re.Match[str], types: dict[str, str]) -> tuple[Work, int]:
        """The work of an operation, and how often it is done."""
        _, result, kind, rest = line.groups()
        times = 1
        if kind == "dot":
            found = Work(_product(result, rest, types))
        elif (collective := kind.removesuffix("-start")) in SENT:
            found = Work(moved={collective: self._sent(collective, result, rest)})
        elif kind == "while":
            found, trips = self._called(rest), _TRIPS.search(rest)
            times = int(trips[1]) if trips else 1
            found = found if trips else found.plus(Work(open_loops=1))
        elif kind == "conditional":
            names = ",".join(map("".join, _BRANCHES.findall(rest))).split(",")
            branches = [self.of(name.strip(" %")) for name in names]
            found = max(branches, key=lambda own: (own.flops, sum(own.moved.values())))
        elif kind in ("fusion", "call", "async-start"):
            found = self._called(rest)
        else:
            return Work(), 0
        return found._replace(pairs=found.flops) if _PAIRS.search(rest) else found, times

    def _called(self, rest: str) -> Work:
        """The work of the computation that an operation calls."""
        found = _CALLED.search(rest)
        assert found
        return self.of(found[1])

    def _sent(self, kind: str, result: str, rest: str) -> float:
        """Bytes that a device sends in a collective."""
        size = sum(map(_bytes, _ARRAY.findall(result)))
        if kind == "collective-permute":
            return size * SENT[kind](2)
        group = self._group(rest)
        members = len(group)
        if self.widened.all != self.widened.own:
            assert self.devices is not None
            along = {device * self.widened.own // self.devices for device in group}
            if len(along) > 1:
                members = members * self.widened.all // self.widened.own
        return size * SENT[kind](members)

    def _group(self, rest: str) -> list[int]:
        """The devices of a collective's first group."""
        if found := _MESH.search(rest):
            return _of_mesh(*found.groups())
        if found := _IOTA.search(rest):
            return _of_iota(*found.groups())
        if found := _LISTED.search(rest):
            return list(map(int, found[1].split(",")))
        if "replica_groups={}" in rest and self.devices:
            return list(range(self.devices))
        raise ValueError(f"`text` must name the groups of a collective in a known form; got {rest}")


def _product(result: str, rest: str, types: dict[str, str]) -> float:
    """Operations of a matrix product: two for each entry of the result and contracted index."""
    operand, contracted = _OPERAND.match(rest), _CONTRACTED.search(rest)
    assert operand and contracted
    left = _sizes(operand["type"] or types[operand["name"]])
    summed = [left[int(dimension)] for dimension in contracted[1].split(",") if dimension]
    return 2.0 * math.prod(_sizes(result)) * math.prod(summed)


def _sizes(array: str) -> list[int]:
    """Sizes of an array such as f32[2,3]."""
    found = _ARRAY.search(array)
    assert found
    return [int(size) for size in found[2].split(",") if size]


def _bytes(array: tuple[str, str]) -> int:
    kind, sizes = array
    width = 8 if kind == "pred" else int(re.sub(r"^[a-z]+(\d+).*$", r"\1", kind))
    return math.prod(map(int, filter(None, sizes.split(",")))) * width // 8


def _of_mesh(axes: str, order: str | None, along: str) -> list[int]:
    """The first group along some axes of a mesh, as `mesh['data'=4,'tensor'=2] {'tensor'}`.

    >>> _of_mesh("'data'=4,'tensor'=2", None, "'tensor'"), _of_mesh("'all'=8", None, "'all':(2)2")
    ([0, 1], [0, 2])
    """
    parts = dict(re.findall(r"'([^']+)'(?::\((\d+\)\d+))?", along))
    shape: list[int] = []
    free: list[slice | int] = []
    for name, size in re.findall(r"'([^']+)'=(\d+)", axes):
        before, own = 1, int(size) if name in parts else 1
        if parts.get(name):  # a part of an axis, as (2)4: after a factor 2 one of 4
            before, own = map(int, parts[name].split(")"))
        shape += [before, own, int(size) // before // own]
        free += [0, slice(None), 0]
    devices = np.array(order.split(","), int) if order else np.arange(math.prod(shape))
    return devices.reshape(shape)[tuple(free)].ravel().tolist()


def _of_iota(groups: str, members: str, shape: str, order: str | None) -> list[int]:
    """The first group of devices that are counted through, as `[4,2]<=[2,4]T(1,0)`.

    >>> _of_iota("4", "2", "8", None), _of_iota("4", "2", "2,4", "1,0")
    ([0, 1], [0, 4])
    """
    sizes = list(map(int, shape.split(",")))
    devices = np.arange(math.prod(sizes)).reshape(sizes)
    if order:
        devices = devices.transpose(list(map(int, order.split(","))))
    return devices.reshape(int(groups), int(members))[0].tolist()
