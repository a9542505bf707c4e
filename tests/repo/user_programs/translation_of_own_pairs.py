"""Sentence pairs of one's own: tokens, batches, training, translation, an interval."""

import tempfile

import jax
from flax import nnx

import attention_jax as aj
from attention_jax import data, decoding, models, training
from attention_jax.nn import TransformerConfig

PAIRS = [("one two", "uno dos"), ("two", "dos"), ("three", "tres"), ("two three", "dos tres")]
examples = [data.Example(source, (target,)) for source, target in PAIRS]
tokenizer = data.Tokenizer.learn([text for pair in PAIRS for text in pair], kind="word")
batches = data.BucketedBatches(
    data.encode_examples(examples, tokenizer), tokens_per_batch=64, max_length=8
)
config = TransformerConfig(tokenizer.size, width=16, layers=1, heads=2, feed_forward=16)


def build(key: jax.Array) -> models.Seq2SeqTransformer:
    return models.Seq2SeqTransformer(config, rngs=nnx.Rngs(key))


with tempfile.TemporaryDirectory() as folder:
    plan = training.TrainConfig(steps=2, warmup_steps=1, checkpoint_every=2)
    result = training.fit(build, batches, None, folder, plan)
translate = decoding.Translator(result.graphdef, tokenizer, rows=4)
best = [found[0].text for found in translate(result.params, ["two", "three"])]
assert len(best) == 2 and result.steps == 2

interval = aj.evaluation.mean_interval([41.2, 40.8, 41.5])
assert interval.low is not None and interval.low < interval.mean
