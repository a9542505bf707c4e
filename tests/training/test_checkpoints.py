"""Checkpoints: whole or absent, damage noticed, the right ones kept."""

import gc
import logging
import shutil
import signal
import sys
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.training import digests
from attention_jax.training.checkpoints import CheckpointDamaged, CheckpointForeign, Checkpoints


def tree(seed=0):
    noise = np.random.default_rng(seed).normal(size=(16, 8)).astype(np.float32)
    params = {
        "layers": [{"kernel": jnp.asarray(noise)}, {"kernel": jnp.asarray(-noise, jnp.bfloat16)}],
        "scale": jnp.float32(seed),
        "empty": jnp.zeros((0, 3)),
    }
    return {"params": params, "nothing": {}, "counters": {"step": jnp.int32(seed)}}


def assert_same(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def damage_data(folder, step, damage):
    """Damages the saved arrays; all their files, for some are copies that nothing reads."""
    files = list((folder / f"step_{step:09d}" / "params").rglob("d/*"))
    assert files
    for file in files:
        damage(file)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


def test_what_was_saved_comes_back_bit_for_bit(folder):
    Checkpoints(folder).save(3, tree(3), extra={"data": {"next_index": 7}, "best": None})
    step, got, extra = Checkpoints(folder).restore_latest(jax.eval_shape(lambda: tree(0)))
    assert (step, extra) == (3, {"data": {"next_index": 7}, "best": None})
    assert_same(got, tree(3))


def test_a_part_can_be_restored_alone(folder):
    Checkpoints(folder).save(1, tree(1))
    got = Checkpoints(folder).restore(1, {"counters": tree()["counters"]}).tree
    assert_same(got, {"counters": tree(1)["counters"]})


@pytest.mark.slow
def test_saving_leaves_no_objects_behind(folder):
    checkpoints = Checkpoints(folder, keep_last=2)

    def save(steps):
        for step in steps:
            checkpoints.save(step, tree(step), metric=float(step))
        gc.collect()
        return len(gc.get_objects())

    before = save(range(4))
    assert save(range(4, 8)) < before + 40  # where each was read back, 20 an array


def test_nothing_saved_gives_none(folder):
    assert Checkpoints(folder).restore_latest(tree()) is None
    assert Checkpoints(folder).restore_best(tree()) is None
    assert Checkpoints(folder).steps() == []


@pytest.mark.slow
def test_the_last_and_the_best_stay(folder):
    checkpoints = Checkpoints(folder, keep_last=2)
    for step, metric in ((1, 0.1), (2, 0.9), (3, None), (4, 0.9), (5, 0.2), (6, 0.3)):
        checkpoints.save(step, tree(step), metric=metric)
    assert checkpoints.steps() == [2, 5, 6]
    assert Checkpoints(folder).restore_best(tree()).step == 2


@pytest.mark.slow
def test_one_out_of_turn_displaces_none_of_the_last(folder):
    checkpoints = Checkpoints(folder, keep_last=3)
    for step in (10, 20, 30):
        checkpoints.save(step, tree(step))
    checkpoints.save(37, tree(37), scheduled=False)
    assert checkpoints.steps() == [10, 20, 30, 37]
    assert Checkpoints(folder).steps(scheduled=True) == [10, 20, 30]
    checkpoints.save(40, tree(40))
    checkpoints.save(50, tree(50))
    assert checkpoints.steps() == [30, 40, 50]


def test_saving_a_step_again_replaces_it(folder):
    checkpoints = Checkpoints(folder)
    checkpoints.save(1, tree(1), metric=1.0)
    checkpoints.save(1, tree(2), metric=0.0)
    assert_same(checkpoints.restore(1, tree()).tree, tree(2))


# Orbax leaves a task behind when a file is gone.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", [flip_a_byte, truncate, lambda path: path.unlink()])
def test_a_damaged_one_is_named_and_skipped_for_the_one_before(folder, caplog, damage):
    for step in (1, 2):
        Checkpoints(folder).save(step, tree(step))
    damage_data(folder, 2, damage)
    with caplog.at_level(logging.WARNING, "attention_jax.training.checkpoints"):
        step, got, _ = Checkpoints(folder).restore_latest(tree())
    assert step == 1
    assert_same(got, tree(1))
    assert "step_000000002 is damaged" in caplog.text
    with pytest.raises(CheckpointDamaged, match="step_000000002 is damaged"):
        Checkpoints(folder).restore(2, tree())


def test_of_damage_nothing_is_said_but_one_line(folder, caplog):
    Checkpoints(folder).save(1, tree(1))
    for path in (folder / "step_000000001").rglob("manifest.ocdbt"):
        path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(CheckpointDamaged, match="steps .1. are damaged"):
        Checkpoints(folder).restore_latest(jax.eval_shape(lambda: tree(0)))
    gc.collect()  # reads that failed beside the first are reported when they are collected
    assert [(one.name, one.levelname) for one in caplog.records] == [
        ("attention_jax.training.checkpoints", "WARNING")
    ]


def test_reads_that_fail_beside_the_first_print_no_tracebacks(folder, monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    many = {"params": {str(i): np.full((50, 50), i, np.float32) for i in range(40)}}
    Checkpoints(folder).save(1, many)
    for path in (folder / "step_000000001" / "params").rglob("d/*"):
        path.unlink()
        path.mkdir()
    for _ in range(5):
        with pytest.raises(CheckpointDamaged):
            Checkpoints(folder).restore_latest(many)
        time.sleep(0.1)  # the threads of those reads end later
    assert not seen
    sys.unraisablehook(SimpleNamespace(exc_value=RuntimeError("another")))
    assert len(seen) == 1  # all else is reported as before


def test_a_full_disk_is_one_line_and_the_ones_before_stay(folder, caplog):
    resource = pytest.importorskip("resource")
    Checkpoints(folder).save(1, tree(1))
    large = {"params": {str(i): np.ones((300, 300), np.float32) + i for i in range(8)}}
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:  # files of more than 50 kB cannot be written
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, former[1]))
        with pytest.raises(
            OSError, match="step 2 cannot be written to .* go on with --res"
        ) as caught:
            noise = jax.tree.map(lambda x: x * np.random.default_rng(0).normal(size=x.shape), large)
            Checkpoints(folder).save(2, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, handler)
    gc.collect()
    assert "\n" not in str(caught.value) and not caplog.records
    assert Checkpoints(folder).restore_latest(jax.eval_shape(lambda: tree(0))).step == 1


