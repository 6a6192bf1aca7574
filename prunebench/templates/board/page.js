"use strict";
(() => {
  const prefixes = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 };

  // What a cell is sorted by: the number it begins with, its SI prefix applied; otherwise its text; nothing comes last.
  function key(cell) {
    const text = cell.textContent.trim();
    if (text === "" || text === "–") return null;
    const found = /^([+-−]?[\d,]*\.?\d+(?:e[+-]?\d+)?)(?:\s([kMGTP])\b)?/i.exec(text);
    if (!found) return text.toLowerCase();
    return Number(found[1].replaceAll(",", "").replace("−", "-")) * (prefixes[found[2]] ?? 1);
  }

  function order(one, other) {
    if (one === null || other === null) return (one === null) - (other === null);
    if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
    return typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true });
  }

  function sort(table, column) {
    const heads = [...table.tHead.rows[0].cells];
    const up = heads[column].getAttribute("aria-sort") === "descending"
      || (heads[column].getAttribute("aria-sort") === null && column === 0);
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].map((row) => [key(row.cells[column]), row]);
    const there = rows.filter(([value]) => value !== null);
    const empty = rows.filter(([value]) => value === null);
    there.sort(([one], [other]) => (up ? order(one, other) : order(other, one)));
    table.tBodies[0].append(...[...there, ...empty].map(([, row]) => row));
  }

  function makeSortable(table) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sort(table, column));
    });
  }

  function makeFilters(form) {
    const table = form.parentElement.querySelector("table");
    const rows = [...table.tBodies[0].rows];
    const words = form.querySelector("input");
    const lists = [...form.querySelectorAll("select")];
    for (const list of lists) {
      const cells = rows.map((row) => row.cells[list.dataset.column]);
      const values = new Map(cells.map((cell) => [cell.textContent.trim(), key(cell)]));
      const sorted = [...values].sort(([, one], [, other]) => order(one, other));
      for (const [text] of sorted) if (text !== "") list.append(new Option(text, text));
    }
    function apply() {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = [...row.cells].map((cell) => cell.textContent.toLowerCase()).join("\n");
        const listed = lists.every((list) => !list.value || row.cells[list.dataset.column].textContent.trim() === list.value);
        row.hidden = !(listed && wanted.every((word) => text.includes(word)));
        shown += !row.hidden;
      }
      form.querySelector("output").textContent = `${shown} of ${rows.length} rows`;
    }
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    apply();
  }

  // Sizes in pixels of the shapes that Vega draws by name; it draws others, which are paths, as they are.
  const shapes = {
    circle: "M4,0A4,4,0,1,1,-4,0A4,4,0,1,1,4,0", square: "M-4,-4h8v8h-8Z", diamond: "M0,-5L4,0L0,5L-4,0Z",
    "triangle-up": "M0,-5L5,4H-5Z", "triangle-down": "M0,5L5,-4H-5Z", "triangle-left": "M-5,0L4,-5V5Z",
    "triangle-right": "M5,0L-4,-5V5Z", cross: "M-5,-2h3v-3h4v3h3v4h-3v3h-4v-3h-3Z",
  };

  function drawn(name, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  // A method's line and marker, as in the plot.
  function swatch(look) {
    const color = `var(--series-${look.color})`;
    const box = drawn("svg", { width: 28, height: 14, "aria-hidden": "true" });
    box.append(
      drawn("line", { x1: 1, y1: 7, x2: 27, y2: 7, stroke: color, "stroke-width": 2, "stroke-dasharray": look.dash }),
      drawn("path", { d: shapes[look.shape] ?? look.shape, fill: color,
        transform: look.shape in shapes ? "translate(14 7)" : "translate(14 7) scale(6)" }),
    );
    return box;
  }

  function makePlot(figure) {
    const specification = JSON.parse(figure.querySelector("script").textContent);
    const [legend, plot] = [".legend", ".plot"].map((name) => figure.querySelector(name));
    const looks = specification.usermeta.methods;
    const shown = new Set(looks.map((look) => look.method));
    // Without `eval`, which the page's policy forbids.
    vegaEmbed(plot, specification, { actions: false, renderer: "svg", ast: true, tooltip: { theme: "custom" } }).then(({ view }) => {
      for (const look of looks) {
        const button = document.createElement("button");
        button.type = "button";
        button.append(swatch(look), look.method);
        button.setAttribute("aria-pressed", "true");
        button.addEventListener("click", () => {
          shown.has(look.method) ? shown.delete(look.method) : shown.add(look.method);
          button.setAttribute("aria-pressed", String(shown.has(look.method)));
          view.signal("shown", looks.map((one) => one.method).filter((method) => shown.has(method))).runAsync();
        });
        legend.append(button);
      }
      legend.hidden = false;
      document.documentElement.dataset.plots = String(Number(document.documentElement.dataset.plots ?? 0) + 1);
    });
  }

  document.querySelectorAll("table[data-sortable]").forEach(makeSortable);
  document.querySelectorAll("form.filters").forEach(makeFilters);
  document.querySelectorAll("figure:has(script)").forEach(makePlot);
})();
