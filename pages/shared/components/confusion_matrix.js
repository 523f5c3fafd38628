// A confusion matrix of buttons: rows are the truth, columns the prediction.
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".matrix");
  const { classes, counts, shares, selected, unit, of, large, density } = data;
  const n = classes.length;
  const totals = counts.map((row) => row.reduce((a, b) => a + b, 0));
  const named = classes.map((_, j) => counts.reduce((sum, row) => sum + row[j], 0));
  const element = (tag, props = {}, ...children) => {
    const e = Object.assign(document.createElement(tag), props);
    e.append(...children);
    return e;
  };
  // A new drawing takes the focus from the cell that a key just opened.
  const focused = root.getRootNode().activeElement?.dataset?.cell;

  const head = element("tr", {}, element("th"), element("th"));
  classes.forEach((c) => head.append(element("th", { scope: "col" }, element("span", { textContent: c, title: c }))));
  head.append(element("th", { className: "axis", textContent: unit }));
  const axis = element("tr", {}, element("th"), element("th"),
    element("th", { colSpan: n, className: "axis", textContent: "predicted" }));
  const body = element("tbody");
  // A class that nothing truly is would be a row of noughts.
  const shown = totals.flatMap((total, i) => (total ? [i] : []));
  let first = selected && totals[selected[0]] ? `${selected[0]},${selected[1]}` : null;
  shown.forEach((i, place) => {
    const row = counts[i];
    const tr = element("tr");
    if (place === 0) tr.append(element("th", { rowSpan: shown.length, className: "axis", textContent: "true" }));
    tr.append(element("th", { scope: "row", textContent: classes[i] }));
    row.forEach((count, j) => {
      const share = shares[i][j];
      const percent = `${Math.round(share * 1000) / 10} %`;
      const whole = of === "truth" ? `all that are ${classes[i]}` : `all that were named ${classes[j]}`;
      const texts = [count.toLocaleString(), (of === "truth" ? totals[i] : named[j]) ? percent : "–"];
      if (large === "share") texts.reverse();
      const button = element("button", { type: "button",
        title: `${count} ${unit} of ${classes[i]} predicted as ${classes[j]} (${percent} of ${whole})` },
        element("b", { textContent: texts[0] }), element("small", { textContent: texts[1] }));
      button.dataset.cell = `${i},${j}`;
      first ??= button.dataset.cell;
      // One stop of the tab key for the whole matrix; arrow keys go on from there.
      button.tabIndex = button.dataset.cell === first ? 0 : -1;
      button.setAttribute("aria-label", button.title);
      button.setAttribute("aria-pressed", String(Boolean(selected) && selected[0] === i && selected[1] === j));
      button.classList.toggle("empty", count === 0);
      button.classList.toggle("wrong", i !== j);
      if (count) {
        // Square root, so that a few mistakes among many right ones can be seen from the last row of a room.
        const strength = 10 + 80 * Math.sqrt(share);
        const hue = i === j ? "--st-primary-color" : "--st-orange-color";
        button.style.setProperty("--fill", `color-mix(in srgb, var(${hue}) ${strength}%, var(--st-background-color))`);
        button.classList.toggle("strong", strength > 62);
      }
      button.onclick = () => count && setTriggerValue("clicked", [i, j]);
      tr.append(element("td", {}, button));
    });
    tr.append(element("td", { className: "total", textContent: totals[i].toLocaleString() }));
    body.append(tr);
  });
  const foot = element("tr", {}, element("th"), element("th", { className: "axis", textContent: "named" }));
  named.forEach((total) => foot.append(element("td", { className: "total below", textContent: total.toLocaleString() })));
  for (const one of ["many", "crowd"]) root.classList.toggle(one, density === one);
  root.replaceChildren(element("table", {}, element("thead", {}, axis, head), body, element("tfoot", {}, foot)));
  if (focused) root.querySelector(`[data-cell="${focused}"]`)?.focus({ preventScroll: true });

  root.onkeydown = (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const cell = event.target.dataset?.cell;
    if (!step || !cell) return;
    let [i, j] = cell.split(",").map(Number);
    let next = null;
    // Some rows are left out: go on until there is a cell, or the end.
    while (!next && i >= 0 && i < n && j >= 0 && j < n) {
      [i, j] = [i + step[0], j + step[1]];
      next = root.querySelector(`[data-cell="${i},${j}"]`);
    }
    next?.focus();
    event.preventDefault();
  };
}
