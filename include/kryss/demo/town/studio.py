"""The pictures of Kryssby: the scene of one epoch in Cycles, a camera for each shot, rays that say what is really visible.

Needs ``bpy`` 4.5, ``cairosvg``, ``shapely`` and ``pillow``. Blender's pinhole camera has no distortion, its principal point is
the middle of the picture and pixel edges lie at integers, as in ``layout.project``; a lens of ``FOCAL * sensor width`` gives
exactly the published ``camera_parameters`` [FOCAL, 0, 0].
"""

from __future__ import annotations

import csv
import io
import math
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import bpy
import cairosvg
import numpy as np
from mathutils import Matrix, Vector
from PIL import Image as Picture
from shapely.geometry import MultiPoint, Point, box

from kryss.demo.town import scenery
from kryss.demo.town.layout import (
    FOCAL,
    HEIGHT_PX,
    HERE,
    LIGHT_CLASS,
    ROAD_TURN_DEG,
    WIDTH_PX,
    Array,
    Epoch,
    Fixture,
    Shot,
    enu_to_road,
    facing_road,
    fixtures,
    front_points,
    project,
    seeded,
    sun,
)

FACE_PX = 1024
LAMP_OFFSETS_M = {"red": 0.29, "amber": 0.0, "green": -0.29}
LAMP_COLOURS = {"red": (1.0, 0.035, 0.015), "amber": (1.0, 0.36, 0.01), "green": (0.03, 1.0, 0.38)}
HOUSING_DEPTH_M = 0.16
LAMP_STRENGTH = 2.2
"""Brighter lamps turn white in AgX."""
GREEN_FROM = 8
"""The signals of a drive turn green at this photo."""


# --- sign faces ----------------------------------------------------------------------------------------------------------


@cache
def sign_picture(class_name: str) -> tuple[Array, Array]:
    """(FACE_PX, FACE_PX, 3) uint8 colours bled past the outline, and (n, 2) outline in picture units [0, 1], y down.

    Every sign of the town is convex, so the convex hull of its opaque pixels is its outline.
    """
    svg = (HERE / "signs" / f"{class_name}.svg").read_text(encoding="utf-8")
    if "viewBox" not in svg:
        svg = svg.replace("<svg ", '<svg viewBox="0 0 24 24" ', 1)
    png = cairosvg.svg2png(svg.encode(), output_width=FACE_PX, output_height=FACE_PX)
    rgba = np.asarray(Picture.open(io.BytesIO(png)).convert("RGBA"), dtype=float)
    opaque = rgba[..., 3] > 127
    ys, xs = np.nonzero(opaque)
    hull = MultiPoint(np.stack([xs + 0.5, ys + 0.5], -1)).convex_hull.simplify(0.6)
    outline = np.array(hull.exterior.coords)[:-1] / FACE_PX
    rim = opaque & ~(np.roll(opaque, 6, 0) & np.roll(opaque, -6, 0) & np.roll(opaque, 6, 1) & np.roll(opaque, -6, 1))
    fill = np.median(rgba[rim][:, :3], axis=0)
    alpha = rgba[..., 3:] / 255
    return (rgba[..., :3] * alpha + fill * (1 - alpha)).astype(np.uint8), outline


def outline_m(fixture: Fixture) -> Array:
    """(n, 2) outline of a sign about its centre: across to the reader's right and up, metres."""
    _, outline = sign_picture(fixture.class_name)
    low, high = outline.min(0), outline.max(0)
    scale = fixture.width_m / (high[0] - low[0])
    middle = (low + high) / 2
    return np.stack([(outline[:, 0] - middle[0]) * scale, (middle[1] - outline[:, 1]) * scale], -1)


def silhouette(fixture: Fixture) -> Array:
    """(n, 3) road-frame points whose projections span the box of a fixture in a picture."""
    if fixture.class_name != LIGHT_CLASS:
        outline = outline_m(fixture)
        return front_points(fixture, outline[:, 0], outline[:, 1])
    w, h = fixture.width_m / 2, fixture.height_m / 2
    front = front_points(fixture, np.array([-w, w, w, -w]), np.array([-h, -h, h, h]))
    fu, fv = facing_road(fixture)
    return np.concatenate([front, front - np.array([fu, fv, 0.0]) * HOUSING_DEPTH_M])


