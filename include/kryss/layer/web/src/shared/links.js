// Links that open a tab, in the frame of Airflow's navigation: its sandbox lets none be opened from within, so the page around it does.

/** Called once by a page; outside of such a frame it does nothing. */
export function watchLinks() {
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest("a[target=_blank]");
    if (!link || window.parent === window || event.defaultPrevented) return;
    try {
      const outside = window.parent.document.createElement("a");
      Object.assign(outside, { href: link.href, target: "_blank", rel: "noopener noreferrer" });
      outside.click();
      event.preventDefault();
    } catch {
      // The frame is of another site: the browser decides.
    }
  });
}
