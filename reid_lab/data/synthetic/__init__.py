"""The embedded benchmark: procedurally drawn pedestrians in six modalities."""

from reid_lab.data.synthetic.dataset import Synthetic, open_synthetic
from reid_lab.data.synthetic.export import contact_sheet, write_contact_sheet
from reid_lab.data.synthetic.lexicon import vocabulary
from reid_lab.data.synthetic.spec import GENERATOR_VERSION, PRESETS, SyntheticSpec
from reid_lab.data.synthetic.traits import ATTRIBUTES

__all__ = [
    "ATTRIBUTES",
    "GENERATOR_VERSION",
    "PRESETS",
    "Synthetic",
    "SyntheticSpec",
    "contact_sheet",
    "open_synthetic",
    "vocabulary",
    "write_contact_sheet",
]
