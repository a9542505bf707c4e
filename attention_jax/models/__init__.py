"""Sequence-to-sequence models, all of one protocol: `attention_jax.types.Seq2Seq`."""
