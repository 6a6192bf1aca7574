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
    const words = form.querySelector("input[type=search]");
    const lists = [...form.querySelectorAll("select")];
    for (const list of lists) {
      const cells = rows.map((row) => row.cells[list.dataset.column]);
      const values = new Map(cells.map((cell) => [cell.textContent.trim(), key(cell)]));
      const sorted = [...values].sort(([, one], [, other]) => order(one, other));
      for (const [text] of sorted) if (text !== "") list.append(new Option(text, text));
    }
    // A slider's places are the values of its column, and one at its start where it filters nothing, not even empty cells.
    const sliders = [...form.querySelectorAll("input[type=range]")].map((slider) => {
      const { column, bound } = slider.dataset;
      const places = [...new Set(rows.map((row) => key(row.cells[column])))].filter((value) => typeof value === "number");
      places.sort((one, other) => (bound === "least" ? one - other : other - one));
      slider.min = 0;
      slider.max = places.length;
      slider.value = 0;
      slider.closest("label").hidden = places.length < 2;
      return { slider, column, bound, limit: () => places[slider.value - 1] };
    });
    function within(row, { column, bound, limit }) {
      const value = key(row.cells[column]);
      if (limit() === undefined) return true;
      return typeof value === "number" && (bound === "least" ? value >= limit() : value <= limit());
    }
    function apply() {
      for (const { slider, limit } of sliders) {
        const text = limit() === undefined ? "any" : limit().toLocaleString("en", { maximumSignificantDigits: 4 });
        slider.nextElementSibling.textContent = text;
        slider.setAttribute("aria-valuetext", text);
      }
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = [...row.cells].map((cell) => cell.textContent.toLowerCase()).join("\n");
        const listed = lists.every((list) => !list.value || row.cells[list.dataset.column].textContent.trim() === list.value);
        const inside = sliders.every((one) => within(row, one));
        row.hidden = !(listed && inside && wanted.every((word) => text.includes(word)));
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
    const box = drawn("svg", { width: 28, height: 14, "aria-hidden": "true" });
    box.append(
      drawn("line", { x1: 1, y1: 7, x2: 27, y2: 7, stroke: look.color, "stroke-width": 2, "stroke-dasharray": look.dash }),
      drawn("path", { d: shapes[look.shape] ?? look.shape, fill: look.color,
        transform: look.shape in shapes ? "translate(14 7)" : "translate(14 7) scale(6)" }),
    );
    return box;
  }

  function made(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function pressable(press, ...children) {
    const button = made("button", { type: "button" }, ...children);
    button.addEventListener("click", press);
    return button;
  }

  // The lists to choose from: what is chosen is the value of a signal of the plot.
  function makeControls(form, controls, view) {
    for (const control of controls) {
      const list = made("select");
      const groups = new Map([[undefined, list]]);
      control.options.forEach((option, index) => {
        if (!groups.has(option.group)) {
          groups.set(option.group, made("optgroup", { label: option.group }));
          list.append(groups.get(option.group));
        }
        groups.get(option.group).append(new Option(option.text, index, index === control.chosen, index === control.chosen));
      });
      const choose = () => view.signal(control.param, control.options[list.value].value).resize().runAsync();
      list.addEventListener("input", choose);
      form.append(made("label", {}, `${control.label} `, list));
    }
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = controls.length === 0;
  }

  // On a phone the legend of a part is long, and the same above each of its plots: there it can be unfolded below the first.
  function folded(legend) {
    const details = made("details", { class: "folded" }, made("summary", {}, "Methods"));
    legend.append(details);
    return details;
  }

  // Which methods the plots of a part show: one choice for all of them.
  function makeChoice() {
    const views = [];
    const buttons = new Map();
    const shown = new Map();
    function apply() {
      for (const [method, some] of buttons) {
        for (const button of some) button.setAttribute("aria-pressed", String(shown.get(method)));
      }
      const names = [...shown].filter(([, there]) => there).map(([method]) => method);
      for (const view of views) view.signal("shown", names).runAsync();
    }
    return {
      join(view, legend, looks) {
        views.push(view);
        const box = views.length > 1 && matchMedia("(max-width: 40rem)").matches ? folded(legend) : legend;
        const families = new Map();
        const light = (method) => view.signal("lit", shown.get(method) ? method : "").runAsync();
        for (const look of looks) {
          if (!shown.has(look.method)) shown.set(look.method, look.first);
          const button = pressable(() => {
            shown.set(look.method, !shown.get(look.method));
            apply();
            light(look.method);
          }, swatch(look), look.method);
          button.setAttribute("aria-pressed", String(shown.get(look.method)));
          for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => light(look.method));
          for (const event of ["pointerleave", "blur"]) button.addEventListener(event, () => light(""));
          buttons.set(look.method, [...(buttons.get(look.method) ?? []), button]);
          if (!families.has(look.family)) {
            families.set(look.family, made("div", { class: "family" }, made("strong", {}, look.family), made("div")));
            families.get(look.family).firstChild.style.color = look.ink;
            box.append(families.get(look.family));
          }
          families.get(look.family).lastChild.append(button);
        }
        const all = (there) => () => {
          for (const method of shown.keys()) shown.set(method, there);
          apply();
        };
        const [every, none] = [pressable(all(true), "show all"), pressable(all(false), "show none")];
        for (const button of [every, none]) button.className = "plain";
        box.append(made("div", {}, every, none));
        legend.hidden = false;
      },
    };
  }

  // What the colours of a heat map mean.
  function keyOf(classes) {
    const box = made("div", { class: "key", "aria-hidden": "true" });
    classes.forEach((text, index) => {
      const style = `background: var(--heat-${index}); color: var(--heat-ink-${index})`;
      box.append(made("span", { style }, text));
    });
    return box;
  }

  // The figures of a plot as a table, which is made when it is asked for: it may have thousands of cells.
  function tableOf(title, columns, rows) {
    const details = made("details", { class: "folded" }, made("summary", {}, "The figures as a table"));
    details.addEventListener("toggle", () => {
      if (details.children.length > 1) return;
      const form = made("form", { class: "filters" },
        made("label", {}, "Filter ", made("input", { type: "search", placeholder: "words of a row" })));
      columns.forEach((column, index) => {
        if (!column.listed) return;
        const list = made("select", { "data-column": index }, new Option("all", ""));
        form.append(made("label", {}, `${column.title} `, list));
      });
      form.append(made("output", { role: "status" }));
      const table = made("table", { "data-sortable": "" }, made("caption", { class: "unseen" }, title));
      const side = (column) => ({ class: column.number ? "right" : "left" });
      const heads = columns.map((column) => made("th", { scope: "col", ...side(column) }, column.title));
      table.append(made("thead", {}, made("tr", {}, ...heads)), made("tbody"));
      for (const row of rows) {
        const cells = columns.map((column, index) => {
          const value = column.place === undefined ? row[column.field] : row[column.field][column.place];
          const text = String(value ?? "").replace(/ %$/, "");
          return index ? made("td", side(column), text) : made("th", { scope: "row", ...side(column) }, text);
        });
        table.tBodies[0].append(made("tr", {}, ...cells));
      }
      const scroll = made("div", { class: "scroll tall", role: "region", tabindex: "0", "aria-label": title }, table);
      details.append(made("div", { class: "table" }, form, scroll));
      makeSortable(table);
      makeFilters(form);
    });
    return details;
  }

  const choices = new Map();

  function makePlot(figure) {
    const specification = JSON.parse(figure.querySelector("script").textContent);
    const [legend, plot, form] = [".legend", ".plot", ".filters"].map((name) => figure.querySelector(name));
    const { title, methods, controls = [], key, table } = specification.usermeta;
    if (key) plot.after(keyOf(key));
    if (table) figure.append(tableOf(title, table, specification.data.values));
    // `ast` is without `eval`, which the page's policy forbids. Vega warns of an axis that has nothing to show.
    const how = { actions: false, renderer: "svg", ast: true, tooltip: { theme: "custom" }, logLevel: vega.Error };
    vegaEmbed(plot, specification, how).then(({ view }) => {
      const part = figure.closest("section");
      if (!choices.has(part)) choices.set(part, makeChoice());
      if (methods) choices.get(part).join(view, legend, methods);
      makeControls(form, controls, view);
      document.documentElement.dataset.plots = String(Number(document.documentElement.dataset.plots ?? 0) + 1);
    });
  }

  // With several tasks each part is a page of its own: the one that the address names, or that has what it names.
  function makePages(main) {
    const [parts, links] = [[...main.children], document.querySelectorAll("nav.parts a")];
    let shown = parts[0];
    function turn() {
      const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
      shown = parts.find((part) => part.contains(named)) ?? shown;
      for (const part of parts) part.hidden = part !== shown;
      for (const link of links) link.setAttribute("aria-current", link.hash === `#${shown.id}` ? "page" : "false");
      window.dispatchEvent(new Event("resize")); // a plot that was hidden had no width
      named?.scrollIntoView();
    }
    window.addEventListener("hashchange", turn);
    turn();
  }

  document.querySelectorAll("main[data-paged]").forEach(makePages);
  document.querySelectorAll("table[data-sortable]").forEach(makeSortable);
  document.querySelectorAll(".table > form.filters").forEach(makeFilters);
  document.querySelectorAll("figure:has(script)").forEach(makePlot);
})();
