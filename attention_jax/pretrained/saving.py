"""Models written as another library reads them: the tables of names backwards."""

import json
from os import PathLike
from pathlib import Path

from attention_jax.core.extras import needed
from attention_jax.core.files import require_empty, whole_folder
from attention_jax.core.plain_types import typed_calls
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import BOS
from attention_jax.models.seq2seq import Seq2SeqConfig
from attention_jax.pretrained import table
from attention_jax.pretrained.loading import Pretrained, ordered
from attention_jax.pretrained.sources import CONFIG
from attention_jax.pretrained.tensors import WHOLE
from attention_jax.pretrained.types import Described, replaced
from attention_jax.pretrained.vocabulary import Order

ROLES = ("pad_token", "bos_token", "eos_token", "unk_token")
SPECIAL = ("pad_token_id", "bos_token_id", "eos_token_id")
START = "decoder_start_token_id"


@typed_calls
def save(loaded: Pretrained, path: str | PathLike[str]) -> None:
    """Writes a model as its family has it: config.json, model.safetensors and its tokenizer.

    What its config.json said before it still says, where our configuration does not say otherwise;
    so do the files beside it.

    Args:
      loaded: the model; `loaded._replace(params=...)` for trained ones.
      path: a folder, which must not exist, or be empty.

    Raises:
      ValueError: the folder holds something, or the family has no word for a choice of the
        configuration.
    """
    require_empty("path", path)
    with needed("pretrained"):
        from safetensors.numpy import save_file
    family, order = loaded.family, loaded.order
    settings = _settings(loaded)
    found = table.write(ordered(family.rules(loaded.config), family, order), loaded.params)
    with whole_folder(path) as folder:
        named = {family.full_name(name): x for name, x in found.items()}
        save_file(named, folder / WHOLE, metadata={"format": "pt"})
        for name, said in {CONFIG: settings, **loaded.beside}.items():
            _write_json(folder / name, said)
        if loaded.tokenizer is not None:
            _write_tokenizer(loaded.tokenizer, loaded.order, folder)


def _write_tokenizer(tokenizer: Tokenizer, order: Order | None, folder: Path) -> None:
    """Writes a tokenizer, and for `transformers` the names of its special tokens."""
    files = dict(tokenizer.files)
    if not tokenizer.is_given and order is not None:
        files = {name: _in_order(content, order) for name, content in files.items()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    if set(files) == {"tokenizer.json"}:
        names = tokenizer.tokens(range(len(ROLES)))
        said = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        _write_json(folder / "tokenizer_config.json", said | dict(zip(ROLES, names, strict=True)))


def _in_order(content: bytes, order: Order) -> bytes:
    """A tokenizer.json that was learned here, with the ids that its tokens have there."""
    whole = json.loads(content)
    words = whole["model"]["vocab"]
    whole["model"]["vocab"] = {word: order.theirs[i] for word, i in words.items()}
    for token in whole["added_tokens"]:
        token["id"] = order.theirs[token["id"]]
    whole["added_tokens"].sort(key=lambda token: token["id"])
    return json.dumps(whole, ensure_ascii=False).encode()


def _write_json(path: Path, content: Described) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _settings(loaded: Pretrained) -> Described:
    """The content of config.json: special tokens, what it said before, what ours says."""
    if loaded.order is None:
        return loaded.settings | loaded.family.described(loaded.config)
    own = replaced(loaded.config, vocabulary_size=loaded.order.size)
    ids = dict(zip(SPECIAL, loaded.order.theirs, strict=False))
    if isinstance(own, Seq2SeqConfig):
        ids[START] = loaded.order.theirs[BOS]
    said = loaded.family.described(own)
    for name in SPECIAL:
        if name in said and said[name] != ids[name]:
            raise ValueError(
                f"`{name}` of a model must be {said[name]} to be written as {loaded.family.name}; "
                f"got {ids[name]}. Give `order` with `order_of(Special(...), size)`."
            )
    return ids | loaded.settings | said
