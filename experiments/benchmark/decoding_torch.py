"""Hugging Face's Marian and GPT-2 of the same sizes, for the benchmark of decoding."""

from collections.abc import Callable

import jax
import numpy as np
import torch
import transformers

from attention_jax.data.types import BOS, EOS, PAD
from attention_jax.nn.transformer import TransformerConfig
from experiments.benchmark.attention_torch import use_all_cores
from experiments.benchmark.decoding import NEVER, TOP_K, Job


def theirs(config: TransformerConfig, source: jax.Array, job: Job) -> Callable[[], object]:
    """A call that gives the tokens of `generate`."""
    use_all_cores()
    if job.task == "sample":
        return _sampled(config, job)
    model = translation_model(config)
    given = torch.from_numpy(np.array(source)).long()

    def call() -> object:
        with torch.no_grad():
            found = model.generate(
                given,
                attention_mask=torch.ones_like(given),
                num_beams=job.beams,
                max_new_tokens=job.tokens,
                do_sample=False,
            )
        return found[:, 1:].tolist()  # without BOS

    return call


def translation_model(config: TransformerConfig) -> transformers.MarianMTModel:
    """Marian with random weights, the same ones at each call, which never chooses EOS."""
    torch.manual_seed(0)
    model = transformers.MarianMTModel(_sizes(config)).eval()
    model.final_logits_bias[:, EOS] = NEVER
    return model


def _sampled(config: TransformerConfig, job: Job) -> Callable[[], object]:
    sizes = transformers.GPT2Config(
        vocab_size=config.vocabulary_size,
        n_positions=config.max_length,
        n_embd=config.width,
        n_layer=config.layers,
        n_head=config.heads,
        n_inner=config.feed_forward,
        activation_function="relu",
        bos_token_id=BOS,
        eos_token_id=None,
        pad_token_id=PAD,
    )
    model = transformers.GPT2LMHeadModel(sizes).eval()
    given = torch.full((job.batch, 1), BOS)

    def call() -> object:
        with torch.no_grad():
            return model.generate(
                given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=job.tokens,
                do_sample=True,
                top_k=TOP_K,
            ).tolist()

    return call


def _sizes(config: TransformerConfig) -> transformers.MarianConfig:
    return transformers.MarianConfig(
        vocab_size=config.vocabulary_size,
        d_model=config.width,
        encoder_layers=config.layers,
        decoder_layers=config.layers,
        encoder_attention_heads=config.heads,
        decoder_attention_heads=config.heads,
        encoder_ffn_dim=config.feed_forward,
        decoder_ffn_dim=config.feed_forward,
        max_position_embeddings=config.max_length,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=BOS,
        forced_eos_token_id=None,
    )
