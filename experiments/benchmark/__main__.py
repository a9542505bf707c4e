"""Benchmarks of speed and memory, beside PyTorch or alone, on one machine and in one process.

    scripts/bench --suite=training --output=training.json
    scripts/bench --suite=attention --output=attention.json --picture=attention.png
    scripts/bench --suite=decoding --output=decoding.json
    scripts/bench --suite=variants --output=variants.json --picture=variants.png
    scripts/bench --suite=start --output=start.json
    scripts/bench --suite=gpu --minutes=8 --output=gpu.json

All sides run in turn, so that a machine that slows down slows each. Printed are medians, the ratio
of times pair by pair (above 1 ours is faster), the share of the machine's matrix peak, which is
measured in the same run, page faults and temporary memory. The same is written to --output, in the
one form of `experiments.benchmark.rows`. `training` is a step of training, beside torch;
`attention` is attention itself, as `experiments.benchmark.attention` explains, and takes hours
with all its cases: --cases, --lengths and --dtypes choose among them. `decoding` is greedy decoding
and beam search of a translation model, against Hugging Face's. `variants` is every variant
by itself, as sequences grow, as `experiments.benchmark.variants` explains; about 20 minutes on 2
cores. `start` is how long programs take to begin. `gpu` checks every implementation on a GPU and
measures it, as `experiments.benchmark.gpu` explains. Tables of the documentation are made from the
files by `experiments.benchmark.pages`.
"""

from experiments.benchmark.suites import SUITES, BenchmarkConfig
from experiments.common import flags
from experiments.common.config import DeviceFlags


def main() -> None:
    """Measures what --suite names."""
    config = flags.config_from_flags(BenchmarkConfig())
    SUITES[config.suite](config)


if __name__ == "__main__":
    flags.launch(main, BenchmarkConfig(), DeviceFlags())
