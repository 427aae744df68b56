// The pages work without this. A picture that is gone leaves its place to the caption.
const isGone = (image) => image.complete && !image.naturalWidth;
document.addEventListener("error", (event) => event.target.closest?.(".frame") && event.target.remove(), true);
document.querySelectorAll(".frame img").forEach((image) => isGone(image) && image.remove());
// A slash leads to the search, and Escape or a press elsewhere closes what the tools have opened.
const close = (but) => document.querySelectorAll(".tools details[open]").forEach((menu) => menu !== but && (menu.open = false));
document.addEventListener("click", (event) => close(event.target.closest("details")));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") close();
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input, select")) return;
  event.preventDefault();
  document.querySelector("#q")?.select();
});
