"""Grad-CAM: the closed form, both modes, geometry, and what is left empty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from SpineMotionToolsLib.common.engine import Engine
from SpineMotionToolsLib.common.errors import InputError
from SpineMotionToolsLib.motion import slices
from SpineMotionToolsLib.motion.attention import grad_cam, scaled, upsampled
from SpineMotionToolsLib.motion.ensemble import to_input
from SpineMotionToolsLib.motion.networks import FastMember, MotionNet, fold
from SpineMotionToolsLib.motion.pipeline import explain, grade

from Testing.motion_scans import UNDECIDED, isq_bytes, phantom, seeded_ensemble, write

CPU = Engine(device="cpu", precision="float32", threads=1)


def fast(tensors) -> FastMember:
    return FastMember(tensors, torch.device("cpu"), torch.float32)


def folded(images: np.ndarray) -> torch.Tensor:
    return fold(torch.from_numpy(images).float())


@pytest.fixture(scope="module")
def scored():
    volume, ensemble = phantom((48, 40, 4)), seeded_ensemble(UNDECIDED)
    return volume, ensemble, grade(volume, ensemble, engine=CPU, slice_step=2)


@pytest.mark.parametrize("of", ["probability", "logit"])
@pytest.mark.parametrize("target", [0, 2, 4])
def test_closed_form_is_the_gradient(of, target):
    tensors, images = seeded_ensemble((23,)).members[0].tensors, slices.prepare(phantom((48, 40, 3)))
    net = MotionNet.from_tensors(tensors)
    features = net.features(to_input(images)).detach().requires_grad_()
    logits = net.head(features)
    score = logits.softmax(dim=1) if of == "probability" else logits
    (gradient,) = torch.autograd.grad(score[:, target].sum(), features)
    want = F.relu((gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1, keepdim=True))
    got = grad_cam(fast(tensors), folded(images), target, of)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-7)


def test_published_maps_fill_the_scan(scored):
    volume, ensemble, result = scored
    attention = explain(volume, ensemble, result, mode="published", engine=CPU)
    assert attention.shape == volume.shape
    assert attention.dtype == np.float32
    assert attention.max() == pytest.approx(1)
    assert attention.min() >= 0
    assert attention[:, :, 0].any()
    assert not attention[:, :, 1].any()  # not scored


def test_own_grade_maps_share_one_scale(scored):
    """Only members that voted for the slice's grade speak, and the maps keep their sizes across slices."""
    volume, ensemble, result = scored
    attention = explain(volume, ensemble, result, mode="per-slice", engine=CPU)
    images = slices.prepare(volume)
    peaks = []
    for z in (0, 2):
        voters = [
            fast(member.tensors)
            for member, grades in zip(ensemble.members, result.member_grades)
            if grades[z] == result.slice_grades[z]
        ]
        assert 0 < len(voters) < len(ensemble)
        x, target = folded(images[z : z + 1]), result.slice_grades[z] - 1
        with torch.inference_mode():
            maps = [grad_cam(member, x, target, "logit") for member in voters]
            peaks.append(upsampled(upsampled(torch.cat(maps).mean(dim=0, keepdim=True)), 48)[0, 0, :, 4:44].numpy())
    want = np.stack(peaks) / max(peak.max() for peak in peaks)
    np.testing.assert_allclose(attention[:, :, [0, 2]].transpose(2, 0, 1), want, atol=1e-5)


def test_target_and_mode(scored):
    volume, ensemble, result = scored
    other = explain(volume, ensemble, result, target_grade=5 if result.grade != 5 else 1, engine=CPU)
    assert not np.allclose(other, explain(volume, ensemble, result, engine=CPU))
    alone = explain(volume, ensemble, target_grade=3, engine=CPU)
    assert alone[:, :, 1].any()
    with pytest.raises(InputError, match="published, per-slice"):
        explain(volume, ensemble, result, mode="own")
    with pytest.raises(InputError, match="another scan"):
        explain(volume[:40], ensemble, result)


def test_a_crop_is_put_back_in_its_place(tmp_path):
    array = np.ascontiguousarray(phantom((48, 40, 2)).transpose(2, 1, 0))
    path, ensemble = write(tmp_path / "a.isq", isq_bytes(array)), seeded_ensemble()
    result = grade(path, ensemble, crop=(5, 45, 8, 38), engine=CPU)
    attention = explain(path, ensemble, result, engine=CPU)
    assert attention.shape == (48, 40, 2)
    inside = attention[5:45, 8:38].copy()
    attention[5:45, 8:38] = 0
    assert inside.any()
    assert not attention.any()
    cut = array[:, 8:38, 5:45].transpose(2, 1, 0)
    own = explain(cut, ensemble, replace(result, scan=replace(result.scan, crop_box=None)), engine=CPU)
    np.testing.assert_allclose(inside, own, atol=1e-6)


def test_an_empty_map_stays_empty():
    maps = torch.zeros(2, 1, 4, 4)
    maps[1, 0, 2, 2] = 3
    out = scaled(maps)
    assert not out[0].any()
    assert out[1].max() == pytest.approx(1)
