"""Trains a sequence-to-sequence model, Transformer or RNN, and scores it on unseen sentences.

    python -m experiments.translation --task=spanish
    python -m experiments.translation --task=reverse --model=rnn --attention=additive
    python -m experiments.translation --flagfile=experiments/presets/multi30k_transformer.flags

A run's folder holds run.flags, run.json, environment.json, metrics.jsonl, checkpoints,
vocabulary.json, samples.txt, translations.json, curves.png, figures of attention and, last of all,
result.json. Killed, it goes on by --resume.
"""

from experiments.common.train import launch
from experiments.translation import EXPERIMENT

if __name__ == "__main__":
    launch(EXPERIMENT)
