"""What the scripts share: flags, models and data from flags, one-line errors."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import app, logging
from absl import flags as absl_flags
from flax import nnx

from attention_jax import variants
from attention_jax.data import tasks
from attention_jax.data.tokenizer import KINDS, Tokenizer
from attention_jax.data.types import Task
from attention_jax.decoding.translate import DecodingConfig
from attention_jax.models import seq2seq_rnn, seq2seq_transformer
from attention_jax.nn import recurrent, transformer
from attention_jax.nn.protocols import Seq2Seq
from attention_jax.training import loop, preemption
from attention_jax.training.config import TrainConfig

FLAGS = absl_flags.FLAGS
MODELS = ("transformer", "rnn")
SAMPLING = ("temperature", "top_k", "top_p")  # flags that go with --sample
LOSSES = ("loss", "perplexity", "accuracy")  # what `evaluation.losses` gives
OF_TEXTS = (*LOSSES, "exact_match", "bleu", "chrf")
OF_SPEECH = (*LOSSES, "exact_match", "cer", "wer")
MEASURES = tuple(dict.fromkeys((*OF_TEXTS, *OF_SPEECH)))
# What the places of `types.ROLES` are called.
WHERE = {"bidirectional": "in the encoder", "causal": "in the decoder", "cross": "between the two"}


def define_run_flags() -> None:
    """Flags of every script that writes a run's folder."""
    absl_flags.DEFINE_string(
        "run", None, "Folder of the run. Default: runs/<task>-<model>-<attention>."
    )
    absl_flags.DEFINE_bool("resume", False, "Go on with the run in this folder, where it stopped.")
    absl_flags.DEFINE_bool(
        "overwrite", False, "Delete what the run's folder holds, and start anew."
    )
    absl_flags.DEFINE_bool("list", False, "List tasks, models and attentions, and stop.")
    absl_flags.DEFINE_integer(
        "seed", 0, "Seed of parameters, dropout and data order.", lower_bound=0
    )


def define_device_flags() -> None:
    """Where and with which cache a script computes."""
    absl_flags.DEFINE_enum(
        "platform", None, ["cpu", "cuda", "tpu"], "Device. Default: the best found."
    )
    absl_flags.DEFINE_string(
        "compile_cache",
        os.path.join(os.path.expanduser("~"), ".cache", "attention_jax", "compiled"),
        "Folder of compiled programs, which makes a second start fast; empty for none.",
    )


def define_data_flags() -> None:
    """Where real data are."""
    absl_flags.DEFINE_string(
        "preset", None, "Real text of --task=parallel: multi30k_de_en (any pair of de, en, fr) "
        "or tatoeba_en_es; of experiments.language: tiny_shakespeare."
    )  # fmt: skip
    shared = Path(__file__).parents[2] / "shared" / "data"
    absl_flags.DEFINE_string(
        "data_dir", str(shared) if shared.is_dir() else "data", "Folder of the data sets."
    )


def define_task_flags() -> None:
    """What is learned, from which data."""
    define_data_flags()
    absl_flags.DEFINE_enum("task", "spanish", tasks.names(), "What is learned.")
    absl_flags.DEFINE_multi_string(
        "task_option", [], "An option of the task, as name=value; may be repeated."
    )
    absl_flags.DEFINE_enum("tokenizer", None, KINDS, "Default: the one that suits the task.")
    absl_flags.DEFINE_integer("vocabulary_size", 8000, "Tokens of a BPE vocabulary.", lower_bound=8)
    absl_flags.DEFINE_integer("max_length", 128, "Longer sentences are left out, and counted.")
    absl_flags.DEFINE_integer("tokens_per_batch", 4096, "Padded tokens a batch, on each side.")


