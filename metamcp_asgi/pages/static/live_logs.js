// Live logs: puts lines that come on top of those that are there. Nothing is asked for while nobody looks.
"use strict";

{
  const MOST = 1000; // lines that are kept on the page
  const lines = document.getElementById("lines");
  const none = document.getElementById("none");
  const told = document.getElementById("watching");
  const pause = document.getElementById("pause");
  let since = lines.dataset.since;
  let paused = false;
  let source = null;

  const tell = (state) => {
    if (told.textContent === told.dataset[state]) return; // said once, to those who listen
    told.textContent = told.dataset[state];
    told.className = `badge ${state === "live" ? "good" : ""}`;
  };

  const close = () => {
    if (source) source.close();
    source = null;
  };

  const open = () => {
    close();
    const url = new URL(lines.dataset.stream, location.href);
    url.searchParams.set("since", since);
    source = new EventSource(url);
    source.addEventListener("again", open); // the server looks anew who we are
    source.onopen = () => tell("live");
    source.onerror = () => tell(source.readyState === EventSource.CLOSED ? "over" : "lost");
    source.onmessage = (event) => {
      since = event.lastEventId;
      lines.insertAdjacentHTML("afterbegin", event.data); // made by our own template
      while (lines.children.length > MOST) lines.lastElementChild.remove();
      lines.hidden = false;
      none.hidden = true;
    };
  };

  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", paused);
    if (paused) {
      close();
      tell("paused");
    } else {
      open();
    }
  });

  document.addEventListener("visibilitychange", () => {
    if (paused) return;
    if (document.hidden) close();
    else open();
  });

  pause.hidden = false;
  if (!document.hidden) open();
}
