"""M2M-100 and NLLB: norm first, sinusoids of tensor2tensor from 2 on, one table.

A source begins with the token of its language, and so does a target, after the end token that a
decoder begins with. Padding is token 1, by which positions are counted there.

References: Fan et al. 2020, arXiv:2010.11125; NLLB Team 2022, arXiv:2207.04672; names:
`transformers`, `M2M100ForConditionalGeneration`.
"""

from attention_jax.core.sinusoids import Sinusoids
from attention_jax.pretrained.families._bart import Kind, family

FAMILY = family(
    Kind(
        "m2m_100",
        "M2M100ForConditionalGeneration",
        norm="pre",
        sinusoids=Sinusoids("halves", "tensor2tensor", 2),
        fixed=(("tie_word_embeddings", True), ("pad_token_id", 1)),
    ),
    ignored=(r"(encoder|decoder)\.embed_positions\.weights?",),
)
