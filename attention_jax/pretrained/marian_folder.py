"""Folders of Marian, which have no config.json: a model that says what it is, and its vocabulary.

model.enpt.intgemm.alphas.bin, vocab.enpt.spm     as Bergamot's students come
"""

from pathlib import Path

from attention_jax.core import checks
from attention_jax.pretrained import tensors, tensors_marian
from attention_jax.pretrained.tensors import Tensors
from attention_jax.pretrained.types import Settings

_BIAS, _TABLE = "decoder_ff_logit_out_b", "Wemb"


def opened(folder: Path) -> tuple[Settings, Tensors] | None:
    """The settings and tensors of a folder's model; None where there is no such model.

    Raises:
      ValueError: there are several, or the file is damaged, or says nothing.
    """
    found = _models(folder)
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(
            f"`path` must hold one model of Marian; {folder} has "
            f"{checks.said([x.name for x in found])}. Move the others away."
        )
    content, said = tensors_marian.read(found[0])
    if not said:
        raise ValueError(
            f"{found[0]} must say what its model is, in {tensors_marian.SETTINGS}; it does not. "
            "Convert it with Marian's `marian-conv` from the .npz of training."
        )
    table = _BIAS if _BIAS in content.names else _TABLE
    if table not in content.names:
        raise ValueError(f"{found[0]} must hold {_TABLE}, a vector of each token; it has none.")
    numbers = content.read(table)
    size = numbers.shape[-1] if table == _BIAS else len(numbers)
    values = {"model_type": "bergamot", **said, "vocab_size": str(size)}
    return Settings(values, str(found[0])), content


def _models(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(x for x in folder.iterdir() if _is_model(x))


def _is_model(path: Path) -> bool:
    if path.suffix == ".npz":
        return tensors_marian.SETTINGS in tensors.opened(path).names
    return path.suffix == ".bin" and tensors_marian.is_marian(path)
