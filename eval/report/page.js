// Headings of tables sort by their column: the first number of a cell if it starts with one, or else its text.
const read = (row, place) => {
  const text = row.cells[place].textContent.replace(/\u2212/g, "-");
  const number = parseFloat(text);
  return { text, number, empty: text === "" || text === "\u2013" };
};
const order = (a, b, sign) => {
  if (a.empty || b.empty) return a.empty - b.empty; // the unknown comes last, whichever way
  if (isNaN(a.number) || isNaN(b.number)) return sign * a.text.localeCompare(b.text);
  return sign * (a.number - b.number);
};
for (const heading of document.querySelectorAll("th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  heading.append(button);
  button.addEventListener("click", () => {
    const down = heading.ariaSort !== "descending";
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = heading.closest("table").tBodies[0];
    const rows = [...body.rows].map((row) => [read(row, heading.cellIndex), row]);
    rows.sort(([a], [b]) => order(a, b, down ? -1 : 1));
    body.append(...rows.map(([, row]) => row));
  });
}
// A link to a closed section opens it.
const open = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = target && target.closest("details");
  if (details && !details.open) {
    details.open = true;
    target.scrollIntoView();
  }
};
addEventListener("hashchange", open);
document.addEventListener("click", (event) => event.target.closest("a[href^='#']") && setTimeout(open));
open();
