"""Models written as another library reads them: the tables of names backwards."""

import json
import os
import shutil
from os import PathLike
from pathlib import Path

from attention_jax.core.extras import needed
from attention_jax.core.plain_types import typed_calls
from attention_jax.data.types import BOS
from attention_jax.models.seq2seq import Seq2SeqConfig
from attention_jax.pretrained import table
from attention_jax.pretrained.loading import Pretrained, ordered
from attention_jax.pretrained.sources import CONFIG
from attention_jax.pretrained.tensors import WHOLE
from attention_jax.pretrained.types import Described, replaced

SPECIAL = ("pad_token_id", "bos_token_id", "eos_token_id")
START = "decoder_start_token_id"


@typed_calls
def save(loaded: Pretrained, path: str | PathLike[str]) -> None:
    """Writes a model as its family has it: config.json, model.safetensors and its tokenizer.

    What its config.json said before it still says, where our configuration does not say otherwise.

    Args:
      loaded: the model; `loaded._replace(params=...)` for trained ones.
      path: a folder, which must not exist, or be empty.

    Raises:
      FileExistsError: the folder holds something.
      ValueError: the family has no word for a choice of the configuration.
    """
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"`path` must be a new folder, or an empty one; {folder} is neither. Give another."
        )
    with needed("pretrained"):
        from safetensors.numpy import save_file
    family, order = loaded.family, loaded.order
    settings = _settings(loaded)
    found = table.write(ordered(family.rules(loaded.config), family, order), loaded.params)
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}.unfinished")
    unfinished.mkdir(parents=True)
    try:
        named = {family.full_name(name): x for name, x in found.items()}
        save_file(named, unfinished / WHOLE, metadata={"format": "pt"})
        text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
        (unfinished / CONFIG).write_text(text, encoding="utf-8")
        if loaded.tokenizer is not None:
            for name, content in loaded.tokenizer.files.items():
                (unfinished / name).write_bytes(content)
        if folder.exists():
            folder.rmdir()
        unfinished.replace(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _settings(loaded: Pretrained) -> Described:
    """The content of config.json: special tokens, what it said before, what ours says."""
    if loaded.order is None:
        return loaded.settings | loaded.family.described(loaded.config)
    own = replaced(loaded.config, vocabulary_size=loaded.order.size)
    ids = dict(zip(SPECIAL, loaded.order.theirs, strict=False))
    if isinstance(own, Seq2SeqConfig):
        ids[START] = loaded.order.theirs[BOS]
    return ids | loaded.settings | loaded.family.described(own)
