"use strict";
// Exchange a token, and compare: the translation before and after all changes, differences marked.
const Exchange = (() => {
  const {edits, own} = App;

  const MOVED = .01;  // of a probability, from which on it is marked

  /** A token of the output with its probability. */
  function chip(reading, other, i) {
    const token = plainToken(reading.target[i]), share = percent(reading.sure[i], 1);
    const isSame = !other || other.ids[i] === reading.ids[i];
    const hasMoved = other && isSame && Math.abs(other.sure[i] - reading.sure[i]) >= MOVED;
    return make("span", {class: isSame ? "chip" : "chip differs"}, token,
      make("small", {class: hasMoved ? "moved" : ""}, share));
  }

  function compare() {
    const {base, edited} = own;
    const chips = (reading, other) => reading.target.map((_, i) => chip(reading, other, i));
    $("before").replaceChildren(...chips(base, null));
    $("after").replaceChildren(...chips(edited ?? base, base));
    const count = edited ? Math.max(base.ids.length, edited.ids.length)
      - base.ids.filter((id, i) => id === edited.ids[i]).length : 0;
    $("difference").textContent = !edited ? say("noEdits")
      : count ? say("changed", {count}) : say("same");
  }

  function tokens() {
    const {source} = own.base, known = own.tokenizer.own.vocabulary;
    const field = (label, i) => {
      const now = edits.tokens[i] === undefined ? label : known[edits.tokens[i]];
      return make("input", {type: "text", value: plainToken(now), list: "vocabulary", size: 8,
        "data-token": i, class: edits.tokens[i] === undefined ? "" : "differs",
        autocomplete: "off", spellcheck: "false",
        "aria-label": say("replace", {token: plainToken(label)}),
        onchange: event => exchange(i, event.target.value.trim())});
    };
    keeping($("tokens"), "data-token", source.slice(0, -1).map(field));
  }

  function exchange(i, text) {
    const {tokenizer, base} = own;
    const id = [text, `▁${text}`].map(name => tokenizer.ids.get(name)).filter(x => x > UNKNOWN);
    const was = plainToken(base.source[i]);
    if (text === was || !text) delete edits.tokens[i];
    // A word within a sentence carries its space, which is the second of the two.
    else edits.tokens[i] = id.at(-1) ?? UNKNOWN;
    App.schedule();
  }

  function render(reading) {
    if (!own.model || !reading) return;
    compare();
    tokens();
  }

  function start() {
    App.panels.push(render);
    $("vocabulary").replaceChildren(...own.tokenizer.own.vocabulary.slice(UNKNOWN + 1, 2000)
      .map(token => make("option", {value: plainToken(token)})));
  }

  return {start};
})();
