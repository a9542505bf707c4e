"""Prints the oldest versions that setup.cfg allows, as constraints for pip.

python scripts/_oldest.py > oldest.txt

Of a requirement without a lowest version any is allowed, and none is printed.
"""

import configparser
from collections.abc import Iterator
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

SETTINGS = Path(__file__).parents[1] / "setup.cfg"


def oldest(settings: Path = SETTINGS) -> list[str]:
    """The lines `name==version`, sorted, of all requirements that hold for this Python."""
    found = filter(None, map(_lowest, _requirements(settings)))
    return sorted(set(found))


def _requirements(settings: Path) -> Iterator[Requirement]:
    parser = configparser.ConfigParser()
    parser.read(settings)
    groups = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    for line in "\n".join(groups).splitlines():
        if line.strip():
            yield Requirement(line)


def _lowest(requirement: Requirement) -> str | None:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return None
    bounds = [each.version for each in requirement.specifier if each.operator in (">=", "==")]
    return f"{requirement.name}=={bounds[0]}" if bounds else None


if __name__ == "__main__":
    print("\n".join(oldest()))
