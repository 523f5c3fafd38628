// Stacks of slices on canvases. Scrolling, windowing, zooming and linking happen here and cost no message; only
// pixels that are not here yet are asked for, piece by piece, and Python is told where the reader comes to rest.
const instances = new WeakMap();
// Pixels that one viewer keeps: 256 MB. The pieces farthest from the reader go first.
const BUDGET = 1 << 27;
const REST_MS = 350;
const TRIES = 5;
const FULL = "Full range";
const OWN = "Own window";
const TOOLS = [["window", "Window", "w"], ["pan", "Pan", "p"], ["zoom", "Zoom", "z"], ["scroll", "Scroll", "s"]];
const KEYS = [
  ["Wheel, ↑ ↓ ← →", "one slice back or on"], ["Page up, Page down", "ten slices"], ["Home, End", "first, last slice"],
  ["Drag", "what is chosen above: window and level at first"], ["W  P  Z  S", "drag to window, pan, zoom, scroll"],
  ["Shift drag, middle drag", "pan"], ["Right drag", "zoom"], ["Ctrl or Shift wheel, + −", "zoom"],
  ["1 … 5", "window presets"], ["[ ]  and  , .", "narrower, wider window; lower, higher level"],
  ["R, double click", "reset window, zoom and place"], ["L", "link or part two stacks"], ["F", "full screen"],
  ["?", "this list"],
];
// Anchors of perceptually uniform colour maps (Viridis, Magma, Inferno, Cividis as Matplotlib has them), and grey.
const COLOUR_MAPS = Object.fromEntries(Object.entries({
  Viridis: "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725",
  Magma: "000004 180f3d 440f76 721f81 9e2f7f cd4071 f1605d fd9668 feca8d fcfdbf",
  Inferno: "000004 1b0c41 4a0c6b 781c6d a52c60 cf4446 ed6925 fb9b06 f7d13d fcffa4",
  Cividis: "00224e 123570 3b496c 575d6d 707173 8a8678 a59c74 c3b369 e1cc55 fee838",
  Grey: "000000 ffffff",
}).map(([name, anchors]) => [name, anchors.split(" ")]));
const VIEWS = [["side", "Side by side"], ["overlay", "Overlay"], ["image", "Image"]];
// How maps are shown is the reader's taste and outlives the page, within this tab.
const LOOK = "slicescope-heat";
const lookOf = () => {
  const usual = { view: "side", map: "Viridis", opacity: 0.5, threshold: 0 };
  try { return { ...usual, ...JSON.parse(sessionStorage.getItem(LOOK)) }; } catch { return usual; }
};
// Bytes of maps that one viewer keeps; the farthest from the reader go first.
const HEAT_BUDGET = 1 << 26;
const HEATS_AT_ONCE = 12;

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const make = (tag, className = "", text = "") =>
  Object.assign(document.createElement(tag), { className, textContent: text });
const short = (value) => Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4, useGrouping: false });

// Red, green and blue of 256 levels between a colour map's anchors.
function levels(name) {
  const anchors = COLOUR_MAPS[name].map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const colours = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (anchors.length - 1), low = Math.min(anchors.length - 2, Math.floor(at));
    colours.set(anchors[low].map((c, k) => c + (anchors[low + 1][k] - c) * (at - low)), 3 * i);
  }
  return colours;
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The counterpart of `slice_viewer` in Python: length of a JSON header, the header, then bytes one after the other.
function unpack(bytes) {
  const end = 4 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const meta = JSON.parse(new TextDecoder().decode(bytes.subarray(4, end)));
  let at = end;
  return { meta, blobs: meta.sizes.map((size) => bytes.subarray(at, (at += size))) };
}

class Stack {
  constructor(meta) {
    this.meta = meta;
    this.count = meta.place_of.length;
    this.size = meta.rows * meta.columns;
    this.pieces = new Map();
    this.tries = new Map();
    this.index = 0;
    this.usePreset(Object.keys(meta.presets)[0]);
  }

