"""An architecture's named embeddings are there, one row for each group; what a spec leaves out is left out."""

import numpy as np
import pytest

from reid_lab.architectures.t2ireid import MatchSpec, Spec, T2IReID
from reid_lab.assembly import Parts, Source
from reid_lab.contracts import Facts
from reid_lab.data.augment import make_prepare
from reid_lab.data.items import described, joint
from reid_lab.data.loader import Loader
from reid_lab.data.synthetic import SyntheticSpec, open_synthetic
from reid_lab.engine.runtime import Runtime
from reid_lab.probing.embeddings import embedded, named
from reid_lab.probing.run import baselines
from reid_lab.spec.run import RunSpec

ROLES = ("rgb", "id_caption", "cloth_caption")


@pytest.fixture(scope="module")
def world(world_cache):
    spec = SyntheticSpec(
        preset="smoke", roles=ROLES, train_identities=2, val_identities=3, test_identities=2, train_images=2,
        eval_images=2, image_size=(32, 16),
    )  # fmt: skip
    return open_synthetic(spec, world_cache)


def over(world, spec):
    facts = Facts(identities=4, roles=ROLES, image_size=(32, 16))
    model = T2IReID(spec, facts, seed=0)
    run = RunSpec.model_construct(eval=RunSpec.model_fields["eval"].default, model=spec)
    loader, prepare = Loader(world, model.inputs), make_prepare(model.inputs, None)
    return Parts(run, Source(world, facts, None), Runtime.start("cpu", threads=1), model, loader, prepare, prepare)


def groups_of(items):
    def of(roles):
        texts = [role for role in roles if role != "rgb"]
        return described(items, "val", ["rgb"], texts) if "rgb" in roles and texts else joint(items, "val", roles)

    return of


def test_named_embeddings_of_t2ireid(world):
    parts = over(world, Spec(pretrained=False, image_size=(32, 16), text_length=32))
    wanted = named(parts, [("id_caption", "cloth_caption")])
    assert [one.name for one in wanted[:4]] == [*ROLES, "id_caption+cloth_caption"]
    assert {"trunk", "identity", "clothes", "fused"} <= {one.name for one in wanted}
    found = embedded(parts, wanted, groups_of(world.items))
    assert list(found) == [one.name for one in wanted]
    assert {len(vectors) for vectors in found.values()} == {6}
    assert all(np.isfinite(vectors).all() and vectors.ndim == 2 for vectors in found.values())
    assert np.allclose(found["identity"], found["rgb"], atol=1e-6)  # what it retrieves by, unless clothes are weighed
    first = baselines(wanted, parts.model.embeddings)
    assert [(one.name, one.value) for one in first if one.roles == ("rgb",)] == [("trunk", "trunk")]


def test_what_a_spec_leaves_out_is_left_out(world):
    parts = over(
        world, Spec(pretrained=False, image_size=(32, 16), text_length=32, fusion=None, cloth_match=MatchSpec(weight=0))
    )
    found = embedded(parts, named(parts), groups_of(world.items))
    assert "identity" in found
    assert not {"fused", "clothes"} & set(found)
