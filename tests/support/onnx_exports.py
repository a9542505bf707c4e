"""Which models ONNX can have: each is exported, and tried by ONNX Runtime beside JAX.

    python -P -m tests.support.onnx_exports

prints the table of docs/guides/exporting.md. Each export has a process of its own, since jax2onnx
changes JAX in the one where it converts. With the names of a case, of a kind of model and of sizes
it does that one: `rope language any`.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.export_cases import CASES, MORE, RNNS
from tests.support.paths import ROOT

KINDS = {"language": (*CASES, *MORE), "translator": (*CASES, *RNNS)}
# The freest first: what a later one takes, the ones before take too.
SIZES = {"any": (None, None), "any batch": (None, 6), "fixed": (2, 6)}
KEPT, WITHIN, FAULT = "yes", "yes, as any", "fault"


def ending(case, kind, sizes):
    """How an export ends: `yes`, or why it is refused; a traceback is a fault."""
    command = [sys.executable, "-P", "-m", "tests.support.onnx_exports", case, kind, sizes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    said = done.stdout.strip().splitlines()
    return said[-1] if done.returncode == 0 and said else f"{FAULT}: {done.stderr[-500:]}"


def endings(case, kind):
    """How the exports of a case end; none is tried that a freer one stands for."""
    found = []
    for sizes in SIZES:
        kept = KEPT in found or WITHIN in found
        found.append(WITHIN if kept else ending(case, kind, sizes))
    return found


def one(case, kind, sizes):
    from attention_jax.models.exported import Sizes, load_exported, onnx
    from tests.support import export_cases

    model = getattr(export_cases, kind)(case)
    with tempfile.TemporaryDirectory() as folder:
        try:
            onnx.write(model, Path(folder), Sizes(*SIZES[sizes]), about={})
        except ValueError as error:
            assert not (Path(folder) / "manifest.json").exists()
            return str(error)
        assert set(load_exported(folder).manifest.programs) >= {"start", "step"}
    return KEPT


def shortened(said):
    """The program and the reason of a refusal."""
    program = re.search(r"`(encode|start|step|logits)`", said)
    why = re.search(r"\((.*)\)\. Export|than is known \((.*)\)|(differs from JAX by \S+);?", said)
    reason = next((x for x in why.groups() if x), said) if why else said
    if "[ONNXRuntimeError]" in reason:
        reason = "ONNX Runtime fails"
    reason = re.sub(r" used in a context.*", " is asked for its number", reason)
    return f"`{program[1]}`: {reason[:110]}" if program else reason[:110]


def main():
    print(
        "| attention | model | any batch and length | any batch | fixed sizes |",
        "|---|---|---|---|---|",
        sep="\n",
    )
    for kind, cases in KINDS.items():
        for case in cases:
            found = endings(case, kind)
            cells = [x if x in (KEPT, WITHIN) else shortened(x) for x in found]
            print("|", " | ".join([case, kind, *cells]), "|", flush=True)
            for said in found:
                if said not in (KEPT, WITHIN):
                    print(f"{case}, {kind}: {said}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(one(*sys.argv[1:]))
    else:
        main()