def raise_sign(fixture: Fixture, faces: dict[str, Any], back: Any) -> None:
    """The plate: its front in the plane of the fixture's centre, 3 mm of aluminium, two clamps."""
    _, picture = sign_picture(fixture.class_name)
    outline = outline_m(fixture)
    front = front_points(fixture, outline[:, 0], outline[:, 1])
    count = len(front)
    fu, fv = facing_road(fixture)
    behind = front - np.array([fu, fv, 0.0]) * 0.004
    inset = picture.mean(0) + (picture - picture.mean(0)) * 0.994
    uv = [(x, 1 - y) for x, y in inset]
    order = list(range(count))
    normal = np.cross(front[1] - front[0], front[2] - front[1])
    if normal @ np.array([fu, fv, 0.0]) < 0:
        order.reverse()
    faces_ = [tuple(order), tuple(count + i for i in reversed(order))]
    indices = [0, 1]
    corner_uv = [uv[i] for i in order] + [(0.5, 0.5)] * count
    for i in range(count):
        j = (i + 1) % count
        faces_.append((i, j, count + j, count + i))
        indices.append(1)
        corner_uv += [(0.5, 0.5)] * 4
    scenery.mesh_object(
        fixture.id,
        np.concatenate([front, behind]),
        faces_,
        [faces[fixture.class_name], back],
        indices=indices,
        uv=corner_uv,
    )


# --- signals -------------------------------------------------------------------------------------------------------------


def lamp_materials() -> dict[tuple[str, str], Any]:
    """(approach, colour) -> material whose emission is switched for each shot."""
    found = {}
    for approach in ("W", "S"):
        for colour, rgb in LAMP_COLOURS.items():
            material = bpy.data.materials.new(f"lamp {approach} {colour}")
            material.use_nodes = True
            shader = material.node_tree.nodes["Principled BSDF"]
            shader.inputs["Base Color"].default_value = (*(0.06 + 0.05 * c for c in rgb), 1)
            shader.inputs["Roughness"].default_value = 0.25
            shader.inputs["Emission Color"].default_value = (*rgb, 1)
            found[approach, colour] = material
    return found


def light_up(lamps: dict[tuple[str, str], Any], driving: str, ordinal: int) -> None:
    """One lamp lit in every head: the drive sees red, then green; the crossing approach the other."""
    for (approach, colour), material in lamps.items():
        own_green = ordinal >= GREEN_FROM
        shown = "green" if own_green == (approach == driving) else "red"
        strength = LAMP_STRENGTH if colour == shown else 0.0
        emission = material.node_tree.nodes["Principled BSDF"].inputs["Emission Strength"]
        if emission.default_value != strength:  # a write makes Cycles read its mesh anew
            emission.default_value = strength


def raise_light(fixture: Fixture, lamps: dict[tuple[str, str], Any], black: Any) -> None:
    fu, fv = facing_road(fixture)
    front = np.array([fu, fv, 0.0])

    def at(across: float, up: float, out: float) -> tuple[float, float, float]:
        u, v, z = front_points(fixture, np.array([across]), np.array([up]))[0] + front * out
        return float(u), float(v), float(z)

    w, h = fixture.width_m / 2, fixture.height_m / 2
    b = scenery.Boxes()
    ring = [(-w, -h), (w, -h), (w, h), (-w, h)]
    near, far = [at(x, y, 0.0) for x, y in ring], [at(x, y, -HOUSING_DEPTH_M) for x, y in ring]
    b.polygon(near, 0)
    b.polygon(far[::-1], 0)
    for i in range(4):
        b.polygon([near[i], far[i], far[(i + 1) % 4], near[(i + 1) % 4]], 0)
    housing = b.object(fixture.id, [black])
    bevel = housing.modifiers.new("bevel", "BEVEL")
    bevel.width, bevel.segments = 0.02, 2
    weld = housing.modifiers.new("weld", "WELD")
    bpy.context.view_layer.objects.active = housing
    housing.modifiers.move(housing.modifiers.find(weld.name), 0)

    for colour, up in LAMP_OFFSETS_M.items():
        steps = 28
        circle = [
            at(0.1 * math.cos(t * math.tau / steps), up + 0.1 * math.sin(t * math.tau / steps), 0.006) for t in range(steps)
        ]
        scenery.mesh_object(f"{fixture.id} {colour}", circle, [range(steps)], lamps[fixture.approach, colour])
        hood, quads = [], []
        for t in range(25):
            angle = math.radians(-35 + 250 * t / 24)
            reach = 0.20 - 0.09 * abs(t - 12) / 12
            for radius, out in ((0.118, 0.0), (0.118, reach), (0.112, reach), (0.112, 0.0)):
                hood.append(at(radius * math.cos(angle), up + radius * math.sin(angle), out))
        for t in range(24):
            for k in range(3):
                quads.append((4 * t + k, 4 * t + k + 1, 4 * t + k + 5, 4 * t + k + 4))
        scenery.mesh_object(f"{fixture.id} hood", hood, quads, black)


