"""One page of all variants that needs nothing but itself: text, pictures, a filter."""

import base64
import html
import re
import textwrap
from collections.abc import Iterable

from attention_jax.analysis.plots import variant_patterns
from attention_jax.analysis.variant_info import Entry

_STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #ffffff; --ink: #1c2128;
  --faint: #59636e; --line: #d5dae1; --tag: #e8eef7; --link: #0b57b5; }
@media (prefers-color-scheme: dark) { :root { --ground: #0f1216; --card: #191d23; --ink: #e4e8ed;
  --faint: #a0a9b4; --line: #333b45; --tag: #26303d; --link: #85b7ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(.75rem, 3vw, 2.5rem) 3rem; max-width: 110rem;
  background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; }
header p { max-width: 46rem; margin: .5rem 0; color: var(--faint); }
form { position: sticky; top: 0; z-index: 1; padding: .75rem 0; background: var(--ground);
  display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; }
input { flex: 1 1 14rem; max-width: 28rem; padding: .5rem .7rem; font: inherit; color: inherit;
  background: var(--card); border: 1px solid var(--faint); border-radius: .4rem; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 1px; }
output { color: var(--faint); }
main { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); }
article { padding: 1rem 1.1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem; scroll-margin-top: 5rem; overflow-wrap: anywhere; }
article[hidden] { display: none; }
h2 { margin: 0; font: 600 1.1rem/1.4 ui-monospace, monospace; }
h2 a { color: inherit; text-decoration: none; }
h2 a:hover { text-decoration: underline; }
article p { margin: .4rem 0; }
pre { margin: .6rem 0; padding: .5rem .6rem; white-space: pre-wrap; overflow-wrap: anywhere;
  background: var(--ground); border-radius: .4rem; font: .8rem/1.45 ui-monospace, monospace; }
pre span { display: block; padding-left: 2ch; text-indent: -2ch; }
code { font: .9em ui-monospace, monospace; }
figure { margin: .5rem 0; }
figcaption { display: flex; justify-content: space-between; color: var(--faint);
  font-size: .8rem; }
figcaption span:last-child { width: 48.1%; }
img { display: block; width: 100%; height: auto; image-rendering: pixelated; }
ul { display: flex; flex-wrap: wrap; gap: .3rem; margin: .6rem 0; padding: 0; list-style: none; }
li { padding: .1rem .5rem; background: var(--tag); border-radius: 1rem; font-size: .8rem; }
small { display: block; color: var(--faint); font-size: .85rem; }
details p { font-size: .9rem; }
summary { cursor: pointer; color: var(--faint); font-size: .85rem; }
a { color: var(--link); }
"""

_SCRIPT = """
const box = document.querySelector("input"), count = document.querySelector("output");
const cards = [...document.querySelectorAll("article")];
const texts = cards.map(card => card.textContent.toLowerCase());
function filter() {
  const words = box.value.toLowerCase().split(/\\s+/).filter(word => word);
  let shown = 0;
  cards.forEach((card, number) => {
    card.hidden = !words.every(word => texts[number].includes(word));
    shown += !card.hidden;
  });
  count.value = shown ? `${shown} of ${cards.length} variants` : "No variant has all these words.";
}
box.addEventListener("input", filter);
document.querySelector("form").addEventListener("submit", event => event.preventDefault());
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && event.target === box) { box.value = ""; filter(); }
});
filter();
"""

_INTRODUCTION = """Each variant with the equation of its paper, what it supports, and where it
looks. In a picture rows are queries and columns are keys: on the left all queries and keys are
alike, so that only the mechanism's own preference shows; on the right they are random. Of four
heads the first and the last are drawn. Each row is relative to its largest weight: the stronger the
colour, the larger; orange is below 0, and grey is 0. Parameters are as they start."""


def page(entries: Iterable[Entry], patterns: dict[str, variant_patterns.Patterns | str]) -> str:
    """The HTML of all entries.

    Args:
      patterns: by name; or why there are none.
    """
    cards = "\n".join(_card(entry, patterns[entry.name]) for entry in entries)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Attention variants of attention_jax</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>Attention variants</h1>
<p>{_INTRODUCTION}</p>
</header>
<form role="search">
<label for="filter">Filter</label>
<input id="filter" type="search" placeholder="such as causal window" autocomplete="off">
<output for="filter" aria-live="polite"></output>
</form>
<main>
{cards}
</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _card(entry: Entry, found: variant_patterns.Patterns | str) -> str:
    tags = "".join(f"<li>{_text(tag)}</li>" for tag in [entry.family, *entry.supports])
    equation = _lines(entry.equation) if entry.equation else ""
    remarks = "".join(
        _lines(textwrap.dedent(remark)) if remark[:1] == " " else f"<p>{_linked(remark)}</p>"
        for remark in entry.remarks
    )
    more = f"<details><summary>More</summary>{remarks}</details>" if remarks else ""
    return f"""<article id="{entry.name}">
<h2><a href="#{entry.name}">{entry.name}</a></h2>
<p>{_text(entry.claim)}</p>
{equation}
{_figures(entry.name, found)}
<ul aria-label="Supports">{tags}</ul>
<small>Cost: {_text(entry.cost)}</small>
<small>Reference: {_linked(entry.reference)}</small>
{more}
</article>"""


def _figures(name: str, found: variant_patterns.Patterns | str) -> str:
    if isinstance(found, str):
        return f"<small>No picture: {_text(found)}</small>"
    figures = []
    for way, pattern in found.weights.items():
        png = base64.b64encode(variant_patterns.thumbnail(pattern)).decode()
        image = f"data:image/png;base64,{png}"
        alt = (
            f"Attention weights of {name}, {way}, over {variant_patterns.caption(found)}: two "
            "heads with equal scores, then the same two with random scores."
        )
        figures.append(
            f"<figure><figcaption><span>{way}, equal scores</span><span>random scores</span>"
            f'</figcaption><img alt="{html.escape(alt)}" src="{image}"></figure>'
        )
    note = variant_patterns.caption(found)
    return "".join(figures) + f"<small>{_text(note)}</small>"


def _lines(formula: str) -> str:
    """A formula, each line with a hanging indent where it has to break."""
    return f"<pre>{''.join(f'<span>{_text(line)}</span>' for line in formula.splitlines())}</pre>"


def _text(words: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(words))


def _linked(words: str) -> str:
    """Text with links to the papers and pages that it names."""
    text = _text(words)
    text = re.sub(r"(https?://[^\s,;]+?)(?=[.,;]?(?:\s|$))", r'<a href="\1">\1</a>', text)
    identifier = r"arXiv:(\d{4}\.\d{4,5}|[a-z-]+/\d{7})"
    return re.sub(identifier, r'<a href="https://arxiv.org/abs/\1">arXiv:\1</a>', text)
