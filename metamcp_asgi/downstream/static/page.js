// Loads the document of this endpoint, with a key where one is asked for, and shows it in Swagger UI.
"use strict";

const place = new URL(document.body.dataset.document, location.href);
const form = document.getElementById("key-form");
const query = new URLSearchParams(location.search);

async function load(key) {
  const answer = await fetch(place, { headers: key ? { "X-API-Key": key } : {} });
  if (answer.status === 401 || answer.status === 403) {
    form.hidden = false;
    document.getElementById("key-error").textContent = key ? "This key does not open the endpoint." : "";
    document.getElementById("key").focus();
    return;
  }
  if (!answer.ok) {
    document.getElementById("swagger-ui").textContent = `The document could not be loaded: ${answer.status}`;
    return;
  }
  const spec = await answer.json();
  // Where this page came from answers for certain, without a second origin.
  spec.servers = [{ url: new URL(".", place).href.slice(0, -1) }];
  form.remove();
  const ui = SwaggerUIBundle({
    spec,
    dom_id: "#swagger-ui",
    deepLinking: true,
    validatorUrl: null,
    onComplete() {
      if (key && spec.components.securitySchemes) {
        ui.preauthorizeApiKey("headerKey", key);
      }
    },
  });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  load(document.getElementById("key").value);
});

load(query.get("api_key") || query.get("apikey") || "");