def raise_supports(standing: list[Fixture], metal: Any, dark: Any) -> None:
    """Poles under signs and side signals, masts with arms under the overhead signals."""
    by_foot: dict[tuple[float, float], list[Fixture]] = {}
    for fixture in standing:
        by_foot.setdefault(fixture.mast or fixture.centre[:2], []).append(fixture)
    for (u, v), hung in by_foot.items():
        fu, fv = facing_road(hung[0])
        if hung[0].mast:
            cu, cv, cz = hung[0].centre
            top = cz + 0.62
            bu, bv = cu - fu * 0.26, cv - fv * 0.26
            scenery.tube("mast", [(u, v, 0.0), (u, v, top + 0.25)], 0.095, metal, 0.075)
            past = 0.35 / (math.hypot(bu - u, bv - v) or 1)
            end = (bu + (bu - u) * past, bv + (bv - v) * past, top + 0.08)
            scenery.tube("mast arm", [(u, v, top - 0.12), end], 0.055, metal, 0.04)
            scenery.tube("hanger", [(bu, bv, top + 0.02), (bu, bv, cz - 0.3)], 0.028, dark)
            for dz in (0.25, -0.25):
                scenery.tube("clamp", [(bu, bv, cz + dz), (cu - fu * 0.1, cv - fv * 0.1, cz + dz)], 0.022, dark)
            scenery.tube("mast foot", [(u, v, 0.1), (u, v, 0.16)], 0.2, metal)
            continue
        is_light = hung[0].class_name == LIGHT_CLASS
        setback, radius = (HOUSING_DEPTH_M + 0.09, 0.055) if is_light else (0.045, 0.030)
        pu, pv = u - fu * setback, v - fv * setback
        top = max(f.centre[2] + f.height_m / 2 for f in hung) + 0.04
        scenery.tube("pole", [(pu, pv, 0.0), (pu, pv, top)], radius, metal)
        scenery.tube("pole foot", [(pu, pv, 0.1), (pu, pv, 0.2)], radius * 1.6, metal)
        for fixture in hung:
            cu, cv, cz = fixture.centre
            for dz in (-fixture.height_m * 0.26, fixture.height_m * 0.26):
                near = (cu - fu * 0.006, cv - fv * 0.006, cz + dz)
                if is_light:
                    near = (cu - fu * HOUSING_DEPTH_M, cv - fv * HOUSING_DEPTH_M, cz + dz)
                scenery.tube("clamp", [(pu, pv, cz + dz), near], 0.016, dark)


# --- the scene -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Weather:
    sky: float
    sun: float
    sun_softness_deg: float
    cover: float
    """Share of cloud noise that shows."""
    dust: float
    exposure: float


WEATHER = {
    1: Weather(sky=0.125, sun=4.4, sun_softness_deg=0.6, cover=0.50, dust=1.4, exposure=0.5),
    2: Weather(sky=0.14, sun=2.2, sun_softness_deg=7.0, cover=0.70, dust=2.5, exposure=0.6),
}


