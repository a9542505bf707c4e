// ---- What is pointed at, in a sentence ----------------------------------------------------------

const NAMED = 5;  // the largest weights, which the sentence names

/** A token in quotation marks; of twins, which are written alike, with its position. */
function named(panel, axis, index) {
  const token = panel.tokens[axis][index], isAlone = panel.counts[axis].get(shown(token)) === 1;
  return isAlone ? quoted(token) : `${quoted(token)} (${words.place} ${index + 1})`;
}

/** How often each text is there. */
function counted(tokens) {
  const counts = new Map();
  for (const text of tokens.map(shown)) counts.set(text, (counts.get(text) || 0) + 1);
  return counts;
}

/** “gato” draws 0.81 from “cat”, 0.12 from “the” and 0.07 from “.”: 1.00 of all that is shown. */
function sentenceOf(panel, weight) {
  const {active, seen, locked} = panel, {axis, indices, cell} = active, other = 1 - axis;
  const [verbs, way] = axis ? [["gives", "give"], "to"] : [["draws", "draw"], "from"];
  const who = listed(indices.map(index => named(panel, axis, index)));
  const verb = indices.length > 1 ? `together ${verbs[1]}` : verbs[0];
  const all = seen[other].map(index => [index, weight(index)]);
  const sum = all.reduce((total, [, w]) => total + w, 0);
  const best = all.filter(([, w]) => w).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const parts = best.slice(0, NAMED).map(([index, w]) =>
    `${w.toFixed(3)} ${way} ${named(panel, other, index)}`);
  const pointed = cell === undefined ? ""
    : `${who} ${verb} ${weight(cell).toFixed(4)} ${way} ${named(panel, other, cell)}. `;
  const kept = locked ? " (kept)" : "";
  if (!best.length) return `${pointed}${who} ${verb} nothing ${way} what is shown.${kept}`;
  const again = cell === undefined ? `${who} ${verb}` : `In all it ${verbs[0]}`;
  const rest = best.length > NAMED ? `, and less ${way} ${best.length - NAMED} more` : "";
  return `${pointed}${again} ${rest ? parts.join(", ") : listed(parts)}${rest}; `
    + `${sum.toFixed(2)} ${way} all that is shown.${kept}`;
}