def define_model_flags(models: Sequence[str] = MODELS) -> None:
    """The model. Each flag says which one it concerns, where not all."""
    absl_flags.DEFINE_enum("model", "transformer", models, "Model.")
    absl_flags.DEFINE_string(
        "attention", None, f"Attention: {', '.join(variants.names())}. Where one cannot serve, the "
        "Transformer puts scaled_dot, and says so. The RNN takes scores of a pair, such as "
        "additive, those that go from query to query, such as coverage, and none. "
        "Default: scaled_dot for the Transformer, additive for the RNN."
    )  # fmt: skip
    absl_flags.DEFINE_string("attention_file", None, "A Python file with an attention of your own.")
    absl_flags.DEFINE_string(
        "cross_attention", None, "Transformer: another one between the two, from decoder to source."
    )  # fmt: skip
    absl_flags.DEFINE_integer("width", 128, "Width of the model.", lower_bound=2)
    absl_flags.DEFINE_integer(
        "layers", 2, "Layers of the encoder, and of the decoder.", lower_bound=1
    )
    absl_flags.DEFINE_integer("heads", 4, "Transformer: query heads.", lower_bound=1)
    absl_flags.DEFINE_integer(
        "kv_heads", None, "Transformer: key and value heads. Default: --heads."
    )
    absl_flags.DEFINE_integer("feed_forward", 256, "Transformer: width of the feed-forward layer.")
    absl_flags.DEFINE_enum(
        "positions", "sinusoidal", transformer.POSITIONS, "Transformer: positions."
    )
    absl_flags.DEFINE_enum("norm", "pre", ["pre", "post"], "Transformer: norm before or after.")
    absl_flags.DEFINE_enum(
        "activation", "relu", sorted(transformer.ACTIVATIONS), "Transformer: of hidden units."
    )
    absl_flags.DEFINE_bool("scan", False, "Transformer: loop over layers; compiles faster.")
    absl_flags.DEFINE_bool("remat", False, "Transformer: recompute layers; saves memory.")
    absl_flags.DEFINE_float("attention_dropout", 0.0, "Transformer: dropout on attention weights.")
    absl_flags.DEFINE_enum("cell", "gru", sorted(recurrent.CELLS), "RNN: cell.")
    absl_flags.DEFINE_bool("bidirectional", True, "RNN: read the source both ways.")
    absl_flags.DEFINE_bool("input_feeding", True, "RNN: feed the attentional vector back.")
    absl_flags.DEFINE_bool("tied", True, "One table for embeddings and output.")
    absl_flags.DEFINE_float("dropout", 0.1, "Dropout rate.", lower_bound=0.0, upper_bound=0.99)
    absl_flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Type of the computation.")


def define_training_flags(measures: Sequence[str] = MEASURES) -> None:
    """The optimiser, its schedule, and how often what happens.

    Args:
      measures: what the script validates by. Default: all that runs of any script do.
    """
    absl_flags.DEFINE_integer("steps", 1000, "Training steps.", lower_bound=1)
    absl_flags.DEFINE_enum("optimizer", "adam", ["adam", "adamw", "muon"], "Optimiser.")
    absl_flags.DEFINE_float("learning_rate", 2e-3, "Peak learning rate.")
    absl_flags.DEFINE_enum(
        "schedule", "cosine", ["inverse_sqrt", "cosine", "constant"], "Schedule."
    )
    absl_flags.DEFINE_float("final_rate", 0.0, "Last learning rate of the cosine.")
    absl_flags.DEFINE_integer("warmup_steps", 100, "Steps until the peak.")
    absl_flags.DEFINE_float("weight_decay", 0.0, "Weight decay of adamw and muon.")
    absl_flags.DEFINE_float("adam_b2", 0.98, "Decay of Adam's mean square.")
    absl_flags.DEFINE_float("clip_norm", 1.0, "Bound of the gradient's norm; 0 for none.")
    absl_flags.DEFINE_float("label_smoothing", 0.0, "Share of the target spread over all tokens.")
    absl_flags.DEFINE_integer("accumulate", 1, "Batches a step.", lower_bound=1)
    absl_flags.DEFINE_integer("evaluate_every", 250, "Steps between evaluations.", lower_bound=1)
    absl_flags.DEFINE_integer("evaluate_sentences", 200, "Validation sentences translated then.")
    absl_flags.DEFINE_integer("checkpoint_every", 250, "Steps between checkpoints.", lower_bound=1)
    absl_flags.DEFINE_float("max_seconds", None, "Seconds of training, evaluations included, after "
                       "which it stops before --steps. Default: no limit.")  # fmt: skip
    absl_flags.DEFINE_integer("patience", None, "Evaluations without a better one before it stops.")
    absl_flags.DEFINE_enum(
        "select", "loss", measures, "Validation score that picks the best checkpoint."
    )  # fmt: skip
    absl_flags.DEFINE_integer(
        "average", 1, "Average the last so many checkpoints; 1: take the best."
    )
    absl_flags.DEFINE_integer("profile_steps", 0, "Steps to profile, into the run's folder.")
    absl_flags.DEFINE_bool("tensorboard", False, "Also write TensorBoard logs.")


