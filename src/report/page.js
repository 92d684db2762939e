"use strict";
// The map explorer and the gallery's filter. Everything else on the page is static.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const size = data.concepts.length;
  const byId = (id) => document.getElementById(id);

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  // The parser knows SVG's namespace, so the page needs to name no address for it.
  const svgNamespace = new DOMParser().parseFromString("<svg></svg>", "text/html").querySelector("svg").namespaceURI;
  const draw = (name, attributes = {}, ...children) => {
    const element = document.createElementNS(svgNamespace, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  // Numbers as people read them.
  const minus = (text) => text.replace("-", "−");
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  const signed = (value) => minus(`${value > 0 ? "+" : ""}${value.toFixed(3)}`);
  const shown = (map, value) => (map.kind === "strength" ? percent(value) : signed(value));

  // Colours come from the same scales as the pictures.
  const position = (map, value) => (map.kind === "strength" ? value : 0.5 + value / (2 * map.range));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colorAt = (map, at) => {
    const scale = (dark.matches ? data.dark : data.light)[map.kind];
    return scale[Math.round(Math.min(1, Math.max(0, at)) * (scale.length - 1))];
  };
  const inkOn = (hex) => {
    const [r, g, b] = [1, 3, 5].map((at) => (parseInt(hex.slice(at, at + 2), 16) / 255) ** 2.2);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
  };

  const meanings = {
    "correct": (c) => `images of ${c} recognised as ${c}`,
    "missed": (c) => `images of ${c} taken for something else`,
    "false-alarm": (c) => `images of something else taken for ${c}`,
    "ground-truth": (c) => `all images of ${c}`,
    "output-label": (c) => `all images called ${c}`,
    "differential": (c) => `recognised less missed images of ${c}: blue pairs got lost, red ones intruded`,
    "false-alarm-differential": (c) => `recognised images of ${c} less intruders: how false alarms differ from true members`,
    "loss": (c) => `images of ${c} as CLIP sees them less as the classifier’s encoder does: what the encoder lost`,
    "adversarial": (c) => `attacked images that the attack made into ${c}`,
  };

  const first = data.maps.find((map) => map.kind === "differential" && map.supported) ?? data.maps[0];
  const state = { class: first?.class, set: first?.set, sorted: false, cell: null };
  const current = () => data.maps.find((map) => map.class === state.class && map.set === state.set);
  const order = (map) => {
    const indices = data.concepts.map((_, at) => at);
    return state.sorted ? indices.sort((a, b) => (map.means[b] ?? -9) - (map.means[a] ?? -9)) : indices;
  };

  function buttons(holder, options, chosen, choose) {
    if (options.length > 24) {
      const select = make("select", { "aria-label": holder.getAttribute("aria-label") });
      for (const [value, label] of options) select.append(new Option(label, value, false, value === chosen));
      select.addEventListener("change", () => choose(options[select.selectedIndex][0]));
      return holder.replaceChildren(select);
    }
    const had = holder.contains(document.activeElement);
    holder.replaceChildren(...options.map(([value, label]) => {
      const button = make("button", { type: "button", "aria-pressed": String(value === chosen) }, label);
      button.addEventListener("click", () => choose(value));
      return button;
    }));
    if (had) holder.querySelector("[aria-pressed=true]")?.focus();
  }

  function controls() {
    const classes = [...new Set(data.maps.map((map) => map.class))];
    buttons(byId("choose-class"), classes.map((at) => [at, data.classes[at]]), state.class, (value) => {
      state.class = value;
      if (!current()) state.set = data.maps.find((map) => map.class === value).set;
      render();
    });
    const sets = data.maps.filter((map) => map.class === state.class).map((map) => map.set);
    buttons(byId("choose-set"), sets.map((set) => [set, set.replaceAll("-", " ")]), state.set, (value) => {
      state.set = value;
      render();
    });
  }

  // The picture: one unit is one pixel of a 700 pixel wide page.
  const labels = Math.min(150, 14 + 6.4 * Math.max(...data.concepts.map((name) => name.length)));
  const side = Math.max(6, Math.min(34, (690 - labels) / size));
  const stride = Math.ceil(12 / side);
  const clipped = (name) => (name.length > 22 ? `${name.slice(0, 21)}…` : name);

  function picture(map) {
    const rank = order(map);
    const extent = labels + size * side;
    const svg = draw("svg", { viewBox: `0 0 ${extent} ${extent}`, style: `max-width:${Math.round(extent)}px` });
    const hatch = draw("pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    hatch.append(draw("line", { x1: 0, x2: 0, y1: 0, y2: 6, class: "hatch" }));
    svg.append(draw("defs", {}, hatch));
    const flagged = new Set(map.flags?.cells ?? []);
    rank.forEach((concept, at) => {
      const middle = labels + (at + 0.5) * side;
      const name = clipped(data.concepts[concept]);
      const quiet = at % stride ? { display: "none" } : {};
      svg.append(
        draw("text", { x: labels - 7, y: middle + 4, "text-anchor": "end", "data-row": at, ...quiet }, name),
        draw("text", { transform: `translate(${middle + 4} ${labels - 7}) rotate(-90)`, "data-column": at, ...quiet }, name),
      );
    });
    svg.append(draw("rect", { x: labels, y: labels, width: size * side, height: size * side, class: "grid" }));
    rank.forEach((i, row) => rank.forEach((j, column) => {
      const value = map.values[i * size + j];
      const [x, y] = [labels + column * side, labels + row * side];
      const gap = side > 10 ? 1 : 0;
      const box = { x, y, width: side - gap, height: side - gap };
      if (i === j) return svg.append(draw("rect", { ...box, class: "cell blank" }));
      const known = value !== null;
      const fill = known ? colorAt(map, position(map, value)) : "";
      svg.append(draw("rect", { ...box, class: known ? "cell" : "cell none", ...(known && { fill }), ...(known && !map.supported && { opacity: 0.4 }) }));
      if (!known || !map.supported) svg.append(draw("rect", { ...box, fill: "url(#hatch)" }));
      if (flagged.has(i * size + j)) {
        svg.append(draw("circle", { cx: x + (side - gap) / 2, cy: y + (side - gap) / 2, r: Math.max(1, side / 12), fill: inkOn(fill || "#fff"), class: "flag" }));
      }
    }));
    svg.append(draw("rect", { class: "cursor", width: side - 1, height: side - 1, visibility: "hidden" }));
    return svg;
  }

  function legend(map) {
    const stops = Array.from({ length: 17 }, (_, at) => colorAt(map, at / 16)).join(",");
    const ticks = map.kind === "strength" ? ["0 %", "50 %", "100 %"] : [signed(-map.range), "0", signed(map.range)].map((t) => t.replace(/\.?0+$/, "") || "0");
    const parts = [make("div", { class: "scale" },
      make("div", { class: "ramp", style: `background:linear-gradient(90deg,${stops})` }),
      make("div", { class: "ticks" }, ...ticks.map((tick) => make("span", {}, tick))))];
    if (map.flags) parts.push(make("span", {}, `• ${map.flags.meaning}`));
    if (!map.supported) parts.push(make("span", {}, "hatched: too few images, don’t rely on it"));
    byId("legend").replaceChildren(...parts);
  }

  function means(map) {
    byId("means-title").textContent = map.kind === "strength" ? "Win rate against all others" : "Change in win rate";
    const limit = Math.max(0.02, ...map.means.map((mean) => Math.abs(mean ?? 0)));
    byId("means").replaceChildren(...order(map).map((concept) => {
      const mean = map.means[concept];
      const bars = make("div", { class: map.kind === "strength" ? "bars from-zero" : "bars" });
      if (mean !== null) {
        const [left, width] = map.kind === "strength" ? [0, 100 * mean] : [50 + Math.min(0, (50 * mean) / limit), (50 * Math.abs(mean)) / limit];
        const color = map.kind === "strength" ? colorAt(map, mean) : `var(--${mean > 0 ? "lost" : "intruding"})`;
        bars.append(make("i", { style: `left:${left}%;width:${width}%;background:${color}` }));
      }
      const number = mean === null ? "–" : map.kind === "strength" ? percent(mean) : signed(mean);
      return make("div", { class: "row", title: data.concepts[concept] }, make("span", {}, data.concepts[concept]), bars, make("span", { class: "num" }, number));
    }));
  }

  // What is known about the cell of concepts i and j.
  function describe(map, i, j) {
    const at = i * size + j;
    const parts = [make("div", {}, make("b", {}, data.concepts[i]), " > ", make("b", {}, data.concepts[j]))];
    const value = map.values[at];
    if (value === null) return [...parts, make("div", {}, "no value")];
    parts.push(make("div", { class: "big" }, shown(map, value)));
    const rows = [];
    if (map.low && map.low[at] !== null) rows.push(["interval", `${shown(map, map.low[at])} to ${shown(map, map.high[at])}`]);
    for (const one of map.sides) rows.push([map.sides.length > 1 ? one.name : "count", `${one.counts[at]} of ${one.n}`]);
    if (map.p && map.p[at] !== null) rows.push(["p", map.p[at] < 0.001 ? map.p[at].toExponential(1) : String(map.p[at])]);
    if (map.flags) rows.push(["flag", map.flags.cells.includes(at) ? map.flags.meaning : "none"]);
    if (!map.supported) rows.push(["support", "too few images"]);
    parts.push(make("table", {}, ...rows.map(([name, text]) => make("tr", {}, make("td", {}, name), make("td", {}, text)))));
    return parts;
  }

  function point(row, column) {
    const map = current();
    const holder = byId("map");
    const svg = holder.firstChild;
    const tip = byId("tip");
    for (const label of svg.querySelectorAll(".near")) label.classList.remove("near");
    const cursor = svg.querySelector(".cursor");
    const off = row === null || row < 0 || column < 0 || row >= size || column >= size;
    state.cell = off ? null : [row, column];
    holder.classList.toggle("pointing", !off);
    cursor.setAttribute("visibility", off ? "hidden" : "visible");
    if (off) { tip.hidden = true; return; }
    cursor.setAttribute("x", labels + column * side);
    cursor.setAttribute("y", labels + row * side);
    svg.querySelector(`[data-row="${row}"]`).classList.add("near");
    svg.querySelector(`[data-column="${column}"]`).classList.add("near");
    const rank = order(map);
    if (row === column) {
      tip.replaceChildren(make("b", {}, data.concepts[rank[row]]), " against itself: left blank");
    } else {
      tip.replaceChildren(...describe(map, rank[row], rank[column]));
    }
    tip.hidden = false;
    const box = cursor.getBoundingClientRect();
    const [width, height] = [tip.offsetWidth, tip.offsetHeight];
    const left = box.right + 12 + width < window.innerWidth ? box.right + 12 : box.left - 12 - width;
    const top = Math.min(Math.max(8, box.top - height / 3), window.innerHeight - height - 8);
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${top}px`;
  }

  function watch() {
    const holder = byId("map");
    holder.addEventListener("pointermove", (event) => {
      const svg = holder.firstChild;
      const matrix = svg.getScreenCTM();
      const spot = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
      const [row, column] = [spot.y, spot.x].map((along) => Math.floor((along - labels) / side));
      if (state.cell?.[0] !== row || state.cell?.[1] !== column) point(row, column);
    });
    holder.addEventListener("pointerleave", () => point(null));
    holder.addEventListener("blur", () => point(null));
    holder.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (event.key === "Escape") return point(null);
      if (!step) return;
      event.preventDefault();
      const within = (at) => Math.min(size - 1, Math.max(0, at));
      const [row, column] = state.cell ?? [0, step[1] || step[0] ? 0 : 1];
      point(within(row + step[0]), within(column + step[1]));
    });
    // A cell chosen by key stays chosen while the page moves; one under the pointer has moved away.
    window.addEventListener("scroll", () => {
      if (document.activeElement === holder && state.cell) point(...state.cell);
      else point(null);
    }, { passive: true });
    dark.addEventListener("change", render);
    byId("sorted").addEventListener("change", (event) => { state.sorted = event.target.checked; render(); });
  }

  function render() {
    const map = current();
    controls();
    byId("map-title").textContent = map.title;
    byId("map-support").textContent = map.support + (map.supported ? "" : " · unsupported");
    byId("map-meaning").textContent = meanings[map.set]?.(data.classes[map.class]) ?? map.set.replaceAll("-", " ");
    byId("map").replaceChildren(picture(map));
    legend(map);
    means(map);
    point(null);
  }

  if (data.maps.length > 0) {
    byId("explorer").hidden = false;
    watch();
    render();
  }

  const gallery = byId("choose-examples");
  if (gallery) {
    const cards = [...document.querySelectorAll(".gallery figure")];
    const kinds = [...new Set(cards.map((card) => card.dataset.verdict))];
    const choose = (kind) => {
      for (const card of cards) card.hidden = kind !== "all" && card.dataset.verdict !== kind;
      buttons(gallery, ["all", ...kinds].map((name) => [name, name]), kind, choose);
    };
    gallery.hidden = kinds.length < 2;
    choose("all");
  }
})();
