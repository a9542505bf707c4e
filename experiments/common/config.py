"""Groups of flags that experiments share, and what each makes of itself."""

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from attention_jax import variants
from attention_jax.core.types import Strategy
from attention_jax.decoding.options import LENGTH_FORMS, DecodingOptions
from attention_jax.decoding.translate import DecodingConfig
from attention_jax.nn import norms, recurrent, transformer
from attention_jax.training.config import TrainConfig
from experiments.common.flags import Flag
from experiments.common.layer_flags import LayerFlags, RotaryFlags, SinusoidFlags

MODELS = ("transformer", "rnn")
LOSSES = ("loss", "perplexity", "accuracy")  # of `evaluation.losses`
MOST_LAYERS = 256  # more take longer to build than anyone waits
SAMPLING = ("temperature", "top_k", "top_p", "min_p")  # flags that go with --sample
# The places of `core.types.PLACES`, in words.
WHERE = {"bidirectional": "in the encoder", "causal": "in the decoder", "cross": "between the two"}
LAYERS = {"causal": "in the layers"}  # of a model of one sequence, which looks back
_CACHE = os.environ.get("JAX_COMPILATION_CACHE_DIR") or os.path.join(
    os.path.expanduser("~"), ".cache", "attention_jax", "compiled"
)
_NOT_KEPT = Flag(kept=False)
_MAY_CHANGE = Flag(may_change=True)
_COUNT = Flag(low=1)


class RunFlags(NamedTuple):
    """Folder and seed of a run.

    Attributes:
      run: folder of the run. Default: runs/<task>-<model>-<attention>.
      resume: go on with the run in this folder, where it stopped.
      overwrite: delete what the run's folder holds, and start anew.
      list: list tasks, models and attentions, and stop.
      dry_run: say what would be trained, on which data and how large, and stop.
      seed: seed of parameters, dropout and data order.
    """

    run: Annotated[str | None, _NOT_KEPT] = None
    resume: Annotated[bool, _NOT_KEPT] = False
    overwrite: Annotated[bool, _NOT_KEPT] = False
    list: Annotated[bool, _NOT_KEPT] = False
    dry_run: Annotated[bool, _NOT_KEPT] = False
    seed: Annotated[int, Flag(low=0, high=2**32 - 1)] = 0


class DeviceFlags(NamedTuple):
    """Where a program computes.

    Attributes:
      platform: kind of device. Default: the best found.
      compile_cache: folder of compiled programs, which makes a second start fast; empty for none.
        The environment's JAX_COMPILATION_CACHE_DIR sets another default.
    """

    platform: Annotated[Literal["cpu", "cuda", "tpu"] | None, _MAY_CHANGE] = None
    compile_cache: Annotated[str, _NOT_KEPT] = _CACHE


class MeshFlags(NamedTuple):
    """Several devices.

    Attributes:
      mesh: devices along each axis, as data=2,fsdp=4: data and fsdp share each batch, fsdp
        parameters and optimizer too; tensor shares heads and hidden units, context the positions of
        a sequence. One axis may be -1, for all devices that are left. Their product is the number
        of devices of all processes. Default: one device.
      context_strategy: how attention reaches the keys that other devices of context hold: gather
        brings all to each, ring passes them on, so that none holds more than a part, neighbors
        brings those alone that a sliding window reaches.
      distributed: wait for the other processes of this run, as the environment names them: SLURM,
        a TPU pod, Open MPI, or JAX_COORDINATOR_ADDRESS with JAX_NUM_PROCESSES and JAX_PROCESS_ID,
        which scripts/launch sets. --mesh looks for them too, and --distributed insists.
      distributed_timeout: seconds to wait for them.
    """

    mesh: Annotated[str | None, _MAY_CHANGE] = None
    context_strategy: Annotated[Strategy, _MAY_CHANGE] = "gather"
    distributed: Annotated[bool, _NOT_KEPT] = False
    distributed_timeout: Annotated[int, Flag(low=1, kept=False)] = 300

    @property
    def text(self) -> str | None:
        """The mesh as the trainer reads it; by default that of all processes shares batches."""
        return self.mesh or ("data=-1" if self.distributed else None)


