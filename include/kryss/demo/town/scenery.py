"""Meshes and materials of Kryssby, made of numbers: no file but the sign faces is read.

Needs Blender as a Python module (``bpy`` 4.5); import it only to make pictures. Everything is in the road frame of ``layout``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import shapely
from shapely import affinity
from shapely.geometry import MultiPoint, Polygon, box
from shapely.ops import unary_union

Vec = tuple[float, float, float]


# --- materials -----------------------------------------------------------------------------------------------------------


class Nodes:
    """A node tree that is written as nested calls: ``n('ShaderNodeMix', ...)`` returns the node."""

    def __init__(self, tree: Any) -> None:
        self.tree = tree
        tree.nodes.clear()

    def __call__(self, kind: str, settings: dict[str, Any] | None = None, **inputs: Any) -> Any:
        node = self.tree.nodes.new(kind)
        for key, value in (settings or {}).items():
            setattr(node, key, value)
        for key, value in inputs.items():
            self.set(node, key.replace("_", " "), value)
        return node

    def set(self, node: Any, name: str | int, value: Any) -> None:
        socket = node.inputs[name]
        if hasattr(value, "is_output"):
            self.tree.links.new(value, socket)
        else:
            socket.default_value = value


def _material(name: str) -> tuple[Any, Nodes]:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    return material, Nodes(material.node_tree)


def _finish(n: Nodes, shader: Any) -> None:
    n.set(n("ShaderNodeOutputMaterial"), "Surface", shader)


def _object_coordinates(n: Nodes) -> Any:
    return n("ShaderNodeTexCoord").outputs["Object"]


def _noise(n: Nodes, scale: float, detail: float = 4.0, roughness: float = 0.55, vector: Any = None) -> Any:
    node = n("ShaderNodeTexNoise", Scale=scale, Detail=detail, Roughness=roughness)
    n.set(node, "Vector", vector if vector is not None else _object_coordinates(n))
    return node.outputs["Fac"]


def _ramp(n: Nodes, value: Any, stops: Sequence[tuple[float, Sequence[float]]]) -> Any:
    node = n("ShaderNodeValToRGB")
    elements = node.color_ramp.elements
    while len(elements) < len(stops):
        elements.new(0.5)
    for element, (at, colour) in zip(elements, stops, strict=True):
        element.position = at
        element.color = (*colour, 1.0)
    n.set(node, "Fac", value)
    return node.outputs["Color"]


def _mix(n: Nodes, factor: Any, a: Any, b: Any, blend: str = "MIX") -> Any:
    node = n("ShaderNodeMix", {"data_type": "RGBA", "blend_type": blend})
    n.set(node, 0, factor)
    n.set(node, 6, (*a, 1.0) if isinstance(a, tuple) else a)
    n.set(node, 7, (*b, 1.0) if isinstance(b, tuple) else b)
    return node.outputs[2]


def _bump(n: Nodes, height: Any, strength: float, distance: float) -> Any:
    return n("ShaderNodeBump", Strength=strength, Distance=distance, Height=height).outputs["Normal"]


def plain(name: str, colour: Vec, roughness: float = 0.6, metallic: float = 0.0, vary: float = 0.12, scale: float = 3.0) -> Any:
    """A surface of one colour that is a little dirty."""
    material, n = _material(name)
    dirt = _ramp(n, _noise(n, scale), [(0.3, (1 - vary,) * 3), (0.7, (1 + vary * 0.3,) * 3)])
    shader = n("ShaderNodeBsdfPrincipled", Roughness=roughness, Metallic=metallic)
    n.set(shader, "Base Color", _mix(n, 1.0, colour, dirt, "MULTIPLY"))
    _finish(n, shader.outputs[0])
    return material


def asphalt(name: str, tone: float, street: bool = True) -> Any:
    """Worn asphalt: aggregate, broad stains; a street has wheel tracks and sealed cracks as well."""
    material, n = _material(name)
    at = _object_coordinates(n)
    fine = _noise(n, 70.0, 3.0, 0.8, at)
    colour = _ramp(n, fine, [(0.30, (tone * 0.55,) * 3), (0.5, (tone, tone, tone * 0.975)), (0.74, (tone * 1.9,) * 3)])
    broad = _ramp(n, _noise(n, 0.35, 6.0, 0.62, at), [(0.32, (0.70, 0.70, 0.72)), (0.66, (1.16, 1.15, 1.11))])
    mottled = _ramp(n, _noise(n, 5.0, 5.0, 0.7, at), [(0.3, (0.80,) * 3), (0.7, (1.16,) * 3)])
    colour = _mix(n, 1.0, _mix(n, 1.0, colour, broad, "MULTIPLY"), mottled, "MULTIPLY")
    if street:
        parts = n("ShaderNodeSeparateXYZ", Vector=at)
        u, v = (_math(n, "ABSOLUTE", parts.outputs[axis]) for axis in ("X", "Y"))
        aside = _math(n, "DIVIDE", _math(n, "MINIMUM", u, v), LANE_M)
        worn = [
            (0.0, 1.06),
            (0.18, 1.02),
            (0.29, 0.83),
            (0.40, 1.0),
            (0.58, 1.0),
            (0.70, 0.82),
            (0.82, 1.0),
            (1.0, 1.16),
        ]
        track = _ramp(n, aside, [(x, (y * 0.8,) * 3) for x, y in worn])
        on_arm = _ramp(n, _math(n, "DIVIDE", _math(n, "MAXIMUM", u, v), 20.0), [(0.3, (0.0,) * 3), (0.65, (1.0,) * 3)])
        drop = _ramp(n, _noise(n, 0.18, 3.0, 0.6, at), [(0.25, (0.35,) * 3), (0.6, (1.0,) * 3)])
        track = _mix(n, _mix(n, 1.0, on_arm, drop, "MULTIPLY"), (0.8, 0.8, 0.8), track)
        colour = _mix(n, 1.0, colour, _mix(n, 1.0, track, (1.25, 1.25, 1.25), "MULTIPLY"), "MULTIPLY")
        warp = n("ShaderNodeVectorMath", {"operation": "ADD"})
        n.set(warp, 0, at)
        wobble = n("ShaderNodeTexNoise", Scale=1.6, Detail=5.0, Roughness=0.7)
        n.set(wobble, "Vector", at)
        n.set(warp, 1, wobble.outputs["Color"])
        crack = n("ShaderNodeTexVoronoi", {"feature": "DISTANCE_TO_EDGE"}, Scale=0.17)
        n.set(crack, "Vector", warp.outputs[0])
        line = _ramp(n, crack.outputs["Distance"], [(0.0018, (0.85,) * 3), (0.0042, (0.0,) * 3)])
        where = _ramp(n, _noise(n, 0.13, 2.0, 0.5, at), [(0.52, (0.0,) * 3), (0.58, (1.0,) * 3)])
        colour = _mix(n, _mix(n, 1.0, line, where, "MULTIPLY"), colour, (0.022, 0.022, 0.024))
    shader = n("ShaderNodeBsdfPrincipled", Roughness=0.85)
    n.set(shader, "Base Color", colour)
    n.set(shader, "Normal", _bump(n, fine, 0.4, 0.008))
    _finish(n, shader.outputs[0])
    return material


def _math(n: Nodes, operation: str, a: Any, b: Any = 0.0) -> Any:
    node = n("ShaderNodeMath", {"operation": operation})
    n.set(node, 0, a)
    n.set(node, 1, b)
    return node.outputs[0]


def far_wood(name: str) -> Any:
    """Forest on a slope half a kilometre away, the air in front of it included."""
    material, n = _material(name)
    at = _object_coordinates(n)
    stands = _ramp(
        n,
        _noise(n, 0.012, 8.0, 0.68, at),
        [(0.34, (0.040, 0.070, 0.062)), (0.5, (0.066, 0.100, 0.078)), (0.66, (0.125, 0.150, 0.100))],
    )
    crowns = _ramp(n, _noise(n, 0.13, 3.0, 0.75, at), [(0.35, (0.62,) * 3), (0.65, (1.3,) * 3)])
    shader = n("ShaderNodeBsdfDiffuse")
    n.set(shader, "Color", _mix(n, 1.0, stands, crowns, "MULTIPLY"))
    air = n("ShaderNodeEmission", Strength=1.0)
    n.set(air, "Color", (0.060, 0.078, 0.096, 1.0))
    both = n("ShaderNodeAddShader")
    n.set(both, 0, shader.outputs[0])
    n.set(both, 1, air.outputs[0])
    _finish(n, both.outputs[0])
    return material


def paint(name: str, colour: Vec) -> Any:
    """Thermoplastic road marking, worn through in places."""
    material, n = _material(name)
    at = _object_coordinates(n)
    worn = _noise(n, 7.0, 8.0, 0.75, at)
    here = _noise(n, 0.5, 2.0, 0.5, at)
    level = n("ShaderNodeMath", {"operation": "MULTIPLY_ADD"})
    n.set(level, 0, here)
    n.set(level, 1, 0.25)
    n.set(level, 2, worn)
    keep = _ramp(n, level.outputs[0], [(0.49, (0.0,) * 3), (0.56, (1.0,) * 3)])
    shader = n("ShaderNodeBsdfPrincipled", Roughness=0.7)
    n.set(shader, "Base Color", _mix(n, keep, (0.16, 0.16, 0.155), colour))
    _finish(n, shader.outputs[0])
    return material


def slabs(name: str) -> Any:
    """Concrete paving slabs."""
    material, n = _material(name)
    at = _object_coordinates(n)
    brick = n("ShaderNodeTexBrick", {"offset": 0.5}, Scale=1.0, Mortar_Size=0.008, Brick_Width=0.5, Row_Height=0.5)
    n.set(brick, "Vector", at)
    for socket, tone in (("Color1", 0.27), ("Color2", 0.33), ("Mortar", 0.11)):
        n.set(brick, socket, (tone, tone * 0.985, tone * 0.95, 1.0))
    stain = _ramp(n, _noise(n, 0.8, 6.0, 0.65, at), [(0.3, (0.72,) * 3), (0.7, (1.1,) * 3)])
    shader = n("ShaderNodeBsdfPrincipled", Roughness=0.85)
    n.set(shader, "Base Color", _mix(n, 1.0, brick.outputs["Color"], stain, "MULTIPLY"))
    _finish(n, shader.outputs[0])
    return material


def grass(name: str) -> Any:
    """The lawn under and between the blades."""
    material, n = _material(name)
    at = _object_coordinates(n)
    colour = _ramp(
        n,
        _noise(n, 0.25, 8.0, 0.65, at),
        [(0.30, (0.050, 0.085, 0.022)), (0.5, (0.085, 0.125, 0.035)), (0.72, (0.150, 0.155, 0.060))],
    )
    fine = _ramp(n, _noise(n, 25.0, 4.0, 0.8, at), [(0.3, (0.55,) * 3), (0.7, (1.3,) * 3)])
    shader = n("ShaderNodeBsdfPrincipled", Roughness=0.95)
    n.set(shader, "Base Color", _mix(n, 1.0, colour, fine, "MULTIPLY"))
    n.set(shader, "Normal", _bump(n, _noise(n, 14.0, 5.0, 0.8, at), 0.8, 0.05))
    _finish(n, shader.outputs[0])
    return material


def leaves(name: str, dark: Vec, light: Vec, through: float = 0.35) -> Any:
    """Leaves and blades: diffuse, with light coming through, a shade of their own each."""
    material, n = _material(name)
    shade = n("ShaderNodeTexWhiteNoise", {"noise_dimensions": "3D"})
    n.set(shade, "Vector", n("ShaderNodeVectorMath", {"operation": "SNAP"}).outputs[0])
    snap = shade.inputs["Vector"].links[0].from_node
    n.set(snap, 0, _object_coordinates(n))
    n.set(snap, 1, (0.35, 0.35, 0.35))
    per_object = n("ShaderNodeObjectInfo").outputs["Random"]
    wide = _noise(n, 1.3, 3.0, 0.6)
    level = n("ShaderNodeMath", {"operation": "ADD"})
    n.set(level, 0, wide)
    spread = n("ShaderNodeMath", {"operation": "MULTIPLY_ADD"})
    n.set(spread, 0, shade.outputs["Value"])
    n.set(spread, 1, 0.25)
    n.set(spread, 2, -0.12)
    n.set(level, 1, spread.outputs[0])
    shifted = n("ShaderNodeMath", {"operation": "MULTIPLY_ADD"})
    n.set(shifted, 0, per_object)
    n.set(shifted, 1, 0.2)
    n.set(shifted, 2, level.outputs[0])
    colour = _ramp(n, shifted.outputs[0], [(0.3, dark), (0.85, light)])
    mix = n("ShaderNodeMixShader", Fac=through)
    diffuse = n("ShaderNodeBsdfDiffuse")
    n.set(diffuse, "Color", colour)
    translucent = n("ShaderNodeBsdfTranslucent")
    n.set(translucent, "Color", colour)
    n.set(mix, 1, diffuse.outputs[0])
    n.set(mix, 2, translucent.outputs[0])
    _finish(n, mix.outputs[0])
    return material


def cladding(name: str, colour: Vec) -> Any:
    """Painted boards, 0.15 m wide, standing upright."""
    material, n = _material(name)
    at = n("ShaderNodeTexCoord").outputs["UV"]
    boards = n("ShaderNodeTexBrick", {"offset": 0.37}, Scale=1.0, Mortar_Size=0.006, Brick_Width=4.0, Row_Height=0.15)
    n.set(boards, "Vector", at)
    for socket, tone in (("Color1", 0.94), ("Color2", 1.0), ("Mortar", 0.45)):
        n.set(boards, socket, (tone, tone, tone, 1.0))
    dirt = _ramp(n, _noise(n, 1.1, 6.0, 0.6), [(0.3, (0.86, 0.85, 0.83)), (0.7, (1.0,) * 3)])
    painted = _mix(n, 1.0, _mix(n, 1.0, colour, boards.outputs["Color"], "MULTIPLY"), dirt, "MULTIPLY")
    shader = n("ShaderNodeBsdfPrincipled", Roughness=0.65)
    n.set(shader, "Base Color", painted)
    n.set(shader, "Normal", _bump(n, boards.outputs["Fac"], -0.5, 0.015))
    _finish(n, shader.outputs[0])
    return material


def tiles(name: str, colour: Vec) -> Any:
    """Roof tiles in rows."""
    material, n = _material(name)
    at = n("ShaderNodeTexCoord").outputs["UV"]
    rows = n("ShaderNodeTexBrick", {"offset": 0.5}, Scale=1.0, Mortar_Size=0.02, Brick_Width=0.3, Row_Height=0.34)
    n.set(rows, "Vector", at)
    for socket, tone in (("Color1", 0.8), ("Color2", 1.08), ("Mortar", 0.35)):
        n.set(rows, socket, (tone, tone, tone, 1.0))
    shader = n("ShaderNodeBsdfPrincipled", Roughness=0.6)
    n.set(shader, "Base Color", _mix(n, 1.0, colour, rows.outputs["Color"], "MULTIPLY"))
    n.set(shader, "Normal", _bump(n, rows.outputs["Fac"], -0.6, 0.03))
    _finish(n, shader.outputs[0])
    return material


def glass(name: str, colour: Vec = (0.02, 0.025, 0.03)) -> Any:
    """A window pane seen from outside by day: dark, with the sky in it."""
    material, n = _material(name)
    shader = n("ShaderNodeBsdfPrincipled", Roughness=0.05, IOR=1.5)
    n.set(shader, "Base Color", (*colour, 1.0))
    _finish(n, shader.outputs[0])
    return material


def glow(name: str, colour: Vec, strength: float) -> Any:
    material, n = _material(name)
    shader = n("ShaderNodeEmission", Strength=strength)
    n.set(shader, "Color", (*colour, 1.0))
    _finish(n, shader.outputs[0])
    return material


def sign_face(name: str, picture: Path) -> Any:
    """Retroreflective sheeting: the picture, slightly glossy, a little dust."""
    material, n = _material(name)
    image = n("ShaderNodeTexImage", {"image": bpy.data.images.load(str(picture)), "interpolation": "Smart"})
    n.set(image, "Vector", n("ShaderNodeTexCoord").outputs["UV"])
    dust = _ramp(n, _noise(n, 4.0, 6.0, 0.6), [(0.3, (0.90, 0.90, 0.88)), (0.7, (1.0,) * 3)])
    shader = n("ShaderNodeBsdfPrincipled", Roughness=0.42)
    n.set(shader, "Base Color", _mix(n, 1.0, image.outputs["Color"], dust, "MULTIPLY"))
    _finish(n, shader.outputs[0])
    return material


# --- meshes --------------------------------------------------------------------------------------------------------------


def mesh_object(name: str, vertices: Any, faces: Any, materials: Any, *, indices: Any = None, uv: Any = None) -> Any:
    """An object of the scene from (n, 3) vertices and faces; ``uv``: one (corners, 2) array in the order of the faces."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata([tuple(map(float, v)) for v in vertices], [], [tuple(map(int, f)) for f in faces])
    for material in materials if isinstance(materials, (list, tuple)) else [materials]:
        mesh.materials.append(material)
    if indices is not None:
        mesh.polygons.foreach_set("material_index", np.asarray(indices, dtype=np.int32))
    if uv is not None:
        mesh.uv_layers.new(name="UVMap").data.foreach_set("uv", np.asarray(uv, dtype=np.float32).ravel())
    mesh.update()
    item = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(item)
    return item


