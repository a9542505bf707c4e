"""Costs of an update with one, two and five layers on 8 devices, for `test_plan.py`."""

from attention_jax.parallel.mesh import parse
from experiments import plan
from experiments.common import flags

SMALL = "--width=64 --heads=4 --feed_forward=128 --vocabulary_size=512 --context=32 --rows=2"


def measure(mesh):
    config, _ = flags.parse(plan.PlanConfig(), [*SMALL.split(), f"--mesh={mesh}"])
    settings = config.training.settings(0)
    return [plan.cost(config, settings, parse(mesh), layers) for layers in (1, 2, 5)]