class ModelFlags(NamedTuple):
    """The model.

    Attributes:
      model: the model.
      attention: attention, by name, as alibi, with options, as "sliding_window(size=64)", or from
        a Python file of your own, as mine.py or "mine.py:manhattan(p=2)"; --list names those of
        the library. Layers of a Transformer that differ have a pattern, which is repeated over
        them, as "[3*gated_delta, scaled_dot]". Where one cannot serve, the Transformer puts
        scaled_dot, and says so. The RNN takes scores of a pair, such as additive, those that go
        from query to query, such as coverage, and none. Default: scaled_dot for the Transformer,
        additive for the RNN.
      cross_attention: Transformer: attention of the decoder to the source. Default: --attention.
      width: width of the model.
      layers: layers of the encoder, and of the decoder.
      heads: Transformer: query heads.
      kv_heads: Transformer: key and value heads. Default: --heads.
      feed_forward: Transformer: width of the feed-forward layer.
      positions: Transformer: positions.
      norm: Transformer: norms before each sublayer, or after its residual sum, or as a sandwich
        before and after each sublayer.
      activation: Transformer: activation of the feed-forward layer; swiglu, geglu and geglu_tanh
        are gated, by half as many parameters again.
      scan: Transformer: loop over layers; compiles faster.
      remat: Transformer: recompute layers; saves memory.
      attention_dropout: Transformer: dropout on attention weights.
      cell: RNN: cell.
      bidirectional: RNN: read the source both ways.
      input_feeding: RNN: each step of the decoder reads what the attention of the last one found.
      tied: one table for embeddings and output.
      dropout: dropout rate.
      dtype: type of the computation.
      layer_options: Transformer: further ones.
      rotary_options: Transformer: rotary positions.
      sinusoid_options: Transformer: sines and cosines of positions.
    """

    model: Annotated[str, Flag(choices=MODELS)] = "transformer"
    attention: Annotated[str | None, Flag(alias="attention_file")] = None
    cross_attention: str | None = None
    width: Annotated[int, Flag(low=2, also=("d_model", "hidden_size"))] = 128
    layers: Annotated[int, Flag(low=1, high=MOST_LAYERS, also=("num_layers",))] = 2
    heads: Annotated[int, Flag(low=1, also=("num_heads",))] = 4
    kv_heads: Annotated[int | None, Flag(low=1, also=("num_kv_heads",))] = None
    feed_forward: Annotated[int, Flag(low=1, also=("d_ff", "ffn_dim"))] = 256
    positions: Annotated[str, Flag(choices=transformer.POSITIONS)] = "sinusoidal"
    norm: Annotated[str, Flag(choices=norms.PLACEMENTS)] = "pre"
    activation: Annotated[str, Flag(choices=sorted(transformer.ACTIVATIONS))] = "relu"
    scan: bool = False
    remat: bool = False
    attention_dropout: Annotated[float, Flag(low=0.0, high=0.99)] = 0.0
    cell: Annotated[str, Flag(choices=sorted(recurrent.CELLS))] = "gru"
    bidirectional: bool = True
    input_feeding: bool = True
    tied: bool = True
    dropout: Annotated[float, Flag(low=0.0, high=0.99)] = 0.1
    dtype: Literal["float32", "bfloat16"] = "float32"
    layer_options: LayerFlags = LayerFlags()
    rotary_options: RotaryFlags = RotaryFlags()
    sinusoid_options: SinusoidFlags = SinusoidFlags()

    @property
    def attention_text(self) -> str:
        """The attention by name or file."""
        if self.model == "cnn":
            return "none"
        return self.attention or ("additive" if self.model == "rnn" else "scaled_dot")

    def network(
        self, vocabulary_size: int, *, max_length: int
    ) -> transformer.TransformerConfig | recurrent.RNNConfig:
        """Sizes and choices of the network.

        Args:
          vocabulary_size: tokens, or classes.
          max_length: up to which positions are learned.
        """
        own: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "attention": self.attention_text,
            "dropout_rate": self.dropout,
        }
        if self.model == "rnn":
            return recurrent.RNNConfig(**shared(recurrent.RNNConfig, self) | own)
        own |= {"attention_dropout_rate": self.attention_dropout, "max_length": max_length}
        self._check_goes_with("rope", self.rotary_options, "rope")
        self._check_goes_with("sinusoid", self.sinusoid_options, "sinusoidal")
        own["rotary"] = self.rotary_options.value()
        own["sinusoids"] = self.sinusoid_options.value()
        for group in (self, self.layer_options):
            own = shared(transformer.TransformerConfig, group) | own
        return transformer.TransformerConfig(**own)

    def _check_goes_with(self, prefix: str, group: tuple, positions: str) -> None:
        """Raises ValueError where flags of other positions are given."""
        if group != type(group)() and self.positions != positions:
            raise ValueError(
                f"Flags that begin with --{prefix} go with --positions={positions}; got "
                f"{self.positions}. Add it, or leave them out."
            )