def define_search_flags() -> None:
    """How translations are searched for."""
    absl_flags.DEFINE_integer("beam", 1, "Beam size; 1 is greedy.", lower_bound=1)
    absl_flags.DEFINE_float("length_penalty", 1.0, "Length penalty of the beam.")
    absl_flags.DEFINE_integer("nbest", 1, "Translations of each sentence.", lower_bound=1)
    absl_flags.DEFINE_bool("sample", False, "Draw each token, whatever --beam says.")
    absl_flags.DEFINE_float("temperature", 1.0, "Of --sample: below 1 favours the probable.")
    absl_flags.DEFINE_integer(
        "top_k", None, "Of --sample: draw from so many best tokens.", lower_bound=1
    )
    absl_flags.DEFINE_float(
        "top_p", None, "Of --sample: draw from the fewest tokens of this share."
    )


def launch(main: Callable[[], None]) -> None:
    """Runs `main`; what the user can mend ends in one line instead of a traceback."""

    def guarded(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"unexpected argument {argv[1]!r}; options start with --.")
        # Orbax reports every file it touches.
        logging.set_verbosity(logging.WARNING)
        try:
            prepare_device()
            main()
        except preemption.Preempted as stop:
            print(stop, file=sys.stderr)
            sys.exit(stop.exit_code)
        except (ValueError, OSError, loop.TrainingDiverged, ImportError) as error:
            if os.environ.get("ATTENTION_JAX_TRACEBACK"):
                raise
            sys.exit(f"error: {error}")

    app.run(guarded)


def prepare_device() -> None:
    """Picks the platform and the compile cache, before anything is computed."""
    if FLAGS.platform:
        jax.config.update("jax_platforms", FLAGS.platform)
    if FLAGS.compile_cache:
        jax.config.update("jax_compilation_cache_dir", FLAGS.compile_cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def list_names(models: Sequence[str] = MODELS) -> str:
    """Tasks, models and attentions, a line each."""
    rows = (("tasks", tasks.names()), ("models", models), ("attentions", variants.names()))
    return "\n".join(f"{kind}: {', '.join(names)}" for kind, names in rows)


def attention_name() -> str:
    """The attention by name or file, as flags say."""
    if FLAGS.attention_file:
        return FLAGS.attention_file
    if FLAGS.model == "cnn":
        return "none"
    return FLAGS.attention or ("additive" if FLAGS.model == "rnn" else "scaled_dot")


def load_task() -> Task:
    """The task that flags name."""
    options: dict[str, Any] = {}
    for item in FLAGS.task_option:
        name, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"`--task_option` must be name=value; got {item!r}.")
        options[name] = json.loads(value) if value.lstrip("-").isdigit() else value
    if FLAGS.task in ("parallel", "scan"):
        options = {"data_dir": FLAGS.data_dir} | options
    if FLAGS.task == "parallel":
        options |= {"preset": FLAGS.preset} if FLAGS.preset else {}
    elif FLAGS.preset:
        raise ValueError(f"`--preset` goes with --task=parallel; got --task={FLAGS.task}.")
    return tasks.get(FLAGS.task, **options)


def learn_vocabulary(task: Task, folder: Path) -> Tokenizer:
    """The run's vocabulary: learned on the training side once, then read from the folder."""
    path = folder / "vocabulary.json"
    if path.exists():
        return Tokenizer.load(path)
    kind = FLAGS.tokenizer or task.tokenizer
    texts = (text for e in task.train for text in (e.source, e.references[0]))
    size = FLAGS.vocabulary_size if kind == "bpe" else None
    vocabulary = Tokenizer.learn(texts, kind=kind, size=size, lowercase=task.lowercase)
    vocabulary.save(path)
    return vocabulary


def model_builder(vocabulary_size: int) -> Callable[[jax.Array], Seq2Seq]:
    """`key -> model`, as flags say."""
    config = model_config(vocabulary_size)
    if isinstance(config, recurrent.RNNConfig):
        return lambda key: seq2seq_rnn.Seq2SeqRNN(config, rngs=nnx.Rngs(key))
    return lambda key: seq2seq_transformer.Seq2SeqTransformer(config, rngs=nnx.Rngs(key))


