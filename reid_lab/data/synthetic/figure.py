"""The drawing: a walking skeleton, dressed, turned by its yaw and drawn as polygons into a map of part labels.

Lengths are fractions of the person's height; x points to the person's left, y down from the top of the
head, z forward. At yaw 0 the person faces the camera.
"""

from __future__ import annotations

import math
from enum import IntEnum, auto

import numpy as np
from PIL import Image, ImageDraw

from reid_lab.data.synthetic.traits import Outfit, Person
from reid_lab.data.synthetic.world import Camera, Scene

SCALE = 2  # supersampling
Point = tuple[float, float]
Point3 = tuple[float, float, float]


class Part(IntEnum):
    """What a pixel of the label map shows."""

    WALL = 0
    FLOOR = auto()
    PROP_A = auto()
    PROP_B = auto()
    PROP_C = auto()
    SHADOW = auto()
    OCCLUDER = auto()
    OCCLUDER_DARK = auto()
    SKIN = auto()
    SKIN_FAR = auto()
    FACE = auto()
    MOUTH = auto()
    HAIR = auto()
    BEARD = auto()
    GLASSES = auto()
    UPPER = auto()
    UPPER_NEAR = auto()
    UPPER_FAR = auto()
    TRIM = auto()
    SECOND = auto()
    LOGO = auto()
    INNER = auto()
    LOWER = auto()
    LOWER_FAR = auto()
    SHOE = auto()
    SOLE = auto()
    BAG = auto()
    BAG_DARK = auto()
    HAT = auto()
    HAT_DARK = auto()
    EXTRA = auto()
    EXTRA_DARK = auto()


PARTS = len(Part)
FIRST_PERSON_PART = Part.SKIN
TSHIRT, SHIRT, SWEATER, HOODIE, JACKET, COAT, DRESS = range(7)
TROUSERS, SHORTS, SKIRT, LONG_SKIRT, LEGGINGS = range(5)
SNEAKERS, BOOTS, SANDALS = range(3)
NO_BAG, BACKPACK, SHOULDER_BAG, HANDBAG, SUITCASE = range(5)
BALD, CROPPED, SHORT, BOB, LONG, PONYTAIL, BUN, CURLY = range(8)
SCARF, UMBRELLA, MASK = 1, 2, 3


class Canvas:
    """A label map that is drawn on in pixels of the supersampled image."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height * SCALE, width * SCALE
        self.image = Image.new("L", (self.width, self.height), int(Part.WALL))
        self._draw = ImageDraw.Draw(self.image)

    def polygon(self, points: list[Point], part: Part) -> None:
        """Fills a polygon."""
        self._draw.polygon(points, fill=int(part))

    def ellipse(self, centre: Point, rx: float, ry: float, part: Part) -> None:
        """Fills an ellipse; nothing when it has no extent."""
        x, y = centre
        if rx > 0 and ry > 0:
            self._draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=int(part))

    def box(self, x0: float, y0: float, x1: float, y1: float, part: Part) -> None:
        """Fills a rectangle given by two corners."""
        if x1 > x0 and y1 > y0:
            self._draw.rectangle((x0, y0, x1, y1), fill=int(part))

    def limb(self, start: Point, end: Point, width0: float, width1: float, part: Part) -> None:
        """Fills a tapered limb with round ends; the widths are radii."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = math.hypot(dx, dy) or 1.0
        nx, ny = -dy / length, dx / length
        self._draw.polygon(
            [
                (start[0] + nx * width0, start[1] + ny * width0),
                (end[0] + nx * width1, end[1] + ny * width1),
                (end[0] - nx * width1, end[1] - ny * width1),
                (start[0] - nx * width0, start[1] - ny * width0),
            ],
            fill=int(part),
        )
        self.ellipse(start, width0, width0, part)
        self.ellipse(end, width1, width1, part)

    def labels(self) -> np.ndarray:
        """The label map, (height, width) uint8 at supersampled size."""
        return np.asarray(self.image)


