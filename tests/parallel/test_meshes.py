"""Training on 8 devices of the host is training on one, whatever the mesh divides."""

import re

import pytest

from tests.support import shared_programs

MESHES = ("data=8", "fsdp=8", "data=4,tensor=2", "data=2,fsdp=2,tensor=2")
MODELS = {
    "transformer": ["translation", []],
    "seq2seq rnn": ["translation", ["--model=rnn", "--attention=additive"]],
    "language": ["language", []],
    "language rnn": ["language", ["--model=rnn", "--attention=none"]],
    "images": ["images", []],
    "image rnn": ["images", ["--model=rnn"]],
    "image cnn": ["images", ["--model=cnn"]],
    "speech": ["speech", []],
    "joint speech transformer": ["speech", ["--loss=joint"]],
    "joint speech": ["speech", ["--loss=joint", "--model=rnn", "--pyramid=0"]],
    "memory": ["memory", []],
    "adding": ["memory", ["--problem=adding"]],
}
LEARNED = {
    "scanned": ["language", ["--scan", "--layers=2"]],
    "remat": ["language", ["--remat"]],
    "slopes": ["language", ["--attention=t5_bias", "--kv_heads=2"]],
    "gated delta": ["language", ["--attention=gated_delta"]],
    "ring": ["language", ["--context_strategy=ring"]],
    "forgetting": ["language", ["--attention=forgetting"]],
    "sink": ["translation", ["--attention=softmax_with_sink"]],
    "muon": ["language", ["--optimizer=muon"]],
    "frozen": ["language", ["--optimizer=muon", "--freeze=embedding", "--freeze=out/kernel"]],
    "accumulated": ["translation", ["--accumulate=2"]],
}
TOLERANCE = 1e-5


def measured(*cases):
    return shared_programs.measured("mesh_cases", list(cases))


def check(names, meshes, models):
    cases = [["errors", *models[name], mesh] for name in names for mesh in meshes]
    for case, found in zip(cases, measured(*cases), strict=True):
        assert max(found) <= TOLERANCE, (case, found)


@pytest.mark.slow
def test_a_transformer_learns_the_same_on_three_axes():
    check(["transformer"], ["data=2,fsdp=2,tensor=2"], MODELS)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_experiment_learns_the_same_on_every_mesh(name):
    check([name], MESHES, MODELS)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNED)
def test_stacks_learned_parts_and_optimizers_too(name):
    check([name], ["fsdp=8", "data=2,fsdp=2,tensor=2"], LEARNED)


@pytest.mark.slow
def test_parameters_that_are_given_lie_on_the_mesh_as_they_are():
    for found in measured(*(["given", *MODELS["language"], mesh] for mesh in MESHES)):
        assert found == {"same": True, "frozen": True, "moved": True}


SEQUENCES = ("transformer", "language", "speech", "joint speech transformer", "memory", "adding")


@pytest.mark.slow
@pytest.mark.parametrize("name", SEQUENCES)
def test_positions_may_be_shared(name):
    meshes = ["data=2,context=4", "fsdp=4,context=2", "fsdp=2,tensor=2,context=2"]
    check([name], meshes, MODELS | LEARNED)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["scanned", "remat", "slopes", "forgetting", "gated delta", "ring"]
)
def test_positions_of_stacks_and_learned_parts_too(name):
    check([name], ["data=2,context=4", "tensor=4,context=2"], LEARNED)


@pytest.mark.slow
def test_shards_of_a_sequence_exchange_keys_values_and_one_sum():
    cases = [["collectives", *MODELS["language"], "data=2,context=4"]]
    cases += [["collectives", *LEARNED["ring"], "data=2,context=4"]]
    gathered, ring = measured(*cases)
    kinds = lambda found: sorted({x.split()[-1] for x in found["found"]})  # noqa: E731
    assert kinds(gathered) == ["all-gather", "all-reduce", "reduce-scatter"]
    assert kinds(ring) == ["all-reduce", "collective-permute"]
    for found in (gathered, ring):
        assert not [x for x in found["looped"] if "permute" not in x]
        # Keys and values alone have four axes: no other activation leaves its device.
        moved = [x for x in found["found"] if "all-reduce" not in x]
        assert all(len(re.findall(r"\d+", x.split("[")[1].split("]")[0])) == 4 for x in moved), (
            moved
        )


@pytest.mark.slow
def test_tensor_alone_drops_the_same_entries():
    check(["dropped"], ["tensor=8"], {"dropped": ["language", ["--dropout=0.3", "--heads=8"]]})


@pytest.mark.slow
def test_shares_of_a_batch_need_each_other_once():
    """No loop holds a collective, and none brings activations together."""
    names = ["transformer", "seq2seq rnn", "language rnn"]
    cases = [["collectives", *MODELS[n], mesh] for n in names for mesh in ("data=8", "fsdp=8")]
    for case, found in zip(cases, measured(*cases), strict=True):
        assert not found["looped"], (case, found)
        gathered = [x for x in found["found"] if "all-gather" in x]
        assert bool(gathered) == (case[-1] == "fsdp=8"), (case, gathered)
        # Parameters have at most two axes here, activations [b t m] three.
        assert all(len(re.findall(r"\d+", x.split("[")[1].split("]")[0])) <= 2 for x in gathered)


@pytest.mark.slow
def test_a_plan_says_what_devices_hold():
    (found,) = measured(["planned", *MODELS["transformer"], "data=2,fsdp=2,tensor=2"])
    assert found["planned"] == found["held"]
    assert "mesh: data=2,fsdp=2,tensor=2 on 8 devices" in found["text"]
    assert "divided fsdpxtensor:" in found["text"] and "whole on every device" in found["text"]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["data=2,fsdp=4>", ">data=4,tensor=2", "fsdp=8>data=8"])
def test_a_run_goes_on_on_another_mesh(way):
    (found,) = measured(["resumed", *MODELS["language"], way])
    assert found["loss"] <= TOLERANCE, found
    assert found["tokens"][0] == found["tokens"][1]
    assert found["metric"][0] == pytest.approx(found["metric"][1], rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data=8", "data=2,fsdp=2,tensor=2"])
def test_decoding_on_a_mesh_finds_the_same(mesh):
    for name in ("transformer", "seq2seq rnn"):
        (found,) = measured(["decoded", *MODELS[name], mesh])
        for one, many in (found[0::2], found[1::2]):
            for own, other in zip(sum(one, []), sum(many, []), strict=True):
                assert own[0] == other[0]
                assert own[1] == pytest.approx(other[1], rel=TOLERANCE, abs=TOLERANCE)
