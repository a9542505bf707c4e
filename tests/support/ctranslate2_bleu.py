"""BLEU of a trained run here, and of its weights in CTranslate2.

    python -P -m tests.support.ctranslate2_bleu runs/multi30k

exports a run of translation as M2M-100, converts it, translates its first test on both sides,
greedily and by beam search, and prints both scores and how many sentences are equal. The search is
the same: scores by the length itself, and as many tokens at most for each source. Needs the extra
`peers`.
"""

import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from attention_jax.data.batching import rounded_up
from attention_jax.decoding import DecodingConfig, Translator
from attention_jax.decoding.options import DecodingOptions
from experiments.common import as_pretrained
from experiments.common.load_run import load_run

FAMILY = "m2m_100"
SEARCHES = {"greedy": 1, "beam": 5}


class Theirs:
    """A run in CTranslate2: `theirs(texts, beams) -> translations`."""

    def __init__(self, run, folder):
        import ctranslate2
        import transformers

        as_pretrained.write(run, folder / "written", FAMILY)
        self.words = transformers.AutoTokenizer.from_pretrained(folder / "written")
        converter = ctranslate2.converters.TransformersConverter(str(folder / "written"))
        converter.convert(str(folder / "converted"))
        self.model = ctranslate2.Translator(str(folder / "converted"), device="cpu")
        self.ids = as_pretrained.as_pretrained(run, FAMILY).order.theirs
        self.ours = {theirs: ours for ours, theirs in enumerate(self.ids)}
        self.tokenizer = run.tokenizer

    def pieces(self, text):
        ids = [self.ids[i] for i in self.tokenizer.encode(text)]
        return [*self.words.convert_ids_to_tokens(ids), "<eos>"]

    def text(self, pieces):
        ids = self.words.convert_tokens_to_ids(pieces)
        return self.tokenizer.decode([self.ours[i] for i in ids])

    def __call__(self, texts, beams):
        split, of_length = [self.pieces(text) for text in texts], defaultdict(list)
        for i, pieces in enumerate(split):
            of_length[rounded_up(len(pieces))].append(i)
        found = {}
        for length, members in of_length.items():
            answers = self.model.translate_batch(
                [split[i] for i in members],
                beam_size=beams,
                length_penalty=float(beams > 1),
                max_decoding_length=2 * length + 16,  # as `Translator` has it
                suppress_sequences=[["<bos>"], ["<pad>"]],
                max_batch_size=32,
            )
            found |= zip(members, (self.text(x.hypotheses[0]) for x in answers), strict=True)
        return [found[i] for i in range(len(texts))]


def main(folder):
    import sacrebleu

    run = load_run(folder)
    name, test = next(iter(run.experiment.load(run.config).tests.items()))
    sources, references = zip(*((source, targets[0]) for source, targets in test), strict=True)
    with tempfile.TemporaryDirectory() as place:
        theirs = Theirs(run, Path(place))
        for method, beams in SEARCHES.items():
            options = DecodingOptions(length_form="power" if beams > 1 else "wu")
            search = DecodingConfig(method, beam_size=beams, options=options)
            found = Translator(run.graphdef, run.tokenizer, search)(run.params, sources)
            ours, others = [x[0].text for x in found], theirs(sources, beams)
            scores = [sacrebleu.corpus_bleu(x, [references]).score for x in (ours, others)]
            same = sum(map(str.__eq__, ours, others))
            print(f"{name}, {method}: BLEU {scores[0]:.3f} here, {scores[1]:.3f} in CTranslate2")
            print(f"    {same} of {len(sources)} sentences equal")


if __name__ == "__main__":
    main(sys.argv[1])
