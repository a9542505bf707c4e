"""The campaign of kills and damage is repeatable, and its short form finds nothing."""

import json
import random
import subprocess
import sys
from collections import Counter

import pytest

from scripts._torture import __main__ as campaign
from scripts._torture import damage
from tests.support.paths import ROOT


def test_any_beginning_has_every_kind_in_proportion():
    trials = list(campaign.order(campaign.FULL))
    assert len(set(trials)) == len(trials) == sum(campaign.FULL.values())
    half = Counter(kind for kind, _ in trials[: len(trials) // 2])
    assert all(abs(half[kind] - n / 2) <= 1 for kind, n in campaign.FULL.items())
    assert set(campaign.SHORT) == set(campaign.FULL) == set(campaign.KINDS)


def test_the_table_counts_how_trials_ended():
    rows = [{"kind": "kill", "verdict": verdict} for verdict in ("same", "same", "lost")]
    line = next(x for x in campaign.table(rows).splitlines() if x.startswith("kill "))
    assert line.split() == ["kill", "3", "2", "0", "0", "1", "0", "0"]


@pytest.mark.parametrize("kind", damage.KINDS)
def test_damage_is_done_and_is_repeatable(tmp_path, kind):
    path, whole = tmp_path / "a", bytes(range(1, 200))
    found = []
    for _ in range(2):
        path.write_bytes(whole)
        damage.do(kind, path, random.Random(1))
        found.append(path.read_bytes() if path.is_file() else (path.exists(), path.is_dir()))
        if path.is_dir():
            path.rmdir()
    assert found[0] == found[1] != whole


@pytest.mark.slow
def test_the_short_form_finds_nothing(tmp_path):
    output = tmp_path / "trials.jsonl"
    command = [sys.executable, "-m", "scripts._torture", "--short", "--minutes=9"]
    done = subprocess.run(
        [*command, f"--output={output}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert {row["kind"] for row in rows} == set(campaign.KINDS)
