"use strict";
// Sorts the rows by a column: numbers by their value, the rest by letters; again turns the order.
const table = document.getElementById("scores"), heads = [...table.tHead.rows[0].cells];

const compare = at => (a, b) => {
  const [x, y] = [a, b].map(row => row.cells[at]);
  if (!x.dataset.key || !y.dataset.key) {
    if (x.dataset.key !== y.dataset.key) return x.dataset.key ? -1 : 1;
    return x.textContent.localeCompare(y.textContent);
  }
  return Number(x.dataset.key) - Number(y.dataset.key);
};

function sort(at) {
  const down = heads[at].getAttribute("aria-sort") === "ascending", body = table.tBodies[0];
  const rows = [...body.rows].sort(compare(at));
  body.append(...(down ? rows.reverse() : rows));
  heads.forEach((head, number) => number === at
    ? head.setAttribute("aria-sort", down ? "descending" : "ascending")
    : head.removeAttribute("aria-sort"));
  const name = heads[at].textContent;
  document.getElementById("sorted").textContent = `Sorted by ${name}, ${down ? "high to low" : "low to high"}.`;
}

heads.forEach((head, at) => head.firstElementChild.addEventListener("click", () => sort(at)));