def triangle_cloud(name: str, corners: Any, material: Any) -> Any:
    """(n, k, 3) corners of n separate polygons of k corners as one object, made fast."""
    corners = np.asarray(corners, dtype=np.float32)
    count, sides = corners.shape[:2]
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(count * sides)
    mesh.vertices.foreach_set("co", corners.ravel())
    mesh.loops.add(count * sides)
    mesh.loops.foreach_set("vertex_index", np.arange(count * sides, dtype=np.int32))
    mesh.polygons.add(count)
    mesh.polygons.foreach_set("loop_start", np.arange(0, count * sides, sides, dtype=np.int32))
    mesh.materials.append(material)
    mesh.update(calc_edges=True)
    item = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(item)
    return item


def copy_of(item: Any, at: Vec, turn: float = 0.0, scale: float = 1.0) -> Any:
    """Another object with the same mesh."""
    twin = bpy.data.objects.new(item.name, item.data)
    twin.location, twin.rotation_euler, twin.scale = at, (0, 0, turn), (scale,) * 3
    bpy.context.scene.collection.objects.link(twin)
    return twin


def area(name: str, shape: Any, material: Any, z: float, depth: float = 0.0, bevel: float = 0.0) -> Any:
    """A flat shapely (multi)polygon with holes, its top at ``z``; ``depth`` is how far its sides go down."""
    curve = bpy.data.curves.new(name, "CURVE")
    curve.dimensions, curve.fill_mode = "2D", "BOTH"
    curve.extrude = depth / 2
    curve.bevel_depth, curve.offset = bevel, -bevel
    for polygon in getattr(shape, "geoms", [shape]):
        for ring in (polygon.exterior, *polygon.interiors):
            points = list(ring.coords)[:-1]
            spline = curve.splines.new("POLY")
            spline.points.add(len(points) - 1)
            spline.points.foreach_set("co", [c for p in points for c in (p[0], p[1], 0.0, 1.0)])
            spline.use_cyclic_u = True
    curve.materials.append(material)
    item = bpy.data.objects.new(name, curve)
    item.location = (0, 0, z - depth / 2 - bevel)
    bpy.context.scene.collection.objects.link(item)
    return item


