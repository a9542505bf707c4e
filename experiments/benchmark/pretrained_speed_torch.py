"""`generate` of transformers, for the benchmark of pretrained language models."""

from collections.abc import Callable
from pathlib import Path

import torch
import transformers

from experiments.benchmark.attention_torch import use_all_cores


def text_of(path: Path) -> Callable[[list[int], int], list[int]]:
    """The function that goes on with a prompt greedily, by the weights of a file or folder."""
    use_all_cores()
    is_file = path.is_file()
    own = {"gguf_file": path.name} if is_file else {}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent if is_file else path, dtype=torch.float32, local_files_only=True, **own
    ).eval()

    def text(prompt: list[int], tokens: int) -> list[int]:
        given = torch.tensor([prompt])
        with torch.no_grad():
            found = model.generate(
                given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
            )
        return found[0, len(prompt) :].tolist()

    return text
