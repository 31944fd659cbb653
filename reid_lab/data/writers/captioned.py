"""What the writers of text–image layouts share: the world's captions, and a record of one."""

from __future__ import annotations

import re
from typing import Any

from reid_lab.data.synthetic.dataset import Synthetic


def captions(world: Synthetic, role: str = "caption") -> dict[int, str]:
    """Moment -> what one text role says of it."""
    chosen = world.items.role == role
    return dict(zip(world.items.image_id[chosen].tolist(), world.items.caption[chosen].tolist(), strict=True))


def record(split: str, caption: str, path: str, number: int) -> dict[str, Any]:
    """A record as CUHK-PEDES and ICFG-PEDES write it: {split, captions, file_path, processed_tokens, id}."""
    tokens = re.findall(r"[a-z]+", caption)
    return {"split": split, "captions": [caption], "file_path": path, "processed_tokens": [tokens], "id": number}