class Boxes:
    """Many boxes in one mesh, with UVs in metres so that boards and tiles have one size everywhere."""

    def __init__(self) -> None:
        self.vertices: list[Vec] = []
        self.faces: list[tuple[int, ...]] = []
        self.indices: list[int] = []
        self.uv: list[tuple[float, float]] = []

    def polygon(self, corners: Sequence[Vec], material: int, boards_upright: bool = True) -> None:
        first = len(self.vertices)
        self.vertices += corners
        self.faces.append(tuple(range(first, first + len(corners))))
        self.indices.append(material)
        points = np.array(corners)
        normal = np.cross(points[1] - points[0], points[2] - points[0])
        normal = normal / (np.linalg.norm(normal) or 1.0)
        along = np.cross((0.0, 0.0, 1.0), normal)
        along = along / np.linalg.norm(along) if np.linalg.norm(along) > 1e-6 else np.array([1.0, 0.0, 0.0])
        up = np.cross(normal, along)
        for p in points:
            a, b = float(p @ along), float(p @ up)
            self.uv.append((b, a) if boards_upright else (a, b))

    def box(self, low: Vec, high: Vec, material: int) -> None:
        (x0, y0, z0), (x1, y1, z1) = low, high
        self.polygon([(x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)], material)
        self.polygon([(x1, y1, z0), (x0, y1, z0), (x0, y1, z1), (x1, y1, z1)], material)
        self.polygon([(x0, y1, z0), (x0, y0, z0), (x0, y0, z1), (x0, y1, z1)], material)
        self.polygon([(x1, y0, z0), (x1, y1, z0), (x1, y1, z1), (x1, y0, z1)], material)
        self.polygon([(x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)], material)
        self.polygon([(x0, y1, z0), (x1, y1, z0), (x1, y0, z0), (x0, y0, z0)], material)

    def object(self, name: str, materials: Sequence[Any]) -> Any:
        return mesh_object(name, self.vertices, self.faces, list(materials), indices=self.indices, uv=self.uv)


