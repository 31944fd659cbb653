"""Arms, legs and torso with the clothes on them."""

from __future__ import annotations

import math

from reid_lab.data.synthetic.canvas import Part
from reid_lab.data.synthetic.skeleton import Figure
from reid_lab.data.synthetic.things import draw_handbag, draw_suitcase, draw_umbrella
from reid_lab.data.synthetic.traits import (
    BOOTS,
    COAT,
    DRESS,
    HANDBAG,
    HOODIE,
    JACKET,
    LEGGINGS,
    LONG_SKIRT,
    SANDALS,
    SHIRT,
    SHORTS,
    SKIRT,
    SNEAKERS,
    SUITCASE,
    SWEATER,
    TROUSERS,
    TSHIRT,
    UMBRELLA,
)


def draw_arm(figure: Figure, side: int, near: bool) -> None:
    """An arm with its sleeve, and what its hand holds."""
    shoulder, elbow, hand = figure.arm(side)
    s, e, h = figure.at(*shoulder), figure.at(*elbow), figure.at(*hand)
    width = figure.unit * 0.03 * figure.limb_width
    upper, a = figure.a["upper"], figure.a
    cloth = Part.UPPER_NEAR if near else Part.UPPER_FAR
    skin = Part.SKIN if near else Part.SKIN_FAR
    thick = width * (1.25 if upper in (HOODIE, JACKET, COAT, SWEATER) else 1.05)
    figure.canvas.ellipse((h[0], h[1]), width * 0.85, width * 1.0, skin)
    if upper in (TSHIRT, DRESS):
        figure.canvas.limb(e, h, width * 0.85, width * 0.65, skin)
        middle = ((s[0] + 2 * e[0]) / 3, (s[1] + 2 * e[1]) / 3)
        figure.canvas.limb(s, e, width, width * 0.85, skin)
        figure.canvas.limb(s, middle, thick * 1.15, thick * 1.05, cloth)
    else:
        figure.canvas.limb(e, h, thick, thick * 0.75, cloth)
        figure.canvas.limb(s, e, thick * 1.15, thick, cloth)
    if a["bag"] == HANDBAG and near:
        draw_handbag(figure, h)
    if a["bag"] == SUITCASE and near:
        draw_suitcase(figure, h)
    if a["extra"] == UMBRELLA and not near:
        draw_umbrella(figure, h)


def draw_leg(figure: Figure, side: int, near: bool) -> None:
    """A leg with what covers it, and its shoe."""
    lower, shoes = figure.a["lower"], figure.a["shoes"]
    swing = 0.42 * figure.scene.stride * figure.shape["stride"] * math.sin(figure.scene.phase) * -side
    lift = max(0.0, math.cos(figure.scene.phase) * side) * figure.scene.stride
    length = (0.975 - figure.hip_y) / 2
    x = side * figure.hip * 0.52
    knee = (x, figure.hip_y + length * math.cos(swing), length * math.sin(swing))
    bend = swing - 0.5 * lift * abs(math.sin(figure.scene.phase)) - 0.08
    ankle = (x, knee[1] + length * 0.93 * math.cos(bend), knee[2] + length * 0.93 * math.sin(bend))
    h, k, f = figure.at(x, figure.hip_y, 0.0), figure.at(*knee), figure.at(*ankle)
    thigh = figure.unit * 0.05 * figure.limb_width
    cloth = Part.LOWER if near else Part.LOWER_FAR
    skin = Part.SKIN if near else Part.SKIN_FAR
    if lower == TROUSERS:
        figure.canvas.limb(k, f, thigh * 0.84, thigh * 0.78, cloth)
        figure.canvas.limb(h, k, thigh * 1.05, thigh * 0.88, cloth)
    elif lower == LEGGINGS:
        figure.canvas.limb(k, f, thigh * 0.62, thigh * 0.4, cloth)
        figure.canvas.limb(h, k, thigh * 0.9, thigh * 0.64, cloth)
    else:
        figure.canvas.limb(k, f, thigh * 0.62, thigh * 0.42, skin)
        figure.canvas.limb(h, k, thigh * 0.9, thigh * 0.64, skin)
        if lower == SHORTS:
            hem = ((h[0] + 4 * k[0]) / 5, (h[1] + 4 * k[1]) / 5)
            figure.canvas.limb(h, hem, thigh * 1.1, thigh * 1.12, cloth)
    toe = figure.at(ankle[0] + side * 0.008, ankle[1] + 0.024, ankle[2] + 0.062)
    heel = figure.at(ankle[0], ankle[1] + 0.02, ankle[2] - 0.018)
    size = figure.unit * 0.026
    if shoes == BOOTS:
        shaft = ((2 * f[0] + k[0]) / 3, (2 * f[1] + k[1]) / 3)
        figure.canvas.limb(shaft, f, size * 1.25, size * 1.15, Part.SHOE)
    if shoes == SANDALS:
        figure.canvas.limb(heel, toe, size * 0.8, size * 0.7, skin)
        figure.canvas.limb(
            (heel[0], heel[1] + size * 0.6), (toe[0], toe[1] + size * 0.6), size * 0.35, size * 0.35, Part.SHOE
        )
        figure.canvas.limb(f, toe, size * 0.5, size * 0.3, Part.SHOE)
    else:
        figure.canvas.limb(heel, toe, size, size * 0.85, Part.SHOE)
        if shoes == SNEAKERS:
            figure.canvas.limb(
                (heel[0], heel[1] + size * 0.75), (toe[0], toe[1] + size * 0.7), size * 0.3, size * 0.3, Part.SOLE
            )


