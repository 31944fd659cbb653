"""What a person carries or wears over its clothes: bags, scarf, umbrella."""

from __future__ import annotations

from reid_lab.data.synthetic.canvas import Part, Point
from reid_lab.data.synthetic.skeleton import Figure
from reid_lab.data.synthetic.traits import SCARF


def draw_scarf(figure: Figure) -> None:
    """A scarf around the neck."""
    if figure.a["extra"] != SCARF:
        return
    u = figure.unit
    figure.canvas.ellipse(figure.at(0, 0.165, 0.008), figure.half_width(0.062, 0.055), u * 0.028, Part.EXTRA)
    if figure.cos > -0.1:
        figure.canvas.limb(
            figure.at(0.025, 0.18, figure.depth),
            figure.at(0.035, 0.34, figure.depth * 1.1),
            u * 0.02,
            u * 0.024,
            Part.EXTRA_DARK,
        )


def draw_backpack(figure: Figure) -> None:
    """A backpack."""
    u = figure.unit
    z = -figure.depth * 1.5
    centre = figure.at(0, 0.31, z)
    half = figure.half_width(figure.shoulder * 0.8, figure.depth * 0.95)
    figure.canvas.box(centre[0] - half, centre[1] - u * 0.1, centre[0] + half, centre[1] + u * 0.13, Part.BAG)
    figure.canvas.ellipse((centre[0], centre[1] - u * 0.1), half, u * 0.03, Part.BAG)
    if not figure.front:
        figure.canvas.box(
            centre[0] - half * 0.7, centre[1] + u * 0.03, centre[0] + half * 0.7, centre[1] + u * 0.1, Part.BAG_DARK
        )


def draw_straps(figure: Figure) -> None:
    """The straps of a backpack, seen from the front."""
    for side in (-1, 1):
        x = side * figure.shoulder * 0.52
        figure.canvas.limb(
            figure.at(x, 0.18, figure.depth * 0.8),
            figure.at(x * 1.25, 0.36, figure.depth),
            figure.unit * 0.013,
            figure.unit * 0.012,
            Part.BAG,
        )


def draw_shoulder_bag(figure: Figure, side: int) -> None:
    """A bag on the hip, its strap across the chest."""
    u, x = figure.unit, side * (figure.hip + 0.03)
    figure.canvas.limb(
        figure.at(-side * figure.shoulder * 0.6, 0.19, 0.0),
        figure.at(x, 0.45, 0.0),
        u * 0.009,
        u * 0.009,
        Part.BAG_DARK,
    )
    bag = figure.at(x, 0.5, 0.0)
    half = figure.half_width(0.05, 0.085)
    figure.canvas.box(bag[0] - half, bag[1] - u * 0.05, bag[0] + half, bag[1] + u * 0.055, Part.BAG)
    figure.canvas.box(bag[0] - half, bag[1] - u * 0.05, bag[0] + half, bag[1] - u * 0.02, Part.BAG_DARK)


def draw_handbag(figure: Figure, hand: Point) -> None:
    """A bag that hangs from the hand."""
    u, half = figure.unit, figure.half_width(0.04, 0.07)
    figure.canvas.polygon(
        [
            (hand[0] - half * 0.5, hand[1] + u * 0.05),
            (hand[0], hand[1]),
            (hand[0] + half * 0.5, hand[1] + u * 0.05),
        ],
        Part.BAG_DARK,
    )
    figure.canvas.polygon(
        [
            (hand[0] - half * 0.8, hand[1] + u * 0.045),
            (hand[0] + half * 0.8, hand[1] + u * 0.045),
            (hand[0] + half, hand[1] + u * 0.13),
            (hand[0] - half, hand[1] + u * 0.13),
        ],
        Part.BAG,
    )


def draw_suitcase(figure: Figure, hand: Point) -> None:
    """A suitcase on the floor, its handle in the hand."""
    u, half = figure.unit, figure.half_width(0.05, 0.085)
    floor = figure.top + u * 0.985
    x = hand[0] - u * 0.05 * figure.sin
    figure.canvas.limb(hand, (x, floor - u * 0.26), u * 0.007, u * 0.007, Part.BAG_DARK)
    figure.canvas.box(x - half, floor - u * 0.27, x + half, floor - u * 0.012, Part.BAG)
    figure.canvas.box(x - half, floor - u * 0.17, x + half, floor - u * 0.15, Part.BAG_DARK)
    figure.canvas.ellipse((x - half * 0.7, floor), u * 0.012, u * 0.012, Part.BAG_DARK)
    figure.canvas.ellipse((x + half * 0.7, floor), u * 0.012, u * 0.012, Part.BAG_DARK)


def draw_umbrella(figure: Figure, hand: Point) -> None:
    """A folded umbrella in the hand."""
    u = figure.unit
    tip = (hand[0] + u * 0.04 * figure.sin, hand[1] + u * 0.36)
    figure.canvas.limb((hand[0], hand[1] - u * 0.035), tip, u * 0.008, u * 0.006, Part.EXTRA_DARK)
    figure.canvas.limb((hand[0], hand[1] + u * 0.05), tip, u * 0.024, u * 0.006, Part.EXTRA)