def tube(name: str, path: Sequence[Vec], radius: float, material: Any, end_radius: float | None = None) -> Any:
    """A round bar along a path."""
    curve = bpy.data.curves.new(name, "CURVE")
    curve.dimensions, curve.bevel_depth, curve.bevel_resolution = "3D", radius, 5
    curve.use_fill_caps = True
    spline = curve.splines.new("POLY")
    spline.points.add(len(path) - 1)
    for i, (point, place) in enumerate(zip(spline.points, path, strict=True)):
        point.co = (*place, 1.0)
        if end_radius is not None:
            point.radius = 1 + (end_radius / radius - 1) * i / (len(path) - 1)
    curve.materials.append(material)
    item = bpy.data.objects.new(name, curve)
    bpy.context.scene.collection.objects.link(item)
    return item


# --- the town ------------------------------------------------------------------------------------------------------------

ARM_M = 420.0
LANE_M = 3.5
KERB_M = 0.14
PAVEMENT_M = 2.45
CORNER_M = 5.5
CROSSING_M = (9.2, 12.2)
"""Zebra crossings lie between these distances from the node."""
STOP_LINE_M = 13.2


def carriageway() -> Any:
    cross = unary_union([box(-ARM_M, -LANE_M, ARM_M, LANE_M), box(-LANE_M, -ARM_M, LANE_M, ARM_M)])
    return (
        cross.buffer(-1.0, join_style="mitre")
        .buffer(1.0, join_style="mitre")
        .union(cross)
        .buffer(CORNER_M, join_style="mitre")
        .buffer(-CORNER_M, quad_segs=12)
    )


