"""Configurations and flags: the fields of a NamedTuple, with its docstring, are the flags.

    class DataFlags(NamedTuple):
        \"\"\"The data.

        Attributes:
          rows: sequences a batch.
        \"\"\"

        rows: Annotated[int, Flag(low=1)] = 64

A configuration is a NamedTuple of such fields and of groups of them, whatever the depth; the names
of flags are those of the innermost fields. Here alone, and in functions called `main`, is `FLAGS`
read: all else takes a configuration.
"""

import inspect
import math
import os
import signal
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from absl import app, flags, logging

from attention_jax.parallel import distributed
from attention_jax.training import preemption
from experiments.common import device, endings, help_text, streams, together

FLAGS = flags.FLAGS
# What the shell reports of a process that Ctrl-C ended.
_INTERRUPTED = 128 + signal.SIGINT
_FINITE, _SMALL = "it must be a finite number", "it must be below 2^31"
Config = TypeVar("Config", bound=tuple)


class Flag(NamedTuple):
    """Rules of a flag beyond its type.

    Attributes:
      choices: the values it may have.
      low: the lowest number.
      high: the highest number.
      listed: a tuple is written with commas, instead of by repeating the flag.
      alias: another flag that sets the same field, and wins where both are given.
      also: names that the field calls the same thing by, as "num_heads" for heads.
      kept: it decides what a run computes, so run.flags holds it.
      may_change: a run may go on with another value.
      data: it names data; a run may go on with another value where their contents are the same.
    """

    choices: Sequence[str] | None = None
    low: float | None = None
    high: float | None = None
    listed: bool = False
    alias: str | None = None
    also: tuple[str, ...] = ()
    kept: bool = True
    may_change: bool = False
    data: bool = False


class Only:
    """Narrows the choices of a group's flags: `Annotated[ModelFlags, Only(model=("rnn",))]`."""

    def __init__(self, **choices: Sequence[str]):
        self.choices = choices


class Field(NamedTuple):
    """One flag of a configuration.

    Attributes:
      name: of the flag.
      kind: bool, int, float, str, or tuple for several texts.
      value: in the configuration that was asked.
      help: its line of "Attributes:".
      rules: beyond the type.
    """

    name: str
    kind: type
    value: Any
    help: str
    rules: Flag

    @property
    def names(self) -> tuple[str, ...]:
        """Of the flag and of its alias."""
        return (self.name, self.rules.alias) if self.rules.alias else (self.name,)


def fields(config: tuple) -> dict[str, Field]:
    """The flags of a configuration by name, with its values."""
    return {field.name: field for field in _fields(config, {})}


def titled(configs: Sequence[tuple]) -> dict[str, list[Field]]:
    """The flags of configurations by the titles of the groups in which they stand."""
    found: dict[str, list[Field]] = {}
    for config in configs:
        # By name from `config`, which may narrow the choices of its groups.
        known = fields(config)
        below = titled([value for value in config if hasattr(value, "_fields")])
        names = {field.name for own in below.values() for field in own}
        title = (inspect.getdoc(type(config)) or "").partition("\n")[0].rstrip(".")
        found[title] = [field for name, field in known.items() if name not in names]
        found |= {inner: [known[field.name] for field in own] for inner, own in below.items()}
    return found


def values(config: tuple) -> dict[str, Any]:
    """The values of a configuration by the names of their flags."""
    return {name: field.value for name, field in fields(config).items()}


def replace(config: Config, **changes: Any) -> Config:
    """A configuration with other values, named as flags are, in whatever group they stand.

    Raises:
      ValueError: it has no such flag.
    """
    known = fields(config)
    for name in changes:
        if name not in known:
            raise ValueError(f"`{name}` is no flag of {type(config).__name__}.")
    return _replaced(config, changes)


def parse(
    config: Config, arguments: Sequence[str], *, beside: Sequence[tuple] = ()
) -> tuple[Config, frozenset[str]]:
    """A configuration changed by arguments, and the names of those that were given.

    Args:
      config: gives the flags, and the values where arguments do not.
      arguments: such as `["--width=64", "--flagfile=run.flags"]`.
      beside: groups whose flags may be given too.

    Raises:
      flags.Error: an argument is no flag, or its value is not one.
    """
    own = flags.FlagValues()
    for group in (config, *beside):
        define(group, own)
    rest = read(own, ["", *arguments])
    if len(rest) > 1:
        raise flags.Error(f"unexpected argument {rest[1]!r}; options start with --.")
    known = [field for group in (config, *beside) for field in fields(group).values()]
    also = {other: field.name for field in known for other in field.rules.also}
    given = frozenset(also.get(name, name) for name in own if own[name].present)
    return _collected(config, own), given


