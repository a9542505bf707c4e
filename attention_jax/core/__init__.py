"""Building blocks of an attention call: scores, masks, position encodings, normalizers, shared
types and argument checks. Depends only on JAX."""