def light_the_world(weather: Weather, azimuth_deg: float, elevation_deg: float) -> None:
    """Nishita's clear sky with noise for clouds; the sun is a lamp, so that it can be veiled."""
    from_v = math.radians(azimuth_deg + ROAD_TURN_DEG)  # clockwise from +v of the road frame
    world = bpy.data.worlds.new("sky")
    bpy.context.scene.world = world
    world.use_nodes = True
    n = scenery.Nodes(world.node_tree)
    sky = n("ShaderNodeTexSky", {"sky_type": "NISHITA", "sun_disc": False})
    sky.sun_elevation, sky.sun_rotation = math.radians(elevation_deg), from_v
    sky.air_density, sky.dust_density, sky.ozone_density = 1.0, weather.dust, 1.0
    direction = n("ShaderNodeTexCoord").outputs["Generated"]
    parts = n("ShaderNodeSeparateXYZ", Vector=direction)
    height = n("ShaderNodeMath", {"operation": "MAXIMUM"})
    n.set(height, 0, parts.outputs["Z"])
    n.set(height, 1, 0.03)
    lifted = n("ShaderNodeMath", {"operation": "ADD"})
    n.set(lifted, 0, height.outputs[0])
    n.set(lifted, 1, 0.12)
    flat = n("ShaderNodeVectorMath", {"operation": "DIVIDE"})
    n.set(flat, 0, direction)
    n.set(flat, 1, n("ShaderNodeCombineXYZ", X=lifted.outputs[0], Y=lifted.outputs[0], Z=lifted.outputs[0]).outputs[0])
    shape = scenery._noise(n, 0.9, 9.0, 0.56, flat.outputs[0])
    low = 0.72 - 0.36 * weather.cover
    cover = scenery._ramp(n, shape, [(low, (0.0,) * 3), (low + 0.16, (0.92,) * 3)])
    shade = scenery._ramp(n, shape, [(low, (11.0, 11.2, 11.6)), (low + 0.34, (6.0, 6.3, 6.9))])
    colour = scenery._mix(n, cover, sky.outputs[0], shade)
    background = n("ShaderNodeBackground", Strength=weather.sky)
    n.set(background, "Color", colour)
    n.set(n("ShaderNodeOutputWorld"), "Surface", background.outputs[0])

    lamp = bpy.data.lights.new("sun", "SUN")
    lamp.energy, lamp.angle, lamp.color = weather.sun, math.radians(weather.sun_softness_deg), (1.0, 0.945, 0.86)
    item = bpy.data.objects.new("sun", lamp)
    elevation = math.radians(elevation_deg)
    towards = Vector((math.sin(from_v) * math.cos(elevation), math.cos(from_v) * math.cos(elevation), math.sin(elevation)))
    item.rotation_euler = towards.to_track_quat("Z", "Y").to_euler()
    bpy.context.scene.collection.objects.link(item)


_NUMBERS = ("u_m", "v_m", "to_u_m", "to_v_m", "turned_deg", "width_m", "depth_m", "storeys", "scale")


