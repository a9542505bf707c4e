"""The delta rule (DeltaNet): a key replaces what the state held for it, rather than adding to it.

    S_j = S_(j-1) + b_j k_j (v_j - S_(j-1)^T k_j)^T    b_j = sigmoid(w . k_j, before convolution)
    out_j = norm(S_j^T q_j)
    q, k <- unit(silu(convolve(.)))    v <- silu(convolve(.))

The paper computes b_j from the layer's input; here it comes from the head's key, a linear map of
that input. The taps of a value are shared by the channels of its head, where the paper has some
for each channel. `norm` brings each head's output to mean square 1. A hidden key writes nothing.
It gives up what d keys at right angles to each other cannot hold.

Reference: Schlag et al. 2021, arXiv:2102.11174, section 4.2; Yang et al. 2024, arXiv:2406.06484,
section 3.
Cost: t d e products a head for the states, and t 32 (d + e) within chunks; d e numbers of state.
"""

from attention_jax.core import checks
from attention_jax.core.types import Variant
from attention_jax.variants._builders.delta import from_delta

ALIASES = ("deltanet",)


def delta(*, convolution: int | None = 4, normalize: bool = True) -> Variant:
    """A state that is corrected at one key after another.

    Args:
      convolution: positions that the short causal convolution of queries, keys and values spans;
        None for none.
      normalize: whether each head's output is brought to mean square 1.
    """
    if convolution is not None:
        checks.positive("convolution", convolution, remedy="Use None for no convolution.")
    return from_delta("delta", convolution=convolution, normalize=normalize)
