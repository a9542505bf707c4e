// Answers are folded until they are asked for, and what the theme leaves without a name gets one.
document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".admonition.dropdown")) {
    const [title, ...content] = box.children;
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    summary.className = title.className;
    summary.append(...title.childNodes);
    details.append(summary, ...content);
    box.replaceChildren(details);
  }
  for (const summary of document.querySelectorAll("nav details > summary")) {
    const link = summary.closest("li")?.querySelector("a");
    if (link) summary.setAttribute("aria-label", link.textContent.trim());
  }
  for (const button of document.querySelectorAll(".search-button-field")) {
    button.removeAttribute("aria-label");
  }
});
