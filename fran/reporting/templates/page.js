for (const box of document.querySelectorAll(".table")) {
  const body = box.querySelector("tbody"), heads = [...box.querySelectorAll("thead th")];
  const key = (row, i) => {
    const cell = row.cells[i];
    return cell.classList.contains("n") ? ("sort" in cell.dataset ? +cell.dataset.sort : null) : cell.textContent;
  };
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const up = head.getAttribute("aria-sort") !== "ascending", sign = up ? 1 : -1;
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      body.append(...[...body.rows].sort((a, b) => {
        const x = key(a, i), y = key(b, i);
        if (x === null || y === null) return (x === null) - (y === null);
        return sign * (typeof x === "number" ? x - y : x.localeCompare(y, undefined, { numeric: true }));
      }));
    };
  });
  const choice = box.querySelector("select");
  if (choice) choice.onchange = () => {
    for (const row of body.rows)
      row.hidden = choice.value !== "" && row.cells[choice.dataset.column].textContent !== choice.value;
  };
}
