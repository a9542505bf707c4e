"""Several devices and several processes: meshes, sharding rules, plans, and who does what."""

from attention_jax.parallel.layout import Layout, heads_of
from attention_jax.parallel.mesh import MeshShape, make_mesh, parse
from attention_jax.parallel.placement import fetch, spread
from attention_jax.parallel.plans import Plan, plan

__all__ = [
    "Layout",
    "MeshShape",
    "Plan",
    "fetch",
    "heads_of",
    "make_mesh",
    "parse",
    "plan",
    "spread",
]