  place(index = this.index) { return this.meta.places[this.meta.place_of[index]]; }

  async add(piece, bytes) {
    const planes = await inflate(bytes), n = planes.length / 2, values = new Uint16Array(n);
    for (let i = 0; i < n; i++) values[i] = planes[i] | (planes[n + i] << 8);
    this.pieces.set(piece.number, { ...piece, values });
  }

  // The slice's numbers with their scale; null while they are not here.
  slice(index = this.index) {
    const number = Math.floor(index / this.meta.per_piece), offset = index - number * this.meta.per_piece;
    const piece = this.pieces.get(number);
    if (!piece) return null;
    const values = piece.values.subarray(offset * this.size, (offset + 1) * this.size);
    return { values, zero: piece.zero, unit: piece.unit, reason: piece.unread[offset] };
  }

  // The nearest piece that is missing, with its distance in pieces; lets go of those too far away.
  missing(budget) {
    const { per_piece } = this.meta, here = Math.floor(this.index / per_piece);
    const all = [...Array(Math.ceil(this.count / per_piece)).keys()];
    const near = all.sort((a, b) => Math.abs(a - here) - Math.abs(b - here) || b - a);
    const room = Math.max(2, Math.floor(budget / (per_piece * this.size)));
    near.slice(room).forEach((number) => this.pieces.delete(number));
    const number = near.slice(0, room)
      .find((one) => !this.pieces.has(one) && (this.tries.get(one) || 0) < TRIES);
    return number === undefined ? null : { number, distance: Math.abs(number - here) };
  }

  get loaded() {
    return [...this.pieces.keys()].reduce((n, number) =>
      n + Math.min(this.meta.per_piece, this.count - number * this.meta.per_piece), 0);
  }

  usePreset(name) {
    if (name === FULL) {
      const slice = this.slice();
      if (!slice) return;
      let [low, high] = [65535, 0];
      for (const v of slice.values) { if (v < low) low = v; if (v > high) high = v; }
      this.setWindow(slice.zero + slice.unit * (low + high) / 2, slice.unit * Math.max(1, high - low));
    } else if (name in this.meta.presets) {
      this.setWindow(...this.meta.presets[name]);
    } else return;
    this.preset = name;
  }

  setWindow(centre, width) {
    const usual = Object.values(this.meta.presets)[0][1];
    this.centre = centre;
    this.width = clamp(width, usual / 500, usual * 20);
    this.preset = OWN;
  }

  // Grey of each of the 65,536 numbers, as one pixel of an ImageData.
  greys(zero, unit) {
    const key = `${zero} ${unit} ${this.centre} ${this.width}`;
    if (this.lutKey !== key) {
      this.lutKey = key;
      this.lut ||= new Uint32Array(65536);
      const gain = (255 * unit) / this.width, start = (255 * (zero - this.centre)) / this.width + 127.5;
      for (let v = 0; v < 65536; v++) {
        const grey = clamp(start + v * gain, 0, 255) | 0;
        this.lut[v] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
      }
    }
    return this.lut;
  }
}

// The maps of one question, by slice.
class HeatSet {
  constructor() { this.maps = new Map(); this.tries = new Map(); }

  update(meta) { this.meta = meta; this.ready = new Set(meta.ready); return this; }

  // Why the map of a slice is not shown; nothing where it is.
  why(index) {
    if (this.maps.has(index)) return "";
    return this.meta.failed[index] || (this.ready.has(index) ? "Loading the map …" : this.meta.waiting);
  }

  // Slices whose map can be had and is not here, nearest first; lets go of maps too far away.
  missing(here, room) {
    const near = [...this.ready].sort((a, b) => Math.abs(a - here) - Math.abs(b - here)).slice(0, room), keep = new Set(near);
    for (const at of this.maps.keys()) if (!keep.has(at)) this.maps.delete(at);
    return near.filter((at) => !this.maps.has(at) && (this.tries.get(at) || 0) < TRIES);
  }
}

