"""Marian, as the opus-mt models are: norms after sums, sinusoids in halves, one table, a bias.

A decoder begins with padding.

Reference: Junczys-Dowmunt et al. 2018, arXiv:1804.00344; names: `transformers`, `MarianMTModel`.
"""

from attention_jax.core.sinusoids import Sinusoids
from attention_jax.pretrained.families._bart import Kind, family

FAMILY = family(
    Kind(
        "marian",
        "MarianMTModel",
        norm="post",
        sinusoids=Sinusoids("halves"),
        output_bias=True,
        activation="gelu",
        fixed=(
            ("tie_word_embeddings", True),
            ("share_encoder_decoder_embeddings", True),
            ("normalize_before", False),
            ("normalize_embedding", False),
            ("static_position_embeddings", True),
        ),
    ),
    ignored=(r"(encoder|decoder)\.embed_positions\.weight",),
)