def roads(driveways: Sequence[Any]) -> None:
    road = carriageway()
    kerb = road.buffer(KERB_M, join_style="mitre").difference(road)
    walk = road.buffer(KERB_M + PAVEMENT_M, join_style="mitre").difference(road.buffer(KERB_M, join_style="mitre"))
    lowered = unary_union(
        [affinity.rotate(box(CROSSING_M[0], -9, CROSSING_M[1], 9), 90 * k, origin=(0, 0)) for k in range(4)]
        + [d.buffer(0.3) for d in driveways]
    )
    dark = asphalt("asphalt", 0.085)
    area("road", road, dark, 0.0)
    stone = plain("kerbstone", (0.36, 0.355, 0.34), 0.75, vary=0.3, scale=1.7)
    area("kerb", kerb.difference(lowered), stone, 0.12, 0.2, 0.012)
    area("kerb lowered", kerb.intersection(lowered), stone, 0.03, 0.1)
    paving = slabs("paving")
    area("pavement", walk.difference(lowered), paving, 0.105, 0.2)
    area("pavement lowered", walk.intersection(lowered), paving, 0.028, 0.1)
    area(
        "driveways",
        unary_union(list(driveways)).difference(road.buffer(KERB_M + PAVEMENT_M)),
        asphalt("yard", 0.12),
        0.05,
    )
    edge = asphalt("edge", 0.1, False)
    patch = asphalt("patch", 0.062, False)
    cuts = [
        box(-34, -3.1, -27.5, -1.3),
        box(-11.5, 0.8, -3.0, 2.4),
        box(1.2, -47.0, 3.2, -38.5),
        box(-2.9, 14.5, -0.6, 19.0),
        box(17, 0.4, 25, 2.2),
        box(-58, 0.5, -49, 2.9),
    ]
    area("patches", unary_union([c.buffer(0.05) for c in cuts]), patch, 0.0022)
    area(
        "verge",
        road.buffer(KERB_M + PAVEMENT_M + 0.12).difference(road.buffer(KERB_M + PAVEMENT_M - 0.01)),
        edge,
        0.1,
        0.2,
    )


def markings() -> None:
    """Norwegian urban markings: yellow centre line, white edge, stop lines and zebras."""
    white, yellow = [], []
    start = STOP_LINE_M + 0.5
    for k in range(4):
        arm_white = [box(STOP_LINE_M, 0.15, STOP_LINE_M + 0.5, LANE_M - 0.25)]
        stripe = -LANE_M + 0.35
        while stripe + 0.5 < LANE_M:
            arm_white.append(box(CROSSING_M[0], stripe, CROSSING_M[1], stripe + 0.5))
            stripe += 1.0
        arm_white += [box(start, y, 260, y + 0.1) for y in (LANE_M - 0.32, -LANE_M + 0.22)]
        arm_yellow = [box(start, -0.06, 34, 0.06)]
        along = 36.0
        while along < 260:
            arm_yellow.append(box(along, -0.06, along + 3, 0.06))
            along += 6.0
        white += [affinity.rotate(shape, 90 * k, origin=(0, 0)) for shape in arm_white]
        yellow += [affinity.rotate(shape, 90 * k, origin=(0, 0)) for shape in arm_yellow]
    area("white", unary_union(white), paint("white paint", (0.72, 0.72, 0.69)), 0.004)
    area("yellow", unary_union(yellow), paint("yellow paint", (0.62, 0.38, 0.05)), 0.004)
    covers = [(-31.0, -1.2), (-9.0, 2.1), (2.4, -27.5), (6.5, 1.0), (-1.1, 28.0), (38.0, 1.5)]
    iron = plain("cast iron", (0.07, 0.068, 0.065), 0.6, 0.7, 0.3, 20)
    area("manholes", unary_union([Polygon(MultiPoint([c]).convex_hull.buffer(0.32)) for c in covers]), iron, 0.003)


def lawn(driveways: Sequence[Any], keep_out: Sequence[Any], rng: np.random.Generator) -> None:
    """The ground, and blades of grass where a camera comes near."""
    side = 900.0
    edge = carriageway().buffer(KERB_M + PAVEMENT_M + 0.1)
    ground = box(-side, -side, side, side).difference(edge)
    area("lawn", ground, grass("lawn"), 0.045)
    near = box(-85, -14, 45, 14).union(box(-14, -85, 14, 45)).difference(unary_union([edge.buffer(0.05), *driveways, *keep_out]))
    points = []
    for polygon in getattr(near, "geoms", [near]):
        low_u, low_v, high_u, high_v = polygon.bounds
        tries = rng.uniform((low_u, low_v), (high_u, high_v), (int((high_u - low_u) * (high_v - low_v) * 160), 2))
        points.append(tries[shapely.contains_xy(polygon, tries)])
    foot = np.concatenate(points)
    distance = np.minimum(np.abs(foot[:, 0]), np.abs(foot[:, 1]))
    foot = foot[rng.random(len(foot)) < np.clip(1.7 - (distance - 6) / 7, 0.25, 1)]
    count = len(foot)
    height = rng.gamma(6.0, 0.016, count) + 0.03
    lean = rng.normal(0, 0.035, (count, 2))
    angle = rng.uniform(0, math.tau, count)
    half = np.stack([np.cos(angle), np.sin(angle)], -1) * rng.uniform(0.008, 0.016, (count, 1))
    z = np.full((count, 1), 0.04)
    corners = np.stack(
        [
            np.concatenate([foot - half, z], 1),
            np.concatenate([foot + half, z], 1),
            np.concatenate([foot + lean, z + height[:, None]], 1),
        ],
        axis=1,
    )
    triangle_cloud("grass", corners, leaves("blade", (0.055, 0.095, 0.018), (0.17, 0.21, 0.06), 0.3))


