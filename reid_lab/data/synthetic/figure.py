"""A dressed person, drawn from what is far to what is near."""

from __future__ import annotations

from reid_lab.data.synthetic.clothes import draw_arm, draw_leg, draw_skirt, draw_torso
from reid_lab.data.synthetic.head import draw_hair_behind, draw_hat, draw_head
from reid_lab.data.synthetic.skeleton import Figure
from reid_lab.data.synthetic.things import draw_backpack, draw_scarf, draw_shoulder_bag, draw_straps
from reid_lab.data.synthetic.traits import BACKPACK, BOB, CURLY, LONG, PONYTAIL, SHOULDER_BAG


def draw_figure(figure: Figure) -> None:
    """Draws the whole person, what is far first."""
    far, near = figure.sides
    if figure.a["bag"] == BACKPACK and figure.front:
        draw_backpack(figure)
    if figure.front and figure.a["hair_style"] in (LONG, PONYTAIL, BOB, CURLY):
        draw_hair_behind(figure)
    draw_arm(figure, far, near=False)
    draw_leg(figure, far, near=False)
    draw_leg(figure, near, near=True)
    draw_skirt(figure)
    draw_torso(figure)
    draw_head(figure)
    if figure.a["bag"] == BACKPACK:
        if figure.front:
            draw_straps(figure)
        else:
            draw_backpack(figure)
    draw_scarf(figure)
    if not figure.front and figure.a["hair_style"] in (LONG, PONYTAIL, BOB, CURLY):
        draw_hair_behind(figure)
    draw_hat(figure)
    if figure.a["bag"] == SHOULDER_BAG:
        draw_shoulder_bag(figure, near)
    draw_arm(figure, near, near=True)
