// Tiles cut from one sheet of pictures; a click or Enter opens one, arrow keys walk, a box or X picks.
const WAIT_MS = 250;

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".grid");
  const { tiles, sheet, columns, rows, selected, tile_px, picked, aspect } = data;
  root.style.setProperty("--tile", `${tile_px}px`);
  root.style.setProperty("--aspect", aspect);
  const local = (root.local ??= { picked: new Set(), timer: 0, last: null });
  // What was picked a moment ago and is not sent yet is newer than what came.
  if (!local.timer) local.picked = new Set(picked ?? []);
  root.setAttribute("aria-multiselectable", String(picked !== null));
  const place = (index, count) => (count > 1 ? (100 * index) / (count - 1) : 0);

  const send = () => {
    clearTimeout(local.timer);
    local.timer = setTimeout(() => {
      local.timer = 0;
      setTriggerValue("picked", tiles.map((tile) => tile.key).filter((key) => local.picked.has(key)));
    }, WAIT_MS);
  };
  const pick = (index, range) => {
    const on = !local.picked.has(tiles[index].key);
    const from = range && local.last !== null ? local.last : index;
    for (let i = Math.min(from, index); i <= Math.max(from, index); i++) {
      local.picked[on ? "add" : "delete"](tiles[i].key);
      show(i);
    }
    local.last = index;
    send();
  };
  const show = (index) => {
    const tile = root.children[index];
    const on = local.picked.has(tiles[index].key);
    tile.classList.toggle("picked", on);
    const box = tile.querySelector(".pick");
    if (box) box.checked = on;
  };

  const fragment = document.createDocumentFragment();
  tiles.forEach((tile, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.key = tile.key;
    button.title = tile.hover || tile.title;
    button.setAttribute("aria-label", [tile.title, tile.note, tile.badge].filter(Boolean).join(", "));
    button.setAttribute("aria-pressed", String(tile.key === selected));
    button.tabIndex = i === 0 || tile.key === selected ? 0 : -1;
    const picture = document.createElement("span");
    picture.className = "picture";
    picture.style.backgroundImage = `url(${sheet})`;
    picture.style.backgroundSize = `${columns * 100}% ${rows * 100}%`;
    picture.style.backgroundPosition = `${place(i % columns, columns)}% ${place(Math.floor(i / columns), rows)}%`;
    const text = document.createElement("span");
    text.className = "text";
    for (const part of ["title", "note"]) {
      if (!tile[part]) continue;
      const line = document.createElement("span");
      line.className = part;
      line.textContent = tile[part];
      text.append(line);
    }
    button.append(picture, text);
    for (const [part, className] of [["badge", `badge ${tile.tone}`], ["corner", "corner"]]) {
      if (!tile[part]) continue;
      const mark = document.createElement("span");
      mark.className = className;
      mark.textContent = tile[part];
      button.append(mark);
    }
    button.onclick = () => setTriggerValue("clicked", tile.key);
    const cell = document.createElement("div");
    cell.className = "tile";
    cell.append(button);
    if (picked !== null) {
      const box = Object.assign(document.createElement("input"), { type: "checkbox", className: "pick", tabIndex: -1 });
      box.setAttribute("aria-label", `Pick ${tile.title}, ${tile.note}`);
      box.onclick = (event) => pick(i, event.shiftKey);
      cell.append(box);
    }
    fragment.append(cell);
  });
  root.replaceChildren(fragment);
  tiles.forEach((_, i) => show(i));

  root.onkeydown = (event) => {
    const at = [...root.children].findIndex((tile) => tile.contains(event.target));
    if (at < 0) return;
    if (picked !== null && event.key.toLowerCase() === "x" && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      pick(at, event.shiftKey);
      return;
    }
    const perRow = getComputedStyle(root).gridTemplateColumns.split(" ").length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -perRow, ArrowDown: perRow }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = root.children[at + step]?.querySelector("button");
    if (next) { next.tabIndex = 0; next.focus(); }
  };
}