def leaf_blobs(centres: Any, radii: Any, count: int, size: float, rng: np.random.Generator) -> Any:
    """(count, 4, 3) leaves on and under the surfaces of ellipsoids."""
    centres, radii = np.asarray(centres, float), np.asarray(radii, float)
    weight = radii.prod(1) ** (2 / 3)
    which = rng.choice(len(centres), count, p=weight / weight.sum())
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    place = centres[which] + direction * radii[which] * rng.uniform(0.55, 1.05, (count, 1)) ** 0.5
    return leaf_quads(place, direction, size, rng)


def leaf_quads(place: Any, outward: Any, size: float, rng: np.random.Generator) -> Any:
    count = len(place)
    a = rng.normal(size=(count, 3)) + 0.3 * outward
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = np.cross(a, rng.normal(size=(count, 3)))
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    s = size * rng.uniform(0.6, 1.3, (count, 1))
    return np.stack([place - a * s, place - b * s * 0.55, place + a * s, place + b * s * 0.55], axis=1)


def broadleaf(name: str, rng: np.random.Generator, height: float, bark: Any, leaf: Any, count: int = 15000) -> list[Any]:
    """A tree on its own lawn: trunk, boughs, blobs of leaves. Returned as prototypes, to be copied and hidden."""
    crown = height * 0.33
    middle = np.array([0, 0, height - crown * 1.2])
    blobs, radii = [], []
    for _ in range(26):
        d = rng.normal(size=3)
        d /= np.linalg.norm(d)
        d[2] *= 1.3
        blobs.append(middle + d * crown * rng.uniform(0.15, 0.85))
        radii.append(np.array([1, 1, 0.75]) * crown * rng.uniform(0.20, 0.44))
    parts = [triangle_cloud(name, leaf_blobs(blobs, radii, count, 0.092, rng), leaf)]
    top = (rng.normal(0, 0.1), rng.normal(0, 0.1), height * 0.75)
    parts.append(tube(name, [(0, 0, -0.1), (0.03, 0.02, height * 0.3), top], 0.17, bark, 0.05))
    for blob in blobs[:10]:
        start = (0.03, 0.02, float(height * rng.uniform(0.28, 0.45)))
        parts.append(tube(name, [start, (float(blob[0]), float(blob[1]), float(blob[2]))], 0.055, bark, 0.015))
    return parts


def spruce(name: str, rng: np.random.Generator, height: float, bark: Any, leaf: Any, count: int = 14000) -> list[Any]:
    """A spruce: whorls of drooping branches."""
    level = 1 - np.sqrt(rng.random(count))
    tier = np.round(level * 22) / 22
    angle = rng.uniform(0, math.tau, count)
    arm = np.round(angle / math.tau * 11 + tier * 37) / 11 * math.tau - tier * 37 / 11 * math.tau
    angle = arm + rng.normal(0, 0.16, count)
    reach = (1 - tier) * height * 0.21 * np.sqrt(rng.random(count)) * (0.85 + 0.3 * np.sin(arm * 7 + tier * 50))
    z = height * (0.08 + 0.92 * tier) - reach * 0.35 + rng.normal(0, 0.06, count)
    place = np.stack([np.cos(angle) * reach, np.sin(angle) * reach, z], -1)
    outward = np.stack([np.cos(angle), np.sin(angle), np.full(count, -0.3)], -1) * 3
    needles = triangle_cloud(name, leaf_quads(place, outward, 0.13, rng), leaf)
    return [needles, tube(name, [(0, 0, -0.1), (0, 0, height * 0.95)], 0.14, bark, 0.02)]


def hedge(start: tuple[float, float], end: tuple[float, float], leaf: Any, rng: np.random.Generator, height: float = 1.1) -> None:
    a, b = np.array(start), np.array(end)
    length = float(np.linalg.norm(b - a))
    along = (b - a) / length
    side = np.array([-along[1], along[0]])
    count = int(length * 650)
    t, w, h = rng.uniform(0, length, count), rng.uniform(-1, 1, count), rng.uniform(0, 1, count)
    shell = rng.random(count) < 0.45
    w = np.where(shell, np.sign(w), w)
    h = np.where(~shell, 1.0, h)
    at_end = rng.random(count) < 0.7 / length
    t = np.where(at_end, np.round(t / length) * length, t)
    h = np.where(at_end, rng.uniform(0, 1, count), h)
    w = np.where(at_end, rng.uniform(-1, 1, count), w)
    flat = a + np.outer(t, along) + np.outer(w * 0.36, side)
    bulge = 1 + 0.06 * np.sin(t * 3.1) + 0.04 * np.sin(t * 7.7 + 1)
    place = np.column_stack([flat, 0.05 + h * height * bulge]) + rng.normal(0, 0.035, (count, 3))
    triangle_cloud("hedge", leaf_quads(place, np.zeros((count, 3)), 0.065, rng), leaf)
    core = Boxes()
    corners = [(*(a + side * 0.3), 0.0), (*(b + side * 0.3), 0.0), (*(b - side * 0.3), 0.0), (*(a - side * 0.3), 0.0)]
    ring: list[Vec] = [(float(x), float(y), float(z)) for x, y, z in corners]
    raised: list[Vec] = [(x, y, height * 0.93) for x, y, _ in ring]
    core.polygon(raised, 0)
    for i in range(4):
        core.polygon([ring[i], ring[(i + 1) % 4], raised[(i + 1) % 4], raised[i]], 0)
    core.object("hedge core", [leaf])


