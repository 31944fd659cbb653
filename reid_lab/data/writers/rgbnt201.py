"""The layout of RGBNT201: `{train_171,test}/{RGB,NI,TI}/`, one name for the three images of a moment."""

from __future__ import annotations

from reid_lab.data.readers.rgbnt201 import PARTS, SPECTRA
from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.data.writers.base import Target, Writer
from reid_lab.data.writers.shots import shots


def write(world: Synthetic, target: Target) -> None:
    """`000258_cam1_0_00.jpg`: identity from 1, camera from 1, 0, and the moments of one person counted from 0.

    The layout has no val split: the world's val people stand among those of train.
    """
    for shot in shots(world, tuple(SPECTRA)):
        part = PARTS["test" if shot.tested else "train"]
        name = f"{shot.pid + 1:06d}_cam{shot.camid + 1}_0_{shot.number:02d}.jpg"
        for role, folder in SPECTRA.items():
            target.image(f"{part}/{folder}/{name}", shot.pixels(world, role))


WRITER = Writer("rgbnt201", write, roles=tuple(SPECTRA), knobs={})
