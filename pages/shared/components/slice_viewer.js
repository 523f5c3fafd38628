// A stack of slices on canvases: wheel or arrow keys step, drag sets window and level, double click resets.
// Pixels arrive once, as zlib-deflated 12-bit numbers; stepping and windowing then cost no message at all.
const instances = new WeakMap();
const VIRIDIS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129],
  [92, 200, 99], [170, 220, 50], [253, 231, 37]];

function viridis(value) {
  const at = Math.min(1, Math.max(0, value)) * (VIRIDIS.length - 1);
  const low = Math.min(VIRIDIS.length - 2, Math.floor(at));
  return VIRIDIS[low].map((c, k) => c + (VIRIDIS[low + 1][k] - c) * (at - low));
}

async function inflate(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

function build(parent, send) {
  const root = parent.querySelector(".viewer");
  const view = { root, index: 0, centre: 2048, width: 4096, opacity: 0.5, stack: null, heat: null, timer: null, panels: [] };
  const tools = root.querySelector(".tools");
  const slider = (name, min, max, set) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "range", min, max, step: "any" });
    input.setAttribute("aria-label", name);
    label.append(Object.assign(document.createElement("span"), { textContent: name }), input);
    input.oninput = () => { set(Number(input.value)); view.draw(); };
    input.onkeydown = (event) => event.stopPropagation();
    tools.append(label);
    return input;
  };
  view.sliceInput = slider("Slice", 0, 1, (v) => view.step(Math.round(v) - view.index));
  view.sliceInput.step = 1;
  view.centreInput = slider("Level", 0, 4095, (v) => { view.centre = v; });
  view.widthInput = slider("Window", 1, 4095, (v) => { view.width = v; });
  view.opacityInput = slider("Heat", 0, 1, (v) => { view.opacity = v; });
  const reset = Object.assign(document.createElement("button"), { type: "button", textContent: "Reset", title: "Set window and level back" });
  tools.append(reset);
  view.reset = () => { [view.centre, view.width] = view.meta.window; view.draw(); };
  reset.onclick = view.reset;

  view.step = (by) => {
    const next = Math.min(view.meta.count - 1, Math.max(0, view.index + by));
    if (next === view.index) return;
    view.index = next;
    view.draw();
    clearTimeout(view.timer);
    // Python is told where the reader rests, not every slice passed.
    view.timer = setTimeout(() => { view.told = view.index; send("index", view.index); }, 350);
  };
  root.onkeydown = (event) => {
    const by = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -5, PageDown: 5,
      Home: -1e6, End: 1e6 }[event.key];
    if (by) { view.step(by); event.preventDefault(); }
    if (event.key === "r") view.reset();
  };
  let wheel = 0;
  root.querySelector(".panels").addEventListener("wheel", (event) => {
    if (view.meta.count < 2) return;
    event.preventDefault();
    wheel += event.deltaY;
    if (Math.abs(wheel) >= 40) { view.step(Math.sign(wheel)); wheel = 0; }
  }, { passive: false });

  view.paint = () => {
    const { meta, stack } = view;
    if (!stack) return;
    const size = meta.rows * meta.columns;
    const slice = stack.subarray(view.index * size, (view.index + 1) * size);
    const low = view.centre - view.width / 2;
    const gain = 255 / Math.max(1, view.width);
    for (const panel of view.panels) {
      const heat = view.heat && panel.kind !== "image" ? view.heat : null;
      const image = new ImageData(meta.columns, meta.rows);
      for (let i = 0, o = 0; i < size; i++, o += 4) {
        const grey = Math.min(255, Math.max(0, (slice[i] - low) * gain));
        let [r, g, b] = [grey, grey, grey];
        if (heat) {
          const mix = panel.kind === "heat" ? 1 : view.opacity;
          const c = 3 * heat[i];
          r += (view.colours[c] - r) * mix; g += (view.colours[c + 1] - g) * mix; b += (view.colours[c + 2] - b) * mix;
        }
        image.data[o] = r; image.data[o + 1] = g; image.data[o + 2] = b; image.data[o + 3] = 255;
      }
      panel.source.getContext("2d").putImageData(image, 0, 0);
      const canvas = panel.canvas;
      const ratio = window.devicePixelRatio || 1;
      const [w, h] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
      if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      const scale = Math.min(w / (meta.columns * meta.aspect), h / meta.rows);
      const [dw, dh] = [meta.columns * meta.aspect * scale, meta.rows * scale];
      context.fillStyle = "#000";
      context.fillRect(0, 0, w, h);
      context.drawImage(panel.source, (w - dw) / 2, (h - dh) / 2, dw, dh);
      panel.where.textContent = meta.total > 1 ? `${meta.first + view.index + 1} / ${meta.total}` : "";
      const real = (v) => Number(v.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4, useGrouping: false });
      panel.level.textContent = panel.kind === "heat" ? "" :
        `L ${real(meta.zero + view.centre * meta.unit)}  W ${real(view.width * meta.unit)}`;
    }
    view.sliceInput.value = view.index;
    view.centreInput.value = view.centre;
    view.widthInput.value = view.width;
    view.opacityInput.value = view.opacity;
  };
  view.draw = () => {
    cancelAnimationFrame(view.request);
    view.request = requestAnimationFrame(view.paint);
  };
  view.colours = new Float32Array(256 * 3);
  for (let i = 0; i < 256; i++) view.colours.set(viridis(i / 255), 3 * i);
  new ResizeObserver(() => view.draw()).observe(root);
  return view;
}

