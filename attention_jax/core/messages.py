"""Messages in the reader's language, of the catalogs in `attention_jax/core/locales`.

    said("translating {count} sentences of {name} ...").format(count=3, name="test")

The language is that of ATTENTION_JAX_LANGUAGE; or of LC_ALL, LC_MESSAGES or LANG, as the system has
it. A message without a translation is English.
"""

import functools
import gettext
import os
import re
from pathlib import Path

from attention_jax.core.plain_types import typed_calls

LOCALES = Path(__file__).parent / "locales"
VARIABLES = ("ATTENTION_JAX_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")


@typed_calls
def said(message: str) -> str:
    """The message in the reader's language; names in braces stay, to be filled in.

    >>> said("a message that no catalog has")
    'a message that no catalog has'
    """
    return _catalog(language()).gettext(message) if message else message


def language() -> str:
    """The reader's language: "es", or another as the environment names it, "en" by default."""
    given = next(filter(None, map(os.environ.get, VARIABLES)), "en")
    return re.split(r"[_.@:-]", given)[0].lower()


@functools.cache
def _catalog(name: str) -> gettext.NullTranslations:
    return gettext.translation("attention_jax", LOCALES, [name], fallback=True)
