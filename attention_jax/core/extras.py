"""Optional dependencies: a missing package is named with the command that installs it.

with needed("train"):
    import tokenizers

Core, engine, variants, nn and models import none of them.
"""

import sys
from pathlib import Path
from types import TracebackType


class needed:  # lower case: it reads as a statement
    """Context of an import that an extra of `setup.cfg` brings.

    Args:
      extra: name of the extra, as in `pip install "attention_jax[train]"`.

    Raises:
      ModuleNotFoundError: a package is not installed; the error names the command that installs it.
    """

    def __init__(self, extra: str) -> None:
        self.extra = extra

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, ModuleNotFoundError) or error.name is None:
            return
        package = error.name.split(".")[0]
        if package != __name__.split(".")[0]:
            raise ModuleNotFoundError(message(package, self.extra), name=package) from error


def message(package: str, extra: str) -> str:
    """One line that names the missing package and the command that installs it.

    In the environment that the scripts of a checkout make, which may have no pip, that is theirs.
    """
    checkout = Path(__file__).parents[2]
    script = checkout / "scripts" / "demo"
    if Path(sys.prefix).parent == checkout and script.is_file():
        command = f"EXTRAS={extra} {script} --list"
    else:
        command = f'pip install "attention_jax[{extra}]"'
    return f"{package} is not installed. Install it with: {command}"
