// What the pages of namespaces need beside htmx: what is refused is shown, too, and so is that nobody answered.
"use strict";

document.addEventListener("htmx:beforeSwap", (event) => {
  if ([409, 422].includes(event.detail.xhr.status)) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
});

for (const name of ["htmx:responseError", "htmx:sendError"]) {
  document.addEventListener(name, () => {
    const place = document.getElementById("refused");
    if (!place) return;
    const told = document.createElement("p");
    told.className = "notice bad";
    told.setAttribute("role", "alert");
    told.textContent = place.dataset.failed;
    place.replaceChildren(told);
    place.scrollIntoView({ block: "nearest" });
  });
}
