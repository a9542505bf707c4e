"""Coverage of a source by its translations: tokens that attention left unread cost a hypothesis."""

from collections.abc import Sequence

import numpy as np
from flax import nnx
from jaxtyping import Float

from attention_jax.analysis import attention_maps
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import Params
from attention_jax.data.batching import pad, rounded_up
from attention_jax.decoding.batched import Hypothesis

# Hard and local attention give some tokens no weight at all: they cost so much, not infinity.
LEAST = 1e-9


@typed_calls
def coverage_penalty(weights: Float[np.ndarray, "t s"]) -> float:
    """Cost of tokens of the source that no token of the target attends to, at most 0.

        cp = sum_j log min(sum_i p[i, j], 1)

    Args:
      weights: p, of each source token (columns) in each target token (rows).

    Reference: Wu et al. 2016, arXiv:1609.08144, equation 15. A column's sum is at least 1e-9 here,
      so that attention that never looks at a token costs 20.7 and not infinity.

    >>> round(coverage_penalty(np.array([[0.5, 0.5], [1.0, 0.0]])), 4)
    -0.6931
    """
    return float(np.log(np.clip(np.asarray(weights, np.float64).sum(axis=0), LEAST, 1.0)).sum())


@typed_calls
def rerank(
    graphdef: nnx.GraphDef,
    params: Params,
    source: Sequence[int],
    found: Sequence[Hypothesis],
    *,
    strength: float,
) -> list[Hypothesis]:
    """Finished hypotheses of one source in the order of score + strength * coverage penalty.

    The weights are those of the last layer's cross-attention, averaged over its heads. Hypotheses
    that were cut stay behind those that ended.

    Args:
      graphdef: of the model, a `nn.protocols.Seq2Seq` that attends to the source.
      params: its parameters.
      source: its token ids, without BOS and EOS.
      found: the hypotheses, as a beam gives them.
      strength: 0 changes nothing; Wu et al. use 0.2.

    Raises:
      ValueError: the model does not attend to the source by a weighted sum.
    """
    written = [one for one in found if one.tokens]
    if not written:
        return list(found)
    maps = _alignments(graphdef, params, source, [one.tokens for one in written], len(found))
    scored = [
        one._replace(score=one.score + strength * coverage_penalty(own))
        for one, own in zip(written, maps, strict=True)
    ]
    scored.sort(key=lambda one: (one.is_cut, -one.score))
    return [*scored, *(one for one in found if not one.tokens)]


def _alignments(
    graphdef: nnx.GraphDef,
    params: Params,
    source: Sequence[int],
    targets: list[tuple[int, ...]],
    rows: int,
) -> list[Float[np.ndarray, "t s"]]:
    """Where the last layer looks as it writes each target, without padding."""
    model = nnx.merge(graphdef, params)
    s, longest = len(source) + 1, max(map(len, targets))
    # The step that reads BOS writes the first target token.
    batch = pad(
        [(tuple(source), own[:-1]) for own in targets],
        rows=rows,
        length=rounded_up(max(s, longest)),
    )
    reads = isinstance(model, attention_maps.Attentive)
    own = attention_maps.weights_of(model, batch, kind="cross").get("cross") if reads else None
    if own is None or not attention_maps.is_exact(own)[:, -1].all():
        raise ValueError(
            "`coverage_penalty` needs one model that attends to the source by a weighted sum of "
            "its values; this is none. Leave it out."
        )
    weights = np.asarray(own.weights[:, -1], np.float32).mean(axis=1)  # [b t s]
    return [weights[row, : len(ids), :s] for row, ids in enumerate(targets)]