def test_a_flipped_byte_of_the_plain_data_is_noticed(folder):
    checkpoints = Checkpoints(folder)
    checkpoints.save(1, tree(1), extra={"tokens": 12345})
    record = folder / "step_000000001" / "_CHECKPOINT_METADATA"
    record.write_text(record.read_text().replace("12345", "12346"))
    with pytest.raises(CheckpointDamaged, match="the checksum of its record differs"):
        Checkpoints(folder).restore(1, tree())


@pytest.mark.slow
def test_arrays_of_another_checkpoint_are_noticed_though_they_load(folder):
    # Nothing is wrong with these files: only the checksum knows that they are not its own.
    checkpoints = Checkpoints(folder)
    for step in (1, 2):
        checkpoints.save(step, tree(step), metric=float(step))
    first, second = (folder / f"step_{step:09d}" / "params" for step in (1, 2))
    shutil.rmtree(second)
    shutil.copytree(first, second)
    with pytest.raises(CheckpointDamaged, match="the checksum of 'params' differs"):
        Checkpoints(folder).restore(2, tree())
    assert_same(
        Checkpoints(folder).restore(2, {"counters": tree()["counters"]}).tree["counters"],
        tree(2)["counters"],
    )
    assert Checkpoints(folder).restore_latest(tree()).step == 1
    assert Checkpoints(folder).restore_best(tree()).step == 1
    with pytest.raises(CheckpointDamaged, match="the checksum of 'params' differs"):
        Checkpoints(folder).average([1, 2], {"params": tree()["params"]})


@pytest.mark.parametrize(
    "other",
    [
        {"a": np.arange(4, dtype=np.float32)},
        {"b": np.arange(3, dtype=np.float32)},
        {"a": np.arange(3, dtype=np.int32)},
        {"a": np.arange(3, dtype=np.float32).reshape(1, 3)},
        {"a": np.array([0, 1, np.nextafter(np.float32(2), np.float32(3))], np.float32)},
        {"a": np.array([-0.0, 1, 2], np.float32)},
        {},
    ],
)
def test_the_checksum_sees_names_dtypes_shapes_and_every_bit(other):
    own = {"a": np.arange(3, dtype=np.float32)}
    assert digests.digest(own) == digests.digest(dict(own))
    assert digests.digest(own) != digests.digest(other)