function panels(view) {
  const box = view.root.querySelector(".panels");
  const { kinds, names, letters, rows, columns, aspect, height_px } = view.meta;
  const make = (className, text) => Object.assign(document.createElement("span"), { className, textContent: text });
  view.panels = kinds.map((kind, i) => {
    const panel = document.createElement("div");
    panel.className = "panel";
    panel.style.height = `${height_px}px`;
    const canvas = document.createElement("canvas");
    const source = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
    const [where, level] = [make("where", ""), make("level", "")];
    panel.append(canvas, make("name", names[i]), where, level,
      ...["left", "right", "top", "bottom"].map((side) => make(`mark ${side}`, letters[side] || "")));
    let from = null;
    canvas.onpointerdown = (e) => {
      from = [e.clientX, e.clientY, view.centre, view.width];
      canvas.setPointerCapture(e.pointerId);
      view.root.focus({ preventScroll: true });
    };
    canvas.onpointermove = (e) => {
      if (!from) return;
      view.width = Math.min(8190, Math.max(8, from[3] + (e.clientX - from[0]) * 10));
      view.centre = Math.min(4095, Math.max(0, from[2] + (e.clientY - from[1]) * 8));
      view.draw();
    };
    canvas.onpointerup = canvas.onpointercancel = () => { from = null; };
    canvas.ondblclick = view.reset;
    return { kind, canvas, source, where, level, panel };
  });
  box.replaceChildren(...view.panels.map((p) => p.panel));
}

async function render({ data, parentElement, setTriggerValue }) {
  let view = instances.get(parentElement);
  if (!view) {
    view = build(parentElement, setTriggerValue);
    instances.set(parentElement, view);
  }
  const fresh = view.stackId !== data.stack_id;
  view.meta = data;
  if (fresh) {
    view.stackId = data.stack_id;
    view.index = data.index;
    [view.centre, view.width] = data.window;
    view.sliceInput.max = data.count - 1;
    view.sliceInput.parentElement.hidden = data.count < 2;
    view.sliceInput.parentElement.style.display = data.count < 2 ? "none" : "";
    const buffer = await inflate(data.pixels);
    if (view.stackId !== data.stack_id) return;
    view.stack = new Uint16Array(buffer);
  } else if (data.index !== view.told) {
    view.index = data.index;
  }
  view.told = data.index;
  view.heat = data.heat ? new Uint8Array(await inflate(data.heat)) : null;
  view.opacityInput.parentElement.style.display = view.heat ? "" : "none";
  const shape = JSON.stringify([data.kinds, data.names, data.letters, data.rows, data.columns, data.height_px]);
  if (fresh || shape !== view.shape) {
    view.shape = shape;
    panels(view);
  }
  view.root.querySelector(".help").textContent = data.count > 1
    ? "Wheel or arrow keys step · drag sets window and level · double click resets"
    : "Drag sets window and level · double click resets";
  view.paint();
  view.draw();
}

export default function (component) {
  render(component);
}
