"""The Vision Transformer, with any attention variant; answers to `nn.protocols.Classifier`.

Reference: Dosovitskiy et al. 2021, arXiv:2010.11929.
"""

from collections.abc import Iterator
from functools import partial

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attention_jax.core import checks, plain_types, sinusoids
from attention_jax.core.calls import clear_calls
from attention_jax.core.rotary import Grid
from attention_jax.nn import transformer
from attention_jax.nn.attention_calls import AttentionCall, record
from attention_jax.nn.handed import Stream
from attention_jax.nn.layers import Linear, check_rngs, dropout
from attention_jax.nn.patches import SPREAD, STEMS, ImageConfig, Pixels
from attention_jax.nn.place_grids import resized
from attention_jax.nn.pooling import AttentionPooling
from attention_jax.nn.protocols import ImageInputs
from attention_jax.nn.transformer import TransformerConfig, variant_at
from attention_jax.nn.transformer_layers import Layer

POOLINGS = ("token", "attention", "mean")
MORE_POOLINGS = ("both", "distilled")  # of pretrained models
PLACES = ("axes", "each", "all")


class PatchLayer(Layer):
    """Self-attention of all patches to all, then feed-forward."""

    role = "bidirectional"

    def __call__(self, x: Stream, *, rngs: nnx.Rngs | None = None) -> Stream:
        return self.feed_forward_block(self.self_attention(x, rngs=rngs), rngs)


