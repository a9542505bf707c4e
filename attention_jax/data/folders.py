"""Files of a folder of data: which are a person's own, and which were not used, by their kinds."""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from attention_jax.core.plain_types import typed_calls

# What archives and file managers leave beside data.
_SYSTEM = ("__MACOSX", "Thumbs.db", "desktop.ini")


def is_hidden(path: Path, root: Path) -> bool:
    """True for a hidden or system file or folder, and for all that such a folder holds.

    >>> is_hidden(Path("data/__MACOSX/a/._0.wav"), Path("data"))
    True
    >>> is_hidden(Path(".cache/data/a/0.wav"), Path(".cache/data"))
    False
    """
    return any(part.startswith(".") or part in _SYSTEM for part in path.relative_to(root).parts)


@typed_calls
def unused(root: Path, used: Collection[Path], *, beside: Collection[str] = ()) -> dict[str, int]:
    """Numbers of the files under a folder that were not used, by their kind.

    Args:
      root: the folder.
      used: the files that were.
      beside: suffixes that were looked for, so that one of them was at another depth.
    """
    root, known, found = Path(root), set(used), Counter()
    for path in root.rglob("*"):
        if not path.is_file() or path in known:
            continue
        suffix = path.suffix.lower()
        if is_hidden(path, root):
            found["hidden"] += 1
        elif suffix in beside:
            found[f"{suffix} in {path.parent.relative_to(root).as_posix()}/"] += 1
        else:
            found[suffix or "without a suffix"] += 1
    return dict(sorted(found.items()))


@typed_calls
def in_words(counts: Mapping[str, int]) -> str:
    """Kinds and their numbers, the most frequent first; of many kinds the first six.

    >>> in_words({".txt": 2, "hidden": 1})
    '2 .txt, 1 hidden'
    """
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in order[6:])
    more = [f"{rest} of other kinds"] if rest else []
    return ", ".join([*(f"{count:,} {kind}" for kind, count in order[:6]), *more])
