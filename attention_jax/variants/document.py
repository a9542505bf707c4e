"""Document masking: attention within each of the documents that are packed into one sequence.

    visible[i, j] = document(i) = document(j);  document(i) = floor(i / length), or ids[b, i]

Positions still count from the start of the sequence, where something depends on them.

Reference: Krell et al. 2021, arXiv:2107.02027.
Cost: t length (d + e) products a head where blocks are skipped; t s (d + e) where not.
"""

import jax.numpy as jnp
from jaxtyping import Array, Int

from attention_jax.core import checks, masks
from attention_jax.core.types import Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention


def document(*, length: int | None = None, ids: Int[Array, "b s"] | None = None) -> Variant:
    """The scaled dot product within documents.

    Args:
      length: of every document; None for 512, where there are no `ids`.
      ids: of the document at each position, for documents of any length; one for every position
        of a call, and one row for each sequence, or for all.
    """
    if length is not None and ids is not None:
        raise ValueError(
            f"`length` and `ids` must not both be given; got length={length} and ids of shape "
            f"{jnp.shape(ids)}. Leave out `length`: the ids say where a document ends."
        )
    length = 512 if length is None else length
    checks.positive("length", length)
    same = masks.chunks(length)
    if ids is not None:
        checks.shape("ids", ids, "b s")
        same = masks.documents(ids, ids)

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        if ids is not None and ids.shape[0] not in (1, q.shape[0]):
            raise ValueError(
                f"`ids` must have a row for each sequence, or one for all; got {ids.shape[0]} "
                f"rows, and {q.shape[0]} sequences."
            )
        shown = options._replace(mask=masks.both(same, options.mask))
        return attention(q, k, v, **shown._asdict())

    return Variant(init=no_parameters, attend=attend, divides=True)
