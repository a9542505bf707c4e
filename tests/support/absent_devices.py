"""Devices that are not there, for which programs are lowered."""

from contextlib import AbstractContextManager

import pytest


def gpu() -> AbstractContextManager:
    """Within it, programs are lowered as if the device were a Hopper GPU."""
    try:
        from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

        device = AbstractDevice(device_kind="NVIDIA H100", num_cores=None, platform="gpu")
        return use_abstract_mesh(AbstractMesh((), (), abstract_device=device))
    except (ImportError, TypeError) as error:
        pytest.skip(f"this JAX cannot lower for a GPU that is not there: {error}")
