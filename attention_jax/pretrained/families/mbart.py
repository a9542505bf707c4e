"""mBART: norm first, and of embeddings too, with learned positions.

Reference: Liu et al. 2020, arXiv:2001.08210; names: `transformers`,
`MBartForConditionalGeneration`.
"""

from attention_jax.pretrained.families._bart import Kind, family

FAMILY = family(
    Kind(
        "mbart",
        "MBartForConditionalGeneration",
        norm="pre",
        positions="learned",
        embedding_norm=True,
        output_bias=True,
        activation="gelu",
        fixed=(
            ("tie_word_embeddings", True),
            ("normalize_before", True),
            ("normalize_embedding", True),
            ("add_final_layer_norm", True),
            ("static_position_embeddings", False),
        ),
    )
)