def house(
    at: tuple[float, float],
    turn_deg: float,
    size: tuple[float, float],
    storeys: int,
    rng: random.Random,
    stuff: dict[str, Any],
) -> None:
    """A wooden house with a gable roof; ``at`` is its middle, its long front looks along -y before it is turned."""
    width, depth = size
    wall = 2.75 * storeys + 0.35
    rise = depth / 2 * math.tan(math.radians(rng.choice([32, 36, 40])))
    b = Boxes()
    x, y = width / 2, depth / 2
    walls, trim, roof, pane, base, door = range(6)
    b.box((-x - 0.02, -y - 0.02, -0.2), (x + 0.02, y + 0.02, 0.45), base)
    for sign in (-1, 1):
        front = [(-x, -y, 0.45), (x, -y, 0.45), (x, -y, wall), (-x, -y, wall)]
        b.polygon([(sign * -1 * p[0], sign * -1 * p[1], p[2]) for p in front], walls)
        gable = [(x, -y, 0.45), (x, y, 0.45), (x, y, wall), (x, 0, wall + rise), (x, -y, wall)]
        b.polygon([(sign * p[0], sign * p[1], p[2]) for p in gable], walls)
        over, thick = 0.45, 0.16
        eave = wall - over * rise / y
        low = [(-x - 0.4, sign * (y + over), eave), (x + 0.4, sign * (y + over), eave)]
        high = [(x + 0.4, 0, wall + rise), (-x - 0.4, 0, wall + rise)]
        raised = [(px, py, pz + thick) for px, py, pz in low + high]
        b.polygon(raised if sign < 0 else raised[::-1], roof, boards_upright=False)
        under = low + high
        b.polygon(under[::-1] if sign < 0 else under, trim)
        b.polygon([low[0], low[1], raised[1], raised[0]], trim)
        for end in (-1, 1):
            e = end * (x + 0.4)
            b.polygon(
                [
                    (e, sign * (y + over), eave - 0.04),
                    (e, 0, wall + rise - 0.04),
                    (e, 0, wall + rise + thick),
                    (e, sign * (y + over), eave + thick),
                ],
                trim,
            )
    for cx in (-x, x):
        for cy in (-y, y):
            b.box((cx - 0.07, cy - 0.07, 0.45), (cx + 0.07, cy + 0.07, wall), trim)

    def window(u: float, z: float, w: float, h: float, face: int) -> None:
        """face 0/1: fronts at -y/+y; 2/3: gables at -x/+x."""

        def put(u0: float, u1: float, z0: float, z1: float, out0: float, out1: float, material: int) -> None:
            if face < 2:
                s = -1 if face == 0 else 1
                ys = sorted((s * (y + out0), s * (y + out1)))
                b.box((u0, ys[0], z0), (u1, ys[1], z1), material)
            else:
                s = -1 if face == 2 else 1
                xs = sorted((s * (x + out0), s * (x + out1)))
                b.box((xs[0], u0, z0), (xs[1], u1, z1), material)

        put(u - w / 2, u + w / 2, z, z + h, -0.02, 0.012, pane)
        f = 0.09
        put(u - w / 2 - f, u + w / 2 + f, z + h, z + h + f, 0, 0.06, trim)
        put(u - w / 2 - f - 0.03, u + w / 2 + f + 0.03, z - f, z, 0, 0.09, trim)
        for cut in (u - w / 2 - f, u + w / 2, u - 0.03):
            put(cut, cut + (0.06 if cut == u - 0.03 else f), z, z + h, 0, 0.045, trim)
        if h > 1.1:
            put(u - w / 2, u + w / 2, z + h * 0.66, z + h * 0.66 + 0.05, 0, 0.04, trim)

    columns = max(2, int(width // 2.9))
    door_at = rng.randrange(columns)
    for floor in range(storeys):
        z = 0.45 + 0.85 + floor * 2.75
        for face in (0, 1):
            for c in range(columns):
                u = -x + width * (c + 0.5) / columns
                if floor == 0 and face == 0 and c == door_at:
                    b.box((u - 0.5, -y - 0.05, 0.45), (u + 0.5, -y + 0.02, 2.55), door)
                    b.box((u - 0.62, -y - 0.04, 0.45), (u - 0.5, -y + 0.02, 2.67), trim)
                    b.box((u + 0.5, -y - 0.04, 0.45), (u + 0.62, -y + 0.02, 2.67), trim)
                    b.box((u - 1.1, -y - 1.3, -0.1), (u + 1.1, -y, 0.4), base)
                    b.box((u - 1.0, -y - 1.2, 2.75), (u + 1.0, -y, 2.87), trim)
                    for post in (u - 0.95, u + 0.85):
                        b.box((post, -y - 1.15, 0.4), (post + 0.1, -y - 1.05, 2.75), trim)
                else:
                    window(u, z, 1.15, 1.25, face)
        for face in (2, 3):
            for c in range(2):
                window(-y + depth * (c + 0.5) / 2, z, 1.05, 1.25, face)
    for face in (2, 3):
        window(0, wall + 0.25, 0.9, 1.0, face)
    cx = rng.uniform(-x * 0.5, x * 0.5)
    b.box((cx - 0.35, -0.35, wall), (cx + 0.35, 0.35, wall + rise + 0.9), base)
    colour = rng.choice(stuff["claddings"])
    item = b.object(
        "house",
        [colour, stuff["trim"], rng.choice(stuff["roofs"]), stuff["pane"], stuff["base"], rng.choice(stuff["doors"])],
    )
    item.location = (*at, 0.0)
    item.rotation_euler = (0, 0, math.radians(turn_deg))


def car(at: tuple[float, float], turn_deg: float, paintwork: Any, stuff: dict[str, Any]) -> None:
    """A hatchback, 4.2 m long, nose along +x before it is turned."""
    # station: x, half width, bottom, bonnet/belt height, roof height (or belt where there is no cabin), roof half width
    stations = [
        (2.10, 0.62, 0.38, 0.62, 0.64, 0.50),
        (2.02, 0.76, 0.26, 0.70, 0.72, 0.66),
        (1.60, 0.87, 0.22, 0.82, 0.84, 0.74),
        (0.95, 0.89, 0.20, 0.93, 0.96, 0.76),
        (0.25, 0.90, 0.20, 0.95, 1.40, 0.62),
        (-0.30, 0.90, 0.20, 0.96, 1.47, 0.64),
        (-1.00, 0.90, 0.20, 0.97, 1.44, 0.63),
        (-1.75, 0.87, 0.24, 0.99, 1.18, 0.62),
        (-2.02, 0.80, 0.30, 0.92, 0.96, 0.64),
        (-2.10, 0.66, 0.40, 0.78, 0.80, 0.55),
    ]
    vertices: list[Vec] = []
    for px, w, low, belt, top, rw in stations:
        vertices += [
            (px, -w * 0.9, low), (px, -w, (low + belt) / 2), (px, -w * 0.97, belt), (px, -rw, top - 0.03), (px, -rw * 0.6, top),
            (px, rw * 0.6, top), (px, rw, top - 0.03), (px, w * 0.97, belt), (px, w, (low + belt) / 2), (px, w * 0.9, low),
        ]  # fmt: skip
    ring = 10
    faces: list[tuple[int, ...]] = [tuple(range(ring)), tuple(reversed(range(len(vertices) - ring, len(vertices))))]
    indices = [0, 0]
    for s in range(len(stations) - 1):
        for k in range(ring):
            a, b2 = s * ring + k, s * ring + (k + 1) % ring
            faces.append((a, a + ring, b2 + ring, b2))
            cabin = stations[s][4] - stations[s][3] > 0.1 or stations[s + 1][4] - stations[s + 1][3] > 0.1
            side_glass = k in (2, 6) and cabin and 3 <= s <= 6
            screen = k in (3, 4, 5) and s in (3, 7 - 1)
            indices.append(1 if side_glass or screen else 0)
    body = mesh_object("car", vertices, faces, [paintwork, stuff["pane"]], indices=indices)
    smooth = body.modifiers.new("smooth", "SUBSURF")
    smooth.levels = smooth.render_levels = 2
    for polygon in body.data.polygons:
        polygon.use_smooth = True
    place = (*at, 0.06)
    body.location, body.rotation_euler = place, (0, 0, math.radians(turn_deg))
    cos, sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))

    def local(px: float, py: float, pz: float) -> Vec:
        return at[0] + px * cos - py * sin, at[1] + px * sin + py * cos, pz + 0.06

    for px in (1.32, -1.30):
        for py in (-0.80, 0.80):
            tube("tyre", [local(px, py - 0.11, 0.31), local(px, py + 0.11, 0.31)], 0.31, stuff["rubber"])
            tube("rim", [local(px, py - 0.118, 0.31), local(px, py + 0.118, 0.31)], 0.20, stuff["rim"])
    for py in (-0.58, 0.58):
        tube("lamp", [local(2.0, py - 0.12, 0.66), local(2.0, py + 0.12, 0.66)], 0.075, stuff["lamp"])
        tube("tail", [local(-2.04, py - 0.10, 0.82), local(-2.04, py + 0.10, 0.82)], 0.06, stuff["tail"])


