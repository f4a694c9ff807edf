// Shows the values of all charts at one place: under the mouse, a finger, or where the arrow keys went.
(() => {
  const { whole, charts } = JSON.parse(document.getElementById("values").textContent);

  // As number() of words.py writes it.
  const digits = { minimumSignificantDigits: 2, maximumSignificantDigits: 2 };
  const number = value => {
    if (value === null) return "\u2013";
    const size = Math.abs(value);
    if (size >= 10 || Number.isInteger(value)) return Math.round(value).toLocaleString("en");
    if (size >= 0.1) return value.toFixed(2);
    return size >= 0.001 ? value.toLocaleString("en", digits) : value.toExponential(1);
  };

  // Each chart with the places where its lines are told, and what they say when nothing is pointed at.
  const plots = [...document.querySelectorAll("[data-chart]")].map(plot => {
    const key = plot.dataset.chart, [cursor, place] = plot.querySelectorAll("i");
    const named = [...document.querySelectorAll(`[data-of="${key}"]`)].map(output => [output, +output.dataset.line]);
    const ended = [...plot.parentElement.querySelectorAll(".ends output")].map((output, line) => [output, line]);
    const told = [...named, ...ended].map(([output, line]) => ({ output, line, rest: output.textContent }));
    return { plot, cursor, place, told, ...charts[key] };
  });

  const spanAt = (edges, step) => {
    let low = 0, high = edges.length - 2;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (edges[middle] <= step) low = middle; else high = middle - 1;
    }
    return low;
  };

  const say = (edges, span) => edges[span + 1] - edges[span] === 1 ? `batch ${edges[span + 1].toLocaleString("en")}`
    : `batches ${edges[span].toLocaleString("en")} to ${Math.min(edges[span + 1], whole).toLocaleString("en")}`;

  const show = step => {
    for (const { plot, cursor, place, told, edges, lines } of plots) {
      cursor.hidden = place.hidden = step === null;
      if (step === null) {
        for (const { output, rest } of told) output.textContent = rest;
        continue;
      }
      const span = spanAt(edges, step);
      for (const { output, line } of told) output.textContent = number(lines[line][span]);
      const middle = (edges[span] + edges[span + 1]) / 2 / whole;
      cursor.style.left = `${100 * middle}%`;
      place.textContent = say(edges, span);
      place.classList.toggle("right", middle > 0.5);
      plot.setAttribute("aria-valuenow", span);
      plot.setAttribute("aria-valuetext", `${place.textContent}: ${told.map(({ output }) =>
        `${(output.previousElementSibling ?? output.previousSibling).textContent.trim()} ${output.textContent}`).join(", ")}`);
    }
  };

  for (const { plot, edges } of plots) {
    const last = edges.length - 2;
    let current = last;
    const go = span => {
      current = Math.min(last, Math.max(0, span));
      show((edges[current] + edges[current + 1]) / 2);
    };
    const point = event => {
      const box = plot.getBoundingClientRect();
      const step = (event.clientX - box.left) / box.width * whole;
      current = spanAt(edges, step);
      show(step);
    };
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    plot.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") show(null); });
    plot.addEventListener("blur", () => show(null));
    plot.addEventListener("keydown", event => {
      const far = event.shiftKey ? Math.max(1, Math.round(last / 10)) : 1;
      const to = { ArrowLeft: current - far, ArrowRight: current + far, Home: 0, End: last }[event.key];
      if (event.key === "Escape") show(null);
      else if (to !== undefined) go(to);
      else return;
      event.preventDefault();
    });
  }
})();
