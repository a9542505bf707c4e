"use strict";
// The library's own tokenizers: of characters, words or byte pairs. A token that begins a word
// carries the space before it, as ▁.
class Tokenizer {
  /** own: {kind, vocabulary: [tokens], merges: [[left, right]], unicode, lowercase}. */
  constructor(own) {
    this.own = own;
    this.ids = new Map(own.vocabulary.map((token, id) => [token, id]));
    this.ranks = new Map((own.merges ?? []).map((pair, rank) => [pair.join("\n"), rank]));
  }

  normalized(text) {
    const {unicode, lowercase, kind} = this.own;
    if (unicode !== "none") text = text.normalize(unicode.toUpperCase());
    if (lowercase) text = text.toLowerCase();
    return kind === "character" ? text : text.replace(/[¿¡]/gu, "$& ");
  }

  /** The parts of a text, each of which is one token or more. */
  parts(text) {
    text = this.normalized(text);
    if (!text) return [];
    if (this.own.kind === "character") return [...text];
    const spaced = text.replaceAll(" ", "▁");
    // What the library's regular expressions call a letter of a word.
    const letter = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}²³¹¼½¾]";
    const words = new RegExp(`▁?${letter}+|▁?(?:(?!${letter})[^▁])|▁`, "gsu");
    return (spaced.startsWith("▁") ? spaced : `▁${spaced}`).match(words) ?? [];
  }

  /** Ids of a text, without BOS and EOS; what was never seen becomes UNKNOWN. */
  encode(text) {
    return this.pieces(text).map(({id}) => id);
  }

  /** The same with the text of each: [{id, text}]. */
  pieces(text) {
    return this.parts(text).flatMap(part => {
      const pieces = this.own.kind === "bpe" ? this.merged(part) : [part];
      return pieces.map(piece => ({id: this.known(piece), text: piece}));
    });
  }

  // "<eos>" in a sentence is not EOS.
  known(piece) {
    const id = this.ids.get(piece);
    return id === undefined || id <= UNKNOWN ? UNKNOWN : id;
  }

  /** Joins the pair that was learned first, over and over. */
  merged(word) {
    let pieces = [...word];
    for (;;) {
      let rank = Infinity, at = -1;
      for (let n = 0; n + 1 < pieces.length; n++) {
        const own = this.ranks.get(`${pieces[n]}\n${pieces[n + 1]}`) ?? Infinity;
        if (own < rank) [rank, at] = [own, n];
      }
      if (at < 0) return pieces;
      pieces.splice(at, 2, pieces[at] + pieces[at + 1]);
    }
  }

  /** Text of ids, without special tokens. */
  decode(ids) {
    const text = ids.filter(id => id > UNKNOWN).map(id => this.own.vocabulary[id] ?? "").join("");
    if (this.own.kind === "character") return text;
    const spaced = text.replaceAll("▁", " ");
    return (spaced.startsWith(" ") ? spaced.slice(1) : spaced).replace(/([¿¡]) /gu, "$1");
  }

  /** A readable label of an id. */
  label(id) {
    const token = this.own.vocabulary[id] ?? "<none>";
    if (this.own.kind === "word") return token.replace(/^▁/u, "") || "▁";
    return token === " " ? "▁" : token;
  }
}
