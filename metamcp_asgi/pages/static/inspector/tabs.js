// Tabs, as the WAI-ARIA practices describe them: arrow keys lead from one to the next, and show it.

/** @param {HTMLElement} list with role "tablist", whose tabs control panels. */
export function tabs(list) {
  const all = [...list.querySelectorAll('[role="tab"]')];
  const show = (tab) => {
    for (const each of all) {
      const here = each === tab;
      each.setAttribute("aria-selected", String(here));
      each.tabIndex = here ? 0 : -1;
      document.getElementById(each.getAttribute("aria-controls")).hidden = !here;
    }
  };
  for (const tab of all) tab.addEventListener("click", () => show(tab));
  list.addEventListener("keydown", (event) => {
    const at = all.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (at < 0 || to === undefined) return;
    const tab = all.at(to % all.length);
    show(tab);
    tab.focus();
    event.preventDefault();
  });
  show(all[0]);
  return (id) => show(document.getElementById(id));
}
