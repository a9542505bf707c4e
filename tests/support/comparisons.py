"""Comparisons as a command asks for them."""

from experiments.common import flags
from experiments.common.experiment import find
from experiments.compare.config import CompareConfig, Comparison


def asked(*arguments, experiment="translation"):
    """A comparison of runs of an experiment, and the names of the flags that were given."""
    chosen = find(experiment)
    arguments = [f"--experiment={experiment}", *map(str, arguments)]
    own, _ = flags.parse(CompareConfig(), arguments, beside=(chosen.config,))
    shared, given = flags.parse(chosen.config, arguments, beside=(CompareConfig(),))
    return Comparison(own, chosen, shared), given


def comparison(*arguments, experiment="translation"):
    """A comparison of runs of an experiment."""
    return asked(*arguments, experiment=experiment)[0]