def test_a_renamed_one_is_refused_by_name(folder):
    for step in (1, 2):
        Checkpoints(folder).save(step, tree(step))
    (folder / "step_000000002").rename(folder / "step_000000009")
    with pytest.raises(CheckpointForeign, match="step_000000009 is that of step 2, renamed"):
        Checkpoints(folder).restore_latest(tree(0))


@pytest.mark.parametrize("other", [{"run": "b"}, {}])
def test_one_of_another_run_is_refused_by_name(folder, tmp_path, other):
    Checkpoints(folder, identity={"run": "a"}).save(1, tree(1))
    Checkpoints(tmp_path / "other", identity=other).save(2, tree(2))
    shutil.copytree(tmp_path / "other" / "step_000000002", folder / "step_000000002")
    own = Checkpoints(folder, identity={"run": "a"})
    unknown = other.get("run", "unknown")
    with pytest.raises(CheckpointForeign, match=f"step_000000002 is of run {unknown}, .* run a"):
        own.restore_latest(tree(0))
    assert Checkpoints(folder).restore_latest(tree(0)).step == 2  # nothing is demanded
    shutil.rmtree(folder / "step_000000002")
    assert own.restore_latest(tree(0)).step == 1


def test_all_damaged_is_an_error_not_a_fresh_start(folder):
    Checkpoints(folder).save(1, tree(1))
    damage_data(folder, 1, truncate)
    with pytest.raises(CheckpointDamaged, match=r"steps \[1\] are damaged"):
        Checkpoints(folder).restore_latest(tree())


def test_what_a_kill_leaves_behind_is_ignored_and_swept(folder):
    checkpoints = Checkpoints(folder)
    checkpoints.save(1, tree(1))
    whole = folder / "step_000000001"
    for left in ("step_000000002.orbax-checkpoint-tmp", "deleted_step_000000000"):
        shutil.copytree(whole, folder / left)
    assert checkpoints.steps() == [1]
    checkpoints.save(3, tree(3))
    assert sorted(path.name for path in folder.iterdir()) == ["step_000000001", "step_000000003"]


def test_the_average_is_numpys(folder):
    checkpoints = Checkpoints(folder, keep_last=3)
    for step in (1, 2, 4):
        checkpoints.save(step, tree(step))
    got = checkpoints.average(
        [1, 2, 4], {"params": tree()["params"], "counters": tree()["counters"]}
    )
    parts = [tree(step)["params"] for step in (1, 2, 4)]
    for index in (0, 1):
        kernels = [np.asarray(p["layers"][index]["kernel"], np.float64) for p in parts]
        mean = got["params"]["layers"][index]["kernel"]
        want = np.mean(kernels, axis=0).astype(mean.dtype)
        np.testing.assert_array_equal(mean, want)
    assert float(got["params"]["scale"]) == np.float32(7 / 3)
    assert got["counters"]["step"] == 4


def test_later_ones_can_be_deleted(folder):
    checkpoints = Checkpoints(folder, keep_last=3)
    for step in (1, 2, 3):
        checkpoints.save(step, tree(step))
    checkpoints.delete_after(1)
    assert Checkpoints(folder, keep_last=3).steps() == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": jnp.zeros(2)}, r"at \['scale'\].*has float32\[\], the model float32\[2\]"),
        ({"scale": jnp.int32(0)}, r"at \['scale'\].*has float32\[\], the model int32\[\]"),
        ({"more": jnp.zeros(2)}, r"at \['more'\].*has nothing, the model float32\[2\]"),
        ({"layers": []}, r"at \['layers'\]\[0\]\['kernel'\].*\[16, 8\], the model nothing"),
    ],
)
def test_another_model_is_named_by_its_first_difference(folder, change, message):
    Checkpoints(folder).save(1, tree(1))
    with pytest.raises(ValueError, match=message):
        Checkpoints(folder).restore_latest({"params": {**tree()["params"], **change}})


def test_wrong_arguments_are_named(folder):
    with pytest.raises(ValueError, match="`keep_last` must be at least 1; got 0"):
        Checkpoints(folder, keep_last=0)
    with pytest.raises(FileNotFoundError, match=r"must be one of \[\].*got 5"):
        Checkpoints(folder).restore(5, tree())
    with pytest.raises(ValueError, match="at least one checkpoint; got none"):
        Checkpoints(folder).average([], tree())
    Checkpoints(folder).save(1, tree(1))
    with pytest.raises(ValueError, match="'other' was not"):
        Checkpoints(folder).restore(1, {"other": jnp.zeros(1)})
