"""TorchScript archives are read without running them: the tensors of `state_dict`, and nothing else."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from reid_lab.errors import CheckpointError
from reid_lab.interop.containers import read
from reid_lab.interop.torchscript import is_archive, read_archive

pytestmark = pytest.mark.filterwarnings("ignore")


class Small(nn.Module):
    """Parameters, a buffer, a tensor that is neither, nested modules, half precision, a view."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.inner = nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 2, bias=False))
        self.narrow = nn.Parameter(torch.randn(4, 2).half())
        self.turned = nn.Parameter(torch.randn(3, 2).T)
        self.register_buffer("count", torch.arange(3))
        self.mask = torch.ones(2)
        self.empty = None

    def forward(self, x):
        return self.linear(self.inner(x)) + self.mask.sum() + self.count.sum()


@pytest.fixture
def saved(tmp_path):
    model = Small()
    torch.jit.script(model).save(tmp_path / "script.pt")
    torch.jit.trace(model, torch.randn(1, 2)).save(tmp_path / "trace.pt")
    return model


@pytest.mark.parametrize("name", ["script.pt", "trace.pt"])
def test_an_archive_gives_the_state_dict(saved, tmp_path, name):
    assert is_archive(tmp_path / name)
    found = read(tmp_path / name).tensors
    assert found.keys() == saved.state_dict().keys()
    for key, value in saved.state_dict().items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value)


def test_other_files_are_no_archives(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "plain.pth")
    (tmp_path / "noise.pt").write_bytes(b"noise")
    assert not is_archive(tmp_path / "plain.pth")
    assert not is_archive(tmp_path / "noise.pt")


def rewritten(source, target, records):
    """The archive with some of its records replaced, or left out (None)."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = records.get(name.partition("/")[2], old.read(name))
            if content is not None:
                new.writestr(name, content)


class Trap:
    """Unpickling this would call a function."""

    def __reduce__(self):
        return (np.save, ("/nowhere/at/all", 1))


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ({"data.pkl": pickle.dumps(Trap(), protocol=2)}, "which is no tensor and no module"),
        ({"data.pkl": pickle.dumps([1, 2], protocol=2)}, "it holds no module"),
        ({"data.pkl": b"noise"}, "."),
        ({"data.pkl": None}, "."),
        ({"data/0": b"abc"}, "data/0 has 3 bytes, 16 are needed"),
        ({"data/0": None}, "no item named"),
        ({"byteorder": b"big"}, "not little-endian"),
    ],
)
def test_what_cannot_be_read_safely_is_one_line(saved, tmp_path, records, told):
    rewritten(tmp_path / "script.pt", tmp_path / "bent.pt", records)
    with pytest.raises(CheckpointError, match="TorchScript archive that cannot be read without running it") as caught:
        read_archive(tmp_path / "bent.pt")
    assert len(str(caught.value).splitlines()) == 1
    assert told in str(caught.value)


def test_a_tensor_beyond_its_storage_is_refused(saved, tmp_path):
    """A shape that reads past the end of its bytes."""
    with zipfile.ZipFile(tmp_path / "script.pt") as archive:
        content = archive.read("script/data.pkl")
    longer = content.replace(b"K\x03K\x02t", b"K\x09K\x02t")  # (3, 2) -> (9, 2)
    assert longer != content
    rewritten(tmp_path / "script.pt", tmp_path / "bent.pt", {"data.pkl": longer})
    with pytest.raises(CheckpointError, match="cannot be read without running it"):
        read_archive(tmp_path / "bent.pt")


def test_an_archive_that_was_cut_is_no_file_of_tensors(saved, tmp_path):
    (tmp_path / "cut.pt").write_bytes((tmp_path / "script.pt").read_bytes()[:3000])
    with pytest.raises(CheckpointError, match=r"cut\.pt is not a file of plain tensors"):
        read(tmp_path / "cut.pt")