def model_config(
    vocabulary_size: int, *, max_length: int | None = None
) -> transformer.TransformerConfig | recurrent.RNNConfig:
    """Sizes and choices of the model, as flags say; positions may be learned up to `max_length`."""
    shared = {
        "vocabulary_size": vocabulary_size,
        "width": FLAGS.width,
        "layers": FLAGS.layers,
        "attention": attention_name(),
        "tied": FLAGS.tied,
        "dropout_rate": FLAGS.dropout,
        "dtype": FLAGS.dtype,
    }
    if FLAGS.model == "rnn":
        return recurrent.RNNConfig(
            **shared,
            cell=FLAGS.cell,
            bidirectional=FLAGS.bidirectional,
            input_feeding=FLAGS.input_feeding,
        )
    return transformer.TransformerConfig(
        **shared,
        heads=FLAGS.heads,
        kv_heads=FLAGS.kv_heads,
        feed_forward=FLAGS.feed_forward,
        cross_attention=FLAGS.cross_attention,
        positions=FLAGS.positions,
        norm=FLAGS.norm,
        activation=FLAGS.activation,
        attention_dropout_rate=FLAGS.attention_dropout,
        max_length=max_length or 4 * FLAGS.max_length,
        scan=FLAGS.scan,
        remat=FLAGS.remat,
    )


def attention_line(
    config: transformer.TransformerConfig | recurrent.RNNConfig,
    places: Mapping[str, str] = WHERE,
) -> str | None:
    """Says what stands where, if it is not the named attention throughout.

    None where scaled dot stands in for nothing.

    Args:
      config: of the model.
      places: those of `types.ROLES` that the model has, and what each is called.
    """
    if isinstance(config, recurrent.RNNConfig):
        return None
    where: dict[str, list[str]] = {config.attention: []}
    for place, called in places.items():
        where.setdefault(transformer.name_at(config, place), []).append(called)
    named = (config.attention, config.cross_attention)
    if all(name in named for name in where):
        return None
    parts = [f"{name} {' and '.join(found) or 'nowhere'}" for name, found in where.items()]
    return f"attention: {'; '.join(parts)}"


def settings() -> TrainConfig:
    """The trainer's settings, as flags say."""
    return TrainConfig(
        steps=FLAGS.steps,
        seed=FLAGS.seed,
        optimizer=FLAGS.optimizer,
        learning_rate=FLAGS.learning_rate,
        schedule=FLAGS.schedule,
        final_rate=FLAGS.final_rate,
        warmup_steps=FLAGS.warmup_steps,
        weight_decay=FLAGS.weight_decay,
        clip_norm=FLAGS.clip_norm or None,
        adam_b2=FLAGS.adam_b2,
        label_smoothing=FLAGS.label_smoothing,
        accumulate=FLAGS.accumulate,
        evaluate_every=FLAGS.evaluate_every,
        checkpoint_every=FLAGS.checkpoint_every,
        max_seconds=FLAGS.max_seconds,
        patience=FLAGS.patience,
        keep_last=max(FLAGS.average, 2),
        average=FLAGS.average > 1,
        monitor=FLAGS.select,
        profile_steps=FLAGS.profile_steps,
        tensorboard=FLAGS.tensorboard,
    )


def search(**changes: Any) -> DecodingConfig:
    """The search, as flags say."""
    beams = max(FLAGS.beam, FLAGS.nbest)
    if FLAGS.sample and FLAGS.nbest > 1:
        raise ValueError(f"--sample draws one translation a sentence; got --nbest={FLAGS.nbest}.")
    for name in SAMPLING:
        if FLAGS[name].value != FLAGS[name].default and not FLAGS.sample:
            raise ValueError(f"--{name} goes with --sample; add it, or leave --{name} out.")
    own = DecodingConfig(
        method="sample" if FLAGS.sample else "beam" if beams > 1 else "greedy",
        temperature=FLAGS.temperature,
        top_k=FLAGS.top_k,
        top_p=FLAGS.top_p,
        beam_size=beams,
        length_penalty=FLAGS.length_penalty,
        nbest=FLAGS.nbest,
        seed=FLAGS.seed,
    )
    return own._replace(**changes)


def python() -> str:
    """How the user calls this Python."""
    found = shutil.which("python")
    return "python" if found == sys.executable else os.path.relpath(sys.executable)
