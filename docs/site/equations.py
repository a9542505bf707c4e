r"""LaTeX of the equations that stand in docstrings as plain text.

    latex("score = q . k / sqrt(d)")      \mathrm{score} &= \frac{q\cdot k}{\sqrt{d}}

The notation is that of the docstrings: `_` and `^` for indices and powers, `.` with spaces for the
scalar product, `*` for the product of channels, `x[i, j]` for an entry, two spaces or more between
equations of one line. Nothing is guessed: a character that the notation lacks is an error.
"""

import re
from typing import NamedTuple

GREEK = "alpha beta gamma delta eta theta lambda mu xi pi rho sigma tau phi psi".split()
NAMED = {**{name: rf"\{name}" for name in GREEK}, "sum": r"\sum", "prod": r"\prod"}
NAMED |= {name: rf"\{name}" for name in ("exp", "log", "sin", "cos", "tanh", "max", "min")}
NAMED |= {"argmax": r"\mathrm{arg\,max}", "argmin": r"\mathrm{arg\,min}"}
NAMED |= {"mod": r"\bmod"}
SIGNS = {
    ".": r"\cdot ",
    "*": r"\odot ",
    "<=": r"\le ",
    ">=": r"\ge ",
    "<-": r"\leftarrow ",
    "..": r"\ldots ",
    "...": r"\cdots ",
    "{": r"\{",
    "}": r"\}",
    "|": r"\vert ",
}
RELATIONS = {"=", "<-", "<=", ">=", "<", ">"}
# What ends the numerator or denominator of a fraction.
LOOSER = RELATIONS | {"+", "-", ",", ";", ":", "(", "[", "|", "gap", "words"}
TOKEN = re.compile(
    r"(?P<gap> {2,})|(?P<space> )|(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)"
    r"|(?P<name>[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*(?:'s\b|'|~)?)|(?P<code>`[^`]*`)|(?P<quoted>\"\w+\")"
    r"|(?P<sign>\.\.\.|\.\.|<=|>=|<-|[-+*/=<>|.,;:()\[\]{}^_'])"
)


class Token(NamedTuple):
    """A piece of an equation: `kind` is a group of `TOKEN` or "done"; `tex` where it is typeset."""

    kind: str
    text: str
    tex: str = ""

    @property
    def role(self) -> str:
        """What it does in a fraction: a sign is itself."""
        return self.text if self.kind == "sign" else self.kind


def latex(equation: str) -> str:
    """The equation as rows of an `align*` environment, aligned at the first relation of each."""
    rows = [_row(line) for line in equation.splitlines()]
    return "\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}"


def _row(line: str) -> str:
    tokens = _tokens(line.strip())
    if line.startswith(" "):  # goes on from the line before
        return rf"&\qquad {_typeset(tokens)}"
    for place, token in enumerate(tokens):
        if token.role in RELATIONS:
            return f"{_typeset(tokens[:place])} &{_typeset(tokens[place:])}"
        if token.kind == "gap":
            break
    return f"& {_typeset(tokens)}"


def _tokens(text: str) -> list[Token]:
    found, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"an equation has no {text[at]!r}; got {text!r}")
        found.append(Token(match.lastgroup or "", match.group()))
        at = match.end()
    return found


def _typeset(tokens: list[Token], fractions: bool = True) -> str:
    """LaTeX of a run of tokens; within indices and powers, fractions stay on the line."""
    done = _with_indices(tokens)
    if fractions:
        done = _with_fractions(done)
    else:  # an index is small
        done = [x._replace(tex=",") if x.role == "," else x for x in done]
    return "".join(map(_spaced, [None, *done[:-1]], done))


def _spaced(before: Token | None, token: Token) -> str:
    """A token's LaTeX, apart from the one before where both are words."""
    first = before.kind if before else ""
    opens, ends = token.kind == "atom" or token.role == "(", first == "atom"
    ends = ends or (before is not None and before.role in (")", "]", "|"))
    apart = (first == "words" and (opens or token.kind == "words")) or (
        token.kind == "words" and ends
    )
    # A command ends where no letter follows.
    runs_on = before and re.search(r"\\[A-Za-z]+$", before.tex) and token.tex[:1].isalpha()
    return (r"\ " if apart else " " if runs_on else "") + token.tex


def _with_indices(tokens: list[Token]) -> list[Token]:
    """Tokens that are typeset: names have their indices and powers, roots their content."""
    found: list[Token] = []
    rest = list(tokens)
    while rest:
        token = rest.pop(0)
        if token.kind == "space":
            continue
        if token.kind == "gap":
            found.append(Token("gap", token.text, r"\qquad "))
        elif token.kind == "name":
            found.append(_name(token.text, rest))
        elif token.kind in ("code", "quoted"):
            code = _escaped(token.text.strip("`"))
            found.append(Token("atom", token.text, rf"\texttt{{{code}}}"))
        elif token.kind == "number":
            found.append(Token("atom", token.text, _number(token.text) + _scripts(rest)))
        else:
            found.append(_sign(token, rest))
    return found


def _number(text: str) -> str:
    digits, _, power = text.partition("e")
    if not power:
        return digits
    return ("" if digits == "1" else rf"{digits}\cdot ") + f"10^{{{power}}}"


def _sign(token: Token, rest: list[Token]) -> Token:
    text = token.text
    if text in ")]|" and rest and rest[0].text in ("^", "_"):
        return Token("sign", text, SIGNS.get(text, text) + _scripts(rest))
    if text == "." and (not rest or rest[0].text == ")"):  # stands for the argument
        return Token("atom", text, r"\,\cdot\,")
    if text in ",;:":
        return Token("sign", text, rf"{text}\ ")
    if text in ("^", "_"):
        raise ValueError(f"an index or power belongs to a name, number or bracket; got {text!r}")
    return Token("sign", text, SIGNS.get(text, text))


