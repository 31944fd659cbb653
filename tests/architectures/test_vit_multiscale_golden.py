"""The ViT with side information against the values of TransReID's code (tests/golden/transreid_*), read by interop."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reid_lab.architectures.vit_multiscale import Spec, VitMultiscale
from reid_lab.contracts import Batch, Facts, Input
from reid_lab.interop.transreid import load_transreid, read_config
from reid_lab.parts import backbones
from reid_lab.parts.sie import SideSpec
from reid_lab.parts.towers import VitTrunk

GOLDEN = Path(__file__).parent.parent / "golden"
NAMES = ("transreid_stride16_cameras4", "transreid_stride12_cameras3_views2")


def read_golden():
    spec = importlib.util.spec_from_file_location("golden", GOLDEN / "golden.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden = read_golden()


# Two of 5,280 values miss atol 1e-6, by up to .8e-6, where the CPU computes with AVX2; none with AVX512.
def close(ours, theirs, rtol=1e-5, atol=2e-6):
    torch.testing.assert_close(ours, torch.as_tensor(theirs), rtol=rtol, atol=atol)


def folder_of(path, config):
    """A folder whose configuration is the checkpoint's; its weights are never read. Norms have timm's epsilon."""
    backbones.write_vit_folder(path, VitTrunk(config, (config.patch * config.side,) * 2))
    return str(path)


@pytest.fixture(scope="module", params=NAMES)
def case(request, tmp_path_factory):
    settings = json.loads((GOLDEN / f"{request.param}.json").read_text())
    values = {key: torch.from_numpy(value) for key, value in golden.values(request.param).items()}
    weights = {f"base.{k}": torch.from_numpy(np.asarray(v)) for k, v in golden.parameters(request.param).items()}
    config = read_config(weights, heads=settings["heads"])
    cameras, views = settings["cameras"], settings["views"]
    spec = Spec(
        backbone=folder_of(tmp_path_factory.mktemp("golden") / "vit", config),
        pretrained=False,
        stride=settings["stride"],
        sie=SideSpec(of="both" if views else "camera", coefficient=settings["sie_coefficient"], site="all_tokens"),
        windows=None,
        id=None,
    )
    size = tuple(settings["image_size"])
    model = VitMultiscale(spec, Facts(5, cameras, ("rgb",), size, {"scenes": views} if views else {}), 0)
    report = load_transreid(model, weights, model.vit.trunk.embed.grid)
    assert (report.unused, report.resized, report.reinitialised) == ((), (), ())
    assert len(report.loaded) == len(model.state_dict())
    rows = torch.arange(len(values["in.images"]))
    groups = {"pids": rows, "camids": values["in.camera_ids"], "scenes": values["in.view_ids"]}
    return model.eval(), values, Batch(groups, {"rgb": Input(values["in.images"], rows)})


def test_tokens_and_class_token(case):
    model, values, _ = case
    with torch.no_grad():
        tokens = model.vit(values["in.images"], values["in.camera_ids"], values["in.view_ids"])
    close(tokens, values["out.tokens"])
    close(model.vit.feature(tokens), values["out.cls"])


def test_the_feature_and_the_embedding_are_the_class_token(case):
    model, values, batch = case
    with torch.no_grad():
        close(model.encode(batch).items["feature"].values, values["out.cls"])
        close(model.embed(batch), torch.nn.functional.normalize(values["out.cls"], dim=1))


def test_every_value_of_the_files_is_compared(case):
    assert {name for name in case[1] if name.startswith("out.")} == {"out.cls", "out.tokens"}


def test_side_information_matters(case):
    """Other cameras give other tokens: the comparison above would see a wrong numbering."""
    model, values, _ = case
    with torch.no_grad():
        other = model.vit(values["in.images"], (values["in.camera_ids"] + 1) % 3, values["in.view_ids"])
    assert (other - values["out.tokens"]).abs().amax(dim=(1, 2)).min() > 0.01
