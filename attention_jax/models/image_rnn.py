"""Recurrent networks that read a picture row by row, or patch by patch.

They answer to `nn.protocols.Classifier`, as the Vision Transformer does.

References: pictures read by RNNs: Visin et al. 2015, arXiv:1505.00393; attention over the states:
Yang et al. 2016, aclanthology.org/N16-1174.
"""

from collections.abc import Iterator

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attention_jax import variants
from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_calls
from attention_jax.core.types import Variant
from attention_jax.nn.attention_calls import AttentionCall, record
from attention_jax.nn.layers import Linear, check_rngs, dropout
from attention_jax.nn.patches import ImageConfig, centered, check_size, patches
from attention_jax.nn.pooling import AttentionPooling
from attention_jax.nn.protocols import ImageInputs
from attention_jax.nn.recurrent import CELLS, RNNConfig, scan_cell

READS = ("rows", "patches")


class ImageRNN(nnx.Module):
    """Reads a picture line by line, as one reads a page.

        h_i = cell(x_i, h_(i-1))        logits = W h_n, or W pool(h_1 .. h_n) with attention

    Args:
      image: sizes of the pictures.
      config: sizes of the cells; `vocabulary_size` is the number of classes, and `attention`
        pools the states: a variant that serves between two sequences, or "none" for the last
        state. With `bidirectional` the picture is read upwards too.
      reads: "rows" of pixels, or "patches" in reading order.

    Raises:
      ValueError: `attention` cannot pool.
    """

    tokens = 0  # positions before those of the picture

    @clear_calls
    def __init__(
        self, image: ImageConfig, config: RNNConfig, *, reads: str = "rows", rngs: nnx.Rngs
    ):
        checks.one_of("reads", reads, READS)
        plain_types.of_kind("image", image, ImageConfig)
        image.check(cut=reads == "patches")
        plain_types.of_kind("config", config, RNNConfig)
        config.check()
        check_rngs(rngs)
        self.image, self.config, self.reads = image, config, reads
        self.attentive = config.attention != "none"
        width, dtype, ways = config.width, jnp.dtype(config.dtype), 1 + config.bidirectional
        checks.divides("directions", ways, "width", width)
        across = image.width if reads == "rows" else image.patch**2
        cell = CELLS[config.cell]
        self.cells = nnx.List(
            [
                nnx.List([cell(n, width // ways, dtype=dtype, rngs=rngs) for _ in range(ways)])
                for n in [across * image.channels] + [width] * (config.layers - 1)
            ]
        )
        if self.attentive:
            variant = _that_pools(config.attention)
            self.pool = AttentionPooling(
                width, heads=1, variant=variant, dtype=config.dtype, rngs=rngs
            )
        self.head = Linear(width, config.vocabulary_size, dtype=dtype, rngs=rngs)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows or patches that are read, downwards and across."""
        return (self.image.height, 1) if self.reads == "rows" else self.image.grid

    def states(
        self, images: Float[Array, "b y x c"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b n m"]:
        """The state of the last layer after each row or patch."""
        check_size(images, self.image)
        x = centered(images).astype(jnp.dtype(self.config.dtype))
        if self.reads == "rows":
            x = x.reshape(*x.shape[:2], -1)
        else:
            x = patches(x, self.image)
        real = jnp.ones(x.shape[:2], bool)
        for layer, cells in enumerate(self.cells):
            x = dropout(x, self.config.dropout_rate if layer else 0.0, rngs)
            ways = zip(cells, (False, True), strict=False)
            x = jnp.concatenate(
                [scan_cell(cell, x, real, reverse=upwards)[1] for cell, upwards in ways], axis=-1
            )
        return x

    def classify(
        self, images: Float[Array, "b y x c"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b k"]:
        """Logits of each class."""
        x = self.states(images, rngs=rngs)
        if self.attentive:
            pooled = self.pool(dropout(x, self.config.dropout_rate, rngs), rngs=rngs)
        else:
            # Each way ends at another end.
            half = x.shape[-1] // (1 + self.config.bidirectional)
            pooled = jnp.concatenate([x[:, -1, :half], x[:, 0, half:]], axis=-1)
        return self.head(dropout(pooled, self.config.dropout_rate, rngs)).astype(jnp.float32)

    def attention_calls(self, batch: ImageInputs) -> Iterator[AttentionCall]:
        """The attention pooling, where there is one."""
        return record(self, lambda model: model.classify(batch.images))


def _that_pools(attention: Variant | str) -> Variant:
    """The variant, where it can ask a question of a sequence that it is not part of."""
    variant = variants.resolve(attention)
    if "cross" not in variant.roles:
        able = [name for name in variants.names() if "cross" in variants.get(name).roles]
        raise ValueError(
            "`attention` of an RNN that reads pictures must serve between two sequences, for it "
            f"asks one question of all states; {variants.label(attention)!r} does not. Use "
            f"{', '.join(able)}, or "
            "none for the last state."
        )
    return variant
