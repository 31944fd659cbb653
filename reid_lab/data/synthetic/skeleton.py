"""The skeleton: a walking body, turned by its yaw and projected to the canvas.

Lengths are fractions of the person's height; x points to the person's left, y down from the top of the
head, z forward. At yaw 0 the person faces the camera.
"""

from __future__ import annotations

import math

from reid_lab.data.synthetic.canvas import Canvas, Part, Point
from reid_lab.data.synthetic.traits import Outfit, Person
from reid_lab.data.synthetic.world import Scene

Point3 = tuple[float, float, float]


class Figure:
    """One dressed person in one scene: where its joints are on the canvas, and what it wears."""

    def __init__(self, canvas: Canvas, person: Person, outfit: Outfit, scene: Scene) -> None:
        self.canvas, self.scene = canvas, scene
        self.a = {**person.attributes, **outfit.attributes}
        shape = self.shape = person.shape
        a = self.a
        size = (0.8, 0.86, 0.92)[a["height"]] * scene.zoom
        self.unit = canvas.height * size
        self.left = canvas.width * (0.5 + scene.shift[0])
        self.top = canvas.height * (0.965 + scene.shift[1] - size)
        self.cos, self.sin = math.cos(scene.yaw), math.sin(scene.yaw)
        self.front = self.cos > 0
        man = a["gender"] == 0
        girth = (0.86, 1.0, 1.26)[a["build"]]
        self.shoulder = (0.118 if man else 0.102) * shape["shoulder"] * (0.55 + 0.45 * girth)
        self.waist = (0.088 if man else 0.074) * girth
        self.hip = (0.088 if man else 0.096) * shape["hip"] * (0.45 + 0.55 * girth)
        self.depth = 0.062 * girth
        self.limb_width = 0.55 + 0.45 * girth
        self.hip_y = 0.505 - 0.02 * (shape["leg"] - 1) * 10
        self.head_y = 0.078 + 0.03 * shape["stoop"]
        self.head_x = 0.054 * shape["head"]
        self.sides = (-1, 1) if self.sin < 0 else (1, -1)  # 1 left, -1 right; the one turned away first

    def at(self, x: float, y: float, z: float = 0.0) -> Point:
        """Projects a point of the body to the canvas."""
        z += self.shape["stoop"] * max(0.0, 0.5 - y)
        return self.left + self.unit * (x * self.cos + z * self.sin), self.top + self.unit * y

    def half_width(self, x: float, z: float) -> float:
        """Half the visible width, in pixels, of an elliptic section with half axes x and z."""
        return self.unit * math.hypot(x * self.cos, z * self.sin)

    def section(self, y: float, x: float, z: float) -> tuple[Point, Point]:
        """The left and right ends of an elliptic section at height y."""
        centre, half = self.at(0.0, y), self.half_width(x, z)
        return (centre[0] - half, centre[1]), (centre[0] + half, centre[1])

    def body(self, sections: list[tuple[float, float, float]], part: Part) -> None:
        """Fills a body of revolution through sections (y, half width, half depth), from top to bottom."""
        ends = [self.section(*s) for s in sections]
        self.canvas.polygon([left for left, _ in ends] + [right for _, right in reversed(ends)], part)

    def arm(self, side: int) -> tuple[Point3, Point3, Point3]:
        """Shoulder, elbow and hand of one side (1 left, -1 right)."""
        swing = 0.55 * self.scene.stride * self.shape["swing"] * math.sin(self.scene.phase) * side
        shoulder = (side * self.shoulder * 0.93, 0.2, 0.0)
        elbow = (side * (self.shoulder + 0.014), 0.2 + 0.155 * math.cos(swing), 0.155 * math.sin(swing))
        bend = swing + 0.3
        hand = (
            side * (self.shoulder + 0.016),
            elbow[1] + 0.145 * math.cos(bend),
            elbow[2] + 0.145 * math.sin(bend),
        )
        return shoulder, elbow, hand
