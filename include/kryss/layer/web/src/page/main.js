import "maplibre-gl/dist/maplibre-gl.css";
import "../shared/style.css";
import { Map as MapLibre, setWorkerUrl } from "maplibre-gl";
import workerText from "maplibre-gl/dist/maplibre-gl-worker.mjs?raw";
setWorkerUrl(URL.createObjectURL(new Blob([workerText], { type: "text/javascript" })));
console.log(MapLibre);
