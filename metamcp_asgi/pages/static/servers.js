// A file that is chosen becomes the text of a field, which is what is sent: it can be read before.
"use strict";

for (const field of document.querySelectorAll("[data-scripted]")) field.hidden = false;

document.addEventListener("change", async (event) => {
  const { into } = event.target.dataset;
  const [file] = event.target.files ?? [];
  if (into && file) document.getElementById(into).value = await file.text();
});
