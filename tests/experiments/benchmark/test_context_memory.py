"""What a device holds of a long sequence that several share."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_ring_of_eight_holds_a_sixth(tmp_path):
    """Of what one device holds for 65,536 tokens, with all gradients; gathered, all of it."""
    output = tmp_path / "memory.json"
    command = [sys.executable, "-P", "-m", "experiments.benchmark.context_memory"]
    subprocess.run([*command, f"--output={output}"], check=True, timeout=600)
    found = json.loads(output.read_text(encoding="utf-8"))
    assert (found["tokens"], found["shards"]) == (65536, 8)
    one = found["bytes"]["one device"]
    for form in ("ring", "ring, zigzag"):
        assert found["bytes"][form] <= one / 6, found
