"""The layout of MSVR310: `{bounding_box_train,query3,bounding_box_test}/<identity>/{vis,ni,th}/`."""

from __future__ import annotations

from reid_lab.data.readers.msvr310 import SPECTRA
from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.data.writers.base import Target, Writer
from reid_lab.data.writers.shots import shots

SCENES = 2


def write(world: Synthetic, target: Target) -> None:
    """`0002_s002_v0_000.jpg`: identity from 1, scene, camera from 0, and the moments of one identity counted from 0.

    The moments of an identity take turns in two scenes, of which everybody of test has at least one moment
    each: the protocol, which removes the query's own scene, leaves every query a match, and removes some that
    another camera saw. The first moment of every identity of test is its query, and as in the real set it
    is in the gallery too. The layout has no val split: the world's val people stand among those of train.
    """
    for shot in shots(world, tuple(SPECTRA)):
        identity, scene = f"{shot.pid + 1:04d}", shot.number % SCENES + 1
        name = f"{identity}_s{scene:03d}_v{shot.camid}_{shot.number:03d}.jpg"
        parts = ["bounding_box_test"] if shot.tested else ["bounding_box_train"]
        parts += ["query3"] if shot.tested and shot.number == 0 else []
        for role, folder in SPECTRA.items():
            for part in parts:
                target.image(f"{part}/{identity}/{folder}/{name}", shot.pixels(world, role))


WRITER = Writer("msvr310", write, roles=tuple(SPECTRA), knobs={})
