"""Trains and tests memory, by its length and distance: recall, copying, state tracking and others.

    python -m experiments.memory --flagfile=experiments/presets/recall_64.flags
    python -m experiments.memory --flagfile=experiments/presets/recall_64.flags --model=rnn --attention=none
    python -m experiments.memory --problem=copying --length=120 --attention=gated_delta --positions=none
    python -m experiments.memory --problem=adding --length=100 --cost_lengths=64,256,1024,4096,16384

Models are language models: a Transformer over any variant with any kind of positions, or an RNN
with or without attention to its own past. Each is tested at the length of its training and beyond
it, and by how far back lies what an answer needs. A run's folder is that of experiments.language,
without text: memory.png has the curves, and result.json the counts behind them. Curves of several
runs in one figure: experiments.memory.draw.
"""  # noqa: E501

from experiments.common.train import launch
from experiments.memory import EXPERIMENT

if __name__ == "__main__":
    launch(EXPERIMENT)