def _name(text: str, rest: list[Token]) -> Token:
    """A name with its index, entry and power; `sqrt` with its content."""
    if text == "sqrt":
        return Token("atom", text, rf"\sqrt{{{_typeset(_group(rest))}}}" + _scripts(rest))
    prime = "'" if text.endswith("'") else ""
    over = text.endswith("~")
    parts = text.rstrip("'~").split("_")
    index = parts.pop() if len(parts) > 1 and _is_index(parts[-1]) else ""
    numbered = re.fullmatch(r"([A-Za-z])(\d+)", "_".join(parts))
    if numbered:  # q1_i is the first of two queries, at i
        parts, index = [numbered[1]], ",".join(filter(None, (numbered[2], index)))
    base = _base("_".join(parts))
    base = rf"\tilde{{{base}}}" if over else base + prime
    entry = bool(rest) and rest[0].text == "["
    scripts = _scripts(rest, index, entry and not index)
    kind = "words" if len("_".join(parts)) > 1 and base not in NAMED.values() else "atom"
    called = bool(rest) and rest[0].text == "("
    return Token("atom" if scripts or called else kind, text, base + scripts)


def _is_index(part: str) -> bool:
    return len(part) <= 2 or part in ("inf",)


def _base(name: str) -> str:
    if name in NAMED:
        return NAMED[name]
    return name if len(name) == 1 else rf"\mathrm{{{_escaped(name)}}}"


def _escaped(text: str) -> str:
    return text.replace("_", r"\_").replace("`", "")


def _scripts(rest: list[Token], index: str = "", entry: bool = False) -> str:
    """Indices and powers that follow, which are taken from `rest`."""
    below, above = [index.replace("inf", r"\infty")] if index else [], []
    if entry:
        below.append(_typeset(_group(rest), fractions=False))
    while rest and rest[0].text in ("^", "_"):
        to = above if rest.pop(0).text == "^" else below
        to.append(_script(rest))
    above = [r"\top" if x == "T" else x for x in above]
    found = f"_{{{','.join(below)}}}" if below else ""
    return found + (f"^{{{','.join(above)}}}" if above else "")


def _script(rest: list[Token]) -> str:
    if rest[0].text in ("(", "{"):
        return _typeset(_group(rest), fractions=False)
    first = rest.pop(0)
    if first.kind == "name" and "_" in first.text:
        return _name(first.text, []).tex
    return _base(first.text) if first.kind == "name" else first.text


def _group(rest: list[Token]) -> list[Token]:
    """The tokens between the brackets that `rest` begins with, which are taken from it."""
    depth, found = 0, []
    while rest:
        token = rest.pop(0)
        found.append(token)
        depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
        if depth == 0:
            return found[1:-1]
    raise ValueError(f"a bracket is open: {''.join(x.text for x in found)!r}")


def _with_fractions(tokens: list[Token]) -> list[Token]:
    """The tokens, with `a b / c` as a fraction where what stands above and below is plain."""
    place = next((i for i, x in enumerate(tokens) if x.role == "/"), None)
    if place is None:
        return tokens
    start = place - _reach(tokens[:place][::-1], ")", "(")
    end = place + 1 + _below(tokens[place + 1 :])
    above, below = _bare(tokens[start:place]), _bare(tokens[place + 1 : end])
    if not above or not below:
        slash = Token("slash", "/", "/")
        return _with_fractions([*tokens[:place], slash, *tokens[place + 1 :]])
    parts = ["".join(map(_spaced, [None, *x[:-1]], _with_fractions(x))) for x in (above, below)]
    fraction = Token("atom", "fraction", r"\frac{{{}}}{{{}}}".format(*parts))
    return _with_fractions([*tokens[:start], fraction, *tokens[end:]])


def _reach(tokens: list[Token], opens: str, closes: str) -> int:
    """How many tokens a product spans, up to a looser sign outside all brackets."""
    depth = bars = 0
    for count, token in enumerate(tokens):
        if token.role in (opens, "]" if opens == ")" else "["):
            depth += 1
        elif token.role in (closes, "[" if opens == ")" else "]"):
            depth -= 1
            if depth < 0:
                return count
        elif token.role == "|" and depth == 0:
            bars += 1
        elif depth == 0 and bars % 2 == 0 and token.role in LOOSER:
            return count
    return len(tokens)


def _below(tokens: list[Token]) -> int:
    """How many tokens stand under the line: one factor, or a sum or product with its terms."""
    whole = _reach(tokens, "(", ")")
    if not tokens:
        return 0
    if tokens[0].tex.startswith((r"\sum", r"\prod")):
        return whole
    if tokens[0].role in ("(", "|"):
        depth = bars = 0
        for count, token in enumerate(tokens[:whole]):
            depth += (token.role == "(") - (token.role == ")")
            bars += token.role == "|"
            if depth == 0 and bars % 2 == 0:
                return count + 1
    return min(1, whole)


def _bare(tokens: list[Token]) -> list[Token]:
    """The tokens without brackets around all of them."""
    if len(tokens) < 2 or tokens[0].role != "(" or tokens[-1].tex != ")":
        return tokens
    depth = 0
    for count, token in enumerate(tokens):
        depth += (token.role == "(") - (token.role == ")")
        if depth == 0:
            return tokens[1:-1] if count == len(tokens) - 1 else tokens
    return tokens
