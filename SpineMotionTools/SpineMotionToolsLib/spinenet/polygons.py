"""Plane geometry of vertebral quadrilaterals: area, validity, containment, internal angles, overlap.

A polygon is four (x, y) points in the corner order right-top, right-bottom, left-bottom, left-top.
"""

from __future__ import annotations

import numpy as np

Polygon = np.ndarray


def signed_area(polygon: Polygon) -> float:
    """Half the shoelace sum; its sign tells the sense of rotation."""
    here = np.asarray(polygon, dtype=float)
    after = np.concatenate((here[1:], here[:1]))
    return 0.5 * float(np.dot(here[:, 0], after[:, 1]) - np.dot(here[:, 1], after[:, 0]))


def is_simple(polygon: Polygon) -> bool:
    """Whether the quadrilateral is a valid simple polygon: no edge crosses or touches another, and its area is not
    0."""
    a, b, c, d = np.asarray(polygon, dtype=float)
    if not np.isfinite(polygon).all() or signed_area(polygon) == 0:
        return False
    if any(np.array_equal(p, q) for p, q in ((a, b), (b, c), (c, d), (d, a))):
        return True  # a corner given twice leaves a triangle
    return not (_touch(a, b, c, d) or _touch(b, c, d, a) or _folds_back(polygon))


def _cross(o, p, q) -> float:
    return (p[0] - o[0]) * (q[1] - o[1]) - (p[1] - o[1]) * (q[0] - o[0])


def _on_segment(p, q, r) -> bool:
    """Whether r, collinear with p and q, lies between them."""
    return min(p[0], q[0]) <= r[0] <= max(p[0], q[0]) and min(p[1], q[1]) <= r[1] <= max(p[1], q[1])


def _touch(p1, p2, q1, q2) -> bool:
    """Whether two closed segments share a point."""
    d1, d2, d3, d4 = _cross(q1, q2, p1), _cross(q1, q2, p2), _cross(p1, p2, q1), _cross(p1, p2, q2)
    if d1 * d2 < 0 and d3 * d4 < 0:
        return True
    return (
        (d1 == 0 and _on_segment(q1, q2, p1))
        or (d2 == 0 and _on_segment(q1, q2, p2))
        or (d3 == 0 and _on_segment(p1, p2, q1))
        or (d4 == 0 and _on_segment(p1, p2, q2))
    )


def _folds_back(polygon: Polygon) -> bool:
    """Whether two neighbouring edges lie on top of each other (a spike)."""
    for i in range(4):
        before, here, after = polygon[i - 1], polygon[i], polygon[(i + 1) % 4]
        u, v = np.subtract(before, here), np.subtract(after, here)
        if u[0] * v[1] - u[1] * v[0] == 0 and np.dot(u, v) > 0:
            return True
    return False


def contains(polygon: Polygon, point: np.ndarray) -> bool:
    """Whether the point lies in the open interior of a simple polygon (not on its edge)."""
    inside = False
    for i in range(len(polygon)):
        p, q = polygon[i], polygon[(i + 1) % len(polygon)]
        if _cross(p, q, point) == 0 and _on_segment(p, q, point):
            return False
        if (p[1] > point[1]) != (q[1] > point[1]):
            at = (q[0] - p[0]) * (point[1] - p[1]) / (q[1] - p[1]) + p[0]
            inside ^= bool(point[0] < at)
    return inside


def internal_angles(polygons: np.ndarray) -> np.ndarray:
    """The four internal angles in radians, corner order: (..., 4, 2) -> (..., 4); NaN where an edge has no length."""
    polygons = np.asarray(polygons, dtype=float)
    forward = np.roll(polygons, -1, axis=-2) - polygons
    backward = np.roll(polygons, 1, axis=-2) - polygons
    with np.errstate(invalid="ignore", divide="ignore"):
        forward = forward / np.linalg.norm(forward, axis=-1, keepdims=True)
        backward = backward / np.linalg.norm(backward, axis=-1, keepdims=True)
        return np.arccos(np.clip((forward * backward).sum(axis=-1), -1.0, 1.0))


def overlap(first: Polygon, second: Polygon) -> float:
    """Intersection over union; 0 when the union is empty or a polygon crosses itself."""
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if (first.max(0) <= second.min(0)).any() or (second.max(0) <= first.min(0)).any():
        return 0.0
    if not (is_simple(first) and is_simple(second)):
        return 0.0
    shared = sum(_convex_intersection(t, u) for t in _triangles(first) for u in _triangles(second))
    union = abs(signed_area(first)) + abs(signed_area(second)) - shared
    return shared / union if union > 0 else 0.0


def _triangles(quad: Polygon) -> list[np.ndarray]:
    """A simple quadrilateral cut into two triangles along a diagonal that lies inside it, counter-clockwise."""
    if signed_area(quad) < 0:
        quad = quad[::-1]
    turns = [_cross(quad[i - 1], quad[i], quad[(i + 1) % 4]) for i in range(4)]
    start = int(np.argmin(turns))  # cutting from the reflex corner, if there is one, stays inside
    a, b, c, d = np.concatenate((quad[start:], quad[:start]))
    return [np.array([a, b, c]), np.array([a, c, d])]


def _convex_intersection(subject: np.ndarray, clip: np.ndarray) -> float:
    """Area shared by two convex counter-clockwise polygons (Sutherland and Hodgman 1974)."""
    points = [tuple(p) for p in subject]
    for i in range(len(clip)):
        p, q = clip[i], clip[(i + 1) % len(clip)]
        kept: list[tuple[float, float]] = []
        for j, here in enumerate(points):
            before = points[j - 1]
            side_before, side_here = _cross(p, q, before), _cross(p, q, here)
            if side_before * side_here < 0:
                t = side_before / (side_before - side_here)
                kept.append((before[0] + t * (here[0] - before[0]), before[1] + t * (here[1] - before[1])))
            if side_here >= 0:
                kept.append(here)
        points = kept
        if len(points) < 3:
            return 0.0
    return abs(signed_area(np.array(points)))


def mask_of(polygon: Polygon, shape: tuple[int, int]) -> np.ndarray:
    """Pixels (rows, columns) whose centre lies inside the polygon or on its boundary (even-odd rule)."""
    polygon = np.asarray(polygon, dtype=float)
    mask = np.zeros(shape, dtype=bool)
    x0, y0 = np.maximum(np.floor(polygon.min(axis=0)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(polygon.max(axis=0)).astype(int) + 1, (shape[1], shape[0]))
    if x1 <= x0 or y1 <= y0:
        return mask
    x, y = np.arange(x0, x1)[None, :].astype(float), np.arange(y0, y1)[:, None].astype(float)
    inside = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    edge = np.zeros_like(inside)
    for i in range(len(polygon)):
        (px, py), (qx, qy) = polygon[i], polygon[(i + 1) % len(polygon)]
        cross = (qx - px) * (y - py) - (qy - py) * (x - px)
        between = (x >= min(px, qx)) & (x <= max(px, qx)) & (y >= min(py, qy)) & (y <= max(py, qy))
        edge |= (cross == 0) & between
        if py != qy:
            crosses = (py > y) != (qy > y)
            inside ^= crosses & (x < (qx - px) * (y - py) / (qy - py) + px)
    mask[y0:y1, x0:x1] = inside | edge
    return mask
