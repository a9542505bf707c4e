"""Costs of an update with several numbers of layers, for `test_plan.py`."""

from attention_jax.parallel.mesh import parse
from experiments import plan
from experiments.common import flags

SMALL = "--width=64 --heads=8 --feed_forward=128 --vocabulary_size=512 --context=256 --rows=2"


def measure(mesh, options, layers, shares):
    """Costs by the devices of this process, of which those along `data` stand for `shares`."""
    config, _ = flags.parse(plan.PlanConfig(), [*SMALL.split(), f"--mesh={mesh}", *options])
    settings = config.training.settings(0)
    return [plan.cost(config, settings, parse(mesh), count, shares) for count in layers]