def draw_skirt(figure: Figure) -> None:
    """A skirt, or the top of other lower garments."""
    lower = figure.a["lower"]
    if lower in (SKIRT, LONG_SKIRT):
        hem = 0.9 if lower == LONG_SKIRT else 0.68
        wide = figure.hip * (1.5 if lower == LONG_SKIRT else 1.4)
        figure.body(
            [
                (0.42, figure.waist, figure.depth),
                (figure.hip_y, figure.hip * 1.08, figure.depth * 1.2),
                (hem, wide, wide * 0.9),
            ],
            Part.LOWER,
        )
    else:
        figure.body(
            [
                (0.44, figure.waist, figure.depth),
                (figure.hip_y - 0.01, figure.hip * 1.04, figure.depth * 1.2),
                (figure.hip_y + 0.05, figure.hip * 0.98, figure.depth * 1.1),
            ],
            Part.LOWER,
        )


def draw_torso(figure: Figure) -> None:
    """The upper garment and what is on it."""
    upper = figure.a["upper"]
    loose = {TSHIRT: 1.02, SHIRT: 1.0, SWEATER: 1.1, HOODIE: 1.16, JACKET: 1.14, COAT: 1.14, DRESS: 0.98}[upper]
    hem = {TSHIRT: 0.5, SHIRT: 0.52, SWEATER: 0.5, HOODIE: 0.51, JACKET: 0.51, COAT: 0.72, DRESS: 0.7}[upper]
    deep, low = figure.depth * loose, 0.165
    sections = [
        (low, figure.shoulder * 0.5, deep * 0.6),
        (low + 0.03, figure.shoulder * 1.0, deep * 0.95),
        (0.3, figure.shoulder * 0.92 * (loose + 1) / 2, deep * 1.1),
        (0.4, figure.waist * loose, deep * 1.05),
        (0.5, figure.hip * 1.05 * loose, deep * 1.2),
    ]
    if upper == COAT:
        sections.append((hem, figure.hip * 1.32, deep * 1.6))
    elif upper == DRESS:
        sections += [(0.54, figure.hip * 1.15, deep * 1.3), (hem, figure.hip * 1.62, figure.hip * 1.4)]
    else:
        sections.append((hem, figure.hip * 1.05 * loose, deep * 1.2))
    figure.body(sections, Part.UPPER)
    face = figure.depth * 1.05
    if upper in (JACKET, COAT) and figure.cos > 0.15:
        top, bottom = figure.at(0, 0.165, face), figure.at(0, hem, face)
        open_, shut = figure.unit * 0.036 * figure.cos, figure.unit * 0.026 * figure.cos
        figure.canvas.polygon(
            [
                (top[0] - open_, top[1]),
                (top[0] + open_, top[1]),
                (bottom[0] + shut, bottom[1]),
                (bottom[0] - shut, bottom[1]),
            ],
            Part.INNER,
        )
    if upper == SHIRT and figure.cos > 0.15:
        line = figure.unit * 0.006
        top, bottom = figure.at(0, 0.17, face), figure.at(0, hem, face)
        figure.canvas.box(top[0] - line, top[1], bottom[0] + line, bottom[1], Part.TRIM)
        figure.canvas.polygon(
            [figure.at(-0.045, 0.155, face), figure.at(0.045, 0.155, face), figure.at(0, 0.2, face)], Part.TRIM
        )
    if upper == SWEATER:
        figure.body(
            [(hem - 0.025, figure.hip * 1.05 * loose, deep * 1.2), (hem, figure.hip * 1.05 * loose, deep * 1.2)],
            Part.TRIM,
        )
    if upper == HOODIE:
        hood = figure.at(0, 0.165, -0.03 if figure.front else -0.045)
        figure.canvas.ellipse(
            hood, figure.half_width(0.07, 0.06), figure.unit * (0.035 if figure.front else 0.05), Part.UPPER_FAR
        )
        if figure.cos > 0.3:
            left, right = figure.at(-0.05, 0.4, face), figure.at(0.05, 0.46, face)
            figure.canvas.box(min(left[0], right[0]), left[1], max(left[0], right[0]), right[1], Part.TRIM)
    if figure.a["logo"] and figure.cos > 0.2:
        logo = figure.at(0, 0.29, face)
        figure.canvas.ellipse(logo, figure.unit * 0.042 * figure.cos, figure.unit * 0.036, Part.LOGO)
