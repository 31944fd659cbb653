import subprocess
import sys

import pytest

from reid_lab.data import DATASETS, open_dataset
from reid_lab.errors import DataError
from reid_lab.spec.run import DataSpec


@pytest.mark.parametrize("name", DATASETS)
def test_every_entry_leads_to_a_section_of_its_name(name):
    section = DATASETS[name].spec
    assert issubclass(section, DataSpec)
    assert section.model_fields["name"].default == name
    assert DATASETS[name].doc


def test_unknown_data_sets_name_the_nearest(tmp_path):
    with pytest.raises(DataError, match=r"unknown data set 'cuhk-pedes'; .* did you mean 'cuhk_pedes'"):
        open_dataset(DataSpec(name="cuhk-pedes"), tmp_path)


def test_listing_names_imports_no_reader():
    code = "import sys, reid_lab.data; assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
