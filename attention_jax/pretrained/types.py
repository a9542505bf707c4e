"""A family of pretrained models as data: a config, a model, and a table of names.

A table is read in both directions: forwards it makes our parameters of another library's tensors,
backwards it writes theirs from ours.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import nnx
from jaxtyping import Shaped

from attention_jax.core import checks
from attention_jax.models.seq2seq import Seq2SeqConfig

Tensor = Shaped[np.ndarray, "..."]
Config = Any  # the configuration of one of our models
Json = Any  # a value of a JSON file
Described = dict[str, Json]  # the content of a config.json


class Form(NamedTuple):
    """How an array differs between two libraries, both ways; `write(read(x)) == x`."""

    read: Callable[[Tensor], Tensor]
    write: Callable[[Tensor], Tensor]


SAME = Form(lambda x: x, lambda x: x)
TRANSPOSED = Form(lambda x: x.T, lambda x: x.T)  # torch's Linear is [out in]


def scaled(factor: float) -> Form:
    """Ours is theirs times a factor, which another library multiplies by elsewhere."""
    return Form(lambda x: x * factor, lambda x: x / factor)


def shifted(number: float) -> Form:
    """Ours is theirs plus a number, as of gains that are stored less 1."""
    return Form(lambda x: x + number, lambda x: x - number)


def then(first: Form, second: Form) -> Form:
    """One form after another, on the way to ours."""
    return Form(lambda x: second.read(first.read(x)), lambda x: first.write(second.write(x)))


class Rule(NamedTuple):
    """One tensor of theirs, and the parameter of ours that holds it.

    Attributes:
      theirs: its name.
      ours: the path of the parameter, its keys separated by slashes; several where theirs holds
        them side by side along the last axis, once it has been read.
      form: how the arrays differ.
      before: of a tensor with rows of tokens, what makes its first axis theirs.
    """

    theirs: str
    ours: str | tuple[str, ...]
    form: Form = SAME
    before: Form = SAME

    @property
    def paths(self) -> tuple[str, ...]:
        """The parameters as a tuple, even if there is one."""
        return (self.ours,) if isinstance(self.ours, str) else self.ours


class Settings:
    """The content of a config.json, whose keys are asked for by name.

    Args:
      values: the content.
      name: of the file, for errors.
      beside: the content of other files of its folder, by their names.
      tensors: names of those that come with it, as the family's table has them.
    """

    def __init__(
        self,
        values: Mapping[str, Json],
        name: str = "config.json",
        beside: Mapping[str, Mapping[str, object]] | None = None,
        tensors: Sequence[str] = (),
    ):
        self.values, self.name, self.beside = values, name, beside or {}
        self.tensors = frozenset(tensors)

    def of(self, tensors: Sequence[str]) -> "Settings":
        """The same, that comes with tensors of these names."""
        return Settings(self.values, self.name, self.beside, tensors)

    def other(self, name: str) -> "Settings":
        """The content of another file beside it, empty where there is none."""
        return Settings(self.beside.get(name, {}), name)

    def get(self, key: str, default: Json = None) -> Json:
        """The value of a key, or the default where it is not there or null."""
        found = self.values.get(key)
        return default if found is None else found

    def need(self, key: str) -> Json:
        """The value of a key.

        Raises:
          ValueError: it is not there.
        """
        if self.values.get(key) is None:
            raise ValueError(
                f"{self.name} must say `{key}`, which it lacks. Fetch the file anew, from where "
                "the weights came."
            )
        return self.values[key]

    def choose(self, key: str, choices: Mapping[Json, Json], default: Json = None) -> Json:
        """Our word for theirs.

        Raises:
          ValueError: theirs is none of those that are known here.
        """
        found = self.get(key, default)
        try:
            return choices[found]
        except (KeyError, TypeError):
            listed = ", ".join(json.dumps(x) for x in choices)
            raise ValueError(
                f"`{key}` of {self.name} must be one of {listed}; got {checks.said(found)}. "
                "Models with another cannot be read yet."
            ) from None

    def refuse(self, key: str, allowed: Sequence[Json]) -> None:
        """Raises ValueError where a key is there with a value that no model here has."""
        if self.values.get(key) not in (None, *allowed):
            self.choose(key, dict.fromkeys(allowed))


def replaced(config: Config, **changes: object) -> Config:
    """A configuration with fields changed: its own, or those of the `transformer` within it.

    Of an encoder and a decoder, those of both.
    """
    if isinstance(config, Seq2SeqConfig):
        return Seq2SeqConfig(*(replaced(side, **changes) for side in config))
    own = {name: value for name, value in changes.items() if name in config._fields}
    if len(own) < len(changes):
        rest = {name: value for name, value in changes.items() if name not in own}
        own["transformer"] = replaced(config.transformer, **rest)
    return config._replace(**own)


class Special(NamedTuple):
    """Another library's ids of the special tokens; None where there is none.

    Attributes:
      begin: with which a decoder begins, or a text.
    """

    padding: int | None = None
    begin: int | None = None
    end: int | None = None
    unknown: int | None = None


class Family(NamedTuple):
    """Models that share a table of names.

    Attributes:
      name: in small letters.
      model_types: `model_type` of the config.json of each.
      config: our configuration of what a config.json says.
      build: the model of a configuration.
      rules: the table, for a configuration.
      special: the special tokens.
      described: what a config.json says of our configuration: the way back.
      read_rules: the table for what a config.json says, where parameters here hold numbers of it;
        what is written says 1 of them.
      rows: paths of parameters with a row for each token, `[v m]` or `[v]`.
      prefix: of names; some files leave it out. The table does.
      bare: names of the table that never have it.
      ignored: patterns of names that files hold and nobody needs.
      writes_tokens: whether its logits are of tokens.
      has_tokens: whether it has a vocabulary at all.
      zeros: paths of parameters that are zeros, and that no tensor holds.
      older: names of earlier files, each a pattern and what stands in place of it in the table.
    """

    name: str
    model_types: tuple[str, ...]
    config: Callable[[Settings], Config]
    build: Callable[[Config, nnx.Rngs], nnx.Module]
    rules: Callable[[Config], list[Rule]]
    special: Callable[[Settings], Special]
    described: Callable[[Config], Described]
    read_rules: Callable[[Config, Settings], list[Rule]] | None = None
    rows: tuple[str, ...] = ("embedding/table/embedding", "output_bias")
    prefix: str = ""
    bare: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    writes_tokens: bool = True
    has_tokens: bool = True
    zeros: Callable[[Config], list[str]] | None = None
    older: tuple[tuple[str, str], ...] = ()

    def full_name(self, theirs: str) -> str:
        """A name of the table as files have it."""
        return theirs if theirs in self.bare else self.prefix + theirs
