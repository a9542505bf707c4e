"""Imports point one way: every file of the library is held against this list.

A file may import those named after it, and nothing else of the library. A file of a folder may
import what its folder may, never its neighbours.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "attention_jax"

PARTS = "types checks scores online normalizers masks positions"
BLOCKS = "tracing blocks linear reference tiles sweeps blockwise"
RECURRENT = "recurrence alignment scans linear_family"
ENGINE = f"{PARTS} {BLOCKS} on_tiles flash libraries splash kernels attention {RECURRENT}"
MODELS = f"{ENGINE} variants layers sublayers cells patches"
TRAINING = "types checks batches metrics optimizers checkpoint telemetry"

MAY_IMPORT = {
    "types": "",
    "checks": "types",
    "scores": "types checks",
    "online": "types",  # for normalizers: block by block
    "normalizers": "types checks online",
    "masks": "types checks",
    "positions": "types checks",
    "tracing": "types",
    "blocks": "types tracing",
    "linear": "",
    "reference": f"{PARTS} tracing",
    "tiles": "types tracing blocks reference",
    "sweeps": "types online blocks tiles",
    "blockwise": f"{PARTS} tracing blocks linear reference tiles sweeps",
    "on_tiles": "",
    "flash": "types online masks tracing blocks on_tiles",
    "libraries": "types masks reference",
    "splash": "types tracing blocks masks reference libraries",
    "kernels": f"{PARTS} {BLOCKS} on_tiles flash libraries splash",
    "attention": f"{PARTS} {BLOCKS} kernels",
    "onnx": "types checks masks attention",
    "recurrence": "types checks masks tracing reference",
    "alignment": "types checks masks tracing reference recurrence",  # one query after another
    "scans": "",
    "linear_family": "types reference recurrence scans",
    "variants": "types",
    "variants/*": ENGINE,
    "layers": f"{ENGINE} variants",
    "sublayers": f"{ENGINE} variants layers",  # for models: Transformers
    "cells": "types",  # for models: RNNs
    "sound": "",
    "patches": f"{ENGINE} variants layers",  # for models: pictures
    "models": "types",
    "models/*": f"{MODELS} sound",
    "vocabulary": "types",
    "batches": "types vocabulary",
    "wav_files": "",
    "utterances": "",
    "tones": "checks utterances",
    "spoken_digits": "checks wav_files utterances",
    "sound_batches": "types batches sound utterances",
    "image_files": "",
    "image_data": "image_files",
    "image_batches": "types checks batches",
    "decoding": "types",
    "metrics": "types",
    "parallel": "",
    "checkpoint": "",
    "telemetry": "",
    "optimizers": "checks",
    "reading": "",  # for tasks: files that were downloaded or given
    "recordings": "reading wav_files utterances",
    "sampling_data": "types",  # for tasks: examples that are drawn
    "spanish_words": "",  # for tasks/spanish
    "spanish_grammar": "spanish_words",
    "tasks": "types",
    "tasks/*": "types reading sampling_data spanish_words spanish_grammar",
    "interruption": "",
    "progress": "",
    "settings": "optimizers",
    "statistics": "",  # of comparisons, and of weights
    "matching": "",
    "ctc": "types",
    "error_rates": "",
    "objectives": "types checks metrics ctc",
    "training_step": "types objectives",
    "training": f"{TRAINING} interruption objectives progress settings training_step",
    "evaluation": "types checks vocabulary batches metrics decoding objectives statistics",
    "windows": "types",
    "recall": "types",
    "writing": "types checks vocabulary batches metrics decoding evaluation",
    "maps": "types masks batches layers models",
    "image_maps": "types maps statistics",
    "image_pictures": "",
    "recognition": "types",
    "explorer": "checks maps statistics",
    "transcription": "types vocabulary sound sound_batches utterances ctc decoding evaluation",
    "visualize": "",
    "sound_pictures": "",
    "catalogue": "types masks variants",
    "pictures": "types variants catalogue",
    "gallery": "catalogue pictures",
    "__main__": "variants catalogue pictures gallery",
    "__init__": f"{PARTS} attention variants",
}

# Who may import what is heavy, or belongs to one place.
OWNERS = {
    "absl": "",
    "experiments": "",
    "matplotlib": "visualize pictures sound_pictures image_pictures",
    "orbax": "checkpoint",
    "grain": "batches",
    "flax": "layers sublayers cells patches models/* training_step evaluation transcription "
    "writing maps image_maps recognition",
    "PIL": "image_files",
    "sklearn": "image_data",
    "tokenizers": "vocabulary",
    "sacrebleu": "metrics",
}

FILES = sorted((ROOT / PACKAGE).rglob("*.py"))


def part(file: Path) -> str:
    """`masks` for masks.py, `variants` for variants/__init__.py, `variants/*` for others there."""
    folder, stem = file.parent.relative_to(ROOT / PACKAGE).as_posix(), file.stem
    if folder == ".":
        return stem
    return folder if stem == "__init__" else f"{folder}/*"


def imports(source: str) -> list[str]:
    """The dotted names that a file imports, wherever in it they stand."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "Write imports in full: they are easier to find."
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_imports_point_one_way(file):
    own = part(file)
    assert own in MAY_IMPORT, (
        f"{file.relative_to(ROOT)} is not in the list. Add `{own}` to MAY_IMPORT in "
        "tests/test_layering.py, with the files that it may import."
    )
    for name in imports(file.read_text()):
        top, _, rest = name.partition(".")
        if top == PACKAGE:
            allowed = MAY_IMPORT[own].split()
            assert rest.split(".")[0] in allowed, (
                f"{file.relative_to(ROOT)} must not import {name}; it may import "
                f"{', '.join(allowed) or 'nothing of the library'}."
            )
        elif top in OWNERS:
            assert own in OWNERS[top].split(), (
                f"{file.relative_to(ROOT)} must not import {top}; that belongs to "
                f"{OWNERS[top] or 'experiments/'}."
            )


@pytest.mark.parametrize("folder", ["variants", "tasks", "models"])
def test_files_of_a_folder_do_not_import_each_other(folder):
    assert folder not in MAY_IMPORT[f"{folder}/*"].split()


def test_the_list_goes_downwards():
    order = list(MAY_IMPORT)
    for own, allowed in MAY_IMPORT.items():
        for name in allowed.split():
            assert order.index(name) < order.index(own), f"{own} stands above {name}."
