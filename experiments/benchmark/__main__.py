"""Benchmarks of speed and memory, beside PyTorch or alone, on one machine and in one process.

    scripts/bench --suite=training
    scripts/bench --suite=attention --output=attention.json --picture=attention.png
    scripts/bench --suite=variants --output=variants.json --picture=variants.png

All sides run in turn, so that a machine that slows down slows each. Printed are medians, and the
ratio of times pair by pair; above 1 ours is faster. Results are also written to --output as JSON
with the command and the machine. `training` is a step of training, against torch eager;
`attention` is attention itself, as `experiments.benchmark.attention` explains, and takes hours
with all its cases: --cases, --lengths and --dtypes choose among them. `variants` is every variant
by itself, as sequences grow, as `experiments.benchmark.variants` explains; about 20 minutes on 2
cores. The language model beside PyTorch is `experiments.benchmark.language`.
"""

from typing import Any

from absl import flags

from experiments import common
from experiments.benchmark import attention_cases, suites

FLAGS = flags.FLAGS
common.define_device_flags()
flags.adopt_module_key_flags(common)
flags.DEFINE_enum("suite", "training", list(suites.SUITES), "What is measured.")
flags.DEFINE_integer(
    "repeats",
    None,
    "Counted calls of each side. Default: 15 of training, 7 of attention, of "
    "which calls that take seconds get 3, and 3 of variants, of which these get 1.",
    lower_bound=3,
)
flags.DEFINE_string("output", None, "JSON file of the results.")
flags.DEFINE_integer("vocabulary", 10_000, "Training: tokens of the vocabulary.", lower_bound=5)
flags.DEFINE_integer("sentences", 128, "Training: sentences a batch.", lower_bound=1)
flags.DEFINE_integer(
    "length", 32, "Training: tokens of each sentence, on each side.", lower_bound=2
)
flags.DEFINE_float("dropout", 0.1, "Training: dropout rate of both sides.")
flags.DEFINE_list(
    "cases", ["all"], f"Attention: all, or some of {', '.join(attention_cases.GROUPS)}."
)
flags.DEFINE_list(
    "lengths",
    None,
    "Lengths of sequences. Default of attention: 128, 512, 1024, 2048, 4096 and "
    "8192, where the batch is what makes 2,048 tokens, and at least 1; of variants: 256, 1024, "
    "4096 and 8192, one sequence each.",
)
flags.DEFINE_list("dtypes", ["float32", "bfloat16"], "Attention: types of the arrays.")
flags.DEFINE_list("short_lengths", ["16", "32", "64", "128"], "Attention: lengths of `short`.")
flags.DEFINE_list(
    "decode_lengths",
    ["1024", "2048", "4096", "8192", "16384", "32768"],
    "Attention: keys of `decode`.",
)
flags.DEFINE_integer("long_length", 65_536, "Attention: length of `long`, of ours alone.")
flags.DEFINE_integer("additive_length", 2048, "Attention: longest of --lengths for `additive`.")
flags.DEFINE_float("gigabytes", 6.0, "What needs more memory is left out.")
flags.DEFINE_list("variants", ["all"], "Variants: all, or some.")
flags.DEFINE_float(
    "seconds",
    10.0,
    "Variants: a length is left out where, by the one before it, a call might take longer.",
)
flags.DEFINE_string("implementation", None, "Attention: of ours. Default: the library's choice.")
flags.DEFINE_string(
    "picture", None, "Attention, variants: file of a picture, its suffix names the format."
)


def main() -> None:
    """Measures what --suite names."""
    given: dict[str, Any] = {name: FLAGS[name].value for name in suites.Options._fields}
    suites.SUITES[FLAGS.suite](suites.Options(**given))


if __name__ == "__main__":
    common.launch(main)
