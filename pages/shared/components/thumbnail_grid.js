// Tiles cut from one sheet of pictures; a click or Enter picks one, arrow keys walk.
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".grid");
  const { tiles, sheet, columns, rows, selected, tile_px } = data;
  root.style.setProperty("--tile", `${tile_px}px`);
  const place = (index, count) => (count > 1 ? (100 * index) / (count - 1) : 0);
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
    fragment.append(button);
  });
  root.replaceChildren(fragment);

  root.onkeydown = (event) => {
    const buttons = [...root.children];
    const at = buttons.indexOf(event.target);
    if (at < 0) return;
    const perRow = getComputedStyle(root).gridTemplateColumns.split(" ").length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -perRow, ArrowDown: perRow }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = buttons[at + step];
    if (next) { next.tabIndex = 0; next.focus(); }
  };
}
