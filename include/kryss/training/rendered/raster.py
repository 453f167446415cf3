"""A z-buffer painter of textured parallelograms and triangles, compiled by numba: some ten milliseconds a picture of a core.

A surface is ``origin + s a + t b`` in the camera's frame (x right, y down, z forward, metres). For the ray (x, y, 1) of a
pixel ``M [1, s, t] / z = ray`` with ``M = [origin a b]``, so one inverse gives 1/z, s and t at every pixel by three dot
products, with no clipping (Olano and Greer, "Triangle scan conversion using 2D homogeneous coordinates", 1997).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

TRIANGLE, DECAL, DOUBLE = 1, 2, 4
"""Flags of a surface. TRIANGLE: only s + t <= 1. DECAL: blended onto what lies within its depth, writes no depth itself."""
NEAR = 0.05
LIFT = 1.004
"""A decal shows on what is at most so much nearer than itself."""
ALPHA = 0.5


class Atlas:
    """Square RGBA textures of one size with all their halvings, in one array."""

    def __init__(self, textures: np.ndarray) -> None:
        """``textures``: (n, side, side, 4) uint8, side a power of two."""
        count, side = textures.shape[:2]
        level: np.ndarray = textures.astype(np.float32)
        level[..., :3] *= level[..., 3:] / 255  # so that what is see-through has no colour
        levels, starts, at = [], [], 0
        while side >= 1:
            shown = level.copy()
            shown[..., :3] *= 255 / np.maximum(level[..., 3:], 0.5)
            levels.append((shown + 0.5).astype(np.uint8).reshape(-1, 4))
            starts.append(at)
            at += count * side * side
            side //= 2
            if side:
                level = (level[:, ::2, ::2] + level[:, 1::2, ::2] + level[:, ::2, 1::2] + level[:, 1::2, 1::2]) / 4
        self.texels: np.ndarray = np.concatenate(levels)
        self.starts = np.array(starts, np.int64)
        self.side = textures.shape[1]


@njit(cache=True, nogil=True, fastmath=True)  # type: ignore[misc]
def paint(
    shapes: Any,
    uv: Any,
    tint: Any,
    flags: Any,
    which: Any,
    marks: Any,
    texels: Any,
    starts: Any,
    side: int,
    focal: float,
    cx: float,
    cy: float,
    colour: Any,
    depth: Any,
    mark: Any,
) -> None:
    """Draws surfaces in their order into ``colour`` (h, w, 3) float32 0..255, ``depth`` (h, w) float32, metres along z, and
    ``mark`` (h, w) int32, whose surface is seen.

    ``shapes``: (n, 9) origin, a, b. ``uv``: (n, 6) u, v at the origin, and their growth along a and along b, in textures.
    ``tint``: (n, 4) factors of the colours and of the alpha. ``flags``, ``which``, ``marks``: (n,) int, see above, the texture's
    number, and what is written into ``mark``.
    """
    height, width = depth.shape
    levels = len(starts)
    xs, ys = np.empty(8), np.empty(8)
    for k in range(shapes.shape[0]):
        ox, oy, oz, ax, ay, az, bx, by, bz = shapes[k]
        # box on the picture: corners in front, and where edges cross the near plane
        n = 0
        corners = 3 if flags[k] & 1 else 4
        for i in range(corners):
            s, t = (0.0, 1.0, 1.0, 0.0)[i], (0.0, 0.0, 1.0, 1.0)[i]
            s2, t2 = (1.0, 1.0, 0.0, 0.0)[i], (0.0, 1.0, 1.0, 0.0)[i]
            if corners == 3:
                s, t = (0.0, 1.0, 0.0)[i], (0.0, 0.0, 1.0)[i]
                s2, t2 = (1.0, 0.0, 0.0)[i], (0.0, 1.0, 0.0)[i]
            x, y, z = ox + s * ax + t * bx, oy + s * ay + t * by, oz + s * az + t * bz
            x2, y2, z2 = ox + s2 * ax + t2 * bx, oy + s2 * ay + t2 * by, oz + s2 * az + t2 * bz
            if z > NEAR:
                xs[n], ys[n] = x / z, y / z
                n += 1
            if (z > NEAR) != (z2 > NEAR):
                f = (NEAR - z) / (z2 - z)
                xs[n], ys[n] = (x + f * (x2 - x)) / NEAR, (y + f * (y2 - y)) / NEAR
                n += 1
        if n == 0:
            continue
        left = max(0, int(np.floor(max(-1e6, xs[:n].min() * focal + cx))))
        right = min(width, int(np.ceil(min(1e6, xs[:n].max() * focal + cx))) + 1)
        top = max(0, int(np.floor(max(-1e6, ys[:n].min() * focal + cy))))
        bottom = min(height, int(np.ceil(min(1e6, ys[:n].max() * focal + cy))) + 1)
        if left >= right or top >= bottom:
            continue
        # rows of the inverse of [o a b]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        det = ox * nx + oy * ny + oz * nz
        if abs(det) < 1e-9:
            continue
        nx, ny, nz = nx / det, ny / det, nz / det
        px, py, pz = (by * oz - bz * oy) / det, (bz * ox - bx * oz) / det, (bx * oy - by * ox) / det
        qx, qy, qz = (oy * az - oz * ay) / det, (oz * ax - ox * az) / det, (ox * ay - oy * ax) / det
        triangle, decal = flags[k] & 1, flags[k] & 2
        red, green, blue, solid = tint[k]
        u0, v0, ua, va, ub, vb = uv[k]
        base = which[k]
        for row in range(top, bottom):
            ry = (row + 0.5 - cy) / focal
            for column in range(left, right):
                rx = (column + 0.5 - cx) / focal
                e = nx * rx + ny * ry + nz
                if e <= 1e-5:
                    continue
                z = 1.0 / e
                if z < NEAR or (z > depth[row, column] * LIFT if decal else z >= depth[row, column]):
                    continue
                s = (px * rx + py * ry + pz) * z
                if s < 0.0 or s > 1.0:
                    continue
                t = (qx * rx + qy * ry + qz) * z
                if t < 0.0 or t > 1.0 or (triangle and s + t > 1.0):
                    continue
                # how far the texture moves from one pixel to the next chooses the halving
                sx, sy = (px - s * nx) * z / focal, (py - s * ny) * z / focal
                tx, ty = (qx - t * nx) * z / focal, (qy - t * ny) * z / focal
                gx = (ua * sx + ub * tx) ** 2 + (va * sx + vb * tx) ** 2
                gy = (ua * sy + ub * ty) ** 2 + (va * sy + vb * ty) ** 2
                texel2 = np.sqrt(gx * gy) * side * side + 0.15 * max(gx, gy) * side * side
                level = 0
                while texel2 > 2.0 and level < levels - 1:
                    texel2 *= 0.25
                    level += 1
                size = side >> level
                u, v = u0 + ua * s + ub * t, v0 + va * s + vb * t
                i = int((u - np.floor(u)) * size) % size
                j = int((v - np.floor(v)) * size) % size
                at = starts[level] + (base * size + j) * size + i
                alpha = texels[at, 3] * (solid / 255.0)
                if decal:
                    colour[row, column, 0] += alpha * (texels[at, 0] * red - colour[row, column, 0])
                    colour[row, column, 1] += alpha * (texels[at, 1] * green - colour[row, column, 1])
                    colour[row, column, 2] += alpha * (texels[at, 2] * blue - colour[row, column, 2])
                elif alpha >= ALPHA:
                    colour[row, column, 0] = texels[at, 0] * red
                    colour[row, column, 1] = texels[at, 1] * green
                    colour[row, column, 2] = texels[at, 2] * blue
                    depth[row, column] = z
                    mark[row, column] = marks[k]
