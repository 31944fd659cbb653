"""What is behind, under and before a person."""

from __future__ import annotations

from reid_lab.data.synthetic.canvas import Canvas, Part
from reid_lab.data.synthetic.world import Camera, Scene


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