def props(kind: str) -> list[dict[str, Any]]:
    """Rows of one kind from props.csv. A house turned by 0 looks towards -v, by 90 towards +u; a car's nose points to +u."""
    with (HERE / "props.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == kind]
    return [{key: float(text) if key in _NUMBERS and text else text for key, text in row.items()} for row in rows]


LAMPS = tuple(lamp for at in (-78, -50, -25, 27, 55, 85, 115) for lamp in ((at, 5.7, 0, -1), (-5.7, at + 2, 1, 0)))
"""Street lamps: u, v and the direction of the arm."""


def build(epoch: Epoch, folder: Path) -> dict[tuple[str, str], Any]:
    """The town as it stands in an epoch; returns its lamps for ``light_up``. ``folder`` takes the sign faces."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    rng = np.random.default_rng(seeded("scenery").randrange(2**32))
    dice: random.Random = seeded("houses")
    driveways = [box(d["u_m"], d["v_m"], d["to_u_m"], d["to_v_m"]) for d in props("driveway")]
    scenery.roads(driveways)
    scenery.markings()
    plots = [Point(h["u_m"], h["v_m"]).buffer(h["width_m"] * 0.45, cap_style="square") for h in props("house")]
    scenery.lawn(driveways, plots, rng)
    scenery.hills(scenery.far_wood("far wood"), rng)

    metal = scenery.plain("galvanised", (0.42, 0.43, 0.44), 0.42, 0.75, 0.25, 9)
    dark = scenery.plain("dark metal", (0.06, 0.06, 0.065), 0.5, 0.3)
    bark = scenery.plain("bark", (0.13, 0.105, 0.085), 0.9, vary=0.5, scale=9)
    birch = scenery.plain("birch bark", (0.40, 0.38, 0.34), 0.85, vary=0.6, scale=6)
    green = scenery.leaves("leaf", (0.045, 0.085, 0.016), (0.150, 0.200, 0.050))
    fresh = scenery.leaves("birch leaf", (0.070, 0.110, 0.020), (0.200, 0.235, 0.065))
    needle = scenery.leaves("needle", (0.012, 0.030, 0.014), (0.045, 0.075, 0.035), 0.12)
    box_leaf = scenery.leaves("hedge leaf", (0.020, 0.050, 0.010), (0.090, 0.130, 0.030), 0.2)
    kinds = {
        "b0": scenery.broadleaf("b0", rng, 7.4, bark, green),
        "b1": scenery.broadleaf("b1", rng, 8.6, birch, fresh, 13000),
        "b2": scenery.broadleaf("b2", rng, 6.6, bark, green),
        "s0": scenery.spruce("s0", rng, 11.0, bark, needle),
        "s1": scenery.spruce("s1", rng, 9.0, bark, needle),
    }
    for row in props("tree"):
        plant(kinds[row["variant"]], row["u_m"], row["v_m"], dice.uniform(0, 6.28), row["scale"])
    for _ in range(1900):
        u, v = dice.uniform(-480, 480), dice.uniform(-480, 480)
        far_arm = max(abs(u), abs(v)) > 135
        if min(abs(u), abs(v)) < (9 if far_arm else 31) or max(abs(u), abs(v)) < 31:
            continue
        plant(kinds[dice.choice(("s0", "s1", "b1", "b0"))], u, v, dice.uniform(0, 6.28), dice.uniform(0.9, 1.5))
    for parts in kinds.values():
        for part in parts:
            part.hide_render = part.hide_viewport = True
    for row in props("hedge"):
        scenery.hedge((row["u_m"], row["v_m"]), (row["to_u_m"], row["to_v_m"]), box_leaf, rng)

    stuff = {
        "claddings": [
            scenery.cladding("ochre", (0.50, 0.31, 0.11)),
            scenery.cladding("barn red", (0.27, 0.055, 0.038)),
            scenery.cladding("white", (0.66, 0.655, 0.63)),
            scenery.cladding("grey blue", (0.22, 0.27, 0.31)),
            scenery.cladding("sage", (0.27, 0.31, 0.23)),
            scenery.cladding("cream", (0.62, 0.56, 0.42)),
            scenery.cladding("white", (0.70, 0.69, 0.66)),
            scenery.cladding("slate", (0.10, 0.11, 0.12)),
        ],
        "trim": scenery.plain("trim", (0.72, 0.715, 0.70), 0.6, vary=0.06),
        "roofs": [
            scenery.tiles("red tiles", (0.30, 0.095, 0.055)),
            scenery.tiles("black tiles", (0.055, 0.055, 0.06)),
            scenery.tiles("grey tiles", (0.13, 0.13, 0.135)),
        ],
        "pane": scenery.glass("pane"),
        "base": scenery.plain("foundation", (0.30, 0.295, 0.285), 0.9, vary=0.2),
        "doors": [scenery.plain("door", c, 0.5) for c in ((0.08, 0.12, 0.09), (0.20, 0.05, 0.03), (0.12, 0.08, 0.05))],
        "rubber": scenery.plain("rubber", (0.018, 0.018, 0.018), 0.85),
        "rim": scenery.plain("rim", (0.35, 0.35, 0.36), 0.35, 0.9),
        "lamp": scenery.plain("headlamp", (0.75, 0.77, 0.8), 0.15),
        "tail": scenery.plain("tail lamp", (0.30, 0.01, 0.01), 0.25),
    }
    for row in props("house"):
        size = row["width_m"], row["depth_m"]
        scenery.house((row["u_m"], row["v_m"]), row["turned_deg"], size, int(row["storeys"]), dice, stuff)
    paints = {
        "blue": (0.03, 0.07, 0.17),
        "red": (0.28, 0.025, 0.02),
        "white": (0.62, 0.62, 0.61),
        "silver": (0.30, 0.31, 0.32),
        "dark": (0.03, 0.032, 0.035),
    }
    varnish = {name: scenery.plain(f"car {name}", rgb, 0.22, 0.25, 0.03) for name, rgb in paints.items()}
    for row in props("car"):
        scenery.car((row["u_m"], row["v_m"]), row["turned_deg"], varnish[row["variant"]], stuff)
    for u, v, du, dv in LAMPS:
        scenery.street_lamp((u, v), (du, dv), metal, dark)

    standing = [f for f in fixtures() if f.stands_in(epoch.number)]
    lamps = lamp_materials()
    faces = {}
    for class_name in sorted({f.class_name for f in standing} - {LIGHT_CLASS}):
        path = folder / f"{class_name}.png"
        Picture.fromarray(sign_picture(class_name)[0]).save(path)
        faces[class_name] = scenery.sign_face(class_name, path)
    back = scenery.plain("sign back", (0.33, 0.335, 0.34), 0.5, 0.6)
    black = scenery.plain("signal housing", (0.012, 0.012, 0.013), 0.5, vary=0.2)
    for fixture in standing:
        if fixture.class_name == LIGHT_CLASS:
            raise_light(fixture, lamps, black)
        else:
            raise_sign(fixture, faces, back)
    raise_supports(standing, metal, dark)

    middle = epoch.starts["S"] - (epoch.starts["S"] - epoch.starts["W"]) / 2
    light_the_world(WEATHER[epoch.number], *sun(middle))
    return lamps


def plant(parts: list[Any], u: float, v: float, turn: float, scale: float) -> None:
    for part in parts:
        scenery.copy_of(part, (u, v, 0.0), turn, scale)


def set_up(epoch: Epoch, samples: int, percent: int) -> None:
    """Cycles on the processor, denoised, AgX."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = samples
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.use_denoising = True
    scene.cycles.denoiser = "OPENIMAGEDENOISE"
    scene.cycles.denoising_prefilter = "FAST"
    scene.cycles.use_light_tree = False
    scene.cycles.max_bounces, scene.cycles.diffuse_bounces, scene.cycles.glossy_bounces = 3, 1, 1
    scene.cycles.transmission_bounces, scene.cycles.transparent_max_bounces = 2, 4
    scene.cycles.sample_clamp_indirect = 4.0
    scene.cycles.seed = 1
    scene.render.use_persistent_data = True
    scene.render.resolution_x, scene.render.resolution_y = WIDTH_PX, HEIGHT_PX
    scene.render.resolution_percentage = percent
    scene.render.image_settings.file_format = "PNG"
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"
    scene.view_settings.exposure = WEATHER[epoch.number].exposure
    data = bpy.data.cameras.new("camera")
    data.sensor_fit, data.sensor_width, data.lens = "HORIZONTAL", 36.0, FOCAL * 36.0
    data.clip_end = 5000.0
    scene.camera = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(scene.camera)


def aim(shot: Shot) -> None:
    """Put the camera where the shot was taken: Blender's camera looks along its -z with +y up."""
    right, down, forward = (enu_to_road(row) for row in shot.rotation)
    axes = np.stack([right, -down, -forward], axis=1)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, shot.centre
    bpy.context.scene.camera.matrix_world = Matrix(matrix.tolist())


def visible_boxes(shot: Shot) -> list[dict[str, Any]]:
    """Exact boxes of the fixtures whose fronts show in a shot, with the share of rays that reach them."""
    scene = bpy.context.scene
    depsgraph = bpy.context.evaluated_depsgraph_get()
    eye = np.array(shot.centre)
    found = []
    for fixture in fixtures():
        if not fixture.stands_in(shot.epoch):
            continue
        fu, fv = facing_road(fixture)
        away = eye - np.array(fixture.centre)
        range_m = float(np.linalg.norm(away))
        facing = float(away[:2] @ (fu, fv)) / float(np.linalg.norm(away[:2]))
        if facing < math.cos(math.radians(75)):
            continue
        pixels = project(shot, silhouette(fixture))
        if np.isnan(pixels).any():
            continue
        full = (*pixels.min(0), *pixels.max(0))
        ltrb = (max(full[0], 0.0), max(full[1], 0.0), min(full[2], WIDTH_PX), min(full[3], HEIGHT_PX))
        if ltrb[2] - ltrb[0] < 2 or ltrb[3] - ltrb[1] < 4:
            continue
        inside = (ltrb[2] - ltrb[0]) * (ltrb[3] - ltrb[1]) / ((full[2] - full[0]) * (full[3] - full[1]))
        steps = np.linspace(-0.42, 0.42, 7)
        across, up = (a.ravel() for a in np.meshgrid(steps * fixture.width_m, steps * fixture.height_m))
        if fixture.class_name != LIGHT_CLASS:
            plate = MultiPoint(outline_m(fixture)).convex_hull.buffer(-0.02)
            keep = [plate.contains(Point(a, b)) for a, b in zip(across, up, strict=True)]
            across, up = across[keep], up[keep]
        free = 0
        for target in front_points(fixture, across, up):
            ray = target - eye
            length = float(np.linalg.norm(ray))
            stop = length - (0.32 if fixture.class_name == LIGHT_CLASS else 0.05)
            hit = scene.ray_cast(depsgraph, Vector(eye), Vector(ray / length), distance=stop)[0]
            free += not hit
        visible = free / len(across)
        if visible < 0.25 or inside < 0.5:
            continue
        found.append(
            {
                "image_id": shot.id,
                "object_id": fixture.id,
                "class": fixture.class_name,
                "box_ltrb": [round(float(x), 3) for x in ltrb],
                "inside": round(float(inside), 3),
                "visible": round(visible, 3),
                "range_m": round(range_m, 3),
            }
        )
    return found


DEPTH_CELL_PX = 8
"""True depth is told at the middle of each cell of so many pixels."""


def set_up_depth(epoch: Epoch, folder: Path) -> None:
    """One ray through the middle of each cell, no light: only Cycles' depth pass, which is along the optical axis."""
    set_up(epoch, 1, 100)
    scene = bpy.context.scene
    scene.cycles.use_denoising = False
    scene.cycles.max_bounces = 0
    scene.cycles.filter_width = 0.01
    scene.render.resolution_x, scene.render.resolution_y = WIDTH_PX // DEPTH_CELL_PX, HEIGHT_PX // DEPTH_CELL_PX
    scene.world = None
    bpy.context.view_layer.material_override = scenery.plain("depth", (0.5, 0.5, 0.5))
    bpy.context.view_layer.use_pass_z = True
    scene.use_nodes = True
    n = scenery.Nodes(scene.node_tree)
    file = n("CompositorNodeOutputFile", {"base_path": str(folder)})
    file.format.file_format, file.format.color_depth = "OPEN_EXR", "32"
    file.file_slots[0].path = "depth"
    n.set(file, 0, n("CompositorNodeRLayers").outputs["Depth"])


def true_depth(shot: Shot, folder: Path) -> Array:
    """(h, w) metres along the optical axis of what the ray through each cell's middle meets; infinity where it meets nothing."""
    aim(shot)
    bpy.ops.render.render()
    [path] = folder.glob("depth*.exr")
    image = bpy.data.images.load(str(path))
    width, height = image.size
    metres = np.array(image.pixels, np.float32).reshape(height, width, -1)[::-1, :, 0]
    bpy.data.images.remove(image)
    path.unlink()
    return np.where(metres < 5000, metres, np.inf)


def expose(shot: Shot, lamps: dict[tuple[str, str], Any], photo: Path, quality: int) -> None:
    """Render one shot and write it as the JPEG of a small camera: vignette, sensor noise, a touch of sharpening."""
    aim(shot)
    light_up(lamps, shot.approach, shot.ordinal)
    with TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.png"
        bpy.context.scene.render.filepath = str(raw)
        bpy.ops.render.render(write_still=True)
        pixels = np.asarray(Picture.open(raw).convert("RGB"), dtype=float)
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    radius2 = ((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) / 0.5
    pixels *= (1 - 0.16 * radius2**1.4)[..., None]
    rng = np.random.default_rng(seeded("noise", shot.id).randrange(2**32))
    pixels += rng.normal(0, 1.6, (height, width, 1)) + rng.normal(0, 0.7, pixels.shape)
    photo.parent.mkdir(parents=True, exist_ok=True)
    part = photo.with_suffix(".part")
    Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(part, "JPEG", quality=quality, optimize=True, progressive=True)
    part.rename(photo)
