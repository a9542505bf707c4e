"""Models that installed packages carry: found by name and part, nothing of theirs imported."""

import sys

import pytest

from attention_jax.pretrained.packages import located


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Installs a package of files, each empty, whose code ends the program."""

    def install(name: str, *files: str):
        listed = []
        for file in (f"{name}/__init__.py", *files):
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("raise SystemExit\n")
            listed.append(f"{file},,")
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text("\n".join(listed) + "\n")
        monkeypatch.syspath_prepend(tmp_path)
        return tmp_path

    return install


def test_the_one_model_of_a_package_is_found(site):
    root = site("words_carried", "words_carried/x/config.json", "words_carried/x/model.safetensors")
    assert located("words-carried") == root / "words_carried" / "x"
    assert "words_carried" not in sys.modules


def test_several_are_told_apart_by_a_part_of_their_names(site):
    root = site(
        "two_ways",
        "two_ways/models/enpt-1/model.bin",
        "two_ways/models/enpt-1/vocab.spm",
        "two_ways/models/pten-1/model.bin",
        "two_ways/models/pten-1/vocab.spm",
        "two_ways/small.gguf",
    )
    assert located("two_ways:enpt") == root / "two_ways" / "models" / "enpt-1"
    assert located("two-ways:small") == root / "two_ways" / "small.gguf"
    for asked in ("two_ways", "two_ways:deen"):
        with pytest.raises(ValueError, match="which has enpt-1, pten-1, small.gguf; got") as caught:
            located(asked)
        assert "\n" not in str(caught.value)


def test_a_package_without_a_model_says_so(site):
    site("nothing_carried", "nothing_carried/words.bin")
    with pytest.raises(ValueError, match="which has none that can be read"):
        located("nothing-carried")


def test_paths_stay_what_they_are(tmp_path):
    assert located(tmp_path) == tmp_path
    assert located(str(tmp_path)) == tmp_path
    assert str(located("no/such/folder")) == "no/such/folder"
