"""Language models of other libraries, as runs of experiments.language."""

from attention_jax.pretrained.loading import Pretrained
from experiments.common import flags
from experiments.common.experiment import Run
from experiments.common.pretrained_runs import with_tokenizer

LONGEST = 1024  # tokens that a model reads at once, where its own bound is higher


def adopt(loaded: Pretrained, run: Run) -> Run:
    """The run of a model, which ends its texts and reads as many tokens as it may."""
    most = min(loaded.config.max_length, LONGEST)
    config = flags.replace(run.config, context=most, stop_at_end=True)
    return with_tokenizer(loaded, run._replace(config=config))