class Panel {
  constructor({ stack, kind, name, heat, offset }, viewer) {
    Object.assign(this, { stack, kind, viewer, heat, offset });
    this.root = make("div", "panel");
    this.canvas = make("canvas");
    this.source = document.createElement("canvas");
    this.where = make("span", "where");
    this.notes = make("span", "notes");
    this.level = make("span", "level");
    this.scale = make("span", "scale");
    this.message = make("span", "message");
    this.marks = ["left", "right", "top", "bottom"].map((side) => [side, make("span", `mark ${side}`)]);
    const title = make("span", "title");
    this.of = make("span", "of");
    title.append(make("span", "name", name), this.of, this.notes);
    this.root.append(this.canvas, title, this.where, this.level, this.scale, this.message, ...this.marks.map((m) => m[1]));
    this.listen();
  }

  get data() { return this.viewer.stacks[this.stack]; }

  // The slice that this panel shows; it need not be there.
  get index() { return this.data.index + this.offset; }

  get place() { return this.data.place(clamp(this.index, 0, this.data.count - 1)); }

  get shown() {
    const { view } = this.viewer.look;
    return !this.viewer.switchable || view === "side" || this.kind === view;
  }

  listen() {
    const { canvas, viewer } = this;
    let drag = null;
    canvas.onpointerdown = (e) => {
      const tool = e.button === 1 || e.shiftKey ? "pan" : e.button === 2 ? "zoom" : viewer.tool;
      drag = { tool, x: e.clientX, y: e.clientY, centre: this.data.centre, width: this.data.width,
        pan: [...viewer.pan], zoom: viewer.zoom, index: this.data.index };
      canvas.setPointerCapture(e.pointerId);
      viewer.root.focus({ preventScroll: true });
      e.preventDefault();
    };
    canvas.onpointermove = (e) => {
      if (!drag) return;
      const [dx, dy] = [e.clientX - drag.x, e.clientY - drag.y];
      const usual = Object.values(this.data.meta.presets)[0][1];
      if (drag.tool === "window") {
        if (dx || dy) this.data.setWindow(drag.centre + (dy * usual) / 300, drag.width + (dx * usual) / 250);
      } else if (drag.tool === "pan") viewer.pan = [drag.pan[0] + dx, drag.pan[1] + dy];
      else if (drag.tool === "zoom") viewer.zoomTo(drag.zoom * Math.exp(-dy / 150));
      else viewer.goTo(this.stack, drag.index + Math.round(dy / 6));
      viewer.draw();
    };
    canvas.onpointerup = canvas.onpointercancel = () => { drag = null; };
    canvas.oncontextmenu = (e) => e.preventDefault();
    canvas.ondblclick = () => viewer.reset();
    let wheel = 0;
    this.root.addEventListener("wheel", (e) => {
      const turn = (e.deltaY || e.deltaX) * (e.deltaMode ? 20 : 1);
      if (e.ctrlKey || e.shiftKey) {
        const box = canvas.getBoundingClientRect();
        const at = [e.clientX - box.x - box.width / 2, e.clientY - box.y - box.height / 2];
        viewer.zoomTo(viewer.zoom * Math.exp(-turn / 300), at);
      } else if (this.data.count > 1) {
        wheel += turn;
        if (Math.abs(wheel) >= 40) { viewer.goTo(this.stack, this.data.index + Math.sign(wheel)); wheel = 0; }
      } else return;
      e.preventDefault();
    }, { passive: false });
  }

  // Pixels of a canvas per mm (per pixel height where the header gives no spacing) that let the slice fit.
  fit(w, h) {
    const { place } = this, [down, across] = place.spacing_mm || [1, 1];
    return Math.min(w / (place.columns * across), h / (place.rows * down));
  }

