"""Flags of the Transformer's layers, in groups of their own."""

from typing import Annotated, Any, NamedTuple

from attention_jax.core import rotary, sinusoids
from attention_jax.nn import heads, norms
from experiments.common.flags import Flag


class LayerFlags(NamedTuple):
    """Layers of the Transformer.

    Attributes:
      norm_kind: layer takes the mean off and divides by the deviation; rms divides by the root of
        the mean square, and adds nothing.
      norm_epsilon: added to the mean square in each norm.
      biases: learned vectors of all linear maps and layer norms, of the maps to queries, keys and
        values alone, or of none.
      qk_norm: norm the queries and keys of each head by the root of their mean square.
      embedding_scale: of the vectors of tokens, and of learned positions. Default: the root of
        --width.
      embedding_norm: norm vectors before the first layer, positions included.
      head_width: of queries and keys of each head. Default: --width by --heads.
      value_width: of values of each head. Default: as wide as keys.
      output_bias: a learned bias of each token's logit.
      logit_cap: c of logits c tanh(x / c). Default: no bound.
      value_residual: mix the values of each self-attention with those of the first layer, by two
        learned numbers a layer.
      kv_sharing: self-attentions in a group, of which the first alone has keys and values, and a
        cache; the others use its.
    """

    norm_kind: Annotated[str, Flag(choices=norms.NORMS)] = "layer"
    norm_epsilon: Annotated[float, Flag(low=1e-12, also=("layer_norm_eps", "rms_norm_eps"))] = (
        norms.EPSILON
    )
    biases: Annotated[str, Flag(choices=heads.BIASES)] = "all"
    qk_norm: bool = False
    embedding_scale: Annotated[float | None, Flag(low=1e-6)] = None
    embedding_norm: bool = False
    output_bias: bool = False
    logit_cap: Annotated[float | None, Flag(low=1e-6, also=("final_logit_softcapping",))] = None
    head_width: Annotated[int | None, Flag(low=1)] = None
    value_width: Annotated[int | None, Flag(low=1)] = None
    value_residual: bool = False
    kv_sharing: Annotated[int, Flag(low=1)] = 1


class RotaryFlags(NamedTuple):
    """Rotary positions, of --positions=rope.

    Attributes:
      rope_base: the larger, the slower the slow channels turn.
      rope_layout: channels that make a pair: neighbors, or one of each half of the head.
      rope_share: share of a head's channels that turn.
      rope_rates: with --rope_share, rates of the whole head, of which the fastest turn, or rates
        for the share alone.
      rope_scaling: slower rates, for longer texts than a model was trained on.
      rope_factor: of --rope_scaling: how much longer.
      rope_trained_length: of --rope_scaling=yarn and llama3: the length before.
      rope_fast: of the same: channels that turn more often within that length keep their rates.
        Default: 32 of yarn, 4 of llama3.
      rope_slow: of the same: those that turn less often are slowed by all of --rope_factor.
      rope_magnitude: of --rope_scaling: multiplies what is turned. Default: 0.1 log(factor) + 1 of
        yarn, 1 of others.
      rope_axes: 2 for images: half of the channels turn by the row, half by the column.
    """

    rope_base: Annotated[float, Flag(low=1.0, also=("rope_theta",))] = 10_000.0
    rope_layout: Annotated[str, Flag(choices=rotary.LAYOUTS)] = "pairs"
    rope_share: Annotated[float, Flag(low=0.0, high=1.0)] = 1.0
    rope_rates: Annotated[str, Flag(choices=rotary.RATES)] = "whole"
    rope_scaling: Annotated[str | None, Flag(choices=rotary.KINDS)] = None
    rope_factor: Annotated[float, Flag(low=1.0)] = 1.0
    rope_trained_length: Annotated[int, Flag(low=1)] = 2048
    rope_fast: Annotated[float | None, Flag(low=0.0)] = None
    rope_slow: Annotated[float, Flag(low=0.0)] = 1.0
    rope_magnitude: Annotated[float | None, Flag(low=0.0)] = None
    rope_axes: Annotated[int, Flag(low=1, high=2)] = 1

    def value(self) -> rotary.Rotary:
        """The rotary positions.

        Raises:
          ValueError: a flag of --rope_scaling without it, or one out of its range.
        """
        own = {name.removeprefix("rope_"): value for name, value in self._asdict().items()}
        scaling = {name: own.pop(name) for name in rotary.Scaling._fields if name in own}
        kind = own.pop("scaling")
        changed = [name for name in scaling if getattr(self, f"rope_{name}") != _default(name)]
        if kind is None and changed:
            raise ValueError(
                f"--rope_{changed[0]} goes with --rope_scaling; add it, or leave "
                f"--rope_{changed[0]} out."
            )
        found = None if kind is None else rotary.Scaling(kind, **scaling)
        made = rotary.Rotary(**own, scaling=found)
        made.check()
        return made


class SinusoidFlags(NamedTuple):
    """Sines and cosines of positions, of --positions=sinusoidal.

    Attributes:
      sinusoid_layout: pairs of a sine and a cosine, or all sines before all cosines.
      sinusoid_rates: those of the paper, or of its authors' code, whose slowest is 1 / 10000.
      sinusoid_offset: number of the first position.
    """

    sinusoid_layout: Annotated[str, Flag(choices=sinusoids.LAYOUTS)] = "pairs"
    sinusoid_rates: Annotated[str, Flag(choices=sinusoids.RATES)] = "vaswani"
    sinusoid_offset: Annotated[int, Flag(low=0)] = 0

    def value(self) -> sinusoids.Sinusoids:
        """The sinusoids."""
        return sinusoids.Sinusoids(*self)


def _default(name: str) -> Any:
    return RotaryFlags._field_defaults[f"rope_{name}"]
