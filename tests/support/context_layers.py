"""Models whose sequences are divided among 8 devices, for `nn/test_context.py`.

A case is `[fields of TransformerConfig, strategy, order, place]`, as of `context_cases`.
"""

import jax
from flax import nnx
from jax.sharding import PartitionSpec as P

import attention_jax as aj
from attention_jax.models.language import TransformerLM
from attention_jax.nn import TransformerConfig
from tests.support import context_cases

B, T, VOCABULARY = 2, 32, 11
SIZES = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "feed_forward": 16, "max_length": T}


def measure(case):
    fields, strategy, order, place = case
    context = aj.Context("sequence", strategy, order)
    tokens = jax.random.randint(jax.random.key(1), (B, T), 0, VOCABULARY)
    shards = context_cases.SHARDS[place]
    with jax.set_mesh(context_cases.mesh(place)):
        config = TransformerConfig(VOCABULARY, dropout_rate=0.0, **SIZES, **fields)
        one = TransformerLM(config, rngs=nnx.Rngs(0))
        many = TransformerLM(config._replace(context=context), rngs=nnx.Rngs(0))
        leaves, tree = jax.tree.flatten(nnx.state(one, nnx.Param))

        def of(model, given, *leaves):
            graph, _ = nnx.split(model)
            return nnx.merge(graph, jax.tree.unflatten(tree, leaves)).logits(given)

        def divided(*leaves):
            given = tokens
            if order == "zigzag":
                given = aj.contexts.zigzag(tokens, shards=shards)
            run = lambda given, *leaves: of(many, given, *leaves)  # noqa: E731
            if place == "manual":
                along = P(None, "sequence")
                specs = along, *[P()] * len(leaves)
                run = jax.shard_map(run, in_specs=specs, out_specs=along)
            out = run(given, *leaves)
            return aj.contexts.natural(out, shards=shards) if order == "zigzag" else out

        return context_cases.errors(lambda *x: of(one, tokens, *x), divided, leaves)
