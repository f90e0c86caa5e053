"""Outlines of synthetic cells, after the paper's description of types A and B (section 3.2).

An outline is a float64 array (points, 2) of (x, y) in pixels around (0, 0).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage import measure


def spheroid(rng: np.random.Generator, radius: float) -> np.ndarray:
    """A rounded type A cell: nearly a circle."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    wobble = sum(rng.normal(0, 0.05 / k) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 4))
    r = radius * (1 + wobble)
    return np.stack([r * np.cos(angle), r * np.sin(angle) * rng.uniform(0.85, 1.0)], 1)


def spindle(rng: np.random.Generator, length: float, width: float) -> np.ndarray:
    """A convex type A cell drawn out along one axis, bent, with thin ends or protrusions."""
    t = np.linspace(-1, 1, 28)
    body = rng.uniform(0.25, 1.0)  # how far the thick middle reaches
    centre = rng.uniform(-0.45, 0.45)
    tip = rng.uniform(2.5, 6) / width
    # Full around the middle, thinning to a tip that is never sharp.
    profile = tip + (1 - tip) * np.exp(-(np.abs((t - centre) / (body * 0.75)) ** rng.uniform(2.0, 3.5)))
    profile *= np.sqrt(np.clip(1 - np.abs(t) ** 6, 0, 1))
    x = t * length / 2
    bend = rng.normal(0, 0.12) * length * (1 - t**2) + rng.normal(0, 0.04) * length * np.sin(np.pi * t)
    upper = bend + profile * width / 2 * (1 + rng.normal(0, 0.03, t.size))
    lower = bend - profile * width / 2 * (1 + rng.normal(0, 0.03, t.size))
    return np.concatenate([np.stack([x, upper], 1), np.stack([x, lower], 1)[::-1]])


def flat(rng: np.random.Generator, radius: float) -> np.ndarray:
    """A spread type B cell: corners that hold on to the substrate, hollow edges between them."""
    corners = int(rng.integers(3, 7))
    angles = (np.arange(corners) + rng.uniform(-0.32, 0.32, corners)) * 2 * np.pi / corners
    reach = radius * rng.uniform(0.75, 1.4, corners)
    if rng.random() < 0.4:  # one long arm
        reach[rng.integers(corners)] *= rng.uniform(1.2, 1.8)
    tips = reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    following = np.roll(tips, -1, axis=0)
    # A quadratic curve from tip to tip; its control point is drawn towards the middle (hollow) or out (round).
    control = (tips + following) / 2 * rng.uniform(0.35, 1.25, (corners, 1))
    t = np.linspace(0, 1, 14, endpoint=False)[None, :, None]
    edge = (1 - t) ** 2 * tips[:, None] + 2 * t * (1 - t) * control[:, None] + t**2 * following[:, None]
    points = edge.reshape(-1, 2)
    weights = np.array([0.1, 0.2, 0.4, 0.2, 0.1])  # blunts the tips
    points = sum(w * np.roll(points, k, axis=0) for w, k in zip(weights, range(-2, 3), strict=True))
    points *= 1 + rng.normal(0, 0.01, (len(points), 1))
    points[:, 1] *= rng.uniform(0.45, 1.0)
    return points


def sprawling(rng: np.random.Generator, radius: float, arms: int, body: tuple[float, float]) -> np.ndarray:
    """A cell with a body, arms that bend and end in blunt or swollen feet, and an edge that is nowhere straight.

    Args:
        radius: scale in pixels.
        arms: their number; none gives a lump.
        body: half axes of the body, in radii.
    """
    step = radius / 14
    axis = np.arange(-3.4 * radius, 3.4 * radius, step)
    x, y = np.meshgrid(axis, axis)
    # Distances to the parts' edges, joined softly: their level line at 0 is the outline.
    near = np.exp(-(np.hypot(x / body[0], y / body[1]) - radius) * min(body) / (0.1 * radius))
    turns = (np.arange(arms) + rng.uniform(-0.3, 0.3, arms)) * 2 * np.pi / max(arms, 1)
    for turn in turns:
        reach = radius * rng.uniform(0.9, 2.9)
        along = np.linspace(0.2, 1, 14)
        bend = turn + rng.normal(0, 0.35) * along
        root, neck, foot = radius * np.array([0.7 * min(body), rng.uniform(0.07, 0.22), rng.uniform(0.08, 0.3)])
        width = neck + (root - neck) * (1 - along) ** 2 + (foot - neck) * (along > 0.9)
        for t, angle, r in zip(along, bend, width, strict=True):
            distance = np.hypot(x - t * reach * np.cos(angle), y - t * reach * np.sin(angle)) - r
            near = np.maximum(near, np.exp(np.clip(-distance / (0.1 * radius), -60, 60)))
    distance = -np.log(near + 1e-30) * 0.1 * radius
    for sigma, most in ((1.5, 0.08), (4.0, 0.2)):
        noise = ndimage.gaussian_filter(rng.standard_normal(x.shape), sigma) * (2 * np.sqrt(np.pi) * sigma)
        distance = distance + noise * radius * rng.uniform(0, most) * 0.5
    inside = np.pad(distance, 1, constant_values=1.0)
    outline = max(measure.find_contours(inside, 0.0), key=len)
    return ((outline[:-1, ::-1] - 1) * step - 3.4 * radius)[::2]


def soma(rng: np.random.Generator, outline: np.ndarray, share: float) -> np.ndarray:
    """A compact ellipse along the cell's long axis, about `share` of its area; the caller cuts it to the cell."""
    middle = outline.mean(0)
    axes = np.linalg.svd(outline - middle, full_matrices=False)[2]
    spread = np.abs((outline - middle) @ axes.T)
    half = np.percentile(spread, 60, axis=0) * np.sqrt(share) * rng.uniform(0.95, 1.2, 2)
    half[0] = min(half[0], half[1] * 1.9)  # a soma is compact even where the cell is long
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    ring = np.stack([np.cos(angle) * half[0], np.sin(angle) * half[1]], 1)
    return middle + ring @ axes


def turned(outline: np.ndarray, angle: float, scale: float = 1.0) -> np.ndarray:
    """The outline rotated by `angle` (radians) and scaled."""
    c, s = np.cos(angle), np.sin(angle)
    return scale * outline @ np.array([[c, s], [-s, c]])
