"""What cuDNN alone refuses; the rest is in `test_refusals.py`."""

import jax
import jax.numpy as jnp

from attention_jax.core import masks
from attention_jax.engine import cudnn
from attention_jax.engine.request import make_request


def test_cudnn_says_which_arrays_it_alone_cannot_read(draw, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    q, k, v = wide = draw(2, 5, 4, 16), draw(2, 5, 2, 16), draw(2, 5, 2, 16)
    assert "got float32" in cudnn.refuse(make_request(*wide))
    q, k, v = (x.astype(jnp.bfloat16) for x in (q, k, v[..., :8]))
    assert "of one width" in cudnn.refuse(make_request(q, k, v))
    odd = [x.astype(jnp.bfloat16) for x in (draw(2, 5, 4, 12), draw(2, 5, 2, 12))]
    assert "multiple of 8 up to 128; got 12 and 12" in cudnn.refuse(make_request(*odd, odd[1]))


def test_cudnn_gets_the_scale_and_the_mask(draw, monkeypatch):
    got = {}
    monkeypatch.setattr(
        jax.nn, "dot_product_attention", lambda *x, **given: got.update(given) or x[0]
    )
    arrays = draw(2, 5, 4, 16), draw(2, 5, 2, 16), draw(2, 5, 2, 16)
    cudnn.run(make_request(*arrays, score=lambda q, k: (q @ k) / 2))
    assert got == dict(scale=0.5, is_causal=False, implementation="cudnn")
    cudnn.run(make_request(*arrays, mask=masks.causal))
    assert got == dict(scale=0.25, is_causal=True, implementation="cudnn")
