"""HTML pages: each is one file that needs no network.

    html = pages.render(Path(__file__).with_name("report.html"), title="Report", rows=rows)

A template extends `page.html`, fills its blocks `style`, `body` and `script`, and embeds files that
stand beside it; `base.css` is the palette and the typography of all pages. Values are escaped.
"""

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attention_jax.core import lazy
from attention_jax.core.extras import needed
from attention_jax.core.plain_types import typed_calls

with needed("plots"):
    import jinja2
    from markupsafe import Markup, escape

__getattr__, __dir__ = lazy.submodules(__name__, __path__)

_FOLDER = Path(__file__).parent
_HALVES = re.compile("[\ud800-\udfff]")  # of characters, which no file can hold
_URL = re.compile(r"(https?://[^\s,;]+?)(?=[.,;]?(?:\s|$))")
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5}|[a-z-]+/\d{7})")


@typed_calls
def render(template: Path, **data: Any) -> str:
    """The page that a template makes of `data`.

    Besides Jinja's own, a template has the function `embed("file.css")`, the text of a file as it
    stands, and the filters `data_uri`, `code` and `links`, which are the functions of this module.

    Args:
      template: the file; others that it names are looked for in its folder, then in this one.
      data: its variables; one that it uses and does not get is an error.
    """
    template = Path(template)
    if not template.is_file():
        raise FileNotFoundError(f"`template` must name a file; {template} does not exist.")
    folders = (template.parent, _FOLDER)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"data_uri": data_uri, "code": code, "links": links}
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "allow_nan": False}
    page = environment.get_template(template.name).render(data, embed=_embedder(folders))
    return _HALVES.sub("\ufffd", page)


@typed_calls
def data_uri(png: bytes) -> str:
    """The address of an image that stands in the page itself.

    >>> data_uri(b"PNG")
    'data:image/png;base64,UE5H'
    """
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


@typed_calls
def code(text: str) -> Markup:
    """Escaped text, in which `` `words` `` are code.

    >>> print(code("`q` < k"))
    <code>q</code> &lt; k
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


@typed_calls
def links(text: str) -> Markup:
    """`code`, with links to the addresses and arXiv papers that the text names."""
    linked = _URL.sub(r'<a href="\1">\1</a>', str(code(text)))
    return Markup(_ARXIV.sub(r'<a href="https://arxiv.org/abs/\1">arXiv:\1</a>', linked))


def _embedder(folders: tuple[Path, ...]) -> Callable[[str], Markup]:
    def embed(name: str) -> Markup:
        file = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if file is None:
            raise FileNotFoundError(f"`embed` found no {name} in {', '.join(map(str, folders))}.")
        return Markup(file.read_text(encoding="utf-8"))

    return embed
