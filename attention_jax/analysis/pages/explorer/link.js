// ---- The link: all that one sees stands in the address, so that it can be kept and sent ---------
// #s=2&p=cross&scale=largest&hide=punctuation,special&words=the+of&h0=cross:1.3&k0=0:2,5

/** Writes the state into the address, without a step of the browser's history. */
function keepLink() {
  const query = new URLSearchParams({s: state.sentence, p: state.place || ""});
  if (state.scale !== "whole") query.set("scale", state.scale);
  const hidden = ["punctuation", "special"].filter(id => $(id).checked);
  if (hidden.length) query.set("hide", hidden.join(","));
  if ($("words").value.trim()) query.set("words", $("words").value.trim());
  panels.forEach((panel, run) => {
    const heads = Object.keys(panel.asked).map(place => `${place}:${panel.head[place].join(".")}`);
    if (heads.length) query.set(`h${run}`, heads.join(","));
    if (panel.locked) query.set(`k${run}`, `${panel.active.axis}:${panel.active.indices.join(",")}`);
  });
  history.replaceState(null, "", `#${query}`);
}

/** Reads the address into the state; what is not of this page is left out. */
function readLink(places) {
  const query = new URLSearchParams(location.hash.slice(1)), sentence = Number(query.get("s"));
  if (Number.isInteger(sentence) && data.sentences[sentence]) state.sentence = sentence;
  state.scale = query.get("scale") === "largest" ? "largest" : "whole";
  const hidden = (query.get("hide") || "").split(",");
  for (const id of ["punctuation", "special"]) $(id).checked = hidden.includes(id);
  $("words").value = query.get("words") || "";
  $("largest").checked = state.scale === "largest";
  $("sentence").value = state.sentence;
  panels.forEach((panel, run) => {
    panel.asked = {};
    for (const text of (query.get(`h${run}`) || "").split(",")) {
      const found = /^(\w+):(\d+)\.(\d+)$/.exec(text);
      if (!found || !places.includes(found[1])) continue;
      panel.head[found[1]] = [Number(found[2]), Number(found[3])];
      panel.asked[found[1]] = true;
    }
    const kept = /^([01]):([\d,]+)$/.exec(query.get(`k${run}`) || "");
    panel.kept = kept && {axis: Number(kept[1]), indices: kept[2].split(",").map(Number)};
  });
  return places.includes(query.get("p")) ? query.get("p") : null;
}
