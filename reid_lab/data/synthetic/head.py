"""Head, face, hair and hat."""

from __future__ import annotations

import math

import numpy as np

from reid_lab.data.synthetic.canvas import Part, Point
from reid_lab.data.synthetic.skeleton import Figure
from reid_lab.data.synthetic.traits import BALD, BOB, BUN, CROPPED, CURLY, LONG, MASK, PONYTAIL, SHORT


def draw_head(figure: Figure) -> None:
    """Neck, head, face and the hair on it."""
    a, u = figure.a, figure.unit
    head = figure.at(0, figure.head_y, 0.01)
    rx, ry = u * figure.head_x * (1 + 0.06 * abs(figure.sin)), u * 0.07
    figure.canvas.limb(figure.at(0, 0.13), figure.at(0, 0.175), u * 0.03, u * 0.034, Part.SKIN_FAR)
    figure.canvas.ellipse(head, rx, ry, Part.SKIN)
    if figure.cos > -0.25:
        _face(figure)
    style = a["hair_style"]
    if style == BALD:
        return
    grow = {CROPPED: 1.02, SHORT: 1.1, CURLY: 1.32}.get(style, 1.1)
    crown = (head[0] - u * 0.012 * figure.sin, head[1] - ry * 0.12)
    if figure.cos < -0.25:
        figure.canvas.ellipse((head[0], head[1] - ry * 0.08), rx * grow, ry * (grow - 0.02), Part.HAIR)
        if style == CROPPED:
            figure.canvas.box(head[0] - rx, head[1] + ry * 0.45, head[0] + rx, head[1] + ry, Part.SKIN_FAR)
    else:
        # Hair covers the skull above the forehead and, turned away, its back.
        line = {CROPPED: -0.5, SHORT: -0.34, CURLY: -0.3}.get(style, -0.32)
        _cap(figure, crown, rx * grow, ry * grow, line, Part.HAIR)
        if abs(figure.sin) > 0.35:
            back = -math.copysign(1.0, figure.sin)
            edge = head[0] + back * rx * grow
            inner = head[0] + back * rx * (0.62 - 0.5 * abs(figure.sin))
            low = ry * (0.1 if style == CROPPED else 0.55)
            figure.canvas.polygon(
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
        figure.canvas.ellipse(figure.at(0, 0.004, -0.035), u * 0.03, u * 0.028, Part.HAIR)


def _cap(figure: Figure, centre: Point, rx: float, ry: float, line: float, part: Part) -> None:
    """The part of an ellipse above `line` (in units of ry below its centre)."""
    start = math.asin(max(-1.0, min(1.0, line)))
    angles = np.linspace(math.pi - start, 2 * math.pi + start, 14)
    figure.canvas.polygon([(centre[0] + rx * math.cos(t), centre[1] + ry * math.sin(t)) for t in angles], part)


def _face(figure: Figure) -> None:
    a, u, z = figure.a, figure.unit, figure.head_x
    eye_y = figure.head_y + 0.002
    for side in (-1, 1):
        turn = 0.45 * side
        depth = math.cos(turn) * figure.cos - math.sin(turn) * figure.sin
        if depth > 0:
            eye = figure.at(z * math.sin(turn), eye_y, z * math.cos(turn) * 0.98)
            if a["glasses"] == 1:
                figure.canvas.ellipse(eye, u * 0.021 * max(depth, 0.35), u * 0.015, Part.GLASSES)
                figure.canvas.ellipse(eye, u * 0.011 * max(depth, 0.3), u * 0.007, Part.SKIN)
            elif a["glasses"] == 2:
                figure.canvas.ellipse(eye, u * 0.026 * max(depth, 0.4), u * 0.018, Part.GLASSES)
            else:
                figure.canvas.ellipse(eye, u * 0.008, u * 0.007, Part.FACE)
    if a["glasses"]:
        bridge, temple = figure.at(0, eye_y, z), figure.at(z * (1 if figure.sin < 0 else -1) * 0.9, eye_y, 0)
        figure.canvas.limb(bridge, temple if abs(figure.sin) > 0.3 else bridge, u * 0.005, u * 0.005, Part.GLASSES)
    chin = figure.at(0, figure.head_y + 0.04, z * 0.62)
    if a["beard"]:
        figure.canvas.ellipse(chin, figure.half_width(z * 0.82, z * 0.55), u * 0.034, Part.BEARD)
    if figure.cos > 0.1:
        mouth = figure.at(0, figure.head_y + 0.034, z * 0.9)
        figure.canvas.ellipse(mouth, u * 0.013 * figure.cos, u * 0.005, Part.MOUTH)
    if a["extra"] == MASK:
        figure.canvas.ellipse(
            figure.at(0, figure.head_y + 0.034, z * 0.5), figure.half_width(z * 0.95, z * 0.7), u * 0.032, Part.EXTRA
        )


def draw_hair_behind(figure: Figure) -> None:
    """The hair that falls behind the shoulders (seen from behind: over them)."""
    style, u = figure.a["hair_style"], figure.unit
    if style in (LONG, BOB):
        low = 0.29 if style == LONG else 0.155
        wide = figure.head_x * (1.22 if style == LONG else 1.28)
        top, bottom = figure.at(0, figure.head_y - 0.02, -0.012), figure.at(0, low, -0.035)
        half = figure.half_width(wide, 0.045)
        figure.canvas.polygon(
            [
                (top[0] - half, top[1]),
                (top[0] + half, top[1]),
                (bottom[0] + half * 1.05, bottom[1]),
                (bottom[0] - half * 1.05, bottom[1]),
            ],
            Part.HAIR,
        )
        figure.canvas.ellipse(top, half, u * 0.05, Part.HAIR)
    elif style == PONYTAIL:
        figure.canvas.limb(figure.at(0, 0.05, -0.06), figure.at(0, 0.22, -0.1), u * 0.02, u * 0.014, Part.HAIR)
    else:
        figure.canvas.ellipse(figure.at(0, figure.head_y, -0.01), u * figure.head_x * 1.35, u * 0.085, Part.HAIR)


def draw_hat(figure: Figure) -> None:
    """A cap or a beanie."""
    hat, u = figure.a["hat"], figure.unit
    if not hat:
        return
    head = figure.at(0, figure.head_y, 0.008)
    rx, ry = u * figure.head_x * 1.14, u * 0.08
    _cap(figure, (head[0], head[1] - u * 0.004), rx, ry, -0.28 if hat == 1 else -0.12, Part.HAT)
    if hat == 1 and figure.cos > -0.5:
        start, end = figure.at(0, figure.head_y - 0.03, 0.03), figure.at(0, figure.head_y - 0.022, 0.098)
        figure.canvas.limb(
            start, end, u * 0.03 * max(abs(figure.cos), 0.35), u * 0.024 * max(abs(figure.cos), 0.35), Part.HAT_DARK
        )
    if hat == 2:
        figure.canvas.box(head[0] - rx, head[1] - u * 0.034, head[0] + rx, head[1] - u * 0.012, Part.HAT_DARK)
        figure.canvas.ellipse((head[0], head[1] - ry * 1.08), u * 0.016, u * 0.014, Part.HAT_DARK)
