// Shows the values of all charts at one place: under the mouse, a finger, or where the arrow keys went.
(() => {
  const { edges, charts } = JSON.parse(document.getElementById("values").textContent);
  const plots = [...document.querySelectorAll("[data-chart]")];
  const last = edges.length - 2, whole = edges[edges.length - 1];

  // As number() of words.py writes it.
  const number = value => {
    if (value === null) return "–";
    const size = Math.abs(value);
    if (size >= 10 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
    if (size >= 0.1) return value.toFixed(2);
    return size >= 0.001 ? value.toLocaleString("en", digits) : value.toExponential(1);
  };
  const digits = { minimumSignificantDigits: 2, maximumSignificantDigits: 2 };

  // The places where each chart's lines are told, and what they say when nothing is pointed at.
  const told = plots.map(plot => {
    const key = plot.dataset.chart;
    const named = [...document.querySelectorAll(`[data-of="${key}"]`)].map(output => [output, +output.dataset.line]);
    const ended = [...plot.parentElement.querySelectorAll(".ends output")].map((output, line) => [output, line]);
    return [...named, ...ended].map(([output, line]) => ({ output, line, rest: output.textContent }));
  });

  const spanAt = step => {
    let low = 0, high = last;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (edges[middle] <= step) low = middle; else high = middle - 1;
    }
    return low;
  };

  const when = span => span === last ? `from batch ${edges[span].toLocaleString("en")}`
    : `batches ${edges[span].toLocaleString("en")} to ${edges[span + 1].toLocaleString("en")}`;

  let current = null;
  const show = span => {
    current = span;
    plots.forEach((plot, index) => {
      const lines = charts[plot.dataset.chart], [cursor, place] = plot.querySelectorAll("i");
      for (const { output, line, rest } of told[index]) {
        output.textContent = span === null ? rest : number(lines[line][span]);
      }
      cursor.hidden = place.hidden = span === null;
      if (span === null) return;
      const middle = (edges[span] + edges[span + 1]) / 2 / whole;
      cursor.style.left = `${100 * middle}%`;
      place.textContent = when(span);
      place.classList.toggle("right", middle > 0.5);
      plot.setAttribute("aria-valuenow", span);
      plot.setAttribute("aria-valuetext", `${when(span)}: ${told[index].map(({ output }) =>
        `${(output.previousElementSibling ?? output.previousSibling).textContent.trim()} ${output.textContent}`).join(", ")}`);
    });
  };

  for (const plot of plots) {
    const point = event => {
      const box = plot.getBoundingClientRect();
      show(spanAt((event.clientX - box.left) / box.width * whole));
    };
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    plot.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") show(null); });
    plot.addEventListener("blur", () => show(null));
    plot.addEventListener("keydown", event => {
      const from = current ?? last, far = event.shiftKey ? Math.max(1, Math.round(last / 10)) : 1;
      const to = { ArrowLeft: from - far, ArrowRight: from + far, Home: 0, End: last }[event.key];
      if (event.key === "Escape") show(null);
      else if (to !== undefined) show(Math.min(last, Math.max(0, to)));
      else return;
      event.preventDefault();
    });
  }
  show(null);
})();
