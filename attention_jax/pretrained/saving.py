"""Models written as another library reads them: the tables of names backwards."""

import json
import os
import shutil
from os import PathLike
from pathlib import Path

from attention_jax.core.extras import needed
from attention_jax.core.plain_types import typed_calls
from attention_jax.pretrained import table
from attention_jax.pretrained.loading import Pretrained, ordered
from attention_jax.pretrained.sources import CONFIG
from attention_jax.pretrained.tensors import WHOLE
from attention_jax.pretrained.types import replaced


@typed_calls
def save(loaded: Pretrained, path: str | PathLike[str]) -> None:
    """Writes a model as its family has it: config.json and model.safetensors.

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
    own = loaded.config
    if order is not None:
        own = replaced(own, vocabulary_size=order.size)
    settings = loaded.settings | family.described(own)
    found = table.write(ordered(family.rules(loaded.config), family, order), loaded.params)
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}.unfinished")
    unfinished.mkdir(parents=True)
    try:
        named = {family.full_name(name): x for name, x in found.items()}
        save_file(named, unfinished / WHOLE, metadata={"format": "pt"})
        text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
        (unfinished / CONFIG).write_text(text, encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        unfinished.replace(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