  fill(slice, heat) {
    const { rows, columns } = this.data.meta, { source } = this;
    if (source.width !== columns || source.height !== rows || !this.image) {
      Object.assign(source, { width: columns, height: rows });
      this.image = new ImageData(columns, rows);
    }
    const out = new Uint32Array(this.image.data.buffer), lut = this.data.greys(slice.zero, slice.unit), { values } = slice;
    for (let i = 0; i < out.length; i++) out[i] = lut[values[i]];
    if (heat && this.kind !== "image") this.colour(heat);
    source.getContext("2d").putImageData(this.image, 0, 0);
  }

  // Lay a map over the picture, or put it in its place; what is below the threshold stays as it is, or dark.
  colour(heat) {
    const { colours, look } = this.viewer, bytes = this.image.data, alone = this.kind === "heat";
    const mix = alone ? 1 : look.opacity, least = Math.ceil(255 * look.threshold);
    for (let i = 0, o = 0; i < heat.length; i++, o += 4) {
      if (heat[i] >= least) {
        for (let k = 0; k < 3; k++) bytes[o + k] += (colours[3 * heat[i] + k] - bytes[o + k]) * mix;
      } else if (alone) bytes[o] = bytes[o + 1] = bytes[o + 2] = 0;
    }
  }

  paint(perMm) {
    const { canvas, data, viewer, index, place } = this, ratio = window.devicePixelRatio || 1;
    const there = index >= 0 && index < data.count, slice = there ? data.slice(index) : null;
    const set = this.kind === "image" ? null : viewer.sets[this.heat], heat = set?.maps.get(index);
    const context = canvas.getContext("2d"), { width: w, height: h } = canvas;
    context.fillStyle = "#000";
    context.fillRect(0, 0, w, h);
    // Never another slice in the place of one that is not here.
    if (slice && !slice.reason && (heat || this.kind !== "heat")) {
      this.fill(slice, heat);
      const [down, across] = place.spacing_mm || [1, 1], scale = perMm * viewer.zoom;
      const [dw, dh] = [place.columns * across * scale, place.rows * down * scale];
      context.imageSmoothingQuality = "medium";
      context.drawImage(this.source, 0, 0, place.columns, place.rows,
        (w - dw) / 2 + viewer.pan[0] * ratio, (h - dh) / 2 + viewer.pan[1] * ratio, dw, dh);
    }
    this.message.textContent = !there ? "No slice here" : !slice ? `Loading slice ${index + 1} …`
      : slice.reason || (set ? set.why(index) : "");
    this.of.textContent = heat ? set.meta.names[index] || "" : "";
    for (const [side, mark] of this.marks) mark.textContent = place.letters[side];
    this.notes.textContent = place.notes.join("\n");
    this.where.textContent = [
      data.count > 1 && there ? `${index + 1} / ${data.count}` : "", there ? this.position() : "",
      viewer.away(this.stack),
    ].filter(Boolean).join("\n");
    this.level.textContent = this.kind === "heat" ? "" : [
      viewer.zoom === 1 ? "" : `${Math.round(100 * viewer.zoom)} %`, `L ${short(data.centre)}  W ${short(data.width)}`,
    ].filter(Boolean).join("\n");
    this.ruler(place.spacing_mm && (perMm * viewer.zoom) / ratio, w / ratio);
  }

  position() {
    const mm = this.data.meta.positions_mm[this.index], [low, high] = this.place.axis;
    return mm === null ? "" : `${mm < 0 ? low : high} ${Math.abs(mm).toFixed(1)} mm`;
  }

  ruler(pixelsPerMm, width) {
    this.scale.classList.toggle("unknown", !pixelsPerMm);
    if (!pixelsPerMm) {
      this.scale.textContent = "no scale: pixel spacing unknown";
      this.scale.style.width = "";
      return;
    }
    const mm = [200, 100, 50, 20, 10, 5, 2, 1, 0.5].find((length) => length * pixelsPerMm <= 0.3 * width) || 0.2;
    this.scale.textContent = `${mm} mm`;
    this.scale.style.width = `${mm * pixelsPerMm}px`;
  }
}

