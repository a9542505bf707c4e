"""Marian's Transformer with an SSRU decoder in float64, position by position, by Marian's names.

References: Vaswani et al. 2017, arXiv:1706.03762; Kim et al. 2019, aclanthology.org/D19-5632.
"""

import numpy as np


class Marian:
    """A model of arrays by their names: tables, matrices [in out], vectors [n]."""

    def __init__(self, arrays: dict[str, np.ndarray], *, layers: tuple[int, int], heads: int):
        self.p = {name: np.asarray(x, np.float64) for name, x in arrays.items()}
        self.encoder_layers, self.decoder_layers = layers
        self.heads, self.width = heads, self.p["Wemb"].shape[1]

    def logits(self, source: list[int], target: list[int]) -> np.ndarray:
        """Of each token of the target, which is given those before it."""
        memory = self.encode(source)
        cells = [np.zeros(self.width)] * self.decoder_layers
        out = []
        for position, token in enumerate([None, *target[:-1]]):
            x = self.place(
                np.zeros(self.width) if token is None else self.p["Wemb"][token], position
            )
            for n in range(self.decoder_layers):
                x, cells[n] = self.decode(f"decoder_l{n + 1}", x, cells[n], memory)
            out.append(self.p["Wemb"] @ x + self.p["decoder_ff_logit_out_b"])
        return np.array(out)

    def encode(self, source: list[int]) -> np.ndarray:
        x = np.array([self.place(self.p["Wemb"][token], i) for i, token in enumerate(source)])
        for n in range(self.encoder_layers):
            name = f"encoder_l{n + 1}"
            seen = np.array([self.attend(f"{name}_self", own, x) for own in x])
            x = np.array(
                [self.norm(f"{name}_self_Wo", *pair) for pair in zip(x, seen, strict=True)]
            )
            x = np.array([self.feed_forward(f"{name}_ffn", own) for own in x])
        return x

    def decode(self, name: str, x: np.ndarray, cell: np.ndarray, memory: np.ndarray) -> tuple:
        p = self.p
        kept = 1 / (1 + np.exp(-(x @ p[f"{name}_rnn_Wf"] + p[f"{name}_rnn_bf"])))
        cell = kept * cell + (1 - kept) * (x @ p[f"{name}_rnn_W"])
        x = self.norm(f"{name}_rnn_ffn", x, np.maximum(cell, 0))
        x = self.norm(f"{name}_context_Wo", x, self.attend(f"{name}_context", x, memory))
        return self.feed_forward(f"{name}_ffn", x), cell

    def place(self, vector: np.ndarray, position: int) -> np.ndarray:
        half = self.width // 2
        angles = [position * 10000 ** (-c / (half - 1)) for c in range(half)]
        return vector * self.width**0.5 + np.concatenate([np.sin(angles), np.cos(angles)])

    def attend(self, name: str, x: np.ndarray, others: np.ndarray) -> np.ndarray:
        p, found = self.p, []
        q, k, v = (
            y @ p[f"{name}_W{c}"] + p[f"{name}_b{c}"]
            for c, y in zip("qkv", (x, others, others), strict=True)
        )
        size = self.width // self.heads
        for h in range(self.heads):
            own = slice(h * size, (h + 1) * size)
            scores = np.array([q[own] @ key[own] for key in k]) / size**0.5
            weights = np.exp(scores - scores.max())
            found.append(weights / weights.sum() @ v[:, own])
        return np.concatenate(found) @ p[f"{name}_Wo"] + p[f"{name}_bo"]

    def feed_forward(self, name: str, x: np.ndarray) -> np.ndarray:
        hidden = np.maximum(x @ self.p[f"{name}_W1"] + self.p[f"{name}_b1"], 0)
        return self.norm(f"{name}_ffn", x, hidden @ self.p[f"{name}_W2"] + self.p[f"{name}_b2"])

    def norm(self, name: str, x: np.ndarray, update: np.ndarray) -> np.ndarray:
        x = x + update
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-6)
        return x * self.p[f"{name}_ln_scale"] + self.p[f"{name}_ln_bias"]
