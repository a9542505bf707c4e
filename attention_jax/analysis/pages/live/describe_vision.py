"""Description of a Vision Transformer for the live page, and of the pictures that it reads.

own = describe(model, ("0", "1", "2"))
own["shapes"], own["weights"]      # paths and shapes, and base64 of all numbers in that order
"""

from collections.abc import Iterator, Sequence

from flax import nnx

from attention_jax.analysis.pages.live import forms, weights
from attention_jax.analysis.pages.live.forms import Json, Reason
from attention_jax.core.rotary import Grid
from attention_jax.models.image_transformer import POOLINGS, VisionTransformer
from attention_jax.nn.norms import EPSILON
from attention_jax.nn.patches import STEMS
from attention_jax.nn.transformer import TransformerConfig

# More positions than these are too many to compute and to draw at once.
MOST_POSITIONS = 256


def describe(model: VisionTransformer, classes: Sequence[str]) -> dict[str, Json]:
    """All that the page needs to compute with a model that knows these classes.

    Raises:
      ValueError: it is a model that the page cannot compute: see `why_recorded`.
    """
    if reasons := why_recorded(model):
        raise ValueError(
            f"`model` must be one that the page can compute; got {dict(reasons)}. Show its "
            "recorded maps."
        )
    config = _placed(model)
    return {
        "image": grid(model),
        "pixels": {name: list(x) for name, x in model.pixels._asdict().items()},
        "width": config.width,
        "tokens": model.tokens,
        "registers": model.register_count,
        "stem": _stem(model),
        "epsilon": EPSILON,
        "positions": forms.positions(config, config.width // 2),
        "embedding_norm": config.embedding_norm,
        "layers": "encoder/layers",
        "norm": "norm",
        "own": forms.layers(config, "bidirectional"),
        "pooling": _pooling(model, config),
        "classes": list(classes),
        "shapes": weights.shapes(model),
        "weights": weights.packed(model),
    }


def why_recorded(model: nnx.Module) -> tuple[Reason, ...]:
    """Reasons for which the page cannot compute with a model; none where it can."""
    found = list(dict.fromkeys(_reasons(model)))
    if not found and not weights.fits(model):
        found.append(("range", ""))
    return tuple(found)


def grid(model: VisionTransformer) -> dict[str, int]:
    """Sizes of the pictures of a model in patches, and of these in pixels."""
    rows, columns = model.grid
    return {
        "rows": rows,
        "columns": columns,
        "patch": model.image.patch,
        "channels": model.image.channels,
    }


def _reasons(model: nnx.Module) -> Iterator[Reason]:
    if not isinstance(model, VisionTransformer):
        yield "kind", type(model).__name__
        return
    config = model.config
    yield from forms.reasons_of_layers(config)
    found = forms.texts(config, "bidirectional")
    if model.pooling == "attention":
        found += forms.texts(config, "cross", always=True)[:1]
    for text in found:
        if not forms.is_live(text):
            yield "attention", text
    # Models of other libraries alone have these.
    if model.pooling not in POOLINGS:
        yield "option", f"pooling {model.pooling}"
    if model.placed != "axes":
        yield "option", f"places {model.placed}"
    if model.head is None:
        yield "option", "head"
    if model.tokens + model.grid[0] * model.grid[1] > MOST_POSITIONS:
        yield "positions", str(model.grid[0] * model.grid[1])


def _placed(model: VisionTransformer) -> TransformerConfig:
    """The configuration of the layers, with the grid on which positions turn."""
    config, turns = model.config, model.config.first_rotary
    if turns.axes != 2:
        return config
    return config._replace(rotary=turns._replace(grid=Grid(model.grid[1], first=model.tokens)))


def _stem(model: VisionTransformer) -> str:
    return next(name for name, kind in STEMS.items() if type(model.embed) is kind)


def _pooling(model: VisionTransformer, config: TransformerConfig) -> dict[str, Json]:
    if model.pooling != "attention":
        return {"kind": model.pooling, "attention": None}
    text = forms.texts(config, "cross", always=True)[0]
    return {"kind": model.pooling, "attention": forms.variant(text)}
