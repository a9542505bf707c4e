"""Bytes that a device sends in an update, as theory has them: rings of n devices, float32.

P are the bytes of all parameters, S the positions of a row, w the width and L the layers. To gather
an array, or to sum and divide it, a device sends (n-1)/n of the whole; to sum it, twice as much.

- data: gradients are summed, 2 (n-1)/n P (Patarasu and Yuan 2009).
- fsdp: parameters are gathered, (n-1)/n P, and gradients summed and divided, (n-1)/n P; those that
  are whole everywhere are summed, 2 (n-1)/n of them (Rajbhandari et al. 2020, arXiv:1910.02054,
  section 7: were parameters freed after the forward pass, and gathered again for the other, it
  would be 3 (n-1)/n P in all).
- tensor: activations [S w] are summed after each sublayer, and gradients before it, 4 L times; once
  more after the embedding, and before the output: 2 (n-1)/n 4 S w (4 L + 2) (Shoeybi et al. 2019,
  arXiv:1909.08053, section 3).
- context: keys and values of the whole row are gathered, (n-1)/n 4 S w 2 L, and their gradients
  summed and divided, as much again; gradients of parameters are summed, 2 (n-1)/n P (Dubey et al.
  2024, arXiv:2407.21783, section 3.3.2).
"""

from attention_jax.parallel.mesh import parse
from attention_jax.parallel.plans import Plan
from experiments.plan import PlanConfig

_FLOAT = 4


def moved(axis: str, config: PlanConfig, held: Plan) -> dict[str, float]:
    """Bytes that a device sends, by collective.

    Args:
      axis: along which all devices lie.
      config: the training.
      held: its parameters on the mesh.
    """
    devices = max(parse(config.mesh))
    ring = (devices - 1) / devices
    divided = _FLOAT * sum(part.numbers for part in held.parts if axis in part.spec)
    parameters = _FLOAT * sum(part.numbers for part in held.parts)
    activations = _FLOAT * config.rows * config.context * config.model.width
    layers = config.model.layers
    found = {
        "data": {"all-reduce": 2 * ring * parameters},
        "fsdp": {
            "all-gather": ring * divided,
            "all-reduce": 2 * ring * (parameters - divided),
            "reduce-scatter": ring * divided,
        },
        "tensor": {"all-reduce": 2 * ring * activations * (4 * layers + 2)},
        "context": {
            "all-gather": ring * activations * 2 * layers,
            "all-reduce": 2 * ring * parameters,
            "reduce-scatter": ring * activations * 2 * layers,
        },
    }
    return found[axis]
