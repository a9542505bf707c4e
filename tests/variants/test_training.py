"""Every variant learns in a Transformer, chosen by the flag, as a user trains it."""

import json
import os
import subprocess
import sys

import pytest

from attention_jax import variants
from tests.support.paths import ROOT

STEPS = 300
SMALL = (
    "--task=reverse --task_option=vocabulary=10 --task_option=max_length=8 "
    "--task_option=longer_length=9 --task_option=train_size=2000 --task_option=validation_size=50 "
    f"--task_option=test_size=8 --width=32 --heads=4 --layers=1 --feed_forward=64 --steps={STEPS} "
    f"--tokens_per_batch=512 --evaluate_every={STEPS} --evaluate_sentences=4 --seed=0"
).split()


@pytest.mark.slow
@pytest.mark.parametrize("name", variants.names())
def test_the_loss_falls(name, tmp_path):
    """To less than that of guessing each number by its frequency, and further at the end."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.translation", *SMALL]
        + [f"--attention={name}", f"--run={tmp_path / 'run'}"],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [x["loss"] for x in map(json.loads, lines) if x["split"] == "train"]
    assert len(losses) >= 5
    assert losses[-1] < losses[len(losses) // 2] < losses[0]
    assert losses[-1] < 0.8 * losses[0]
