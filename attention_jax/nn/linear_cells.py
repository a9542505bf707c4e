"""Cells whose state is linear in the state before it: all positions at once, or one by one.

    h_t = keep_t h_(t-1) + add_t        keep_t, add_t of x_t alone

So a whole text is read by an associative scan in training, and a position costs the same however
long the text is in decoding. Each cell is called as those of Flax are, `cell(state, x) -> (state,
out)`, and has `read` for all positions. States are in float32 at least, whatever the dtype.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import State
from attention_jax.nn.layers import Linear
from attention_jax.variants._builders import chunked_scan

_HIDDEN = -1e30  # log of an input gate that lets nothing in, and times 0 is 0
_LEAST = 1e-12  # below it the root's derivative grows beyond use
TAPS = 4  # positions that the convolution of Griffin spans
SHARPNESS = 8.0  # c of Griffin


def linear_scan(keep: Float[Array, "b t n"], add: Float[Array, "b t n"]) -> Float[Array, "b t n"]:
    """`h_t = keep_t h_(t-1) + add_t` from a state of zeros, for all t."""

    def after(first: tuple[Array, Array], then: tuple[Array, Array]) -> tuple[Array, Array]:
        (a, x), (b, y) = first, then
        return a * b, b * x + y

    return jax.lax.associative_scan(after, (keep, add), axis=1)[1]


class LinearCell(nnx.Module):
    """A state of one number a unit, which gates of the input keep and add to.

    Args:
      inputs: width of the input.
      width: units.
      heads: of cells that have any.
      dtype: of the products; parameters and states are float32.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        heads: int = 1,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        del heads
        self.inputs, self.width, self.dtype = inputs, width, jnp.dtype(dtype)
        self.learn(rngs)

    def linear(self, inputs: int, outputs: int, rngs: nnx.Rngs, **options: object) -> Linear:
        """A linear map of the cell's dtype."""
        return Linear(inputs, outputs, dtype=self.dtype, rngs=rngs, **options)

    def learn(self, rngs: nnx.Rngs) -> None:
        """Makes the parameters."""
        raise NotImplementedError

    def gates(self, x: Float[Array, "*b i"]) -> tuple[Float[Array, "*b n"], Float[Array, "*b n"]]:
        """The share of the state that is kept, and the addition to it."""
        raise NotImplementedError

    def output(self, h: Float[Array, "*b n"]) -> Float[Array, "*b n"]:
        """The output of a state."""
        return h

    def start(self, batch: int) -> State:
        """The state before the first position."""
        return jnp.zeros((batch, self.width), wide_dtype(jnp.zeros((), self.dtype)))

    def __call__(self, state: State, x: Float[Array, "b i"]) -> tuple[State, Float[Array, "b n"]]:
        """The next position; reproduces `read`."""
        keep, add = self.gates(x)
        h = keep * state + add
        return h, self.output(h).astype(x.dtype)

    def read(
        self, x: Float[Array, "b t i"], real: Bool[Array, "b t"] | None = None
    ) -> Float[Array, "b t n"]:
        """The outputs of all positions; those that are not `real` leave the state as it is."""
        keep, add = self.gates(x)
        if real is not None:
            keep, add = jnp.where(real[..., None], keep, 1), jnp.where(real[..., None], add, 0)
        return self.output(linear_scan(keep, add)).astype(x.dtype)


class SSRU(LinearCell):
    """The simpler simple recurrent unit, which Marian has in place of a decoder's self-attention.

        f_t = sigmoid(W_f x_t + b_f)    c_t = f_t c_(t-1) + (1 - f_t) W x_t    out_t = relu(c_t)

    Reference: Kim et al. 2019, aclanthology.org/D19-5632, section 3.1.
    """

    def learn(self, rngs: nnx.Rngs) -> None:
        self.forget_gate = self.linear(self.inputs, self.width, rngs)
        self.project = self.linear(self.inputs, self.width, rngs, use_bias=False)

    def gates(self, x: Array) -> tuple[Array, Array]:
        kept = jax.nn.sigmoid(_wide(self.forget_gate(x)))
        return kept, (1 - kept) * _wide(self.project(x))

    def output(self, h: Array) -> Array:
        return jax.nn.relu(h)


class MinGRU(LinearCell):
    """A GRU whose gate and candidate do not see the state.

        z_t = sigmoid(W_z x_t + b_z)    h_t = (1 - z_t) h_(t-1) + z_t (W_h x_t + b_h)    out_t = h_t

    Reference: Feng et al. 2024, arXiv:2410.01201, section 3.1.
    """

    def learn(self, rngs: nnx.Rngs) -> None:
        self.update_gate = self.linear(self.inputs, self.width, rngs)
        self.project = self.linear(self.inputs, self.width, rngs)

    def gates(self, x: Array) -> tuple[Array, Array]:
        z = jax.nn.sigmoid(_wide(self.update_gate(x)))
        return 1 - z, z * _wide(self.project(x))


