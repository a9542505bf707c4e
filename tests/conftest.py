"""Every test runs with checked shapes, and without promotion of ranks or dtypes."""

import collections
import gc
import math
import os
import tempfile
import zlib

# Tracing makes many objects that stay: looking through them all costs more than it frees.
gc.set_threshold(100_000, 50, 100)
# Tests compile much and compute little.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# A program that was compiled before, by any process of these tests, is read back from a folder
# that begins empty and ends with them; a folder of one's own is kept.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _PROGRAMS = tempfile.TemporaryDirectory(prefix="programs_", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _PROGRAMS.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Tests read what is printed, in English whatever the machine speaks.
os.environ["ATTENTION_JAX_LANGUAGE"] = "en"

import jax  # noqa: E402
from jaxtyping import config, install_import_hook  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Before the first import of the library, so that the hook sees all of it.
install_import_hook("attention_jax", "beartype.beartype")

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

# Programs that `repo/test_user_programs.py` runs; they hold no tests.
collect_ignore = ["repo/user_programs"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks the cases that are `slow`, and of these the ones that are `exhaustive`.

    Of the cases of a test marked `sampled(n)`, all but n are slow. Of N slow cases of one test,
    all but the root of N, rounded up, are exhaustive: `--all` tries the root, `--every` tries N.
    """
    for cases in _grouped(items, _sample_of):
        if sampled := cases[0].get_closest_marker("sampled"):
            _mark_the_rest(cases, "slow", sampled.args[0])
    slow = [item for item in items if item.get_closest_marker("slow")]
    for cases in _grouped(slow, _test_of):
        _mark_the_rest(cases, "exhaustive", math.ceil(math.sqrt(len(cases))))


def _grouped(items, key):
    groups = collections.defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups.values()


def _test_of(item):
    return item.nodeid.partition("[")[0]


def _sample_of(item):
    """What its cases are sampled together with: those under one marker."""
    slow = item.get_closest_marker("slow") is not None
    return _test_of(item), id(item.get_closest_marker("sampled")), slow


def _mark_the_rest(cases, marker, count):
    """Marks all cases but `count`, which are spread evenly.

    They begin at a place that depends on the name, so that tests beside each other try different
    ones.
    """
    if len(cases) <= count:
        return
    phase = zlib.crc32(cases[0].nodeid.encode()) / 2**32
    kept = {int((i + phase) * len(cases) / count) for i in range(count)}
    for i in set(range(len(cases))) - kept:
        cases[i].add_marker(getattr(pytest.mark, marker))


@pytest.fixture
def draw():
    """`draw(*shape)` gives standard normal numbers, others at each call."""
    generator = np.random.default_rng(0)
    return lambda *shape: jnp.asarray(generator.normal(size=shape).astype(np.float32))


@pytest.fixture
def qkv(draw):
    """Queries, keys and values of 2 sequences of 5, with 4 heads over 2, widths 8 and 6."""
    return draw(2, 5, 4, 8), draw(2, 5, 2, 8), draw(2, 5, 2, 6)


@pytest.fixture
def users_errors():
    """Switches shape checks off, so that errors are those that users see."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
