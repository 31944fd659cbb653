"""The layout of RGBNT201: `{train_171,test}/{RGB,NI,TI}/`, one name for the three images of a moment."""

from __future__ import annotations

from reid_lab.data.readers.rgbnt201 import PARTS, SPECTRA
from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.data.writers.base import Target, Writer
from reid_lab.data.writers.moments import moments


def write(world: Synthetic, target: Target) -> None:
    """`000258_cam1_0_00.jpg`: identity from 1, camera from 1, 0, and the moments of one person counted from 0.

    The layout has no val split: the world's val people stand among those of train.
    """
    for moment in moments(world, tuple(SPECTRA)):
        part = PARTS["test" if moment.test else "train"]
        name = f"{moment.pid + 1:06d}_cam{moment.camid + 1}_0_{moment.number:02d}.jpg"
        for role, folder in SPECTRA.items():
            target.image(f"{part}/{folder}/{name}", moment.pixels(world, role))


WRITER = Writer("rgbnt201", write, roles=tuple(SPECTRA), knobs={})