class RGLRU(LinearCell):
    """The real-gated linear recurrent unit, which each input may pass over.

        r_t = sigmoid(W_a x_t + b_a)    i_t = sigmoid(W_x x_t + b_x)    a_t = sigmoid(A)^(8 r_t)
        h_t = a_t h_(t-1) + sqrt(1 - a_t^2) (i_t x_t)                   out_t = h_t

    `inputs` is `width`. A^8 is spread from 0.9 to 0.999 at first.

    Reference: De et al. 2024, arXiv:2402.19427, section 2.4.
    """

    def learn(self, rngs: nnx.Rngs) -> None:
        self.recurrence_gate = self.linear(self.inputs, self.width, rngs)
        self.input_gate = self.linear(self.inputs, self.width, rngs)
        first = jax.random.uniform(rngs.params(), (self.width,), minval=0.9, maxval=0.999)
        root = first ** (1 / SHARPNESS)
        self.decay = nnx.Param(jnp.log(root) - jnp.log1p(-root))

    def gates(self, x: Array) -> tuple[Array, Array]:
        r, i = (jax.nn.sigmoid(_wide(gate(x))) for gate in (self.recurrence_gate, self.input_gate))
        decay = jax.nn.log_sigmoid(self.decay[...]).reshape((1,) * (x.ndim - 1) + (-1,))
        log_a = SHARPNESS * r * decay
        scale = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_a), _LEAST))
        return jnp.exp(log_a), scale * i * _wide(x)


class GriffinBlock(LinearCell):
    """The recurrent block of Griffin: an RG-LRU behind a short convolution, beside a gate.

        u_t = sum_(l < 4) taps_l (W_1 x_(t-l) + b_1)    out_t = W_3 (gelu(W_2 x_t + b_2) RGLRU(u)_t)

    Its state is that of the RG-LRU, and the last three inputs of the convolution.

    Reference: De et al. 2024, arXiv:2402.19427, section 2.3.
    """

    def learn(self, rngs: nnx.Rngs) -> None:
        self.project_in = self.linear(self.inputs, self.width, rngs)
        self.gate = self.linear(self.inputs, self.width, rngs)
        most = TAPS**-0.5
        shape = TAPS, self.width
        self.taps = nnx.Param(jax.random.uniform(rngs.params(), shape, minval=-most, maxval=most))
        self.cell = RGLRU(self.width, self.width, dtype=self.dtype, rngs=rngs)
        self.project_out = self.linear(self.width, self.width, rngs)

    def start(self, batch: int) -> State:
        past = jnp.zeros((batch, TAPS - 1, self.width), self.dtype)
        return self.cell.start(batch), past

    def __call__(self, state: State, x: Array) -> tuple[State, Array]:
        h, past = state
        past = jnp.concatenate([past, self.project_in(x)[:, None].astype(past.dtype)], axis=1)
        h, out = self.cell(h, self._convolved(past)[:, -1])
        return (h, past[:, 1:]), self._gated(x, out)

    def read(self, x: Array, real: Array | None = None) -> Array:
        u = self.project_in(x)
        if real is not None:
            u = jnp.where(real[..., None], u, 0)
        u = jnp.pad(u, ((0, 0), (TAPS - 1, 0), (0, 0)))
        return self._gated(x, self.cell.read(self._convolved(u), real))

    def _convolved(self, u: Float[Array, "b t n"]) -> Float[Array, "b s n"]:
        """The convolution where all its taps reach, the latest input last."""
        count = u.shape[1] - TAPS + 1
        taps = self.taps[...].astype(u.dtype)[:, None, None]
        out = taps[0] * u[:, TAPS - 1 :]
        for lag in range(1, TAPS):
            out = out + taps[lag] * u[:, TAPS - 1 - lag :][:, :count]
        return out

    def _gated(self, x: Array, h: Array) -> Array:
        return self.project_out(jax.nn.gelu(self.gate(x)) * h)