class Viewer {
  constructor(parent, send) {
    Object.assign(this, { send, root: parent.querySelector(".viewer"), stacks: [], panels: [], sets: [], look: lookOf(),
      zoom: 1, pan: [0, 0], tool: "window", linked: true, asked: null, askedHeats: false });
    this.colours = levels(this.look.map);
    this.controls();
    this.root.onkeydown = (event) => this.key(event);
    new ResizeObserver(() => this.draw()).observe(this.root);
  }

  controls() {
    const bar = this.root.querySelector(".bar"), tools = this.root.querySelector(".tools");
    const button = (text, title, onclick) =>
      Object.assign(make("button", "", text), { type: "button", title, ariaLabel: text.length > 1 ? null : title,
        onclick: () => { onclick(); this.root.focus(); } });
    const group = make("div", "group");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", "What dragging does");
    this.toolButtons = TOOLS.map(([tool, name, key]) =>
      button(name, `Drag to ${name.toLowerCase()} (${key.toUpperCase()})`, () => { this.tool = tool; this.draw(); }));
    group.append(...this.toolButtons);
    this.presets = Object.assign(make("select", "choice presets"), { title: "Window preset (1 to 5)" });
    this.presets.setAttribute("aria-label", "Window preset");
    this.presets.onchange = () => { this.usePreset(this.presets.value); this.root.focus(); };
    this.presets.onkeydown = (event) => event.stopPropagation();
    this.views = make("div", "group");
    this.views.setAttribute("role", "group");
    this.views.setAttribute("aria-label", "Which pictures are shown");
    this.viewButtons = VIEWS.map(([view, name]) => button(name, "", () => this.setLook({ view })));
    this.views.append(...this.viewButtons);
    this.linkButton = button("Linked", "", () => this.toggleLink());
    this.status = make("span", "status");
    this.status.setAttribute("role", "status");
    bar.append(this.views, group, this.presets, this.linkButton,
      button("Reset", "Window, zoom and place as at first (R)", () => this.reset()),
      button("Full screen", "The viewer on the whole screen (F)", () => this.fullScreen()), button("?", "All keys", () => this.toggleHelp()));
    const slider = (name, max, step, set, title = "") => {
      const label = Object.assign(make("label"), { title }), input = Object.assign(make("input"), { type: "range", min: 0, max, step });
      input.setAttribute("aria-label", name);
      input.oninput = () => { set(Number(input.value)); this.draw(); };
      input.onkeydown = (event) => event.stopPropagation();
      label.append(make("span", "", name), input);
      tools.append(label);
      return input;
    };
    this.sliceInput = slider("Slice", 1, 1, (value) => this.goTo(0, value));
    this.opacityInput = slider("Heat", 1, "any", (value) => this.setLook({ opacity: value }), "How strongly the map covers the image");
    this.thresholdInput = slider("Hide below", 1, "any", (value) => this.setLook({ threshold: value }), "Hide what is weaker than this share of the map's own scale");
    this.colourLabel = make("label", "colours");
    this.colourInput = make("select", "choice");
    this.colourInput.setAttribute("aria-label", "Colours of the map");
    this.colourInput.append(...Object.keys(COLOUR_MAPS).map((name) => Object.assign(make("option", "", name), { value: name })));
    this.colourInput.onchange = () => { this.setLook({ map: this.colourInput.value }); this.root.focus(); };
    this.colourInput.onkeydown = (event) => event.stopPropagation();
    this.ramp = make("i", "ramp");
    this.colourLabel.append(this.colourInput, make("span", "", "none"), this.ramp, make("span", "", "most"));
    tools.append(this.colourLabel, this.status);
    this.help = make("div", "help");
    this.help.hidden = true;
    const list = make("dl");
    KEYS.forEach(([key, does]) => list.append(make("dt", "", key), make("dd", "", does)));
    this.help.append(make("b", "", "Keys and mouse"), list);
    this.help.onclick = () => this.toggleHelp();
    this.root.append(this.help);
  }