def from_lines(config: Config, lines: Sequence[str], *, source: str) -> Config:
    """The configuration that lines of a flagfile give.

    Args:
      config: gives the flags, and the values where lines do not.
      lines: such as those of run.flags.
      source: where they are from, for errors.

    Raises:
      ValueError: a line is no flag of the configuration, or its value is not one.
    """
    arguments = [line for line in lines if line.strip() and not line.startswith("#")]
    try:
        return parse(config, arguments)[0]
    except flags.Error as error:
        raise ValueError(f"{source} must hold flags of this version: {error}") from None


def lines(config: tuple, *, all_flags: bool = False) -> dict[str, str]:
    """Each flag as a line of a flagfile; those that repeat have several in one.

    Args:
      config: gives the values; one that is None or empty has no line.
      all_flags: those too that decide nothing of what a run computes.
    """
    own = flags.FlagValues()
    define(config, own)
    found = {
        name: own[name].serialize()
        for name, field in fields(config).items()
        if (field.rules.kept or all_flags) and field.value is not None
    }
    return {name: line for name, line in found.items() if line}


def define(config: tuple, values: flags.FlagValues = FLAGS, *, module: str | None = None) -> None:
    """Defines the flags of a configuration that are not there yet; its values are the defaults.

    Args:
      config: the configuration, or a group.
      values: where. Default: the flags of the process.
      module: whose flags `--help` lists them as. Default: those of the main module.
    """
    for field in fields(config).values():
        if field.name not in values:
            _define(field, values, module or sys.argv[0])


def config_from_flags(config: Config) -> Config:
    """The configuration that this process's flags give."""
    return _collected(config, FLAGS)


def launch(main: Callable[..., None], *groups: tuple, more: bool = False) -> None:
    """Runs a program; what the user can mend ends in one line instead of a traceback.

    Args:
      main: the program; it gets the arguments where `more` is true, else nothing.
      groups: whose fields are its flags.
      more: flags may be given that `groups` do not have; the program reads them.
    """
    for group in groups:
        define(group)
    streams.protect()
    if help_text.asked(sys.argv[1:]):
        print(help_text.text(titled(groups)))
        return _end_well()

    def guarded(rest: list[str]) -> None:
        if len(rest) > 1 and not more:
            sys.exit(f"error: unexpected argument {rest[1]!r}; options start with --.")
        # Orbax reports every file it touches.
        logging.set_verbosity(logging.WARNING)
        try:
            device.prepare(FLAGS.platform, FLAGS.compile_cache, join=_join)
            main(*([sys.argv[1:]] if more else []))
            streams.check_written()
        except preemption.Preempted as stop:
            print(stop, file=sys.stderr)
            distributed.leave()
            sys.exit(stop.exit_code)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(_INTERRUPTED)
        except Exception as error:
            said = endings.line(error)
            if said is None or os.environ.get("ATTENTION_JAX_TRACEBACK"):
                raise
            sys.exit(f"error: {said}")

    app.run(partial(together.ended, guarded), flags_parser=partial(_parsed, known_only=more))


def _join() -> None:
    """Connects the processes of a run where flags ask for several devices."""
    if "distributed" in FLAGS and (FLAGS.mesh or FLAGS.distributed):
        together.join(asked=FLAGS.distributed, timeout_seconds=float(FLAGS.distributed_timeout))


def _end_well() -> None:
    """Ends with an error where what was printed is not written."""
    try:
        streams.check_written()
    except OSError as error:
        sys.exit(f"error: {error}")


def _parsed(arguments: list[str], *, known_only: bool) -> list[str]:
    """Parses the flags that are defined; leaves the others where they are known to another."""
    if "--helpfull" in arguments:
        return app.parse_flags_with_usage(arguments[:1] + ["--helpfull"])
    try:
        return read(FLAGS, arguments, known_only=known_only)
    except flags.Error as error:
        sys.exit(f"error: {endings.in_one_line(error)}")


