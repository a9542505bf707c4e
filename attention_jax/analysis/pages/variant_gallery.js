const box = document.querySelector("input"), count = document.querySelector("output");
const cards = [...document.querySelectorAll("article")];
const texts = cards.map(card => card.textContent.toLowerCase());
function filter() {
  const words = box.value.toLowerCase().split(/\s+/).filter(word => word);
  let shown = 0;
  cards.forEach((card, number) => {
    card.hidden = !words.every(word => texts[number].includes(word));
    shown += !card.hidden;
  });
  count.value = shown ? `${shown} of ${cards.length} variants` : "No variant has all these words.";
}
box.addEventListener("input", filter);
document.querySelector("form").addEventListener("submit", event => event.preventDefault());
document.addEventListener("keydown", event => {
  if (event.key === "Escape" && event.target === box) { box.value = ""; filter(); }
});
filter();