class TrainingFlags(NamedTuple):
    """The optimizer, its schedule, and how often what happens.

    Attributes:
      steps: training steps; 0 with --init_from scores its weights as they are.
      optimizer: optimizer.
      learning_rate: peak learning rate.
      schedule: schedule.
      final_rate: learning rate at the end of --schedule=cosine.
      warmup_steps: steps until the learning rate has risen to its peak.
      weight_decay: weight decay of adamw and muon.
      adam_b2: decay of Adam's mean square.
      clip_norm: bound of the gradient's norm; 0 for none.
      label_smoothing: share of the target spread over all tokens.
      accumulate: batches a step.
      freeze: parameters that stay as they begin: a regular expression that occurs in their paths,
        such as ^encoder/ or embedding; may be repeated.
      evaluate_every: steps between evaluations.
      log_every: steps between two rows of the log.
      evaluate_sentences: validation sentences, or recordings, decoded at each evaluation.
      checkpoint_every: steps between checkpoints.
      max_seconds: seconds of training, evaluations included, after which it stops before --steps.
        Default: no limit.
      patience: evaluations in a row without a better one before training stops. Default: no limit.
      select: validation score that picks the best checkpoint.
      average: average the last so many checkpoints; 1: take the best.
      profile_steps: steps to profile, into the run's folder, with a table of what they were spent
        on.
      tensorboard: also write TensorBoard logs.
    """

    steps: Annotated[int, Flag(low=0, may_change=True)] = 1000
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    learning_rate: Annotated[float, Flag(low=0.0, also=("lr",))] = 2e-3
    schedule: Literal["inverse_sqrt", "cosine", "constant"] = "cosine"
    final_rate: Annotated[float, Flag(low=0.0)] = 0.0
    warmup_steps: Annotated[int, Flag(low=0)] = 100
    weight_decay: Annotated[float, Flag(low=0.0)] = 0.0
    adam_b2: Annotated[float, Flag(low=0.0, high=1.0)] = 0.98
    clip_norm: Annotated[float, Flag(low=0.0)] = 1.0
    label_smoothing: Annotated[float, Flag(low=0.0, high=0.99)] = 0.0
    accumulate: Annotated[int, _COUNT] = 1
    freeze: tuple[str, ...] = ()
    evaluate_every: Annotated[int, Flag(low=1, may_change=True)] = 250
    log_every: Annotated[int, Flag(low=1, may_change=True)] = 50
    evaluate_sentences: Annotated[int, _COUNT] = 200
    checkpoint_every: Annotated[int, Flag(low=1, may_change=True)] = 250
    max_seconds: Annotated[float | None, Flag(low=0.0, may_change=True)] = None
    patience: Annotated[int | None, Flag(low=1, may_change=True)] = None
    select: Annotated[str, Flag(choices=LOSSES)] = "loss"
    average: Annotated[int, Flag(low=1, may_change=True)] = 1
    profile_steps: Annotated[int, Flag(low=0, may_change=True)] = 0
    tensorboard: Annotated[bool, _MAY_CHANGE] = False

    def settings(self, seed: int, mesh: MeshFlags | None = None) -> TrainConfig:
        """The trainer's settings, on a mesh that --mesh names or on one device."""
        own: dict[str, Any] = {
            "seed": seed,
            "mesh": mesh and mesh.text,
            "context_strategy": mesh.context_strategy if mesh else "gather",
            "clip_norm": self.clip_norm or None,
            "keep_last": max(self.average, 2),
            "average": self.average > 1,
            "monitor": self.select,
        }
        return TrainConfig(**shared(TrainConfig, self) | own)


