"""DINOv2 with registers, which have no places.

Reference: Darcet et al. 2023, arXiv:2309.16588; names: `transformers`, `Dinov2WithRegistersModel`
and `Dinov2WithRegistersForImageClassification`. Their places are interpolated with `antialias`.
"""

from attention_jax.pretrained.families import dinov2
from attention_jax.pretrained.families._vision import HEADED, VisionConfig
from attention_jax.pretrained.types import Described, Settings


def config(settings: Settings) -> VisionConfig:
    """Our configuration of a config.json."""
    return dinov2.config(settings)._replace(registers=settings.get("num_register_tokens", 4))


def described(config: VisionConfig) -> Described:
    """The config.json of our configuration.

    Raises:
      ValueError: no such model is so.
    """
    kinds = [f"Dinov2WithRegisters{HEADED if config.head else 'Model'}"]
    more = {"architectures": kinds, "num_register_tokens": config.registers}
    return dinov2.described_as(config, "dinov2_with_registers") | more


FAMILY = dinov2.FAMILY._replace(
    name="dinov2_with_registers",
    model_types=("dinov2_with_registers",),
    config=config,
    described=described,
    prefix="dinov2_with_registers.",
)