def street_lamp(at: tuple[float, float], towards: tuple[float, float], metal: Any, head: Any) -> None:
    """7.5 m column with an arm of 1.4 m towards the road."""
    (u, v), (du, dv) = at, towards
    path = [
        (u, v, 0.0),
        (u, v, 6.6),
        (u + du * 0.15, v + dv * 0.15, 7.15),
        (u + du * 0.5, v + dv * 0.5, 7.42),
        (u + du * 1.4, v + dv * 1.4, 7.5),
    ]
    tube("lamp post", path, 0.075, metal, 0.04)
    shade = tube("lamp head", [(u + du * 1.3, v + dv * 1.3, 7.48), (u + du * 1.95, v + dv * 1.95, 7.52)], 0.13, head)
    shade.scale = (1, 1, 0.5)
    shade.location = (0, 0, 7.5 * 0.5)


def hills(material: Any, rng: np.random.Generator) -> None:
    """A wooded ridge around the valley, so that the world does not end in a line."""
    around, out = 240, 10
    angle = np.linspace(0, math.tau, around, endpoint=False)
    profile = sum(rng.uniform(0.4, 1.0) * np.sin(angle * k + rng.uniform(0, 6.3)) / k**0.6 for k in (1, 2, 3, 5, 8, 13, 21))
    height = 70 + 26 * np.asarray(profile)
    vertices, faces = [], []
    for j in range(out):
        t = j / (out - 1)
        for i in range(around):
            radius = 620 + 700 * t
            rough = rng.normal(0, 1.2) if j > 0 else 0
            vertices.append(
                (
                    math.cos(angle[i]) * radius,
                    math.sin(angle[i]) * radius,
                    -2 + float(height[i]) * math.sin(t * 1.57) + rough,
                )
            )
    for j in range(out - 1):
        for i in range(around):
            k = (i + 1) % around
            faces.append((j * around + i, j * around + k, (j + 1) * around + k, (j + 1) * around + i))
    mesh_object("hills", vertices, faces, material)
