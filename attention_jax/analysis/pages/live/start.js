"use strict";
// Starts the page of a translator.
(() => {
  const {own, state} = App;

  function examples(texts) {
    $("examples").replaceChildren(...texts.map(text => make("button", {type: "button", onclick: () => {
      $("text").value = text;
      $("text").dispatchEvent(new Event("input"));
    }}, text)));
  }

  /** A page of a model that it cannot compute: the recorded maps of some sentences. */
  function recorded() {
    $("live-input").hidden = true;
    $("recorded-input").hidden = false;
    $("recorded-choice").replaceChildren(...own.data.recorded.map(({text}, n) =>
      make("option", {value: n}, text)));
    const choose = n => {
      own.base = own.data.recorded[n].reading;
      App.look({row: 0, column: 0});
    };
    $("recorded-choice").addEventListener("change", event => choose(Number(event.target.value)));
    choose(0);
  }

  function live() {
    $("text").disabled = true;
    own.tokenizer = new Tokenizer(own.data.model.tokenizer);
    own.model = new Model(own.data.model);
    Steps.start();
    Edit.start();
    Exchange.start();
    $("text").disabled = false;
    $("text").value = state.text = own.data.examples[0] ?? "";
    examples(own.data.examples);
    App.compute();
    // The first reading compiles; the second says how long one takes.
    App.compute();
    Replay.start();
    Growth.start();
  }

  Sentences.start();
  $("lab-frame").hidden = typeof Lab === "undefined";
  if (typeof Lab !== "undefined") Page.heard.push(code => Lab.start($("lab"), code));
  Page.start({live, recorded});
})();