class VisionTransformer(nnx.Module):
    """Patches as words: a linear map of each, and its place; a Transformer's encoder; one answer.

        x = [token; registers; W patch_1 + place_1; ...; W patch_n + place_n]
        logits = V pool(encoder(x))

    A place is its row in the first half of the channels and its column in the other, both as
    sinusoids or both learned; or learned for each patch by itself. `rope` turns queries and keys
    instead: by the position in reading order, or with two `axes` of the `rotary` by the row and the
    column. `model.pixels` says how pixels are scaled, of which others' models have rules.

    Args:
      image: sizes of the pictures and of a patch.
      config: sizes of the encoder; `vocabulary_size` is the number of classes.
      pooling: where the answer is read: at a class "token" before the patches, from "attention"
        pooling of the patches, from their "mean", from "both" the token and the mean, side by side,
        or "distilled", as the mean of two answers, at the token and at the first register.
      stem: what makes a vector of a patch: the "linear" map W, or "convolutional" layers, which
        learn more from few pictures.
      registers: learned vectors beside the class token, in which layers may keep what belongs to no
        patch; none is part of what is pooled.
      places: where positions are learned, what has one: the "axes", rows and columns; "each" patch
        by itself and the class token; or "all" of these and the registers.
      head: whether there is a layer of logits; without it, `states` are all that is learned.

    References: Dosovitskiy et al. 2021, arXiv:2010.11929, section 3.1 and, of two-dimensional
    places, appendix D.4; registers: Darcet et al. 2023, arXiv:2309.16588, section 2.2; two answers:
    Touvron et al. 2021, arXiv:2012.12877, section 4.
    """

    @clear_calls
    def __init__(
        self,
        image: ImageConfig,
        config: TransformerConfig,
        *,
        pooling: str = "token",
        stem: str = "linear",
        registers: int = 0,
        places: str = "axes",
        head: bool = True,
        rngs: nnx.Rngs,
    ):
        checks.one_of("pooling", pooling, (*POOLINGS, *MORE_POOLINGS))
        checks.one_of("places", places, PLACES)
        checks.one_of("stem", stem, tuple(STEMS))
        checks.natural("registers", registers)
        plain_types.flags(head=head)
        plain_types.of_kind("image", image, ImageConfig)
        image.check(cut=True)
        plain_types.of_kind("config", config, TransformerConfig)
        config.check()
        check_rngs(rngs)
        _check_tokens(pooling, registers, places, config)
        self.image, self.config, self.pooling, self.pixels = image, config, pooling, Pixels()
        self.register_count, self.placed = registers, places
        self.has_token = pooling in ("token", *MORE_POOLINGS)
        self.tokens = int(self.has_token) + registers  # positions before the patches
        self.embed = STEMS[stem](image, config.width, dtype=config.dtype, rngs=rngs)
        self._learn_places(rngs)
        turns = config.first_rotary
        if turns.axes == 2:
            grid = Grid(image.grid[1], first=self.tokens)
            config = config._replace(rotary=turns._replace(grid=grid))
        self.encoder = transformer.stack(PatchLayer, config, rngs=rngs)
        self.norm = transformer.last_norm(config, rngs=rngs)
        self.embedding_norm = transformer.embedding_norm(config, rngs=rngs)
        self._learn_answer(head, rngs)

    def _learn_answer(self, head: bool, rngs: nnx.Rngs) -> None:
        """Makes what stands before the patches, and what reads the answer."""
        config, pooling, count = self.config, self.pooling, self.register_count
        width, dtype = config.width, jnp.dtype(config.dtype)
        if self.has_token:
            self.token = nnx.Param(SPREAD * rngs.params.normal((width,)))
        if count:
            self.registers = nnx.Param(SPREAD * rngs.params.normal((count, width)))
        if pooling == "attention":
            variant = variant_at(config, "cross")
            self.pool = AttentionPooling(
                width, heads=config.heads, variant=variant, dtype=config.dtype, rngs=rngs
            )
        read, answer = width * (2 if pooling == "both" else 1), partial(Linear, dtype=dtype)
        self.head = answer(read, config.vocabulary_size, rngs=rngs) if head else None
        if pooling == "distilled" and head:
            self.other_head = answer(read, config.vocabulary_size, rngs=rngs)

    def _learn_places(self, rngs: nnx.Rngs) -> None:
        config = self.config
        if self.placed != "axes":
            count = self._placed_tokens + self.image.grid[0] * self.image.grid[1]
            self.each = nnx.Param(SPREAD * rngs.params.normal((count, config.width)))
            return
        parts = {"sinusoidal": 4, "learned": 2}.get(config.positions, 1)
        if config.width % parts:
            raise ValueError(
                f"`width` must be a multiple of {parts}, for {config.positions} places are a row "
                f"and a column; got {config.width}. The nearest above is "
                f"{config.width + -config.width % parts}."
            )
        if config.positions == "learned":
            self.rows, self.columns = (
                nnx.Param(SPREAD * rngs.params.normal((n, config.width // 2)))
                for n in self.image.grid
            )

    @property
    def _placed_tokens(self) -> int:
        """How many of the positions before the patches have learned places."""
        return {"axes": 0, "each": int(self.has_token), "all": self.tokens}[self.placed]

    @property
    def grid(self) -> tuple[int, int]:
        """Patches downwards and across."""
        return self.image.grid

    def places(self) -> Float[Array, "n m"] | None:
        """Position embeddings that are added to patches; None where there are none."""
        half = self.config.width // 2
        if self.placed != "axes":
            return self.each[...][self._placed_tokens :]
        if self.config.positions == "sinusoidal":
            own = self.config.sinusoids
            down, across = (sinusoids.table(jnp.arange(n), half, own) for n in self.image.grid)
        elif self.config.positions == "learned":
            down, across = self.rows[...], self.columns[...]
        else:
            return None
        rows, columns = self.image.grid
        down = jnp.broadcast_to(down[:, None], (rows, columns, half))
        across = jnp.broadcast_to(across[None], (rows, columns, half))
        return jnp.concatenate([down, across], axis=-1).reshape(rows * columns, 2 * half)

    def encoder_input(
        self, images: Float[Array, "b y x c"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b n m"]:
        """Embedded patches, with positions and the class token: the input of the encoder."""
        x = self.embed(self.pixels(images))
        places = self.places()
        x = x if places is None else x + places.astype(x.dtype)[None]
        if self.tokens:
            before = self._before().astype(x.dtype)[None]
            before = jnp.broadcast_to(before, (x.shape[0], *before.shape[1:]))
            x = jnp.concatenate([before, x], axis=1)
        return dropout(self.embedding_norm(x), self.config.dropout_rate, rngs)

    def classify(
        self, images: Float[Array, "b y x c"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b k"]:
        """Logits of each class.

        Raises:
          ValueError: the model has no head.
        """
        if self.head is None:
            raise ValueError(
                "`classify` needs a layer of logits, and the model has none. Use `states`, or make "
                "the model with `head=True`."
            )
        x = self.states(images, rngs=rngs)
        logits = self.head(self._pooled(x, rngs)).astype(jnp.float32)
        if self.pooling == "distilled":
            logits = (logits + self.other_head(x[:, 1]).astype(jnp.float32)) / 2
        return logits

    def states(
        self, images: Float[Array, "b y x c"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b n m"]:
        """States of the class token, the registers and the patches."""
        return self.norm(self.encoder(self.encoder_input(images, rngs=rngs), rngs=rngs))

    def resized(self, image: ImageConfig, *, antialias: bool = False) -> "VisionTransformer":
        """The model for pictures of another size: its learned places are interpolated by cubes.

        Args:
          antialias: blurs them first where there will be fewer.

        Raises:
          ValueError: its places are not learned for each patch.
        """
        plain_types.of_kind("image", image, ImageConfig)
        image.check(cut=True)
        if self.placed == "axes" or image[2:] != self.image[2:]:
            raise ValueError(
                "`image` must have the channels and patches of the model, whose places are learned "
                f"for each patch; got {image}, and places of {self.placed!r}. Make a new model."
            )
        model: VisionTransformer = nnx.merge(*nnx.split(self))
        first, table = self._placed_tokens, self.each[...]
        moved = resized(table[first:], self.grid, image.grid, antialias=antialias)
        model.each = nnx.Param(jnp.concatenate([table[:first], moved]))
        model.image = model.embed.image = image
        return model

    def _pooled(self, x: Array, rngs: nnx.Rngs | None) -> Float[Array, "b p"]:
        if self.pooling in ("token", "distilled"):
            return x[:, 0]
        if self.pooling == "attention":
            return self.pool(x, first=self.tokens, rngs=rngs)
        mean = x[:, self.tokens :].mean(axis=1)
        return mean if self.pooling == "mean" else jnp.concatenate([x[:, 0], mean], axis=-1)

    def _before(self) -> Float[Array, "k m"]:
        """The class token, if there is one, then the registers."""
        own = [self.token[...][None]] if self.has_token else []
        own += [self.registers[...]] if self.register_count else []
        first = self._placed_tokens
        found = jnp.concatenate(own)
        return found.at[:first].add(self.each[...][:first]) if first else found

    def attention_calls(self, batch: ImageInputs) -> Iterator[AttentionCall]:
        """Every attention of a forward pass: the layers, then the pooling if it attends."""
        return record(self, lambda model: model.classify(batch.images))


def _check_tokens(pooling: str, registers: int, places: str, config: TransformerConfig) -> None:
    """Raises ValueError where the choices do not go together."""
    if pooling == "distilled" and not registers:
        raise ValueError(
            "`registers` must be at least 1 where the answer is distilled: the other is read at "
            "the first; got 0. Give `registers=1`."
        )
    if places != "axes" and config.positions != "learned":
        raise ValueError(
            f"`places` must be 'axes' where positions are not learned; got {places!r} with "
            f'positions {config.positions!r}. Use `positions="learned"`.'
        )
