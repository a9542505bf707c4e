"""Low-rank adapters of a run, `--lora_rank`: trained instead of weights, merged at its end."""

from typing import Any, NamedTuple

import jax
from flax import nnx

from attention_jax.core.types import Params
from attention_jax.nn import lora
from attention_jax.training.config import TrainConfig
from attention_jax.training.digests import by_path
from attention_jax.training.step import GENERATOR
from experiments.common import flags, initial
from experiments.common.experiment import Build
from experiments.common.initial import InitFlags

OPTIONS = ("lora_alpha", "lora_targets")


class Adapters(NamedTuple):
    """The adapters of a run.

    Attributes:
      rank, alpha, targets: as `nn.lora.adapted` has them.
    """

    rank: int
    alpha: float
    targets: str

    @property
    def freeze(self) -> tuple[str, ...]:
        """The pattern of all that is not trained."""
        return (lora.BASE,)

    def freezing(self, settings: TrainConfig) -> TrainConfig:
        """Settings of a training that leaves all but the adapters as it is."""
        return settings._replace(freeze=(*settings.freeze, *self.freeze))

    def build(self, plain: Build) -> Build:
        """`key -> model` with adapters."""

        def build(key: jax.Array) -> nnx.Module:
            rngs = nnx.Rngs(jax.random.fold_in(key, 1))
            return lora.adapted(
                plain(key), rank=self.rank, alpha=self.alpha, targets=self.targets, rngs=rngs
            )

        return build

    def first(self, plain: Build, params: Params, seed: int) -> Params:
        """Parameters with adapters that add nothing, on the host."""
        build = self.build(plain)

        def own(key: jax.Array) -> dict[str, jax.Array]:
            made = by_path(nnx.as_pure(nnx.split(build(key))[1]))
            return {name: x for name, x in made.items() if lora.DOWN in name or lora.UP in name}

        shapes = nnx.as_pure(nnx.split(nnx.eval_shape(lambda: build(jax.random.key(0))))[1])
        known = by_path(params) | jax.device_get(jax.jit(own)(jax.random.key(seed, impl=GENERATOR)))
        return jax.tree_util.tree_map_with_path(
            lambda path, x: known[jax.tree_util.keystr(path)], shapes
        )

    def merged(self, params: Params) -> Params:
        """Parameters of the plain model."""
        return lora.merged(params, scale=self.alpha / self.rank)


def of(config: Any) -> Adapters | None:
    """The adapters that flags ask for.

    Raises:
      ValueError: flags of adapters without any, or adapters of random weights.
    """
    given = flags.values(config)
    if "lora_rank" not in given:
        return None
    rank, alpha = given["lora_rank"], given["lora_alpha"]
    for name in OPTIONS:
        if rank is None and given[name] != getattr(InitFlags(), name):
            raise ValueError(
                f"`--{name}` goes with --lora_rank; got --{name}={given[name]} alone. Add "
                "--lora_rank=8, or leave it out."
            )
    if rank is None:
        return None
    if initial.place(config) is None:
        raise ValueError(
            f"`--lora_rank` goes with --init_from, whose weights are adapted; got --lora_rank="
            f"{rank} alone. Name a run or a model by --init_from."
        )
    return Adapters(rank, float(rank) if alpha is None else alpha, given["lora_targets"])


def trained(config: Any, plain: Build) -> tuple[TrainConfig, Build]:
    """Settings of a run's training on one device, and the model, with adapters if it has any."""
    settings, adapters = config.training.settings(config.run.seed), of(config)
    if adapters is None:
        return settings, plain
    return adapters.freezing(settings), adapters.build(plain)
