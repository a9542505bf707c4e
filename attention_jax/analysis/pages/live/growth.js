"use strict";
// Why one vector falls short: the sentence grows word by word, and several models translate it.
const Growth = (() => {
  const {own, state} = App;
  let models = [], length = Infinity, timer = 0;

  const words = () => state.text.trim().split(/\s+/u).filter(Boolean);
  const upTo = count => words().slice(0, count).join(" ");

  function readings(text) {
    return models.map(({model}) => {
      const reading = Sentences.read(text, null, {model, tokenizer: own.tokenizer});
      reading.memory.free();
      return reading;
    });
  }

  /** The share of tokens of the first that the other has at the same place. */
  const agreement = (first, other) =>
    first.ids.filter((id, i) => id === other.ids[i]).length / Math.max(first.ids.length, other.ids.length);

  function row({name, about}, reading, first) {
    return make("tr", {}, make("th", {scope: "row"}, `${name} (${about})`), make("td", {},
      reading.target.map((label, i) => make("span",
        {class: reading.ids[i] === first.ids[i] ? "chip" : "chip differs"}, plainToken(label)))));
  }

  function draw() {
    const count = Math.min(length, words().length);
    $("words").max = words().length;
    $("words").value = count;
    $("words-read").textContent = upTo(count);
    const found = readings(upTo(count));
    $("growth-rows").replaceChildren(...models.map((one, n) => row(one, found[n], found[0])));
  }

  /** The curve of each other model over all lengths, drawn when nothing else is asked. */
  function curves() {
    const all = words().map((_, n) => readings(upTo(n + 1)));
    $("agreement").replaceChildren(...models.slice(1).map(({name}, n) => make("div", {},
      make("p", {}, name), Replay.chart(all.map((found, at) =>
        [at + 1, agreement(found[0], found[n + 1])]), {top: 1}))));
  }

  function render() {
    if (!own.base) return;
    $("growth-lead").textContent = say("growthLead", {count: models.length});
    draw();
    clearTimeout(timer);
    timer = setTimeout(curves, 400);
  }

  function start() {
    $("growth").hidden = !own.data.others.length;
    if (!own.data.others.length) return;
    models = [{name: own.data.name, about: own.data.about, model: own.model},
      ...own.data.others.map(other => ({...other, model: new Model(other.model)}))];
    $("words").addEventListener("input", event => {
      length = Number(event.target.value);
      draw();
    });
    $("text").addEventListener("input", () => { length = Infinity; });
    App.panels.push(render);
    render();
  }

  return {start};
})();
