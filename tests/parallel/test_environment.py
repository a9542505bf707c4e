"""The processes of a run, as launchers name them."""

import pytest

from attention_jax.parallel import distributed, environment

JAX = {"JAX_COORDINATOR_ADDRESS": "a:1234", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "2"}
SLURM = {
    "SLURM_JOB_ID": "8200",
    "SLURM_STEP_NUM_TASKS": "6",
    "SLURM_PROCID": "4",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[03-05]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3)",
}


def test_an_empty_environment_names_none():
    assert environment.peers({}) is None and not environment.jax_finds_them({})
    # `salloc` and `sbatch` set these for the one process that they start.
    assert environment.peers({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4"}) is None


def test_variables_of_jax_are_read():
    assert environment.peers(JAX) == ("a:1234", 4, 2, None)


def test_tasks_of_slurm_meet_at_the_first_host():
    assert environment.peers(SLURM) == ("gpu03:61448", 6, 4, (1,))
    alone = SLURM | {"SLURM_STEP_TASKS_PER_NODE": "1(x6)", "SLURM_STEP_NODELIST": "a,b"}
    assert environment.peers(alone) == ("a:61448", 6, 4, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"JAX_PROCESS_ID": ""}, "`JAX_PROCESS_ID` must be a whole number beside"),
        ({"JAX_NUM_PROCESSES": "two"}, "`JAX_NUM_PROCESSES` must be a whole number"),
        ({"JAX_PROCESS_ID": "4"}, "JAX_PROCESS_ID below JAX_NUM_PROCESSES; got 'a:1234', 4 and 4"),
        ({"JAX_COORDINATOR_ADDRESS": "here"}, "must be host:port"),
    ],
)
def test_half_an_environment_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        environment.peers(JAX | changes)


def test_jax_finds_others_by_itself():
    assert environment.jax_finds_them({"OMPI_COMM_WORLD_SIZE": "2"})
    assert environment.jax_finds_them({"TPU_WORKER_HOSTNAMES": "a,b"})
    assert not environment.jax_finds_them({"TPU_WORKER_HOSTNAMES": "a"})
    assert environment.jax_finds_them({"MEGASCALE_NUM_SLICES": "2"})


def test_whoever_asks_for_others_must_have_some(monkeypatch):
    for name in (*JAX, *SLURM, "OMPI_COMM_WORLD_SIZE", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    distributed.join(asked=False, timeout_seconds=1.0)
    with pytest.raises(ValueError, match="`--distributed` needs an environment that names") as e:
        distributed.join(asked=True, timeout_seconds=1.0)
    assert "\n" not in str(e.value)
