// Pictures of classes as bitmaps for the map: each class is drawn once per size and look, and then only copied.
import { pictureAddress } from "../shared/signs.js";

const images = new Map();
const bitmaps = new Map();
let changed = () => {};

/** `listener` is called when a picture has arrived. */
export const onPicture = (listener) => (changed = listener);

function image(name) {
  let found = images.get(name);
  if (!found) {
    found = { ready: false, image: new Image() };
    found.image.onload = () => {
      found.ready = true;
      changed();
    };
    found.image.src = pictureAddress(name);
    images.set(name, found);
  }
  return found;
}

/** A canvas of `size` device pixels with the class drawn into it; `gone`: without colour. Null until the picture is there. */
export function bitmap(name, size, gone = false) {
  const key = `${size}|${gone ? 1 : 0}|${name}`;
  let found = bitmaps.get(key);
  if (!found) {
    const source = image(name);
    if (!source.ready) return null;
    found = document.createElement("canvas");
    found.width = found.height = size;
    const context = found.getContext("2d");
    context.imageSmoothingQuality = "high";
    if (gone) context.filter = "grayscale(1)";
    const pad = Math.max(1, Math.round(size / 20));
    context.drawImage(source.image, pad, pad, size - 2 * pad, size - 2 * pad);
    if (bitmaps.size > 1500) bitmaps.clear();
    bitmaps.set(key, found);
  }
  return found;
}
