"""The hybrid without its ViT is clip_window."""

import pytest

from reid_lab.architectures import hybrid
from reid_lab.architectures.clip_window import ClipWindow
from reid_lab.architectures.clip_window import Spec as ClipWindowSpec
from reid_lab.architectures.hybrid import ClipSpec, Hybrid
from reid_lab.parts.windows import WindowSpec
from tests.architectures import probe
from tests.architectures.alike import compare


@pytest.mark.parametrize("tokens", ["as_published", "before_projection"])
@pytest.mark.parametrize("injection", ["add", "gated", "concat"])
def test_clip_alone_is_clip_window(folders, tokens, injection):
    windows = WindowSpec(scales=(2, 4), injection=injection)
    clip = ClipSpec(backbone=folders["clip"], windows=windows, tokens=tokens)
    ours = Hybrid(hybrid.Spec(clip=clip, vit=None, id=0.25, smoothing=0.1), probe.FACTS, 0)
    other = ClipWindow(ClipWindowSpec(backbone=folders["clip"], windows=windows, tokens=tokens), probe.FACTS, 1)
    renamed = {
        f"heads.rgb.{key}" if key.startswith(("neck.", "identity.")) else key.removeprefix("clip."): value
        for key, value in probe.disturb(ours).state_dict().items()
    }
    other.load_state_dict(renamed)
    compare(ours, other, {"feature": "rgb_feature", "logits": "rgb_logits"})
