const at = id => document.getElementById(id);
const number = id => at(id) && at(id).value !== "" ? { [id]: Number(at(id).value) } : {};
let found = null;

async function ask(name, body) {
  const response = await fetch(`/${name}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function answered(text) {
  if (ENDPOINTS.includes("generate")) {
    const options = Object.assign({}, ...["tokens", "temperature", "seed"].map(number));
    at("answer").textContent = (await ask("generate", { prompts: [text], ...options })).texts[0];
    return;
  }
  const [translation] = (await ask("translate", { texts: [text], ...number("beam") })).translations;
  at("answer").textContent = translation;
  if (!ENDPOINTS.includes("attention")) return;
  show(await ask("attention", { source: text, target: translation }));
}

function options(id, names) {
  const old = at(id).value;
  at(id).replaceChildren(...names.map((name, i) => new Option(name, i)));
  if (names[old] !== undefined) at(id).value = old;
}

function show(answer) {
  found = answer;
  const kinds = Object.keys(found.maps);
  at("looked").hidden = !kinds.length;
  if (!kinds.length) return;
  const names = { cross: "target to source", encoder: "source to source", decoder: "target to target" };
  found.kinds = kinds.sort((a, b) => Object.keys(names).indexOf(a) - Object.keys(names).indexOf(b));
  options("kind", found.kinds.map(kind => names[kind] || kind));
  draw();
}

function draw() {
  const kind = found.kinds[at("kind").value], layers = found.maps[kind];
  options("layer", layers.map((_, i) => i + 1));
  const heads = layers[at("layer").value];
  options("head", heads.map((_, i) => i + 1));
  const weights = heads[at("head").value], table = at("matrix");
  table.replaceChildren();
  if (!weights) {
    at("cell").textContent = "The output of this head is no sum of values: it has no weights.";
    return;
  }
  const read = ["\u2038", ...found.target_tokens.slice(0, -1)];  // a caret where the target begins
  const rows = kind === "encoder" ? found.source_tokens : found.target_tokens;
  const columns = kind === "decoder" ? read : found.source_tokens;
  at("cell").textContent = "Rows write, columns are read; the stronger the color, the larger the weight.";
  const head = table.createTHead().insertRow(), body = table.createTBody();
  const label = (row, text, scope) => {
    const cell = document.createElement("th");
    cell.scope = scope;
    cell.textContent = text;
    row.append(cell);
  };
  head.append(document.createElement("td"));
  columns.forEach(text => label(head, text, "col"));
  weights.forEach((line, i) => {
    const row = body.insertRow();
    label(row, rows[i], "row");
    line.forEach((weight, j) => {
      const cell = row.insertCell();
      cell.style.setProperty("--w", weight);
      cell.title = `${rows[i]} \u2192 ${columns[j]}: ${weight.toFixed(3)}`;
      cell.textContent = weight.toFixed(2);  // for screen readers
    });
  });
}

document.querySelector("form").addEventListener("submit", async event => {
  event.preventDefault();
  const button = document.querySelector("button");
  button.disabled = true;
  at("wrong").hidden = true;
  try {
    await answered(at("text").value);
  } catch (error) {
    at("answer").textContent = "";
    if (at("looked")) at("looked").hidden = true;
    at("wrong").textContent = error.message;
    at("wrong").hidden = false;
  }
  button.disabled = false;
});
at("text").addEventListener("keydown", event => {
  if (event.key === "Enter" && event.ctrlKey) document.querySelector("form").requestSubmit();
});
["kind", "layer", "head"].forEach(id => at(id) && at(id).addEventListener("change", draw));
