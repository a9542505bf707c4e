"use strict";
// Sorts the rows by a column: numbers by their value, the rest by letters; again turns the order.
const table = document.getElementById("scores"), heads = [...table.tHead.rows[0].cells];

/** The order of two rows by a column; without a value a row is last, up and down. */
const order = (at, sign) => (a, b) => {
  const [x, y] = [a, b].map(row => row.cells[at])
  if (heads[at].classList.contains("text")) return sign * x.textContent.localeCompare(y.textContent);
  if (!x.dataset.key || !y.dataset.key) return (x.dataset.key ? 0 : 1) - (y.dataset.key ? 0 : 1);
  return sign * (Number(x.dataset.key) - Number(y.dataset.key));
};

function sort(at) {
  const down = heads[at].getAttribute("aria-sort") === "ascending", body = table.tBodies[0];
  body.append(...[...body.rows].sort(order(at, down ? -1 : 1)));
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[at].setAttribute("aria-sort", down ? "descending" : "ascending");
  document.getElementById("sorted").textContent =
    `Sorted by ${heads[at].textContent}, ${down ? "high to low" : "low to high"}.`;
}

heads.forEach((head, at) => head.firstElementChild.addEventListener("click", () => sort(at)));