class MLSTM(LinearCell):
    """The LSTM with a matrix for its memory, and exponential gates.

        C_t = f_t C_(t-1) + i_t v_t k_t^T         i_t = exp(w_i x_t + b_i)
        n_t = f_t n_(t-1) + i_t k_t               f_t = sigmoid(w_f x_t + b_f)
        h_t = C_t q_t / max(|n_t . q_t|, 1)       out_t = W (sigmoid(W_o x_t + b_o) h_t)

    q, k and v are maps of x, k divided by the root of the head's width. C and n are held divided by
    exp(m_t), which cancels, so that nothing overflows: m_t = max(log f_t + m_(t-1), log i_t). Then
    the memory is a sum that fades, as those of linear attention are. What stands around the cell in
    the paper (convolution, skip, norm of each head, wider projections) is left to the layer.

    Reference: Beck et al. 2024, arXiv:2405.04517, section 2.3 and, in parallel, appendix A.3.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        heads: int = 1,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        checks.divides("heads", heads, "width", width)
        self.heads = heads
        super().__init__(inputs, width, dtype=dtype, rngs=rngs)

    def learn(self, rngs: nnx.Rngs) -> None:
        self.query, self.key, self.value, self.output_gate = (
            self.linear(self.inputs, self.width, rngs) for _ in range(4)
        )
        self.input_gate = self.linear(self.inputs, self.heads, rngs)
        self.forget_gate = self.linear(self.inputs, self.heads, rngs, bias_init=_spread_forgetting)
        self.project_out = self.linear(self.width, self.width, rngs)

    def start(self, batch: int) -> State:
        dtype, d = wide_dtype(jnp.zeros((), self.dtype)), self.width // self.heads
        memory = jnp.zeros((batch, self.heads, d, d + 1), dtype)
        return memory, jnp.zeros((batch, self.heads), dtype)

    def __call__(self, state: State, x: Array) -> tuple[State, Array]:
        memory, before = state
        q, k, v, log_in, log_kept = self._arrays(x)
        highest = jnp.maximum(log_kept + before, log_in)
        keys, decay = _shifted(k, log_in, log_kept, before, highest)
        memory, sums = chunked_scan.step(memory, q, keys, v, decay)
        return (memory, highest), self._finished(x, sums, highest)

    def read(self, x: Array, real: Array | None = None) -> Array:
        q, k, v, log_in, log_kept = self._arrays(x)
        if real is not None:
            log_in = jnp.where(real[..., None], log_in, _HIDDEN)
            log_kept = jnp.where(real[..., None], log_kept, 0)
        highest = jax.lax.stop_gradient(running_maximum(log_kept, log_in))
        before = jnp.pad(highest, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        keys, decay = _shifted(k, log_in, log_kept, before, highest)
        return self._finished(x, chunked_scan.scan(q, keys, v, decay)[1], highest)

    def _arrays(self, x: Float[Array, "*b i"]) -> tuple[Array, ...]:
        """Queries, keys, values with a 1 beside each, and the logs of both gates."""
        split = *x.shape[:-1], self.heads, -1
        q, k, v = (_wide(part(x)).reshape(split) for part in (self.query, self.key, self.value))
        values = jnp.concatenate([v, jnp.ones((*v.shape[:-1], 1), v.dtype)], axis=-1)
        log_kept = jax.nn.log_sigmoid(_wide(self.forget_gate(x)))
        return q, k / math.sqrt(k.shape[-1]), values, _wide(self.input_gate(x)), log_kept

    def _finished(
        self, x: Float[Array, "*b i"], sums: Float[Array, "*b h e"], highest: Float[Array, "*b h"]
    ) -> Float[Array, "*b n"]:
        total = jnp.maximum(jnp.abs(sums[..., -1]), jnp.exp(-highest))
        h = (sums[..., :-1] / total[..., None]).reshape(*x.shape[:-1], -1)
        return self.project_out((jax.nn.sigmoid(_wide(self.output_gate(x))) * h).astype(x.dtype))


def running_maximum(
    log_kept: Float[Array, "b t h"], log_in: Float[Array, "b t h"]
) -> Float[Array, "b t h"]:
    """`m_t = max(log_kept_t + m_(t-1), log_in_t)` from 0, for all t."""

    def after(first: tuple[Array, Array], then: tuple[Array, Array]) -> tuple[Array, Array]:
        (a, x), (b, y) = first, then
        return a + b, jnp.maximum(b + x, y)

    faded, highest = jax.lax.associative_scan(after, (log_kept, log_in), axis=1)
    return jnp.maximum(faded, highest)


def _shifted(
    k: Array, log_in: Array, log_kept: Array, before: Array, highest: Array
) -> tuple[Array, Array]:
    """Keys times their gates, and logs of what is kept, once sums are divided by exp(highest)."""
    keys = k * jnp.exp(log_in - highest)[..., None]
    return keys, (log_kept + before - highest)[..., None]


def _spread_forgetting(key: PRNGKeyArray, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """First biases of forget gates, as in the paper's own code: heads differ in what they keep."""
    del key
    return jnp.linspace(3.0, 6.0, shape[0], dtype=dtype)


def _wide(x: Array) -> Array:
    return x.astype(wide_dtype(x))


CELLS = {"ssru": SSRU, "min_gru": MinGRU, "rg_lru": GriffinBlock, "mlstm": MLSTM}
