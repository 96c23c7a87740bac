// Tables that sort and filter, figures that open large, the part of the contents that is read now.
"use strict";
window.addEventListener("DOMContentLoaded", () => {
  const number = text => {
    const found = parseFloat(text.replace(/,/g, "").replace(/^\s*[<>]\s*/, ""));  // of > 0.999 too
    return Number.isNaN(found) ? null : found;
  };
  const sort = (table, column, up) => {
    const body = table.tBodies[0], key = row => row.cells[column].textContent;
    const rows = [...body.rows].sort((a, b) => {
      const [first, second] = [number(key(a)), number(key(b))];
      if (first !== null && second !== null) return first - second;
      if ((first === null) !== (second === null)) return first === null ? 1 : -1;
      return key(a).localeCompare(key(b));
    });
    body.append(...(up ? rows : rows.reverse()));
  };
  const filter = (table, words) => {
    [...table.tBodies[0].rows].forEach(row => {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(word => text.includes(word));
    });
  };
  // one listener for all tables: a page has hundreds of columns
  document.addEventListener("click", event => {
    const head = event.target.closest("table.data thead th");
    if (!head || !event.target.closest("button")) return;
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    sort(head.closest("table"), head.cellIndex, up);
  });
  document.addEventListener("input", event => {
    const { table } = event.target.dataset;
    const words = event.target.value.toLowerCase().split(/\s+/);
    if (table) filter(document.getElementById(table), words);
  });
  const large = document.getElementById("large");
  document.addEventListener("click", event => {
    const button = event.target.closest("figure button.open");
    if (!button) return;
    const picture = large.querySelector("img"), small = button.querySelector("img");
    picture.src = small.src; picture.alt = small.alt;
    large.querySelector("p").textContent = small.alt;
    large.showModal();
  });
  if (large) large.addEventListener("click", () => large.close());
  const links = new Map([...document.querySelectorAll("nav.contents a")]
    .map(link => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver(entries => entries.forEach(entry => {
    const link = links.get(entry.target.id);
    if (link && entry.isIntersecting) {
      links.forEach(other => other.removeAttribute("aria-current"));
      link.setAttribute("aria-current", "true");
    }
  }), { rootMargin: "-20% 0px -70% 0px" });
  document.querySelectorAll("section[id]").forEach(section => seen.observe(section));
});
