"""Attention as a definition: rows of float64 numbers, one after another, apart from the library.

Positions are Python integers, captured arrays a dictionary of NumPy arrays `x`.
"""

import numpy as np


def _unit(x):
    return x / np.sqrt(x @ x)


def _near(i, j):
    return min(max(i - j, -2), 2) + 2


SCORES = {
    "scaled dot": lambda x, q, k, *at: q @ k / np.sqrt(len(q)),
    "cosine": lambda x, q, k, *at: _unit(q) @ _unit(k) / 0.5,
    "additive": lambda x, q, k, *at: x["w"] @ np.tanh(x["w_q"] @ q + x["w_k"] @ k),
    "general": lambda x, q, k, *at: q @ x["square"] @ k,
    "manhattan": lambda x, q, k, *at: -np.abs(q - k).sum(),
    "relative": lambda x, q, k, b, h, i, j: q @ (k + x["distances"][_near(i, j)]),
    "decay": lambda x, q, k, b, h, i, j: (
        q @ k - np.exp(np.tanh(x["square"][0] @ q) + x["slopes"][h]) * abs(i - j)
    ),
}
MODIFIERS = {
    "none": lambda x, s, b, h, i, j: s,
    "alibi": lambda x, s, b, h, i, j: s - x["slopes"][h] * abs(i - j),
    "soft cap": lambda x, s, b, h, i, j: 10 * np.tanh(s / 10),
    "table": lambda x, s, b, h, i, j: s * x["scale"] + x["table"][b, h, i % 4, j % 5],
    "logarithm": lambda x, s, b, h, i, j: s - x["scale"] * np.log(1 + i - j),
}
MASKS = {
    "none": lambda x, b, h, i, j: True,
    "causal": lambda x, b, h, i, j: j <= i,
    "window": lambda x, b, h, i, j: abs(i - j) < 4,
    "lengths": lambda x, b, h, i, j: j < x["lengths"][b],
    "documents": lambda x, b, h, i, j: x["query_ids"][b, i] == x["key_ids"][b, j],
    "heads": lambda x, b, h, i, j: (i + j + h) % 3 != 0,
    "array": lambda x, b, h, i, j: x["visible"][b, 0, i, j],
}


def _softmax(x, logits, h, *, sink=-np.inf):
    high = max(logits.max(), sink)
    powers = np.exp(logits - high)
    total = powers.sum() + np.exp(sink - high)
    return powers / total, np.log(total) + high


def _sparsemax(x, logits, h):
    ranked = np.sort(logits)[::-1]
    counts = np.arange(1, len(ranked) + 1)
    size = counts[1 + counts * ranked > np.cumsum(ranked)][-1]
    return np.maximum(logits - (ranked[:size].sum() - 1) / size, 0), None


def _entmax15(x, logits, h):
    half = logits / 2
    low, high = half.max() - 1, half.max()
    for _ in range(60):
        middle = (low + high) / 2
        above = (np.maximum(half - middle, 0) ** 2).sum() > 1
        low, high = (middle, high) if above else (low, middle)
    return np.maximum(half - low, 0) ** 2, None


def _top_k(x, logits, h):
    kept = logits >= np.sort(logits)[-min(3, len(logits))]
    return _softmax(x, np.where(kept, logits, -np.inf), h)[0], None


def _signed(x, logits, h):
    powers = np.exp(abs(logits) - abs(logits).max())
    return np.sign(logits) * powers / powers.sum(), None


def _softpick(x, logits, h):
    gains = np.exp(logits) - 1
    return np.maximum(gains, 0) / abs(gains).sum(), None


NORMALIZERS = {
    "softmax": _softmax,
    "signed": _signed,
    "softpick": _softpick,
    "sink": lambda x, logits, h: _softmax(x, logits, h, sink=x["slopes"][h]),
    "sigmoid": lambda x, logits, h: (1 / (1 + np.exp(-logits - x["scale"])), None),
    "relu": lambda x, logits, h: (np.maximum(logits, 0) / len(logits), None),
    "hard": lambda x, logits, h: (np.eye(len(logits))[logits.argmax()], None),
    "top_k": _top_k,
    "sparsemax": _sparsemax,
    "entmax15": _entmax15,
}


def attention(q, k, v, x, *, names, offsets, factors):
    """The output, the log-sum-exp, logits and weights, in float64; these are 0 where hidden.

    Args:
      names: of the score, the modifier, the masks, all of which a pair needs, and the normalizer.
      offsets: global positions of the first query and the first key.
      factors: of dropout, one a pair: [b h t s].
    """
    score, modifier, masks, normalizer = names
    (b, t, h, _), (_, s, g, e) = q.shape, v.shape
    out, lse = np.zeros((b, t, h, e)), np.full((b, t, h), -np.inf)
    all_logits, all_weights = np.zeros((2, b, h, t, s))
    if NORMALIZERS[normalizer] is NORMALIZERS["sink"]:
        lse[:] = x["slopes"]
    for n, row, head in np.ndindex(b, t, h):
        i, group = int(offsets[0] + row), head // (h // g)
        seen = [
            key
            for key in range(s)
            if all(MASKS[mask](x, n, head, i, int(offsets[1]) + key) for mask in masks)
        ]
        if not seen:
            continue
        logits = np.empty(len(seen))
        for place, key in enumerate(seen):
            at = n, head, i, int(offsets[1]) + key
            plain = SCORES[score](x, q[n, row, head], k[n, key, group], *at)
            logits[place] = MODIFIERS[modifier](x, plain, *at)
        weights, total = NORMALIZERS[normalizer](x, logits, head)
        weights = weights * factors[n, head, row, seen]
        all_logits[n, head, row, seen], all_weights[n, head, row, seen] = logits, weights
        out[n, row, head] = weights @ v[n, seen, group]
        if total is not None:
            lse[n, row, head] = total
    return out, lse, all_logits, all_weights
