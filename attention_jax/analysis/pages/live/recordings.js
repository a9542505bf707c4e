"use strict";
// Recordings that are played, and what a model wrote of them, all of it computed before.
// own.data.recordings: {name, truth, wav, png: base64, seconds, step, reading: {text, target, source,
// maps}}: the spectrogram lasts `seconds`, and a position of the maps `step`.
const Recordings = (() => {
  const {state, own} = App;

  App.use({
    places: ["encoder", "cross"],
    state: () => ({recording: 0, place: "cross"}),
    edits: () => ({}), isEdited: () => false,
    labels: place => {
      const {target, source} = own.base;
      return [place === "cross" ? target : source, source];
    },
  });

  const recording = () => own.data.recordings[state.recording];

  function choose(n) {
    Object.assign(state, {recording: n, row: 0});
    own.base = recording().reading;
    $("sound").src = `data:audio/wav;base64,${recording().wav}`;
    App.render();
  }

  function render(reading) {
    $("recording").replaceChildren(...own.data.recordings.map(({name}, n) =>
      make("option", {value: n}, name)));
    $("recording").value = state.recording;
    $("heard").textContent = reading.text || "–";
    $("truth-line").hidden = !recording().truth;
    $("truth").textContent = recording().truth;
  }

  function start() {
    App.panels.push(render);
    $("recording").addEventListener("change", event => choose(Number(event.target.value)));
  }

  return {start, choose, recording};
})();
