"""What is new is found by where it stands: one file or one function, and no list to keep.

A copy of the repository gets a variant, a task, a score, a mask, a normalizer, an implementation
and an experiment; each is then asked for as users ask, in a process of its own.
"""

import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from tests.support.paths import ROOT

FILES = {
    "attention_jax/variants/halved.py": '''
        """Attention by half the scaled dot product.

            score(q, k) = q . k / (2 sqrt(d))

        Reference: none.
        Cost: t s (d + e) products a head.
        """

        from attention_jax.core import scores
        from attention_jax.core.types import Variant
        from attention_jax.variants._builders.pair import from_score


        def halved(*, factor: float = 0.5) -> Variant:
            """A variant.

            Args:
              factor: of the scaled dot product.
            """
            return from_score(lambda params: lambda q, k: factor * scores.scaled_dot(q, k))
    ''',
    "attention_jax/data/tasks/double.py": '''
        """Each letter twice."""

        from attention_jax.data.types import Example, Task


        def double(*, words: int = 2) -> Task:
            examples = [Example(x, (x + x,)) for x in "abcdef"[:words]]
            return Task("double", examples, examples, {"test": examples}, "character")
    ''',
    "attention_jax/engine/plainest.py": '''
        """The reference by another name."""

        from attention_jax.engine import reference
        from attention_jax.engine.implementation import Implementation, Plan

        IMPLEMENTATION = Implementation(
            "plainest",
            rank=99,
            refuse=lambda request: "only softmax" if request.normalizer.name != "softmax" else None,
            prefer=lambda request: None,
            run=reference.IMPLEMENTATION.run,
            plan=lambda request: Plan("plainest"),
        )
    ''',
    "experiments/halves/__init__.py": '''
        """Translation by another name."""

        from experiments.translation import EXPERIMENT as TRANSLATION

        EXPERIMENT = TRANSLATION._replace(name="halves")
    ''',
    "experiments/halves/__main__.py": '''
        """Trains it."""

        from experiments.common.train import launch
        from experiments.halves import EXPERIMENT

        if __name__ == "__main__":
            launch(EXPERIMENT)
    ''',
}
FUNCTIONS = {
    "attention_jax/core/scores.py": '''
        def negated(q: Array, k: Array) -> Array:
            """Minus the dot product."""
            return -dot(q, k)
    ''',
    "attention_jax/core/masks.py": '''
        def every(stride: int) -> Mask:
            """Every key whose position is a multiple of `stride`."""
            return Mask(lambda b, h, i, j: j % stride == 0)
    ''',
    "attention_jax/core/normalizers.py": """
        def _squared(logits: Logits, visible: Visible) -> Logits:
            return jnp.where(visible, logits**2, 0.0)


        squared = softmax._replace(name="squared", weights=_squared, online=None)
    """,
}
QUESTIONS = {
    "a variant is listed, described, made from text and by its name": """
        from attention_jax import variants
        from attention_jax.analysis import variant_info, variant_list
        assert "halved" in variants.names()
        assert variants.get("halved", factor=0.25).score is not None
        lines = variant_list.lines(variant_list.rows(variants.names()))
        assert any(line.startswith("  halved  ") for line in lines)
        assert "linear memory" in variant_info.describe("halved").supports
    """,
    "a variant is held to every promise": """
        from attention_jax import variants
        from attention_jax.variants._conformance import PROMISES, Case
        case = Case(variants.get("halved"))
        for promise in PROMISES:
            if promise.cost == "quick":
                try:
                    promise.check(case)
                except Exception as error:
                    assert type(error).__name__ == "NotPromised", error
        from tests.variants import test_conformance
        assert "halved" in test_conformance.case._fixture_function_marker.params
    """,
    "a task is found": """
        from attention_jax.data import tasks
        assert "double" in tasks.names()
        assert tasks.get("double", words="3").train[2].references == ("cc",)
    """,
    "a score, a mask and a normalizer serve at once": """
        x = jnp.ones((1, 4, 2, 4))
        out = aj.attention(x, x, x, score=aj.scores.negated, mask=aj.masks.every(2))
        assert out.shape == x.shape
        aj.attention(x, x, x, normalizer=aj.normalizers.squared)
    """,
    "an implementation is found, runs, plans and is named in errors": """
        x = jnp.ones((1, 4, 2, 4))
        assert aj.attention(x, x, x, implementation="plainest").shape == x.shape
        assert aj.plan(x, x, x, implementation="plainest").implementation == "plainest"
        try:
            aj.attention(x, x, x, implementation="planest")
        except ValueError as error:
            assert "plainest" in str(error)
        else:
            raise AssertionError("an unknown implementation ran")
    """,
    "an experiment is found, and its flags know the variant and the task": """
        from experiments.common import experiment, flags
        assert "halves" in experiment.names()
        own = experiment.find("halves")
        asked = ["--attention=halved", "--task=double"]
        config, given = flags.parse(own.config, asked)
        assert flags.values(config)["task"] == "double" and "attention" in given
        assert own.load(config)
        try:
            flags.parse(own.config, ["--task=triple"])
        except Exception as error:
            assert "double" in str(error)
        else:
            raise AssertionError("an unknown task was taken")
    """,
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository with something new of each kind."""
    root = tmp_path_factory.mktemp("copy")
    for folder in ("attention_jax", "experiments", "tests"):
        shutil.copytree(ROOT / folder, root / folder)
    for place, text in FILES.items():
        (root / place).parent.mkdir(exist_ok=True)
        (root / place).write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    for place, text in FUNCTIONS.items():
        with (root / place).open("a", encoding="utf-8") as opened:
            opened.write("\n\n" + textwrap.dedent(text).strip() + "\n")
    return root


def test_each_is_found(copy):
    """All questions in one process, which imports the library once."""
    program = ["import sys, traceback", "import jax.numpy as jnp", "import attention_jax as aj"]
    for name, code in QUESTIONS.items():
        body = textwrap.indent(textwrap.dedent(code).strip(), "    ")
        program += [f"def question():\n{body}", "try:\n    question()\nexcept BaseException:"]
        program += [f"    print({name!r}, traceback.format_exc())"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(program)],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
