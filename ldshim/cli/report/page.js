// What the page can do beyond being read: a card under the pointer, zoom, a filter, tables in another order. Nothing here is needed to read it.
"use strict";
(() => {
  const $ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const card = document.getElementById("card"), scroll = document.querySelector(".scroll"), plot = document.querySelector(".plot");
  document.documentElement.classList.add("js");

  // A card with what the link's rows in the table say. Text is moved as text, never as markup.
  const element = (name, text, parent) => Object.assign(parent.appendChild(document.createElement(name)), {textContent: text});
  const show = (bar, x, y) => {
    const row = document.getElementById(bar.hash.slice(1));
    card.replaceChildren();
    element("b", bar.querySelector("b").textContent, card);
    bar.dataset.facts.split("\n").forEach(line => element("p", line, card));
    const command = row && row.querySelector("code");
    if (command) element("code", command.textContent, card);
    card.hidden = false;
    const wide = card.offsetWidth, high = card.offsetHeight;
    card.style.left = Math.max(8, Math.min(x + 14, innerWidth - wide - 12)) + "px";
    card.style.top = (y + 18 + high > innerHeight ? Math.max(8, y - high - 12) : y + 18) + "px";
  };
  const light = (bar, on) => $(`[data-link="${bar.hash.slice(1)}"]`).forEach(band => { band.style.fillOpacity = on ? 1 : ""; });
  $(".link").forEach(bar => {
    bar.dataset.facts = bar.title;
    bar.removeAttribute("title");
    bar.addEventListener("pointermove", event => { show(bar, event.clientX, event.clientY); light(bar, true); });
    bar.addEventListener("focus", () => { const box = bar.getBoundingClientRect(); show(bar, box.left, box.bottom - 12); light(bar, true); });
    for (const leave of ["pointerleave", "blur"]) bar.addEventListener(leave, () => { card.hidden = true; light(bar, false); });
  });
  $("path[data-link]").forEach(band => {
    const bar = document.querySelector(`.link[href="#${band.dataset.link}"]`);
    if (!bar) return;
    band.querySelector("title")?.remove();
    band.addEventListener("pointermove", event => { bar.classList.add("on"); show(bar, event.clientX, event.clientY); light(bar, true); });
    band.addEventListener("pointerleave", () => { bar.classList.remove("on"); card.hidden = true; light(bar, false); });
  });

  addEventListener("keydown", event => { if (event.key === "Escape") card.hidden = true; });

  // Zoom is width: the plot is laid out in percent, and scrolls in its frame.
  let zoom = 1;
  const zoomTo = (wanted, x) => {
    const at = (scroll.scrollLeft + x) / plot.offsetWidth;
    zoom = Math.max(1, Math.min(400, wanted));
    plot.style.width = zoom * 100 + "%";
    plot.classList.toggle("z1", zoom >= 3 && zoom < 15);
    plot.classList.toggle("z2", zoom >= 15);
    scroll.scrollLeft = at * plot.offsetWidth - x;
  };
  if (plot) {
    const middle = () => scroll.clientWidth / 2;
    document.getElementById("in").onclick = () => zoomTo(zoom * 2, middle());
    document.getElementById("out").onclick = () => zoomTo(zoom / 2, middle());
    document.getElementById("fit").onclick = () => zoomTo(1, 0);
    scroll.addEventListener("wheel", event => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoomTo(zoom * Math.exp(-event.deltaY / 300), event.clientX - scroll.getBoundingClientRect().left);
    }, {passive: false});
  }

  const words = new Map($("tbody[id]").map(body => [body.id, body.textContent.toLowerCase()]));
  document.getElementById("filter").addEventListener("input", event => {
    const wanted = event.target.value.toLowerCase().split(/\s+/);
    const shown = id => wanted.every(word => words.get(id).includes(word));
    $("tbody[id]").forEach(body => { body.hidden = !shown(body.id); });
    $(".link").forEach(bar => bar.classList.toggle("off", !shown(bar.hash.slice(1))));
    $("path[data-link]").forEach(band => band.classList.toggle("off", !shown(band.dataset.link)));
  });

  $("th").forEach((head, column) => {
    const name = head.textContent, button = document.createElement("button");
    let down = false;
    button.textContent = name;
    button.title = "Sort by this column";
    button.onclick = () => {
      const key = body => body.rows[0].cells[column].dataset.key ?? body.rows[0].cells[column].textContent;
      const order = (a, b) => (isNaN(key(a) - key(b)) ? key(a).localeCompare(key(b)) : key(a) - key(b)) * (down ? -1 : 1);
      $("tbody[id]").sort(order).forEach(body => head.closest("table").append(body));
      $("th").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      down = !down;
    };
    head.replaceChildren(button);
  });
})();
