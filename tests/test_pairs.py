"""T2IReID through the command line: pairs with negatives, joint queries, data without clothes captions."""

import pytest

from tests.lab import losses, records

T2IREID = (
    "data.roles=[rgb, id_caption, cloth_caption]",
    "model={name: t2ireid, hidden: 16, output: 8, retrieval_clothes: 1.0, text_length: 24}",
    "train.length.epochs=1",
    "eval.queries=[id_caption, cloth_caption]",
)


@pytest.mark.parametrize(("pairs", "steps"), [("null", 3), ("as_published", 6), ("redrawn", 6), ("similar_clothes", 6)])
def test_a_list_with_negatives_is_twice_as_long(lab, pairs, steps):
    done = lab.run(*T2IREID, f"train.pairs={pairs}")
    assert done.code == 0, done.err
    found = losses(lab.only)
    assert {step for _, step in found} == set(range(1, steps + 1))
    assert {name.removeprefix("loss/") for name, _ in found} >= {"info_nce", "cloth_match", "decouple", "total"}
    told = {record.name for record in records(lab.only, "diag")}
    assert {"diag/alpha", "diag/cos_matched", "diag/trunk_gradient_cloth_adv"} <= told
    assert ("diag/cos_unmatched" in told) == (steps == 6)
    assert lab.only.summary()["test"]["mAP"] > 0


def test_negatives_are_of_a_model_that_reads_clothes_captions(lab):
    done = lab.run("train.pairs=redrawn")
    assert done.code != 0
    (line,) = done.complaints
    assert "train.pairs: redrawn needs training groups with cloth_caption; they have rgb, caption" in line


def test_data_without_clothes_captions_is_told(lab):
    """The captions of the folder are whole: no side file gives their parts."""
    done = lab.run(f"data={{name: cuhk_pedes, root: {lab.written('png')}, image_size: [32, 16]}}", *T2IREID[1:])
    assert done.code == 2
    (line,) = done.complaints
    assert "words and overlap need clothes captions (cloth_caption)" in line