class Figure:
    """One dressed person in one scene: where its joints are on the canvas, and how to draw it."""

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
        # The far side is the one turned away: arms and legs are (side, is near), far first.
        left_is_near = self.sin < 0
        self.sides = ((-1, False), (1, True)) if left_is_near else ((1, False), (-1, True))

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

    def draw(self) -> None:
        """Draws the whole person, what is far first."""
        bag_side = next(side for side, near in self.sides if near)
        if self.a["bag"] == BACKPACK and self.front:
            self._backpack()
        if self.front and self.a["hair_style"] in (LONG, PONYTAIL, BOB, CURLY):
            self._hair_behind()
        for side, near in self.sides:
            if not near:
                self._arm(side, near)
        for side, near in self.sides:
            self._leg(side, near)
        self._skirt()
        self._torso()
        self._neck_and_head()
        if self.a["bag"] == BACKPACK:
            self._straps() if self.front else self._backpack()
        self._scarf()
        if not self.front and self.a["hair_style"] in (LONG, PONYTAIL, BOB, CURLY):
            self._hair_behind()
        self._hat()
        if self.a["bag"] == SHOULDER_BAG:
            self._shoulder_bag(bag_side)
        for side, near in self.sides:
            if near:
                self._arm(side, near)

    def _hand(self, side: int) -> tuple[Point3, Point3, Point3]:
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

    def _arm(self, side: int, near: bool) -> None:
        shoulder, elbow, hand = self._hand(side)
        s, e, h = self.at(*shoulder), self.at(*elbow), self.at(*hand)
        width = self.unit * 0.03 * self.limb_width
        upper, a = self.a["upper"], self.a
        cloth = Part.UPPER_NEAR if near else Part.UPPER_FAR
        skin = Part.SKIN if near else Part.SKIN_FAR
        thick = width * (1.25 if upper in (HOODIE, JACKET, COAT, SWEATER) else 1.05)
        self.canvas.ellipse((h[0], h[1]), width * 0.85, width * 1.0, skin)
        if upper in (TSHIRT, DRESS):
            self.canvas.limb(e, h, width * 0.85, width * 0.65, skin)
            middle = ((s[0] + 2 * e[0]) / 3, (s[1] + 2 * e[1]) / 3)
            self.canvas.limb(s, e, width, width * 0.85, skin)
            self.canvas.limb(s, middle, thick * 1.15, thick * 1.05, cloth)
        else:
            self.canvas.limb(e, h, thick, thick * 0.75, cloth)
            self.canvas.limb(s, e, thick * 1.15, thick, cloth)
        if a["bag"] == HANDBAG and near:
            self._handbag(h)
        if a["bag"] == SUITCASE and near:
            self._suitcase(h)
        if a["extra"] == UMBRELLA and not near:
            self._umbrella(h)

    def _leg(self, side: int, near: bool) -> None:
        lower, shoes = self.a["lower"], self.a["shoes"]
        swing = 0.42 * self.scene.stride * self.shape["stride"] * math.sin(self.scene.phase) * -side
        lift = max(0.0, math.cos(self.scene.phase) * side) * self.scene.stride
        length = (0.975 - self.hip_y) / 2
        x = side * self.hip * 0.52
        knee = (x, self.hip_y + length * math.cos(swing), length * math.sin(swing))
        bend = swing - 0.5 * lift * abs(math.sin(self.scene.phase)) - 0.08
        ankle = (x, knee[1] + length * 0.93 * math.cos(bend), knee[2] + length * 0.93 * math.sin(bend))
        h, k, f = self.at(x, self.hip_y, 0.0), self.at(*knee), self.at(*ankle)
        thigh = self.unit * 0.05 * self.limb_width
        cloth = Part.LOWER if near else Part.LOWER_FAR
        skin = Part.SKIN if near else Part.SKIN_FAR
        if lower == TROUSERS:
            self.canvas.limb(k, f, thigh * 0.84, thigh * 0.78, cloth)
            self.canvas.limb(h, k, thigh * 1.05, thigh * 0.88, cloth)
        elif lower == LEGGINGS:
            self.canvas.limb(k, f, thigh * 0.62, thigh * 0.4, cloth)
            self.canvas.limb(h, k, thigh * 0.9, thigh * 0.64, cloth)
        else:
            self.canvas.limb(k, f, thigh * 0.62, thigh * 0.42, skin)
            self.canvas.limb(h, k, thigh * 0.9, thigh * 0.64, skin)
            if lower == SHORTS:
                hem = ((h[0] + 4 * k[0]) / 5, (h[1] + 4 * k[1]) / 5)
                self.canvas.limb(h, hem, thigh * 1.1, thigh * 1.12, cloth)
        toe = self.at(ankle[0] + side * 0.008, ankle[1] + 0.024, ankle[2] + 0.062)
        heel = self.at(ankle[0], ankle[1] + 0.02, ankle[2] - 0.018)
        size = self.unit * 0.026
        if shoes == BOOTS:
            shaft = ((2 * f[0] + k[0]) / 3, (2 * f[1] + k[1]) / 3)
            self.canvas.limb(shaft, f, size * 1.25, size * 1.15, Part.SHOE)
        if shoes == SANDALS:
            self.canvas.limb(heel, toe, size * 0.8, size * 0.7, skin)
            self.canvas.limb(
                (heel[0], heel[1] + size * 0.6), (toe[0], toe[1] + size * 0.6), size * 0.35, size * 0.35, Part.SHOE
            )
            self.canvas.limb(f, toe, size * 0.5, size * 0.3, Part.SHOE)
        else:
            self.canvas.limb(heel, toe, size, size * 0.85, Part.SHOE)
            if shoes == SNEAKERS:
                self.canvas.limb(
                    (heel[0], heel[1] + size * 0.75), (toe[0], toe[1] + size * 0.7), size * 0.3, size * 0.3, Part.SOLE
                )

    def _skirt(self) -> None:
        lower = self.a["lower"]
        if lower in (SKIRT, LONG_SKIRT):
            hem = 0.9 if lower == LONG_SKIRT else 0.68
            wide = self.hip * (1.5 if lower == LONG_SKIRT else 1.4)
            self.body(
                [
                    (0.42, self.waist, self.depth),
                    (self.hip_y, self.hip * 1.08, self.depth * 1.2),
                    (hem, wide, wide * 0.9),
                ],
                Part.LOWER,
            )
        else:
            self.body(
                [
                    (0.44, self.waist, self.depth),
                    (self.hip_y - 0.01, self.hip * 1.04, self.depth * 1.2),
                    (self.hip_y + 0.05, self.hip * 0.98, self.depth * 1.1),
                ],
                Part.LOWER,
            )

    def _torso(self) -> None:
        upper = self.a["upper"]
        loose = {TSHIRT: 1.02, SHIRT: 1.0, SWEATER: 1.1, HOODIE: 1.16, JACKET: 1.14, COAT: 1.14, DRESS: 0.98}[upper]
        hem = {TSHIRT: 0.5, SHIRT: 0.52, SWEATER: 0.5, HOODIE: 0.51, JACKET: 0.51, COAT: 0.72, DRESS: 0.7}[upper]
        deep, low = self.depth * loose, 0.165
        sections = [
            (low, self.shoulder * 0.5, deep * 0.6),
            (low + 0.03, self.shoulder * 1.0, deep * 0.95),
            (0.3, self.shoulder * 0.92 * (loose + 1) / 2, deep * 1.1),
            (0.4, self.waist * loose, deep * 1.05),
            (0.5, self.hip * 1.05 * loose, deep * 1.2),
        ]
        if upper == COAT:
            sections.append((hem, self.hip * 1.32, deep * 1.6))
        elif upper == DRESS:
            sections += [(0.54, self.hip * 1.15, deep * 1.3), (hem, self.hip * 1.62, self.hip * 1.4)]
        else:
            sections.append((hem, self.hip * 1.05 * loose, deep * 1.2))
        self.body(sections, Part.UPPER)
        face = self.depth * 1.05
        if upper in (JACKET, COAT) and self.cos > 0.15:
            top, bottom = self.at(0, 0.165, face), self.at(0, hem, face)
            open_, shut = self.unit * 0.036 * self.cos, self.unit * 0.026 * self.cos
            self.canvas.polygon(
                [
                    (top[0] - open_, top[1]),
                    (top[0] + open_, top[1]),
                    (bottom[0] + shut, 0.0 + bottom[1]),
                    (bottom[0] - shut, bottom[1]),
                ],
                Part.INNER,
            )
        if upper == SHIRT and self.cos > 0.15:
            line = self.unit * 0.006
            top, bottom = self.at(0, 0.17, face), self.at(0, hem, face)
            self.canvas.box(top[0] - line, top[1], bottom[0] + line, bottom[1], Part.TRIM)
            self.canvas.polygon(
                [self.at(-0.045, 0.155, face), self.at(0.045, 0.155, face), self.at(0, 0.2, face)], Part.TRIM
            )
        if upper == SWEATER:
            self.body(
                [(hem - 0.025, self.hip * 1.05 * loose, deep * 1.2), (hem, self.hip * 1.05 * loose, deep * 1.2)],
                Part.TRIM,
            )
        if upper == HOODIE:
            hood = self.at(0, 0.165, -0.03 if self.front else -0.045)
            self.canvas.ellipse(
                hood, self.half_width(0.07, 0.06), self.unit * (0.035 if self.front else 0.05), Part.UPPER_FAR
            )
            if self.cos > 0.3:
                left, right = self.at(-0.05, 0.4, face), self.at(0.05, 0.46, face)
                self.canvas.box(min(left[0], right[0]), left[1], max(left[0], right[0]), right[1], Part.TRIM)
        if self.a["logo"] and self.cos > 0.2:
            self.canvas.ellipse(self.at(0, 0.29, face), self.unit * 0.042 * self.cos, self.unit * 0.036, Part.LOGO)

    def _neck_and_head(self) -> None:
        a, u = self.a, self.unit
        head = self.at(0, self.head_y, 0.01)
        rx, ry = u * self.head_x * (1 + 0.06 * abs(self.sin)), u * 0.07
        self.canvas.limb(self.at(0, 0.13), self.at(0, 0.175), u * 0.03, u * 0.034, Part.SKIN_FAR)
        self.canvas.ellipse(head, rx, ry, Part.SKIN)
        if self.cos > -0.25:
            self._face()
        style = a["hair_style"]
        if style == BALD:
            return
        grow = {CROPPED: 1.02, SHORT: 1.1, CURLY: 1.32}.get(style, 1.1)
        crown = (head[0] - u * 0.012 * self.sin, head[1] - ry * 0.12)
        if self.cos < -0.25:
            self.canvas.ellipse((head[0], head[1] - ry * 0.08), rx * grow, ry * (grow - 0.02), Part.HAIR)
            if style == CROPPED:
                self.canvas.box(head[0] - rx, head[1] + ry * 0.45, head[0] + rx, head[1] + ry, Part.SKIN_FAR)
        else:
            # Hair covers the skull above the forehead and, turned away, its back.
            line = {CROPPED: -0.5, SHORT: -0.34, CURLY: -0.3}.get(style, -0.32)
            self._cap(crown, rx * grow, ry * grow, line, Part.HAIR)
            if abs(self.sin) > 0.35:
                back = -math.copysign(1.0, self.sin)
                edge = head[0] + back * rx * grow
                inner = head[0] + back * rx * (0.62 - 0.5 * abs(self.sin))
                low = ry * (0.1 if style == CROPPED else 0.55)
                self.canvas.polygon(
                    [
                        (edge, head[1] - ry * 0.3),
                        (inner, head[1] - ry * 0.6),
                        (inner, head[1] + low * 0.6),
                        (head[0] + back * rx * 0.7, head[1] + low),
                        (edge, head[1] + low * 0.5),
                    ],
                    Part.HAIR,
                )
        if style == BUN:
            self.canvas.ellipse(self.at(0, 0.004, -0.035), u * 0.03, u * 0.028, Part.HAIR)

    def _cap(self, centre: Point, rx: float, ry: float, line: float, part: Part) -> None:
        """The part of an ellipse above `line` (in units of ry below its centre)."""
        start = math.asin(max(-1.0, min(1.0, line)))
        angles = np.linspace(math.pi - start, 2 * math.pi + start, 14)
        self.canvas.polygon([(centre[0] + rx * math.cos(t), centre[1] + ry * math.sin(t)) for t in angles], part)

    def _face(self) -> None:
        a, u, z = self.a, self.unit, self.head_x
        eye_y = self.head_y + 0.002
        for side in (-1, 1):
            turn = 0.45 * side
            depth = math.cos(turn) * self.cos - math.sin(turn) * self.sin
            if depth > 0:
                eye = self.at(z * math.sin(turn), eye_y, z * math.cos(turn) * 0.98)
                if a["glasses"] == 1:
                    self.canvas.ellipse(eye, u * 0.021 * max(depth, 0.35), u * 0.015, Part.GLASSES)
                    self.canvas.ellipse(eye, u * 0.011 * max(depth, 0.3), u * 0.007, Part.SKIN)
                elif a["glasses"] == 2:
                    self.canvas.ellipse(eye, u * 0.026 * max(depth, 0.4), u * 0.018, Part.GLASSES)
                else:
                    self.canvas.ellipse(eye, u * 0.008, u * 0.007, Part.FACE)
        if a["glasses"]:
            bridge, temple = self.at(0, eye_y, z), self.at(z * (1 if self.sin < 0 else -1) * 0.9, eye_y, 0)
            self.canvas.limb(bridge, temple if abs(self.sin) > 0.3 else bridge, u * 0.005, u * 0.005, Part.GLASSES)
        chin = self.at(0, self.head_y + 0.04, z * 0.62)
        if a["beard"]:
            self.canvas.ellipse(chin, self.half_width(z * 0.82, z * 0.55), u * 0.034, Part.BEARD)
        if self.cos > 0.1:
            mouth = self.at(0, self.head_y + 0.034, z * 0.9)
            self.canvas.ellipse(mouth, u * 0.013 * self.cos, u * 0.005, Part.MOUTH)
        if a["extra"] == MASK:
            self.canvas.ellipse(
                self.at(0, self.head_y + 0.034, z * 0.5), self.half_width(z * 0.95, z * 0.7), u * 0.032, Part.EXTRA
            )

    def _hair_behind(self) -> None:
        style, u = self.a["hair_style"], self.unit
        if style in (LONG, BOB):
            low = 0.29 if style == LONG else 0.155
            wide = self.head_x * (1.22 if style == LONG else 1.28)
            top, bottom = self.at(0, self.head_y - 0.02, -0.012), self.at(0, low, -0.035)
            half = self.half_width(wide, 0.045)
            self.canvas.polygon(
                [
                    (top[0] - half, top[1]),
                    (top[0] + half, top[1]),
                    (bottom[0] + half * 1.05, bottom[1]),
                    (bottom[0] - half * 1.05, bottom[1]),
                ],
                Part.HAIR,
            )
            self.canvas.ellipse(top, half, u * 0.05, Part.HAIR)
        elif style == PONYTAIL:
            self.canvas.limb(self.at(0, 0.05, -0.06), self.at(0, 0.22, -0.1), u * 0.02, u * 0.014, Part.HAIR)
        else:
            self.canvas.ellipse(self.at(0, self.head_y, -0.01), u * self.head_x * 1.35, u * 0.085, Part.HAIR)

    def _hat(self) -> None:
        hat, u = self.a["hat"], self.unit
        if not hat:
            return
        head = self.at(0, self.head_y, 0.008)
        rx, ry = u * self.head_x * 1.14, u * 0.08
        self._cap((head[0], head[1] - u * 0.004), rx, ry, -0.28 if hat == 1 else -0.12, Part.HAT)
        if hat == 1 and self.cos > -0.5:
            start, end = self.at(0, self.head_y - 0.03, 0.03), self.at(0, self.head_y - 0.022, 0.098)
            self.canvas.limb(
                start, end, u * 0.03 * max(abs(self.cos), 0.35), u * 0.024 * max(abs(self.cos), 0.35), Part.HAT_DARK
            )
        if hat == 2:
            self.canvas.box(head[0] - rx, head[1] - u * 0.034, head[0] + rx, head[1] - u * 0.012, Part.HAT_DARK)
            self.canvas.ellipse((head[0], head[1] - ry * 1.08), u * 0.016, u * 0.014, Part.HAT_DARK)

    def _scarf(self) -> None:
        if self.a["extra"] != SCARF:
            return
        u = self.unit
        self.canvas.ellipse(self.at(0, 0.165, 0.008), self.half_width(0.062, 0.055), u * 0.028, Part.EXTRA)
        if self.cos > -0.1:
            self.canvas.limb(
                self.at(0.025, 0.18, self.depth),
                self.at(0.035, 0.34, self.depth * 1.1),
                u * 0.02,
                u * 0.024,
                Part.EXTRA_DARK,
            )

    def _backpack(self) -> None:
        u = self.unit
        z = -self.depth * 1.5
        centre = self.at(0, 0.31, z)
        half = self.half_width(self.shoulder * 0.8, self.depth * 0.95)
        self.canvas.box(centre[0] - half, centre[1] - u * 0.1, centre[0] + half, centre[1] + u * 0.13, Part.BAG)
        self.canvas.ellipse((centre[0], centre[1] - u * 0.1), half, u * 0.03, Part.BAG)
        if not self.front:
            self.canvas.box(
                centre[0] - half * 0.7, centre[1] + u * 0.03, centre[0] + half * 0.7, centre[1] + u * 0.1, Part.BAG_DARK
            )

    def _straps(self) -> None:
        for side in (-1, 1):
            x = side * self.shoulder * 0.52
            self.canvas.limb(
                self.at(x, 0.18, self.depth * 0.8),
                self.at(x * 1.25, 0.36, self.depth),
                self.unit * 0.013,
                self.unit * 0.012,
                Part.BAG,
            )

    def _shoulder_bag(self, side: int) -> None:
        u, x = self.unit, side * (self.hip + 0.03)
        self.canvas.limb(
            self.at(-side * self.shoulder * 0.6, 0.19, 0.0), self.at(x, 0.45, 0.0), u * 0.009, u * 0.009, Part.BAG_DARK
        )
        bag = self.at(x, 0.5, 0.0)
        half = self.half_width(0.05, 0.085)
        self.canvas.box(bag[0] - half, bag[1] - u * 0.05, bag[0] + half, bag[1] + u * 0.055, Part.BAG)
        self.canvas.box(bag[0] - half, bag[1] - u * 0.05, bag[0] + half, bag[1] - u * 0.02, Part.BAG_DARK)

    def _handbag(self, hand: Point) -> None:
        u, half = self.unit, self.half_width(0.04, 0.07)
        self.canvas.polygon(
            [
                (hand[0] - half * 0.5, hand[1] + u * 0.05),
                (hand[0], hand[1]),
                (hand[0] + half * 0.5, hand[1] + u * 0.05),
            ],
            Part.BAG_DARK,
        )
        self.canvas.polygon(
            [
                (hand[0] - half * 0.8, hand[1] + u * 0.045),
                (hand[0] + half * 0.8, hand[1] + u * 0.045),
                (hand[0] + half, hand[1] + u * 0.13),
                (hand[0] - half, hand[1] + u * 0.13),
            ],
            Part.BAG,
        )

    def _suitcase(self, hand: Point) -> None:
        u, half = self.unit, self.half_width(0.05, 0.085)
        floor = self.top + u * 0.985
        x = hand[0] - u * 0.05 * self.sin
        self.canvas.limb(hand, (x, floor - u * 0.26), u * 0.007, u * 0.007, Part.BAG_DARK)
        self.canvas.box(x - half, floor - u * 0.27, x + half, floor - u * 0.012, Part.BAG)
        self.canvas.box(x - half, floor - u * 0.17, x + half, floor - u * 0.15, Part.BAG_DARK)
        self.canvas.ellipse((x - half * 0.7, floor), u * 0.012, u * 0.012, Part.BAG_DARK)
        self.canvas.ellipse((x + half * 0.7, floor), u * 0.012, u * 0.012, Part.BAG_DARK)

    def _umbrella(self, hand: Point) -> None:
        u = self.unit
        tip = (hand[0] + u * 0.04 * self.sin, hand[1] + u * 0.36)
        self.canvas.limb((hand[0], hand[1] - u * 0.035), tip, u * 0.008, u * 0.006, Part.EXTRA_DARK)
        self.canvas.limb((hand[0], hand[1] + u * 0.05), tip, u * 0.024, u * 0.006, Part.EXTRA)


