"use strict";
// Images that are chosen, dropped or pasted, for every page that takes some.

// `take` gets a list of files; `warn` a sentence about what is none.
function listenForFiles(input, take, warn) {
  input.addEventListener("change", () => {
    take(input.files);
    input.value = ""; // so that the same file may be chosen again
  });
  let depth = 0; // of elements that a dragged file is over
  const mark = () => document.body.classList.toggle("over", depth > 0);
  document.addEventListener("dragenter", () => { depth += 1; mark(); });
  document.addEventListener("dragleave", () => { depth -= 1; mark(); });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    mark();
    const files = event.dataTransfer.files;
    if (files.length) take(files);
    else warn("What was dropped is not a file; save the image first, then drop the file.");
  });
  document.addEventListener("paste", (event) => {
    const files = event.clipboardData.files;
    if (files.length) take(files);
    else if (!event.target.closest("input, textarea")) warn("The clipboard has no image.");
  });
}
