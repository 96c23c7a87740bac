// The ECG viewer: twelve leads on paper at true scale, with the relevance of one method behind them.
// It reads the JSON blocks that reporting/viewer.py writes and asks for nothing else.
"use strict";
(() => {
const LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];
const PX_PER_MM = 96 / 25.4;
const MM_PER_S = 25, MM_PER_MV = 10;
const LABEL_MM = 13, TOP_MM = 6;  // left of and above the traces
const SPEED_NAMES = "25 mm/s, 10 mm/mV at 100 % zoom";
const BLUE = [0, 114, 178], RED = [213, 94, 0], MAGENTA = [166, 34, 140];
const UNSEEN_MAP = -128, UNSEEN_MV = -32768;

function bytes(text) {
  const raw = atob(text), found = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
  return found.buffer;
}

class Viewer {
  constructor(root) {
    this.root = root;
    this.book = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    this.cache = new Map();
    this.canvas = root.querySelector("canvas");
    this.paper = root.querySelector(".paper");
    this.hover = root.querySelector(".hover");
    this.record = this.map = 0;
    this.marked = this.cursor = null;
    this.absolute = this.byWave = false;
    this.zoom = Math.min(1, Math.max(0.6, (this.paper.clientWidth - 8) / this.fullWidth()));
    this.bind();
    this.chooseRecord(0);
  }

  part(name) { return this.root.querySelector(`[data-part='${name}']`); }

  fullWidth() {
    const record = this.book.records[this.record];
    return (LABEL_MM + record.n / record.rate * MM_PER_S + 3) * PX_PER_MM;
  }

  bind() {
    const records = this.part("record");
    this.book.records.forEach((record, i) => records.append(new Option(record.title, i)));
    records.addEventListener("change", () => this.chooseRecord(+records.value));
    this.part("map").addEventListener("change", event => this.chooseMap(+event.target.value));
    this.part("absolute").addEventListener("change", event => {
      this.absolute = event.target.checked; this.draw();
    });
    this.part("wave").addEventListener("change", event => {
      this.byWave = event.target.checked; this.draw();
    });
    this.part("limit").addEventListener("input", () => this.draw());
    this.part("zoom").addEventListener("input", event => {
      this.zoom = event.target.value / 100; this.draw();
    });
    this.part("layout").addEventListener("change", () => { this.cursor = null; this.draw(); });
    this.paper.addEventListener("keydown", event => this.key(event));
    this.canvas.addEventListener("mousemove", event => this.point(event));
    this.canvas.addEventListener("mouseleave", () => { this.hover.textContent = this.rest(); });
    let start = null;
    this.canvas.addEventListener("pointerdown", event => {
      if (event.pointerType === "mouse") start = [event.clientX, this.paper.scrollLeft];
    });
    window.addEventListener("pointermove", event => {
      if (start) this.paper.scrollLeft = start[1] - (event.clientX - start[0]);
    });
    window.addEventListener("pointerup", () => { start = null; });
    window.addEventListener("resize", () => this.draw());
  }

  key(event) {
    const n = this.current().maps.length;
    const moves = {
      m: () => this.chooseMap((this.map + 1) % n),
      M: () => this.chooseMap((this.map + n - 1) % n),
      a: () => { this.part("absolute").click(); },
      w: () => { this.part("wave").click(); },
      "+": () => this.setZoom(this.zoom * 1.25),
      "-": () => this.setZoom(this.zoom / 1.25),
      n: () => this.chooseRecord((this.record + 1) % this.book.records.length),
      ArrowLeft: () => this.read(0, event.shiftKey ? -0.2 : -0.02),
      ArrowRight: () => this.read(0, event.shiftKey ? 0.2 : 0.02),
      ArrowUp: () => this.read(-1, 0),
      ArrowDown: () => this.read(1, 0),
      Escape: () => { this.cursor = null; this.draw(); },
    };
    if (moves[event.key] && !event.ctrlKey && !event.metaKey) {
      moves[event.key](); event.preventDefault();
    }
  }

  // the keys' reading mark: some strips down, some seconds on; read aloud and scrolled to
  read(strips, seconds) {
    const record = this.current(), all = this.shown.strips;
    const at = this.cursor || { strip: 0, t: all[0].from };
    const number = Math.min(all.length - 1, Math.max(0, at.strip + (this.cursor ? strips : 0)));
    const strip = all[number], inside = t => Math.min(strip.to - 1, Math.max(strip.from, t));
    this.cursor = { strip: number, t: inside(at.t + Math.round(seconds * record.rate)) };
    this.draw();
    this.hover.textContent = this.words(strip, this.cursor.t);
    const x = this.x(strip, this.cursor.t) * this.shown.scale, y = strip.y * this.shown.scale;
    const { scrollLeft, clientWidth, scrollTop, clientHeight } = this.paper;
    if (x < scrollLeft + 40 || x > scrollLeft + clientWidth - 40) this.paper.scrollLeft = x - clientWidth / 2;
    if (y < scrollTop + 40 || y > scrollTop + clientHeight - 40) this.paper.scrollTop = y - clientHeight / 2;
  }

  mark_cursor(pen, strips) {
    const strip = strips[this.cursor.strip], half = this.rowHeight() / 2;
    const x = this.x(strip, this.cursor.t);
    pen.strokeStyle = "#0b6e2e"; pen.lineWidth = 0.5; pen.beginPath();
    pen.moveTo(x, strip.y - half); pen.lineTo(x, strip.y + half); pen.stroke();
  }

  setZoom(zoom) {
    this.zoom = Math.min(4, Math.max(0.25, zoom));
    this.part("zoom").value = Math.round(100 * this.zoom);
    this.draw();
  }

  current() { return this.book.records[this.record]; }

  array(text, Kind) {
    if (!this.cache.has(text)) this.cache.set(text, new Kind(bytes(text)));
    return this.cache.get(text);
  }

  chooseRecord(number) {
    this.record = number;
    const record = this.current();
    const maps = this.part("map");
    maps.replaceChildren();
    record.maps.forEach((map, i) => maps.append(new Option(map.title, i)));
    maps.disabled = record.maps.length === 0;
    this.part("wave").disabled = !record.segments || record.maps.length === 0;
    this.part("record").value = number;
    for (const name of ["cells", "prediction", "notes"]) this.table(name, record[name]);
    this.marked = this.cursor = null;
    this.chooseMap(0);
  }

  table(name, content) {
    const place = this.part(name);
    place.replaceChildren();
    if (!content || !content.rows.length) return;
    const table = document.createElement("table"), head = table.createTHead().insertRow();
    table.createCaption().textContent = content.caption;
    content.columns.forEach((column, i) => {
      const cell = document.createElement("th");
      cell.scope = "col"; cell.textContent = column; head.append(cell);
      if (content.meanings[i]) cell.title = content.meanings[i];
      if (content.text[i]) cell.className = "text";
    });
    const said = content.columns.indexOf("positive");
    const body = table.createTBody();
    content.rows.forEach((row, i) => {
      const line = body.insertRow();
      row.forEach((value, k) => {
        const cell = line.insertCell();
        cell.textContent = value;
        if (content.text[k]) cell.className = "text";
      });
      if (said >= 0 && row[said] === "yes") line.className = "said";
      if (content.hover) line.title = content.hover[i];
      if (name === "cells") {
        line.tabIndex = 0; line.className = "choice"; line.dataset.map = content.maps[i];
        const mark = () => this.mark(line, content.cells[i], content.maps[i]);
        line.addEventListener("click", mark);
        line.addEventListener("keydown", event => {
          if (event.key === "Enter" || event.key === " ") { mark(); event.preventDefault(); }
        });
      }
    });
    const box = document.createElement("div");
    box.className = "scroll"; box.append(table); place.append(box);
  }

  mark(line, cell, map) {
    const same = this.marked && this.marked.line === line;
    this.root.querySelectorAll("tr[aria-selected]").forEach(row => row.removeAttribute("aria-selected"));
    this.marked = same ? null : { line, lead: cell[0], segment: cell[1] };
    if (!same) line.setAttribute("aria-selected", "true");
    if (map >= 0 && map !== this.map) this.chooseMap(map); else this.draw();
  }

  chooseMap(number) {
    this.map = number;
    const record = this.current(), map = record.maps[number];
    this.part("map").value = number;
    this.part("absolute").disabled = !(map && map.signed);
    this.part("cells").querySelectorAll("tr.choice").forEach(line => {
      line.hidden = record.maps.length > 0 && +line.dataset.map !== number;
    });
    this.draw();
  }

  // limit of the colours: a quantile of the map's sizes
  limit(values) {
    const percent = this.part("limit").value;
    const sizes = Array.from(values, Math.abs).filter(size => size !== 128).sort((a, b) => a - b);
    if (!sizes.length) return 1;
    return Math.max(1, sizes[Math.min(sizes.length - 1, Math.floor(sizes.length * percent / 100))]);
  }

  // the mean over each wave of each beat in the place of its samples' own values
  ofWaves(values, segments) {
    const n = this.current().n, means = new Float32Array(values.length);
    for (let from = 0, to; from < values.length; from = to) {
      let sum = 0, seen = 0;
      to = from;
      do {
        if (values[to] !== UNSEEN_MAP) { sum += values[to]; seen++; }
        to++;
      } while (to % n !== 0 && segments[to] === segments[from]);
      means.fill(seen ? sum / seen : UNSEEN_MAP, from, to);
    }
    return means;
  }

  colour(share, signed) {
    const full = signed ? (share < 0 ? BLUE : RED) : MAGENTA;
    const depth = Math.min(1, Math.abs(share)) ** 0.8;
    const mixed = full.map(part => Math.round(255 + (part - 255) * 0.85 * depth));
    return `rgb(${mixed.join(",")})`;
  }

  // where each strip of paper begins: {lead, from, to (samples), x, y (mm)}
  strips() {
    const record = this.current(), layout = this.part("layout").value;
    const step = layout === "12x1" ? this.rowHeight() : 1.25 * this.rowHeight();
    if (layout === "12x1") {
      const leads = this.recorded();
      this.height = leads.length * step + TOP_MM + 3;
      return leads.map((lead, row) => ({
        lead, from: 0, to: record.n, x: LABEL_MM, y: TOP_MM + (row + 0.5) * step,
      }));
    }
    const quarter = Math.floor(record.n / 4), strips = [];
    for (let lead = 0; lead < 12; lead++) {
      const column = Math.floor(lead / 3), row = lead % 3, from = column * quarter;
      strips.push({
        lead, from, to: column === 3 ? record.n : from + quarter,
        x: LABEL_MM + from / record.rate * MM_PER_S, y: TOP_MM + (row + 0.5) * step,
      });
    }
    strips.push({ lead: 1, from: 0, to: record.n, x: LABEL_MM, y: TOP_MM + 3.5 * step });
    this.height = 4 * step + TOP_MM + 3;
    return strips;
  }

  // leads that were recorded or that the network reads; all where it is none
  recorded() {
    const record = this.current(), signal = this.array(record.signal, Int16Array);
    const of = (array, lead) => array.subarray(lead * record.n, (lead + 1) * record.n);
    const maps = record.maps.map(map => this.array(map.values, Int8Array));
    const all = LEADS.map((_, lead) => lead);
    const found = all.filter(lead =>
      of(signal, lead).some(value => value !== 0 && value !== UNSEEN_MV)
      || !maps.length || maps.some(map => of(map, lead).some(value => value !== UNSEEN_MAP)));
    return found.length ? found : all;
  }

  rowHeight() {
    const record = this.current();
    if (!record.row) {
      const signal = this.array(record.signal, Int16Array), heights = [];
      for (let lead = 0; lead < 12; lead++) {
        let low = 0, high = 0;
        for (let t = 0; t < record.n; t++) {
          const value = signal[lead * record.n + t];
          if (value !== UNSEEN_MV) { low = Math.min(low, value); high = Math.max(high, value); }
        }
        heights.push((high - low) / 1000 * MM_PER_MV);
      }
      heights.sort((a, b) => a - b);
      record.row = Math.min(30, Math.max(12, heights[9] * 0.9));
    }
    return record.row;
  }

  draw() {
    const record = this.current(), map = record.maps[this.map];
    const signal = this.array(record.signal, Int16Array);
    const segments = record.segments ? this.array(record.segments, Uint8Array) : null;
    const byWave = Boolean(map && segments && this.byWave);
    const samples = map ? this.array(map.values, Int8Array) : null;
    const values = byWave ? this.ofWaves(samples, segments) : samples;
    const strips = this.strips(), scale = PX_PER_MM * this.zoom;
    const width = Math.ceil(this.fullWidth() * this.zoom), height = Math.ceil(this.height * scale);
    const ratio = Math.min(window.devicePixelRatio || 1, 3);
    this.canvas.width = width * ratio; this.canvas.height = height * ratio;
    this.canvas.style.width = `${width}px`; this.canvas.style.height = `${height}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio * scale, ratio * scale);
    pen.fillStyle = "#fff"; pen.fillRect(0, 0, width / scale, height / scale);
    const signed = Boolean(map && map.signed && !this.absolute);
    this.shown = { strips, scale, values, signal, segments, record, map, byWave };
    if (values) {
      const limit = this.limit(values);
      strips.forEach(strip => this.heat(pen, strip, values, limit, signed));
    }
    this.grid(pen, width / scale, height / scale);
    strips.forEach(strip => this.trace(pen, strip, signal));
    if (this.marked && segments) strips.forEach(strip => this.frame(pen, strip, segments));
    if (this.cursor) this.mark_cursor(pen, strips);
    this.part("zoom").value = Math.round(100 * this.zoom);
    this.part("legend").textContent = map
      ? `${map.title}. ${signed ? "Vermillion: for it, blue: against it." : "Darker: more relevance."}${byWave ? " Each wave has its mean." : ""}${samples.includes(UNSEEN_MAP) ? " Grey: not read by the network." : ""} ${map.note}`
      : "No map: the signal alone.";
    this.canvas.setAttribute("aria-label", `${record.title}. ${this.part("legend").textContent} `
      + "The tables beside it say in words where the relevance lies.");
    this.hover.textContent = this.rest();
  }

  rest() { return `${SPEED_NAMES}; point at the paper (or use the arrow keys on it) to read lead, time, voltage, relevance and segment.`; }

  x(strip, t) { return strip.x + (t - strip.from) / this.current().rate * MM_PER_S; }

  heat(pen, strip, values, limit, signed) {
    const n = this.current().n, half = this.rowHeight() / 2;
    let from = strip.from;
    while (from < strip.to) {
      const value = values[strip.lead * n + from];
      let to = from + 1;
      while (to < strip.to && values[strip.lead * n + to] === value) to++;
      if (value === UNSEEN_MAP) {
        pen.fillStyle = "#e9e9e9";
      } else {
        pen.fillStyle = this.colour(signed ? value / limit : Math.abs(value) / limit, signed);
      }
      if (value !== 0) {
        pen.fillRect(this.x(strip, from), strip.y - half, this.x(strip, to) - this.x(strip, from) + 0.03, 2 * half);
      }
      from = to;
    }
  }

  grid(pen, width, height) {
    for (const [step, colour, line] of [[1, "rgba(214,120,120,.22)", 0.08], [5, "rgba(200,90,90,.45)", 0.14]]) {
      if (step * this.zoom * PX_PER_MM < 2.5) continue;
      pen.strokeStyle = colour; pen.lineWidth = line; pen.beginPath();
      for (let x = LABEL_MM % step; x < width; x += step) { pen.moveTo(x, 0); pen.lineTo(x, height); }
      for (let y = 0; y < height; y += step) { pen.moveTo(0, y); pen.lineTo(width, y); }
      pen.stroke();
    }
  }

  trace(pen, strip, signal) {
    const n = this.current().n;
    pen.strokeStyle = "#1a1a1a"; pen.lineWidth = 0.28; pen.lineJoin = "round"; pen.beginPath();
    let down = false;
    for (let t = strip.from; t < strip.to; t++) {
      const value = signal[strip.lead * n + t];
      if (value === UNSEEN_MV) { down = false; continue; }
      const y = strip.y - value / 1000 * MM_PER_MV;
      if (down) pen.lineTo(this.x(strip, t), y); else pen.moveTo(this.x(strip, t), y);
      down = true;
    }
    pen.stroke();
    pen.font = "bold 3.6px system-ui, sans-serif"; pen.lineWidth = 0.9; pen.strokeStyle = "#fff";
    const name = LEADS[strip.lead], x = strip.x === LABEL_MM ? 1 : strip.x + 0.8;
    const y = strip.x === LABEL_MM ? strip.y + 1.2 : strip.y - this.rowHeight() / 2 + 2.5;
    pen.strokeText(name, x, y); pen.fillStyle = "#1a1a1a"; pen.fillText(name, x, y);
    if (strip === this.shown.strips[0]) {  // calibration pulse: 1 mV, 3 mm wide, once
      pen.lineWidth = 0.28; pen.strokeStyle = "#1a1a1a"; pen.beginPath();
      pen.moveTo(8, strip.y); pen.lineTo(8.6, strip.y); pen.lineTo(8.6, strip.y - 10);
      pen.lineTo(11.6, strip.y - 10); pen.lineTo(11.6, strip.y); pen.lineTo(12.2, strip.y); pen.stroke();
    }
  }

  frame(pen, strip, segments) {
    const n = this.current().n;
    if (LEADS[strip.lead] !== this.marked.lead) return;
    const wanted = this.book.segments.indexOf(this.marked.segment), half = this.rowHeight() / 2;
    pen.strokeStyle = "#0b6e2e"; pen.lineWidth = 0.4;
    let from = null;
    for (let t = strip.from; t <= strip.to; t++) {
      const inside = t < strip.to && segments[strip.lead * n + t] === wanted;
      if (inside && from === null) from = t;
      if (!inside && from !== null) {
        pen.strokeRect(this.x(strip, from), strip.y - half, this.x(strip, t) - this.x(strip, from), 2 * half);
        from = null;
      }
    }
  }

  point(event) {
    const { strips, scale, record } = this.shown;
    const box = this.canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) / scale, y = (event.clientY - box.top) / scale;
    const half = this.rowHeight() / 2;
    const strip = strips.find(one => Math.abs(one.y - y) <= half
      && x >= one.x && x < this.x(one, one.to));
    if (!strip) { this.hover.textContent = this.rest(); return; }
    const t = Math.min(strip.to - 1, strip.from + Math.floor((x - strip.x) / MM_PER_S * record.rate));
    this.hover.textContent = this.words(strip, t);
  }

  // lead, time, voltage, relevance and segment of one sample
  words(strip, t) {
    const { values, signal, segments, record, map, byWave } = this.shown;
    const at = strip.lead * record.n + t, words = [LEADS[strip.lead], `${(t / record.rate).toFixed(2)} s`];
    if (signal[at] !== UNSEEN_MV) words.push(`${(signal[at] / 1000).toFixed(2)} mV`);
    if (values) {
      words.push(values[at] === UNSEEN_MAP ? "not seen by the network"
        : `${byWave ? "mean " : ""}relevance ${(values[at] / 127 * map.largest).toPrecision(2)} ${map.unit}`);
    }
    if (segments) words.push(`segment ${this.book.segments[segments[at]]}`);
    return words.join(" · ");
  }
}

// a viewer unpacks and draws when it comes near the screen, or when the page is printed
window.addEventListener("DOMContentLoaded", () => {
  const roots = [...document.querySelectorAll(".viewer")];
  const near = new IntersectionObserver(entries => entries.forEach(entry => {
    if (entry.isIntersecting) build(entry.target);
  }), { rootMargin: "800px" });
  const build = root => {
    near.unobserve(root);
    if (!root.viewer) root.viewer = new Viewer(root);
  };
  const all = () => roots.forEach(build);
  roots.forEach(root => near.observe(root));
  window.addEventListener("beforeprint", all);
  window.matchMedia("print").addEventListener("change", all);
});
})();