def draw_background(canvas: Canvas, camera: Camera, scene: Scene) -> None:
    """Wall, floor and three things that stand there, moved by the scene's jitter."""
    h, w, jitter = canvas.height, canvas.width, scene.jitter
    horizon = h * (camera.horizon + 0.1 * (jitter[0] - 0.5))
    canvas.box(0, horizon, w, h, Part.FLOOR)
    for (centre, half, top, _), part in zip(camera.props, (Part.PROP_A, Part.PROP_B, Part.PROP_C), strict=True):
        x = w * (centre + 0.8 * (jitter[1] - 0.5))
        canvas.box(x - w * half, h * top, x + w * half, horizon + h * 0.03, part)


def draw_shadow(canvas: Canvas, scene: Scene) -> None:
    """A soft patch on the floor, under the feet."""
    centre = (canvas.width * (0.5 + scene.shift[0] + 0.06 * scene.side_light), canvas.height * (0.955 + scene.shift[1]))
    canvas.ellipse(centre, canvas.width * 0.24, canvas.height * 0.014, Part.SHADOW)


def draw_occluder(canvas: Canvas, scene: Scene) -> None:
    """What stands before the person, if anything."""
    h, w, at = canvas.height, canvas.width, scene.occluder_at
    if scene.occluder == 1:
        x = w * (0.2 + 0.6 * at)
        canvas.box(x - w * 0.07, 0, x + w * 0.07, h, Part.OCCLUDER)
        canvas.box(x + w * 0.03, 0, x + w * 0.07, h, Part.OCCLUDER_DARK)
    elif scene.occluder == 2:
        y = h * (0.62 + 0.16 * at)
        canvas.box(0, y, w, h, Part.OCCLUDER)
        canvas.box(0, y, w, y + h * 0.025, Part.OCCLUDER_DARK)
    elif scene.occluder == 3:
        x = w * (0.1 if at < 0.5 else 0.9)
        for k, jitter in enumerate(scene.jitter[4:10]):
            part = Part.OCCLUDER if k % 2 else Part.OCCLUDER_DARK
            canvas.ellipse(
                (x + w * 0.3 * (jitter - 0.5), h * (0.45 + 0.1 * k)), w * (0.17 + 0.1 * jitter), h * 0.09, part
            )
    elif scene.occluder == 4:
        x = w * (0.05 + 0.55 * at)
        canvas.box(x, h * 0.72, x + w * 0.42, h, Part.OCCLUDER)
        canvas.box(x + w * 0.03, h * 0.75, x + w * 0.39, h * 0.97, Part.OCCLUDER_DARK)
