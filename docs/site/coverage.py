"""Every public name has a place in the site, or the build fails."""

from collections.abc import Container

from sphinx.application import Sphinx
from sphinx.util import logging

from docs.site import names

_LOGGER = logging.getLogger(__name__)


def missing(documented: Container[str]) -> list[str]:
    """Public names of the library that are not among the documented ones."""
    return sorted(name for name, place in names.public_names().items() if place not in documented)


def _check(app: Sphinx, env: object) -> None:
    del env
    if app.config.site_is_whole:
        for name in missing(app.env.domaindata["py"]["objects"]):
            _LOGGER.warning("%s is public and has no page", name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the check with Sphinx."""
    app.add_config_value("site_is_whole", True, "")
    app.connect("env-updated", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