class DecodingFlags(NamedTuple):
    """Search for outputs.

    Attributes:
      beam: beam size; 1 is greedy.
      length_penalty: length penalty of the beam.
      length_form: what of the length is taken to the power of --length_penalty, to divide
        log-probabilities: (5 + length) / 6 with wu, the length itself with power.
      nbest: translations of each sentence.
      sample: draw each token, whatever --beam says.
      temperature: of --sample: below 1 favors probable tokens.
      top_k: of --sample: draw from so many most probable tokens.
      top_p: of --sample: draw from the fewest tokens whose probabilities sum to this.
      min_p: of --sample: leave out what is less probable than this share of the most probable.
      min_length: least number of tokens before the end.
      repetition_penalty: above 1, tokens that occurred become less likely.
      no_repeat_ngram: no sequence of so many tokens occurs twice; 0: any may.
    """

    beam: Annotated[int, Flag(low=1, may_change=True)] = 1
    length_penalty: Annotated[float, Flag(low=0.0, may_change=True)] = 1.0
    length_form: Annotated[str, Flag(choices=LENGTH_FORMS, may_change=True)] = "wu"
    nbest: Annotated[int, Flag(low=1, may_change=True)] = 1
    sample: Annotated[bool, _MAY_CHANGE] = False
    temperature: Annotated[float, Flag(low=0.0, may_change=True)] = 1.0
    top_k: Annotated[int | None, Flag(low=1, may_change=True)] = None
    top_p: Annotated[float | None, Flag(low=0.0, high=1.0, may_change=True)] = None
    min_p: Annotated[float | None, Flag(low=0.0, high=1.0, may_change=True)] = None
    min_length: Annotated[int, Flag(low=0, may_change=True, also=("min_new_tokens",))] = 0
    repetition_penalty: Annotated[float, Flag(low=0.0, may_change=True)] = 1.0
    no_repeat_ngram: Annotated[
        int, Flag(low=0, may_change=True, also=("no_repeat_ngram_size",))
    ] = 0

    def search(self, seed: int, **changes: Any) -> DecodingConfig:
        """The search, with fields of it changed.

        Raises:
          ValueError: flags that contradict each other.
        """
        beams = max(self.beam, self.nbest)
        if self.sample and self.nbest > 1:
            raise ValueError(
                f"--sample draws one translation a sentence; got --nbest={self.nbest}."
            )
        for name in SAMPLING:
            if getattr(self, name) != getattr(DecodingFlags(), name) and not self.sample:
                raise ValueError(f"--{name} goes with --sample; add it, or leave --{name} out.")
        method = "sample" if self.sample else "beam" if beams > 1 else "greedy"
        own: dict[str, Any] = {
            "method": method,
            "beam_size": beams,
            "seed": seed,
            "options": self.options(method),
        }
        return DecodingConfig(**shared(DecodingConfig, self) | own)._replace(**changes)

    def options(self, method: str) -> DecodingOptions:
        """The options of a search, without those of another method.

        Raises:
          ValueError: one is out of its range.
        """
        return DecodingOptions(
            repetition_penalty=self.repetition_penalty,
            no_repeat_ngram=self.no_repeat_ngram,
            min_length=self.min_length,
            min_p=self.min_p if method == "sample" else None,
            length_form=self.length_form if method == "beam" else "wu",
        )


def shared(kind: type, group: tuple) -> dict[str, Any]:
    """The values of a group whose names are fields of another NamedTuple too."""
    names = [name for name in kind._fields if name in group._fields]  # ty: ignore
    return {name: getattr(group, name) for name in names}


def attention_line(
    config: transformer.TransformerConfig | recurrent.RNNConfig,
    places: Mapping[str, str] = WHERE,
) -> str | None:
    """A line that says which attention stands where, if it is not the named one throughout.

    None where scaled dot stands in for nothing.

    Args:
      config: of the model.
      places: those of `core.types.PLACES` that the model has, in words.
    """
    if isinstance(config, recurrent.RNNConfig):
        return None
    pattern = variants.pattern(config.attention)
    own = transformer.in_turn(pattern)
    where: dict[str, list[str]] = {own: []}
    for place, called in places.items():
        where.setdefault(transformer.name_at(config, place), []).append(called)
    cross = config.cross_attention
    named = (own, cross and transformer.in_turn(variants.pattern(cross)))
    cut = config.layers % len(pattern)
    if all(name in named for name in where) and not cut:
        return None
    if cut and not where[own]:
        del where[own]  # too long for the layers, and said below
    parts = [f"{name} {' and '.join(found) or 'nowhere'}" for name, found in where.items()]
    more = f"; {config.layers} layers cut the pattern of {len(pattern)} off" if cut else ""
    return f"attention: {'; '.join(parts)}{more}"


def attention_notes(model: ModelFlags, places: Mapping[str, str] = LAYERS) -> Iterator[str]:
    """`attention_line` of the model that flags make; nothing where it has none."""
    line = attention_line(model.network(1, max_length=1), places)
    if line:
        yield line
