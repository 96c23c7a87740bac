// Tables that sort and filter, figures that open large, the part of the contents that is read now.
"use strict";
window.addEventListener("DOMContentLoaded", () => {
  const number = text => {
    const found = parseFloat(text.replace(/,/g, ""));
    return Number.isNaN(found) ? null : found;
  };
  document.querySelectorAll("table.data").forEach(table => {
    const body = table.tBodies[0];
    table.querySelectorAll("thead th").forEach((head, column) => {
      const button = head.querySelector("button");
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        table.querySelectorAll("thead th").forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = row => row.cells[column].textContent;
        const rows = [...body.rows].sort((a, b) => {
          const [first, second] = [number(key(a)), number(key(b))];
          if (first !== null && second !== null) return first - second;
          if ((first === null) !== (second === null)) return first === null ? 1 : -1;
          return key(a).localeCompare(key(b));
        });
        body.append(...(up ? rows : rows.reverse()));
      });
    });
  });
  document.querySelectorAll("input.filter").forEach(input => {
    const table = document.getElementById(input.dataset.table);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/);
      [...table.tBodies[0].rows].forEach(row => {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every(word => text.includes(word));
      });
    });
  });
  const large = document.getElementById("large");
  document.querySelectorAll("figure button.open").forEach(button => {
    button.addEventListener("click", () => {
      const picture = large.querySelector("img"), small = button.querySelector("img");
      picture.src = small.src; picture.alt = small.alt;
      large.querySelector("p").textContent = small.alt;
      large.showModal();
    });
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
