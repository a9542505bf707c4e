"""A profile begins and ends in time, and leaves a table."""

import jax
import jax.numpy as jnp
import pytest

from attention_jax.training import profiling
from attention_jax.training.profiling import Profile


@pytest.fixture
def calls(monkeypatch):
    """What is called of JAX's profiler."""
    found = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder, **_: found.append("start"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: found.append("stop"))
    return found


@pytest.mark.parametrize("steps", [0, 2])
def test_a_profile_covers_its_steps_after_the_first_ones(tmp_path, calls, steps):
    profile = Profile(tmp_path, steps=steps, say=print)
    for _ in range(19):
        calls.append("step")
        profile.tick({})
    profile.close()
    first = profiling.PROFILE_AFTER
    want = ["step"] * 19
    if steps:
        want.insert(first + steps, "stop")
        want.insert(first, "start")
    assert calls == want


def test_steps_that_compile_delay_a_profile(tmp_path, calls):
    profile = Profile(tmp_path, steps=2, say=print)
    for number in range(profiling.PROFILE_AFTER + 6):
        calls.append("step")
        profile.tick({}, compiled=number in (0, 3, profiling.PROFILE_AFTER + 4))
    assert calls.index("start") == profiling.PROFILE_AFTER + 4
    assert calls[calls.index("start") :] == ["start", "step", "step", "stop"]


def test_a_profile_ends_with_the_run(tmp_path, calls):
    profile = Profile(tmp_path, steps=100, say=print)
    for _ in range(profiling.PROFILE_AFTER):
        profile.tick({})
    profile.close()
    profile.close()
    assert calls == ["start", "stop"]


@pytest.mark.slow
def test_a_profile_leaves_a_table(tmp_path):
    @jax.jit
    def whole(x):
        with jax.named_scope("optimizer"):
            return jnp.tanh(x @ x) - x

    said, x = [], jnp.ones((128, 128))
    profile = Profile(tmp_path, steps=3, say=said.append)
    for _ in range(profiling.PROFILE_AFTER + 3):
        x = whole(x)
        profile.tick({"x": x})
    assert (tmp_path / profiling.TABLE).read_text() == f"{said[0]}\n" and len(said) == 1
    lines = said[0].splitlines()
    assert lines[0].startswith("3 updates in") and any("optimizer" in line for line in lines)
    assert round(sum(10 * float(line.split("%")[0]) for line in lines[1:-1])) == 1000
