"""What the loop does: selection, stages, schedules, absent terms, non-finite losses."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reid_lab.contracts import Sum, Term
from reid_lab.engine import checkpoint, optim
from reid_lab.engine.plan import FitPlan, OptimizerPlan, StagePlan, whole_steps
from reid_lab.engine.runtime import Runtime
from reid_lab.engine.step import Step
from reid_lab.errors import NonFiniteLoss, RunError, SpecError
from reid_lab.schedules import Progress, Segment, Span, chain
from tests.engine.toys import Contrastive, DiskRecorder, Normalised, ToyStream, prepare, train

CPU = Runtime(torch.device("cpu"))


class Watcher:
    def __init__(self):
        self.seen = []

    def __getattr__(self, name):
        return lambda *values: self.seen.append((name, *values))


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(before, after) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_one_step_is_plain_torch():
    """The oracle: the same model, terms and optimiser written out in a few lines."""
    ours, plain = Contrastive(), Contrastive()
    batch = prepare(ToyStream().batch(0))
    settings = OptimizerPlan(lr=0.01, weight_decay=0.1, eps=1e-3)
    step = Step(
        ours, ours.terms[:2], optim.build(ours, settings), CPU.scaler(), CPU, seed=0, clip_norm=0.5, last_good=str
    )
    result = step(batch, Progress(4, 5, 12), 5)

    groups = [
        {"params": [p for n, p in plain.named_parameters() if "bias" in n], "lr": 0.02, "weight_decay": 0.0},
        {"params": [p for n, p in plain.named_parameters() if "bias" not in n]},
    ]
    adam = torch.optim.Adam(groups, lr=0.01, weight_decay=0.1, eps=1e-3, foreach=False)
    encoded = plain.encode(batch)
    contrast = plain.contrast(
        F.normalize(encoded.items["image"].values, dim=1), F.normalize(encoded.items["text"].values, dim=1), plain.scale
    )
    logits, labels = encoded.local["word_logits"], encoded.local["word_labels"]
    words = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-1)
    (0.6 * contrast + 0.7 * words).backward()
    nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
    adam.step()

    assert result.losses == pytest.approx({"contrast": contrast.item(), "words": words.item()}, rel=1e-6)
    assert result.weights == pytest.approx({"contrast": 0.6, "words": 0.7})
    assert result.total == pytest.approx(0.6 * contrast.item() + 0.7 * words.item(), rel=1e-6)
    for (name, a), b in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7, msg=name)


def test_records_of_a_run(tmp_path):
    _, result, recorder = train(tmp_path, steps=6, log_every=3)
    steps = {step for name, step in recorder.of("loss")}
    assert steps == {1, 3, 6}
    names = {name for name, _ in recorder.of("loss")}
    assert names == {"loss/contrast", "loss/words", "loss/rare", "loss/total"}
    assert recorder.of("weight")["weight/contrast", 3] == pytest.approx(0.2 + 0.8 * 2 / 8)
    assert recorder.of("lr") == {
        (f"lr/{n}", s): lr for n, lr in (("trunk", 0.01), ("heads", 0.01), ("bias", 0.02)) for s in (1, 3, 6)
    }
    assert recorder.of("schedule") == {("schedule/lr", s): 1.0 for s in (1, 3, 6)}
    assert set(recorder.of("diag")) == {("diag/spread", s) for s in (1, 3, 6)}
    assert {("loss/sketches", s) for s in (1, 3, 6)} <= set(recorder.of("absent"))
    assert {step for _, step in recorder.of("val")} == {0, 5, 6}
    assert recorder.of("val")["val/mAP", 6] == result.last_metrics["mAP"]
    held = recorder.of("checkpoint")["last", 6]
    assert held == {"path": f"{tmp_path.name}/last.safetensors", "sha256": checkpoint.file_sha256(result.last)}
    assert {name for name, _ in recorder.of("timing")} == {
        "timing/samples_per_second",
        "timing/seconds_per_step",
        "timing/evaluation_seconds",
        "timing/checkpoint_seconds",
    }
    assert not recorder.pending


def test_the_best_evaluation_is_kept_and_ties_keep_the_earlier(tmp_path):
    seen = {}
    model = Contrastive()

    def on_eval(step, metrics):
        seen[step] = weights(model)

    _, result, recorder = train(
        tmp_path, model=model, steps=8, eval_every=2, scores=[9.0, 1.0, 3.0, 3.0, 2.0], on_eval=on_eval
    )
    assert (result.best_step, result.best_metrics, result.last_step) == (4, {"mAP": 3.0}, 8)
    assert recorder.of("select") == {
        **{("select/best_step", s): b for s, b in ((2, 2), (4, 4), (6, 4), (8, 4))},
        **{("select/mAP", s): m for s, m in ((2, 1.0), (4, 3.0), (6, 3.0), (8, 3.0))},
    }
    fresh = Contrastive(seed=1)
    assert checkpoint.load_weights(result.best, fresh)["metrics"] == {"mAP": 3.0}
    assert not changed(seen[4], weights(fresh))
    assert not changed(seen[8], weights(model))


def test_selecting_the_last_needs_no_evaluation(tmp_path):
    model, result, _ = train(tmp_path, evaluate=None, select_on="last")
    assert (result.best_step, result.best_metrics) == (12, {})
    fresh = Contrastive(seed=1)
    checkpoint.load_weights(result.best, fresh)
    assert not changed(weights(model), weights(fresh))
    with pytest.raises(RunError, match="select_on: val needs an evaluation"):
        train(tmp_path / "val", evaluate=None)


def test_selecting_on_test_says_so_in_every_name(tmp_path):
    _, _, recorder = train(tmp_path, select_on="test")
    assert {name for name, _ in recorder.of("val")} == {"test/mAP", "test/R1"}


@pytest.mark.parametrize(
    ("metric", "value", "message"), [("map", 1.0, "unknown metric 'map'"), ("mAP", math.nan, "mAP")]
)
def test_a_metric_that_cannot_select(tmp_path, metric, value, message):
    with pytest.raises(RunError, match=message):
        train(tmp_path, metric=metric, evaluate=lambda: {"mAP": value})


def test_early_stop_keeps_the_horizon(tmp_path):
    decay = chain([Segment(1.0, 0.0, Span(1.0, "fraction"))])
    stages = (StagePlan("main", 20, OptimizerPlan(lr=1e-2), schedule=decay),)
    _, result, recorder = train(
        tmp_path, stages=stages, eval_every=2, patience=2, scores=[0.0, 5.0, 4.0, 4.5], evaluate_at_start=True
    )
    assert result.stopped_early
    assert (result.best_step, result.last_step) == (2, 6)
    assert recorder.of("schedule")["schedule/lr", 6] == pytest.approx(1 - 5 / 20)


def test_patience_ends_a_stage_and_the_next_one_starts_where_it_was_planned(tmp_path):
    stages = (StagePlan("first", 10, OptimizerPlan(lr=1e-2)), StagePlan("second", 4, OptimizerPlan(lr=1e-3)))
    settings = {"stages": stages, "eval_every": 2, "patience": 1, "checkpoint_every": 3}
    _, result, recorder = train(tmp_path, scores=[0.0, 5.0, 4.0, 6.0, 7.0], **settings)
    assert {step for _, step in recorder.of("lr")} == {1, 2, 3, 4, 11, 12, 13, 14}
    assert recorder.of("lr")["lr/heads", 11] == 1e-3
    assert (result.stopped_early, result.best_step, result.last_step) == (True, 14, 14)


def test_stages_train_what_they_name(tmp_path):
    model, seen = Contrastive(), {}
    seen[0] = weights(model)
    stages = (
        StagePlan("words", 3, OptimizerPlan(lr=1e-2), trainable=("words.*", "vocab*"), terms=("words",)),
        StagePlan("image", 2, OptimizerPlan(lr=1e-3), trainable=("image.*",), terms=("contrast",)),
        StagePlan("all", 2, OptimizerPlan("sgd", lr=1e-3)),
    )
    watcher = Watcher()
    train(
        tmp_path, model=model, stages=stages, eval_every=1, reporter=watcher, recorder=(recorder := DiskRecorder()),
        on_eval=lambda step, metrics: seen.update({step: weights(model)}),
    )  # fmt: skip
    assert changed(seen[0], seen[3]) == {"words.weight", "vocabulary.weight", "vocabulary.bias"}
    assert changed(seen[3], seen[5]) == {"image.weight", "image.bias"}
    assert changed(seen[5], seen[7]) == set(seen[0])
    assert {name for name, step in recorder.of("loss") if step == 2} == {"loss/words", "loss/total"}
    assert {name for name, step in recorder.of("loss") if step == 5} == {"loss/contrast", "loss/total"}
    assert [(name, step) for kind, name, step, *_ in (e for e in watcher.seen if e[0] == "stage")] == [
        ("words", 0),
        ("image", 3),
        ("all", 5),
    ]
    assert [event[0] for event in watcher.seen][:2] == ["start", "evaluation"]
    assert watcher.seen[-1][0] == "finish"


def test_a_stage_reads_its_own_progress(tmp_path):
    stairs = chain([Segment(1.0, 0.0, Span(2, "epochs"))], every="epoch")
    ramp = chain([Segment(0.0, 1.0, Span(4, "steps"))])
    stages = (
        StagePlan("stairs", 7, OptimizerPlan(lr=1e-2), schedule=stairs),
        StagePlan("ramp", 3, OptimizerPlan(lr=1e-2), schedule=ramp),
    )
    _, _, recorder = train(tmp_path, stages=stages)
    factors = [value for _, value in sorted(recorder.of("schedule").items(), key=lambda item: item[0][1])]
    assert factors == [1.0] * 5 + [0.5] * 2 + [0.0, 0.25, 0.5]


def test_what_the_architecture_froze_stays_frozen(tmp_path):
    model = Contrastive()
    model.image.requires_grad_(False)
    before = weights(model)
    train(tmp_path, model=model, steps=2)
    assert changed(before, weights(model)) == {"words.weight", "vocabulary.weight", "vocabulary.bias", "scale"}


def test_mistakes_in_a_plan_are_named_before_training(tmp_path):
    wrong = StagePlan("b", 2, terms=("contrst",), trainable=("words.*", "imgae.weight"))
    with pytest.raises(SpecError) as caught:
        train(tmp_path, stages=(StagePlan("a", 2), wrong))
    assert [str(fault) for fault in caught.value.faults] == [
        "stage 'b': unknown loss term 'contrst'; allowed: contrast, off, rare, sketches, words; "
        "did you mean 'contrast'?",
        "stage 'b': trainable pattern 'imgae.weight' matches none of 6 parameters; did you mean 'image.weight'?",
    ]
    with pytest.raises(SpecError, match="no loss term is left"):
        train(tmp_path, stages=(StagePlan("a", 2, terms=("off",)),))
    with pytest.raises(SpecError, match="stage 'a' is named 2 times"):
        FitPlan((StagePlan("a", 2), StagePlan("a", 2)))
    with pytest.raises(SpecError, match="0 steps; at least 1 is needed"):
        FitPlan((StagePlan("a", 0),))
    assert not list(tmp_path.iterdir())


class OnlyAbsent(Normalised):
    """A step in which no term has a valid row."""

    def __init__(self):
        super().__init__()
        self.terms = (Term("none", lambda input: Sum(input.sum() * 0, torch.zeros(())), ("input",)),)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_absent_terms_contribute_an_exact_zero(tmp_path, accumulate):
    model = OnlyAbsent()
    before = weights(model)
    _, _, recorder = train(tmp_path, model=model, steps=2, accumulate=accumulate, stages=(
        StagePlan("main", 2, OptimizerPlan("sgd", lr=0.1, weight_decay=0.0)),
    ))  # fmt: skip
    assert recorder.of("loss") == {("loss/total", 1): 0.0, ("loss/total", 2): 0.0}
    assert recorder.of("absent") == {("loss/none", 1): True, ("loss/none", 2): True}
    assert changed(before, weights(model)) <= {n for n in before if n.startswith("neck.running") or "num_batches" in n}


class Exploding(Normalised):
    def __init__(self, step: int, where: str):
        super().__init__()
        self.terms = (*self.terms, Term("fragile", self.fragile, ("input", "now")))
        self.step, self.where = step, where

    def values(self, encoded, progress):
        return {**super().values(encoded, progress), "now": torch.tensor(progress.step)}

    def fragile(self, input, now):
        x = input.square().mean()
        if int(now) != self.step:
            return x
        return x * math.inf if self.where == "loss" else (x - x.detach()).sqrt()


@pytest.mark.parametrize(
    ("where", "message"),
    [("loss", "loss 'fragile' is inf at step 8"), ("gradient", "the gradient of '.*' is not finite at step 8")],
)
def test_a_non_finite_loss_stops_before_any_weight_changes(tmp_path, where, message):
    model, seen = Exploding(7, where), {}
    recorder = DiskRecorder(tmp_path / "records.jsonl")

    def watch(batch):
        seen["before"] = {n: t for n, t in weights(model).items() if not n.startswith("neck.")}
        return prepare(batch)

    with pytest.raises(NonFiniteLoss, match=rf"{message}.*last\.safetensors \(step 5\)"):
        train(tmp_path / "checkpoints", model=model, recorder=recorder, prepare=watch)
    assert not changed(seen["before"], weights(model))
    assert checkpoint.load(tmp_path / "checkpoints" / checkpoint.LAST).facts["step"] == 5
    assert ("loss/total", 7) in DiskRecorder(tmp_path / "records.jsonl").of("loss")


def test_pruning_leaves_through_on_eval(tmp_path):
    class Pruned(Exception):
        pass

    def prune(step, metrics):
        if step == 5:
            assert set(metrics) == {"mAP", "R1"}
            raise Pruned

    recorder = DiskRecorder()
    with pytest.raises(Pruned):
        train(tmp_path, on_eval=prune, recorder=recorder)
    assert max(step for _, step in recorder.of("loss")) == 5


def test_evaluation_does_not_disturb_training(tmp_path):
    """The toys' metric draws random numbers, and the model has dropout."""
    often = train(tmp_path / "1", eval_every=1, options={"dropout": 0.5})[2]
    never = train(tmp_path / "2", eval_every=None, evaluate_at_start=False, options={"dropout": 0.5})[2]
    assert often.of("loss") == never.of("loss")
    assert {step for _, step in never.of("val")} == {12}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_on_a_cpu(tmp_path, precision):
    runtime = Runtime(torch.device("cpu"), precision)
    _, _, half = train(tmp_path / "half", "normalised", runtime=runtime, steps=20)
    _, _, full = train(tmp_path / "full", "normalised", steps=20)
    assert half.of("loss") != full.of("loss")
    assert half.of("loss")["loss/total", 1] == pytest.approx(full.of("loss")["loss/total", 1], rel=0.02)
    assert half.of("loss")["loss/total", 20] < 0.8 * half.of("loss")["loss/total", 1]


def test_an_fp16_overflow_skips_the_update_and_lowers_the_scale():
    model = Normalised(dropout=0.0)
    runtime = Runtime(torch.device("cpu"), "fp16")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    step = Step(model, model.terms, optim.build(model, OptimizerPlan(lr=0.1)), scaler, runtime, seed=0, last_good=str)
    before = {n: p.clone() for n, p in model.named_parameters()}
    result = step(prepare(ToyStream().batch(0)), Progress(0, 5, 12), 1)
    assert not result.updated
    assert math.isfinite(result.total)
    assert scaler.get_scale() == 2.0**59
    assert not changed(before, dict(model.named_parameters()))


def test_lengths_in_whole_steps():
    assert whole_steps(Span(2.5, "epochs"), 5) == 12
    assert whole_steps(Span(7, "steps"), 5) == 7
    assert whole_steps(Span(0.1, "fraction"), 5, 44) == 4
    assert whole_steps(Span(0.01, "fraction"), 5, 44) == 1


def test_the_folder_is_named_relative_to_the_run(tmp_path: Path):
    _, _, recorder = train(tmp_path / "run" / "checkpoints", steps=2)
    assert recorder.of("checkpoint")["last", 2]["path"] == "checkpoints/last.safetensors"