def read(own: flags.FlagValues, arguments: list[str], *, known_only: bool = False) -> list[str]:
    """Parses a command line, and returns what is left of it.

    Raises:
      flags.Error: an argument is no flag, or its value is not one.
    """
    try:
        return own(arguments, known_only=known_only)
    except (flags.CantOpenFlagFileError, OSError) as error:
        why = endings.in_one_line(error.__context__ or error)
        raise flags.Error(f"`--flagfile` must name a file that can be read; {why}") from None
    except ValueError as error:  # of a flagfile that is no text, and of `--noscan=1`
        raise flags.Error(f"{error}.") from None


def _fields(config: tuple, narrowed: Mapping[str, Sequence[str]]) -> Iterator[Field]:
    hints, help_of = _hints(type(config)), _help(type(config))
    for name in config._fields:  # ty: ignore[missing-attribute]
        value, (kind, notes) = getattr(config, name), hints[name]
        if hasattr(value, "_fields"):
            own = [note.choices for note in notes if isinstance(note, Only)]
            yield from _fields(value, own[0] if own else {})
            continue
        rules = next((note for note in notes if isinstance(note, Flag)), Flag())
        kind, choices = _kind(kind)
        choices = narrowed.get(name) or rules.choices or choices
        yield Field(name, kind, value, help_of.get(name, ""), rules._replace(choices=choices))


@cache
def _hints(kind: type) -> dict[str, tuple[Any, tuple]]:
    """The type of each field, and its annotations."""
    found = {}
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        is_noted = get_origin(hint) is Annotated
        found[name] = (get_args(hint)[0], hint.__metadata__) if is_noted else (hint, ())
    return found


@cache
def _help(kind: type) -> dict[str, str]:
    """The text of each field under "Attributes:" of the docstring."""
    found: dict[str, str] = {}
    text = inspect.getdoc(kind) or ""
    name = ""
    for line in text.partition("Attributes:\n")[2].splitlines():
        if line.startswith("  ") and not line.startswith("   "):
            name, _, rest = line.strip().partition(": ")
            found[name] = rest[:1].upper() + rest[1:]
        elif line.startswith("   ") and name:
            found[name] += f" {line.strip()}"
    return found


def _kind(hint: Any) -> tuple[type, tuple[str, ...] | None]:
    """The type of a flag, and its choices where the hint is a Literal."""
    if get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is Literal:
        return str, get_args(hint)
    return get_origin(hint) or hint, None


def _define(field: Field, own: flags.FlagValues, module: str) -> None:
    name, kind, default, text, rules = field
    where: dict[str, Any] = {"flag_values": own, "module_name": module}
    if kind is tuple:
        default = None if default is None else list(default)
        define_list = flags.DEFINE_list if rules.listed else flags.DEFINE_multi_string
        define_list(name, default, text, **where)
    elif rules.choices:
        flags.DEFINE_enum(name, default, list(rules.choices), text, **where)
    elif kind is bool:
        flags.DEFINE_bool(name, default, text, **where)
    elif kind is str:
        flags.DEFINE_string(name, default, text, **where)
    else:
        number: Any = flags.DEFINE_integer if kind is int else flags.DEFINE_float
        number(name, default, text, lower_bound=rules.low, upper_bound=rules.high, **where)
        unbounded = kind is int and rules.high is None
        fits, message = (_is_small, _SMALL) if unbounded else (_is_finite, _FINITE)
        flags.register_validator(name, fits, message=message, flag_values=own)
    if rules.alias:
        flags.DEFINE_string(rules.alias, None, f"The same as --{name}.", **where)
    for other in rules.also:
        flags.DEFINE_alias(other, name, **where)


def _is_finite(value: float | None) -> bool:
    return value is None or math.isfinite(value)


def _is_small(value: int | None) -> bool:
    """True for whole numbers that arrays can count with."""
    return value is None or abs(value) < 2**31


def _collected(config: Config, own: flags.FlagValues) -> Config:
    changes = {}
    for field in fields(config).values():
        found = [own[name].value for name in reversed(field.names)]
        value = next((value for value in found if value is not None), None)
        changes[field.name] = tuple(value) if isinstance(value, list) else value
    return _replaced(config, changes)


def _replaced(config: Config, changes: Mapping[str, Any]) -> Config:
    own = {}
    for name in config._fields:  # ty: ignore[missing-attribute]
        value = getattr(config, name)
        if hasattr(value, "_fields"):
            own[name] = _replaced(value, changes)
        elif name in changes:
            own[name] = changes[name]
    return config._replace(**own)  # ty: ignore[missing-attribute]
