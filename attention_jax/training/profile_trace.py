"""Operations in a profile of JAX: when each ran, and what XLA made it of.

    spans = read(newest(folder))
    spans[0]                   # Span(lane="...", start=0.0021, end=0.0034, module="jit_whole", ...)

XLA writes a profile as a protocol buffer, an XSpace. `jax.profiler.ProfileData` gives the times;
the programs that ran stand in the plane "/host:metadata", which it leaves out, and are read here.

Reference: github.com/openxla/xla, xla/tsl/profiler/protobuf/xplane.proto and
xla/service/hlo.proto, whose numbers of fields stand below.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

# Numbers of fields: XSpace, XPlane, a map's entry, XEventMetadata, XStat, HloProto, HloModuleProto,
# HloComputationProto, HloInstructionProto, OpMetadata.
_PLANES, _PLANE_NAME, _EVENT_METADATA, _VALUE, _STATS = 1, 2, 4, 2, 5
_STAT_INTEGERS, _STAT_BYTES = (3, 4), 6
_MODULE, _COMPUTATIONS, _COMPUTATION_ID = 1, 3, 5
_INSTRUCTIONS, _NAME, _OPCODE, _METADATA, _CALLED, _OP_NAME = 2, 1, 2, 7, 38, 2
_PROGRAMS = b"/host:metadata"


class Operation(NamedTuple):
    """The contents of an operation, as XLA made it.

    Attributes:
      opcode: such as "fusion", "dot" or "copy".
      scope: where it comes from: transformations and named scopes, then the primitive.
      inside: opcode and scope of each operation of a fusion; empty where it is none.
    """

    opcode: str
    scope: str
    inside: tuple[tuple[str, str], ...] = ()


class Span(NamedTuple):
    """One run of an operation.

    Attributes:
      lane: the thread or the stream that it ran on.
      start: in seconds.
      end: in seconds.
      module: the program that it is of.
      operation: what it does; None where the profile does not hold its program.
    """

    lane: str
    start: float
    end: float
    module: str
    operation: Operation | None


def newest(folder: Path) -> Path | None:
    """The profile that was written last under a folder; None if there is none."""
    found = sorted(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime_ns)
    return found[-1] if found else None


def read(path: Path) -> list[Span]:
    """All runs of operations in a profile: those of devices, where it has any, else of the host."""
    content = path.read_bytes()
    with warnings.catch_warnings():
        # Where a warning of JAX's extension is an error, the process would be aborted.
        warnings.simplefilter("ignore", DeprecationWarning)
        events = list(_events(content))
    on_devices = [event for event in events if event.lane.startswith("/device:")]
    events = on_devices or events
    names: dict[tuple[str, int], set[str]] = {}
    for event in events:
        names.setdefault((event.module, event.number), set()).add(event.name)
    programs = _programs(content)
    found = {key: _best(programs, *key, own) for key, own in names.items()}
    return [
        Span(e.lane, e.start, e.end, e.module, found[e.module, e.number].get(e.name))
        for e in events
    ]


class _Event(NamedTuple):
    lane: str
    start: float
    end: float
    module: str
    number: int  # of the program
    name: str


def _events(content: bytes) -> Iterator[_Event]:
    for plane in jax.profiler.ProfileData.from_serialized_xspace(content).planes:
        for line in plane.lines:
            lane = f"{plane.name} {line.name}"
            for event in line.events:
                stats: dict[str, Any] = dict(event.stats)
                if "hlo_op" not in stats:
                    continue
                start, end = event.start_ns / 1e9, (event.start_ns + event.duration_ns) / 1e9
                module, number = str(stats.get("hlo_module", "")), stats.get("program_id", -1)
                yield _Event(lane, start, end, module, int(number), str(stats["hlo_op"]))


class _Program(NamedTuple):
    name: str
    number: int
    operations: dict[str, Operation]


def _best(
    programs: Sequence[_Program], module: str, number: int, names: set[str]
) -> dict[str, Operation]:
    """The operations of the program that ran: that of the module's name that has the most of them.

    Its number decides among equals alone: a program from the compilation cache has two.
    """
    own = [program for program in programs if program.name == module]
    fits = [(len(names & p.operations.keys()), p.number == number, p.operations) for p in own]
    return max(fits, key=lambda fit: fit[:2], default=(0, False, {}))[2]


def _programs(content: bytes) -> list[_Program]:
    """The programs of a profile, with their operations by name."""
    found = []
    for plane in _each(memoryview(content), _PLANES):
        if [bytes(name) for name in _each(plane, _PLANE_NAME)] != [_PROGRAMS]:
            continue
        for entry in _each(plane, _EVENT_METADATA):
            stats = [s for own in _each(entry, _VALUE) for s in _each(own, _STATS)]
            numbers = [n for s in stats for field in _STAT_INTEGERS for n in _each(s, field)]
            protos = [p for s in stats for p in _each(s, _STAT_BYTES)]
            for proto in protos:
                for module in _each(proto, _MODULE):
                    number = numbers[0] if numbers else -1
                    found.append(_Program(_text(module, _NAME), number, _operations(module)))
    return found


def _operations(module: memoryview) -> dict[str, Operation]:
    computations = {
        next(iter(_each(own, _COMPUTATION_ID)), 0): [
            _instruction(i) for i in _each(own, _INSTRUCTIONS)
        ]
        for own in _each(module, _COMPUTATIONS)
    }
    return {
        name: Operation(
            opcode,
            scope,
            tuple((o, s) for c in called for _, o, s, _ in computations.get(c, ()))
            if opcode == "fusion"
            else (),
        )
        for own in computations.values()
        for name, opcode, scope, called in own
    }


def _instruction(message: memoryview) -> tuple[str, str, str, list[int]]:
    """Name, opcode, scope, and the numbers of the computations that it calls."""
    name, opcode = _text(message, _NAME), _text(message, _OPCODE)
    scope = next((_text(own, _OP_NAME) for own in _each(message, _METADATA)), "")
    called: list[int] = []
    for own in _each(message, _CALLED):
        called += [own] if isinstance(own, int) else _numbers(own)
    return name, opcode, scope, called


def _text(message: memoryview, number: int) -> str:
    return next((bytes(own).decode() for own in _each(message, number)), "")


def _each(message: memoryview, number: int) -> Iterator[Any]:
    """The values of a field of a protocol buffer: numbers, or bytes of what else there is."""
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        field, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _number(message, at)
        else:
            size, at = (8, at) if kind == 1 else (4, at) if kind == 5 else _number(message, at)
            value, at = message[at : at + size], at + size
        if field == number:
            yield value


def _numbers(packed: memoryview) -> list[int]:
    found, at = [], 0
    while at < len(packed):
        value, at = _number(packed, at)
        found.append(value)
    return found


def _number(message: memoryview, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