  key(event) {
    if (event.altKey || event.metaKey || event.ctrlKey) return;
    const step = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10,
      Home: -1e9, End: 1e9 }[event.key];
    const usual = this.stacks[0] && Object.values(this.stacks[0].meta.presets)[0][1];
    const adjust = (centre, width) => () =>
      this.stacks.forEach((s) => s.setWindow(s.centre + centre * s.width, s.width * width));
    const tool = TOOLS.find((one) => one[2] === event.key);
    const does = {
      "+": () => this.zoomTo(this.zoom * 1.2), "=": () => this.zoomTo(this.zoom * 1.2),
      "-": () => this.zoomTo(this.zoom / 1.2), "[": adjust(0, 1 / 1.1), "]": adjust(0, 1.1),
      ",": adjust(-0.05, 1), ".": adjust(0.05, 1), r: () => this.reset(), l: () => this.toggleLink(),
      f: () => this.fullScreen(), "?": () => this.toggleHelp(),
      ...(this.help.hidden ? {} : { Escape: () => this.toggleHelp() }),
    }[event.key];
    if (step && this.stacks[0]?.count > 1) this.goTo(0, this.stacks[0].index + step);
    else if (/^[1-9]$/.test(event.key)) this.usePreset(this.presetNames()[event.key - 1]);
    else if (tool) this.tool = tool[0];
    else if (does && usual) does();
    else return;
    event.preventDefault();
    // Keys that the page listens to must not do a second thing.
    event.stopPropagation();
    this.draw();
  }

  setLook(changes) {
    Object.assign(this.look, changes);
    this.colours = levels(this.look.map);
    try { sessionStorage.setItem(LOOK, JSON.stringify(this.look)); } catch { /* a browser may refuse to keep things */ }
    this.draw();
  }

  presetNames() { return [...Object.keys(this.stacks[0].meta.presets), FULL]; }

  usePreset(name) {
    this.stacks.forEach((stack) => stack.usePreset(name));
    this.draw();
  }

  reset() {
    Object.assign(this, { zoom: 1, pan: [0, 0] });
    this.usePreset(this.presetNames()[0]);
  }

  zoomTo(zoom, at = [0, 0]) {
    const next = clamp(zoom, 0.5, 20), by = next / this.zoom;
    // What is under the pointer stays there.
    this.pan = this.pan.map((pan, axis) => at[axis] - (at[axis] - pan) * by);
    this.zoom = next;
    this.draw();
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.requestFullscreen?.();
  }

  toggleHelp() { this.help.hidden = !this.help.hidden; }

  toggleLink() {
    if (this.stacks.length < 2) return;
    this.linked = !this.linked;
    if (this.linked) this.goTo(0, this.stacks[0].index);
    this.draw();
  }

  goTo(which, index) {
    const stack = this.stacks[which], before = this.stacks.map((one) => one.index);
    stack.index = clamp(index, 0, stack.count - 1);
    const other = this.stacks[1 - which];
    if (other && this.linked) other.index = this.counterpart(stack, other);
    if (this.stacks.every((one, i) => one.index === before[i])) return;
    this.draw();
    this.ask();
    this.askHeats();
    clearTimeout(this.timer);
    // Python is told where the reader rests, not every slice passed.
    this.timer = setTimeout(() => {
      if (this.stacks[0].index === this.told) return;
      this.told = this.stacks[0].index;
      this.telling = { index: this.told, until: Date.now() + 4000 };
      this.send("index", this.told);
    }, REST_MS);
  }

  // The slice of the other stack that belongs to where this one is.
  counterpart(stack, other) {
    if (this.meta.link.by !== "mm") {
      return Math.round((stack.index / Math.max(1, stack.count - 1)) * (other.count - 1));
    }
    const here = stack.meta.positions_mm[stack.index];
    let best = 0;
    other.meta.positions_mm.forEach((mm, i) => {
      if (Math.abs(mm - here) < Math.abs(other.meta.positions_mm[best] - here)) best = i;
    });
    return best;
  }

  // How far the second stack's slice is from the first one's, where both are linked by millimetres.
  away(which) {
    if (which !== 1 || !this.linked || this.meta.link.by !== "mm") return "";
    const [one, two] = this.stacks.map((stack) => stack.meta.positions_mm[stack.index]);
    const gap = Math.abs(one - two);
    return gap < 0.05 ? "same position" : `nearest: ${gap.toFixed(1)} mm away`;
  }

  // Ask for the nearest piece that is missing; one at a time, so that a reader who moves on is served there first.
  ask() {
    if (this.asked) return;
    const budget = BUDGET / this.stacks.length;
    const [next] = this.stacks.map((stack) => ({ stack, ...stack.missing(budget) }))
      .filter((one) => one.number !== undefined).sort((a, b) => a.distance - b.distance);
    if (!next) return;
    next.stack.tries.set(next.number, (next.stack.tries.get(next.number) || 0) + 1);
    this.asked = `${next.stack.meta.id} ${next.number}`;
    this.send("want", { stack: next.stack.meta.id, piece: next.number });
  }

  // Ask for the nearest maps that are ready and not here.
  askHeats() {
    if (this.askedHeats || !this.sets.length) return;
    const [lead] = this.stacks, room = Math.max(1, Math.floor(HEAT_BUDGET / lead.size / this.sets.length));
    const wants = this.sets.flatMap((set) => set.missing(lead.index, room).map((at) => [set, at]))
      .sort((a, b) => Math.abs(a[1] - lead.index) - Math.abs(b[1] - lead.index)).slice(0, HEATS_AT_ONCE);
    if (!wants.length) return;
    wants.forEach(([set, at]) => set.tries.set(at, (set.tries.get(at) || 0) + 1));
    this.askedHeats = true;
    this.send("heats", wants.map(([set, at]) => [set.meta.id, at]));
  }

  draw() {
    cancelAnimationFrame(this.request);
    this.request = requestAnimationFrame(() => this.paint());
  }

  paint() {
    if (!this.panels.length) return;
    const ratio = window.devicePixelRatio || 1;
    this.panels.forEach((panel) => { panel.root.hidden = !panel.shown; });
    const panels = this.panels.filter((panel) => panel.shown);
    for (const { canvas } of panels) {
      const [w, h] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
      if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    }
    const fits = panels.map((panel) => panel.fit(panel.canvas.width, panel.canvas.height));
    // A millimetre is as long in every panel, so that sizes can be compared, where every header tells it.
    const known = panels.every((panel) => panel.place.spacing_mm);
    panels.forEach((panel, i) => panel.paint(known ? Math.min(...fits) : fits[i]));
    this.showState();
  }

  showState() {
    const [lead] = this.stacks;
    this.sliceInput.value = lead.index;
    this.opacityInput.value = this.look.opacity;
    this.thresholdInput.value = this.look.threshold;
    this.colourInput.value = this.look.map;
    this.ramp.style.background = `linear-gradient(to right, ${COLOUR_MAPS[this.look.map].map((hex) => `#${hex}`).join(", ")})`;
    this.views.hidden = !this.switchable;
    this.viewButtons.forEach((button, i) => button.setAttribute("aria-pressed", String(VIEWS[i][0] === this.look.view)));
    this.toolButtons.forEach((button, i) => button.setAttribute("aria-pressed", String(TOOLS[i][0] === this.tool)));
    const own = [...this.presets.options].find((option) => option.value === OWN);
    if (own) own.hidden = lead.preset !== OWN;
    this.presets.value = lead.preset;
    this.linkButton.hidden = this.stacks.length < 2;
    this.linkButton.textContent = this.linked ? "Linked" : "Not linked";
    this.linkButton.title = `${this.meta.link.why} (L)`;
    this.linkButton.setAttribute("aria-pressed", String(this.linked));
    const [here, all] = ["loaded", "count"].map((name) => this.stacks.reduce((sum, stack) => sum + stack[name], 0));
    const loading = here < all ? `${here} of ${all} slices here` : "";
    this.status.textContent = loading || (this.stacks.length > 1 && this.linked ? this.meta.link.why : "");
  }

  layout() {
    const { panels, stacks, height_px, per_row } = this.meta;
    const shape = JSON.stringify([panels, stacks.map((one) => one.id), height_px, per_row]);
    if (shape === this.shape) return;
    this.shape = shape;
    this.panels = panels.map((panel) => new Panel(panel, this));
    // One picture of each kind can be looked at alone; tiles of a grid stay together.
    this.switchable = ["image", "overlay"].every((kind) => panels.filter((panel) => panel.kind === kind).length === 1);
    this.root.style.setProperty("--height", `${height_px}px`);
    this.root.style.setProperty("--per-row", per_row);
    this.root.classList.toggle("tiles", per_row > 0);
    this.root.classList.toggle("same", panels.every((panel) => !panel.offset));
    this.root.querySelector(".panels").replaceChildren(...this.panels.map((panel) => panel.root));
    this.presets.replaceChildren(...[...this.presetNames(), OWN].map((name, i) =>
      Object.assign(make("option", "", name), { value: name, hidden: name === OWN })));
    this.sliceInput.max = this.stacks[0].count - 1;
    this.sliceInput.parentElement.hidden = this.stacks[0].count < 2;
    const heated = panels.some((panel) => panel.kind !== "image");
    [this.opacityInput.parentElement, this.thresholdInput.parentElement, this.colourLabel]
      .forEach((element) => { element.hidden = !heated; });
  }

  async render(bytes) {
    const { meta, blobs } = unpack(bytes);
    const before = this.stacks, lead = before[0]?.meta.id;
    this.meta = meta;
    this.stacks = meta.stacks.map((one) => before.find((stack) => stack.meta.id === one.id) || new Stack(one));
    // A message that was on its way when Python was told of another slice must not lead back.
    const { telling } = this, other = lead !== meta.stacks[0].id;
    if (other || !telling || meta.index === telling.index || Date.now() > telling.until) {
      if (other || meta.index !== this.told) this.stacks[0].index = meta.index;
      this.told = meta.index;
      this.telling = null;
    }
    if (this.stacks[1] && this.linked) this.stacks[1].index = this.counterpart(this.stacks[0], this.stacks[1]);
    this.layout();
    const sets = this.sets;
    this.sets = meta.heat_sets.map((one) =>
      ((lead === meta.stacks[0].id && sets.find((set) => set.meta.id === one.id)) || new HeatSet()).update(one));
    await Promise.all([...meta.pieces.map((piece, i) =>
      this.stacks.find((stack) => stack.meta.id === piece.stack_id)?.add(piece, blobs[i])),
    ...meta.heats.map(async ({ set_id, index }, i) => {
      const set = this.sets.find((one) => one.meta.id === set_id);
      set?.maps.set(index, await inflate(blobs[meta.pieces.length + i]));
    })]);
    if (this.meta !== meta) return; // a newer message came meanwhile and goes on from here
    this.asked = null;
    this.askedHeats = false;
    this.draw();
    this.ask();
    this.askHeats();
    const inside = this.root.getRootNode().activeElement || document.activeElement !== document.body;
    if (!inside && this.stacks[0].count > 1) this.root.focus({ preventScroll: true });
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  if (!instances.has(parentElement)) instances.set(parentElement, new Viewer(parentElement, setTriggerValue));
  instances.get(parentElement).render(data);
}
