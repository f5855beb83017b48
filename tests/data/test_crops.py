from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from fran import keys
from fran.augmentation.normalise import window_for
from fran.data.crops import CaseDataset, CropDataset, EpochSampler, collate
from fran.data.source import CaseSource
from fran.errors import CasesFailed, ConfigError, DataError
from fran.labels import LabelScheme

PATCH = (20, 16, 12)


@pytest.fixture
def source(manifest, labels, ct_properties):
    return CaseSource(manifest, sorted(manifest.cases), labels, ct_properties)


def equal(a, b):
    return all(np.array_equal(a[k], b[k]) for k in a)


def test_a_sample_is_a_crop_with_channels_and_window(manifest, source, ct_properties):
    sample = CropDataset(source, PATCH, seed=3)[0]
    assert sample[keys.IMAGE].shape == sample[keys.LM].shape == PATCH
    assert (sample[keys.IMAGE].dtype, sample[keys.LM].dtype) == (np.int16, np.uint8)
    assert set(np.unique(sample[keys.LM])) <= {0, 1, 2}
    entry = manifest.cases[sample[keys.CASE_ID]]
    window = window_for("CT", entry.intensity, ct_properties)
    np.testing.assert_allclose(sample[keys.WINDOW], [1, 0, *window.as_tuple()])


def test_samples_follow_from_seed_and_index_alone(source):
    crops = CropDataset(source, PATCH, seed=3)
    first = [crops[i] for i in range(8)]
    again = pickle.loads(pickle.dumps(CropDataset(source, PATCH, seed=3)))
    assert all(equal(again[i], first[i]) for i in reversed(range(8)))
    other = CropDataset(source, PATCH, seed=4)
    assert not all(equal(other[i], first[i]) for i in range(8))
    assert len({s[keys.SEED] for s in first}) == 8


def test_a_sample_that_moves_is_read_with_its_surroundings(source):
    margins = {0: ((3, 0, 1), (0, 2, 40)), 1: None}
    plain = CropDataset(source, PATCH, seed=3)
    crops = CropDataset(source, PATCH, seed=3, margins=lambda seed, size: margins[seed % 2])
    found = [crops[i] for i in range(8)]
    assert {keys.WIDE in s for s in found} == {True, False}
    for index, sample in enumerate(found):
        assert all(np.array_equal(sample[k], v) for k, v in plain[index].items()), "the crop itself is the same"
        if keys.WIDE in sample:
            image, channels = sample[keys.WIDE]
            assert image.shape == channels.shape == (23, 18, 53)
            assert (image[..., -1] == source.volume(sample[keys.CASE_ID])[0].min()).all(), "beyond the volume"
            assert np.array_equal(image[3:23, 0:16, 1:13], sample[keys.IMAGE])
    batch = collate(found[:4])
    rows = [row for row, *_ in batch[keys.WIDE]]
    assert rows == [i for i in range(4) if keys.WIDE in found[i]]
    assert all(image.shape == lm.shape == (1, 23, 18, 53) for _, image, lm in batch[keys.WIDE])
    assert keys.WIDE not in collate([plain[0]])


def test_every_case_comes_once_before_any_comes_again(source):
    crops = CropDataset(source, PATCH, seed=0)
    n = len(source)
    for number in range(3):
        assert sorted(crops[i][keys.CASE_ID] for i in range(number * n, number * n + n)) == list(source.case_ids)


def test_consecutive_crops_come_from_one_case_and_one_reading(source, monkeypatch):
    read = []
    volume = CaseSource.volume
    monkeypatch.setattr(CaseSource, "volume", lambda self, case_id: read.append(case_id) or volume(self, case_id))
    crops, plain = CropDataset(source, PATCH, seed=3, samples_per_file=8), CropDataset(source, PATCH, seed=3)
    samples = [crops[i] for i in range(8 * len(source))]
    order = [s[keys.CASE_ID] for s in samples]
    assert order[::8] == read == [plain[i][keys.CASE_ID] for i in range(len(source))]
    assert all(order[i] == order[i - i % 8] for i in range(len(order)))
    assert len({(s[keys.SEED], s[keys.IMAGE].tobytes()) for s in samples[:8]}) == 8
    assert equal(CropDataset(source, PATCH, seed=3, samples_per_file=8)[13], samples[13])


def test_a_case_larger_than_its_crops_is_not_read_whole(source, monkeypatch):
    whole = CropDataset(source, (38, 16, 24), seed=2, samples_per_file=3)
    kept = [whole[i] for i in range(6)]
    monkeypatch.setattr(CaseSource, "volume", None)
    monkeypatch.setattr(CropDataset, "_reads_whole", lambda self, case_id: False)
    assert all(equal(whole[i], kept[i]) for i in range(6)), "the crops do not depend on how they were read"
    monkeypatch.undo()
    monkeypatch.setattr(CaseSource, "volume", None)
    assert CropDataset(source, (8, 8, 8), samples_per_file=4)[0][keys.IMAGE].shape == (8, 8, 8)


def test_case_weights_hold_with_several_crops_a_case(source):
    first, second, *others = source.case_ids
    weights = {first: 3.0, second: 1.0, **dict.fromkeys(others, 0.0)}
    crops = CropDataset(source, (4, 4, 4), seed=0, case_weights=weights, samples_per_file=2)
    drawn = [crops[i][keys.CASE_ID] for i in range(800)]
    assert drawn[::2] == drawn[1::2]
    assert drawn.count(first) / 800 == pytest.approx(0.75, abs=0.05)
    with pytest.raises(ConfigError, match="samples_per_file: expected 1 or more, found 0"):
        CropDataset(source, PATCH, samples_per_file=0)


def test_foreground_crops_hold_the_drawn_class_near_the_middle(source):
    always = CropDataset(source, PATCH, fg_fraction=1.0, seed=1, class_weights={"organ": 0.0})
    for index in range(12):
        lm = always[index][keys.LM]
        assert (lm == 2).any()
    share = np.mean([(CropDataset(source, PATCH, 0.0, seed=1)[i][keys.LM] == 2).any() for i in range(40)])
    assert share < 1


def test_a_class_without_stored_voxels_leaves_its_crops_to_the_others(source, monkeypatch):
    stored = CaseSource.foreground
    none = np.empty((0, 3), np.int16)
    monkeypatch.setattr(
        CaseSource, "foreground", lambda self, c, channel: none if channel == 1 else stored(self, c, channel)
    )
    always = CropDataset(source, PATCH, fg_fraction=1.0, seed=1)
    assert all((always[index][keys.LM] == 2).any() for index in range(20))
    monkeypatch.setattr(CaseSource, "foreground", lambda self, case_id, channel: none)
    assert always[0][keys.LM].shape == PATCH


def test_without_foreground_samples_crops_are_centred_on_boxes(manifest, labels, ct_properties):
    bare = replace(manifest, params={"use_fg_indices": False})
    source = CaseSource(bare, sorted(bare.cases), labels, ct_properties)
    crops = CropDataset(source, (16, 12, 8), fg_fraction=1.0, seed=1, class_weights={"organ": 0.0})
    for index in range(20):
        case_id = source.case_ids[index % len(source)]
        centre = crops._foreground_centre(case_id, np.random.default_rng(index))
        ((low, high),) = source.boxes(case_id, 2)
        assert (centre >= low).all() and (centre < high).all()


def test_foreground_fraction_is_met(source, monkeypatch):
    asked = []
    monkeypatch.setattr(CropDataset, "_foreground_centre", lambda self, case_id, draw: asked.append(case_id))
    crops = CropDataset(source, PATCH, fg_fraction=0.33, seed=1)
    for index in range(600):
        crops._start(source.case_ids[0], np.random.default_rng(index))
    assert len(asked) / 600 == pytest.approx(0.33, abs=0.05)


def test_volumes_smaller_than_the_patch_are_padded_centred(source):
    image, channels = source.volume("case0")  # 36 x 29 x 22
    sample = CropDataset(CaseSource(source.manifest, ["case0"], source.labels, source.properties), (40, 29, 30))[0]
    np.testing.assert_array_equal(sample[keys.IMAGE][2:38, :, 4:26], image)
    np.testing.assert_array_equal(sample[keys.LM][2:38, :, 4:26], channels)
    assert (sample[keys.IMAGE][:2] == image.min()).all()
    assert not sample[keys.LM][:, :, 26:].any()


def test_memory_cache_gives_the_same_crops(manifest, labels, ct_properties, source):
    cached = CaseSource(manifest, source.case_ids, labels, ct_properties, cache="ram")
    cached.hold("ram", torch.device("cpu"))
    a, b = CropDataset(source, (38, 16, 24), seed=2), CropDataset(cached, (38, 16, 24), seed=2)
    assert all(equal(a[i], b[i]) for i in range(10))


def test_open_files_are_bounded(source, monkeypatch):
    monkeypatch.setattr("fran.data.source.MAX_OPEN_FILES", 2)
    for case_id in source.case_ids:
        source.crop(case_id, (0, 0, 0), PATCH)
    assert sum(r._handle is not None for r in source._readers.values()) == 2


def test_case_weights_choose_cases(source):
    crops = CropDataset(source, PATCH, seed=0, case_weights=dict.fromkeys(source.case_ids[1:], 0.0))
    assert {crops[i][keys.CASE_ID] for i in range(10)} == {source.case_ids[0]}
    with pytest.raises(ConfigError, match="a weight above 0, found none"):
        CropDataset(source, PATCH, case_weights=dict.fromkeys(source.case_ids, 0.0))
    with pytest.raises(ConfigError, match=r"class_sampling_weights: .*lesion, organ"):
        CropDataset(source, PATCH, class_weights={"tumour": 1.0})


def test_label_map_is_applied_on_the_fly(manifest, ct_properties):
    merged = CaseSource(manifest, ["case0"], LabelScheme((5,), {5: "all"}), ct_properties, {3: 5, 7: 5})
    _, channels = merged.volume("case0")
    assert set(np.unique(channels)) == {0, 1}
    assert merged.channels_present("case0") == [1]
    both = sum(len(manifest.reader("case0").fg_indices(v)) for v in (3, 7))
    assert len(merged.foreground("case0", 1)) == both


def test_unknown_labels_name_cases_and_values_before_anything_is_read(manifest, ct_properties):
    with pytest.raises(CasesFailed, match=r"(?s)2 of 2 cases.*case0.*also \[7\].*case1.*also \[7\]"):
        CaseSource(manifest, ["case0", "case1"], LabelScheme((3,)), ct_properties)


def test_a_label_that_the_manifest_does_not_count_is_still_refused(manifest, ct_properties):
    forgetful = copy.deepcopy(manifest)
    del forgetful.cases["case0"].labels[7]
    with pytest.raises(DataError, match=r"case0.*found also \[7\]"):
        CaseSource(forgetful, ["case0"], LabelScheme((3,)), ct_properties).volume("case0")


def test_samples_say_which_channels_were_drawn(manifest, ct_properties):
    scheme = LabelScheme((3, 7, 9), {3: "organ", 7: "lesion", 9: "vessel"})
    source = CaseSource(manifest, ["case0"], scheme, ct_properties, unannotated={"phantom": (9,), "other": (3,)})
    crops = CropDataset(source, PATCH)
    assert crops[0][keys.ANNOTATED].tolist() == [True, True, True, False]
    assert collate([crops[0], crops[1]])[keys.ANNOTATED].tolist() == 2 * [[True, True, True, False]]
    complete = CaseSource(manifest, ["case0"], scheme, ct_properties, unannotated={"other": (3,)})
    assert CaseDataset(complete)[0][keys.ANNOTATED].all()
    assert keys.ANNOTATED not in collate([CaseDataset(complete)[0]])


def test_a_label_said_to_be_unannotated_must_not_be_there(manifest, labels, ct_properties):
    with pytest.raises(CasesFailed, match=r"(?s)case0.*datasource phantom does not annotate.*lesion"):
        CaseSource(manifest, ["case0"], labels, ct_properties, unannotated={"phantom": (7,)})
    merged = {3: 5, 7: 5}
    with pytest.raises(CasesFailed, match="label_5"):
        CaseSource(manifest, ["case0"], LabelScheme((5,)), ct_properties, merged, unannotated={"phantom": (5,)})


def test_missing_cases_are_reported_together(manifest, labels, ct_properties):
    with pytest.raises(CasesFailed, match="2 of 3 cases"):
        CaseSource(manifest, ["case0", "x1", "x2"], labels, ct_properties)
    with pytest.raises(ConfigError, match="no cases"):
        CaseSource(manifest, [], labels, ct_properties)


def test_mr_is_scaled_by_the_stored_slope_and_its_own_statistics(mr_manifest, labels):
    from fran.augmentation.normalise import normalise_stored

    batch = collate([CaseDataset(CaseSource(mr_manifest, ["case0"], labels, {}))[0]])
    image = normalise_stored(batch[keys.IMAGE], batch[keys.WINDOW])
    organ = image[batch[keys.LM] == 1]
    stats = mr_manifest.cases["case0"].intensity
    assert float(organ.mean()) == pytest.approx((110 - stats["mean"]) / stats["std"], abs=0.1)


def test_sampler_takes_up_any_epoch_and_shares_among_processes():
    sampler = EpochSampler(4)
    sampler.set_epoch(2)
    assert list(sampler) == [8, 9, 10, 11]
    shared = [EpochSampler(3, rank, 2) for rank in range(2)]
    for part in shared:
        part.set_epoch(1)
    assert sorted(i for part in shared for i in part) == list(range(6, 12))


def test_processes_take_turns_of_several_indices():
    taken = {rank: [] for rank in range(2)}
    for epoch in range(4):
        for rank, indices in taken.items():
            sampler = EpochSampler(6, rank, 2, turn=4)
            sampler.set_epoch(epoch)
            indices += list(sampler)
    assert sorted(taken[0] + taken[1]) == list(range(48))
    assert all(i // 4 % 2 == rank for rank, indices in taken.items() for i in indices)


def test_sixteen_bit_channels_become_int32():
    sample = {
        keys.IMAGE: np.zeros((2, 3, 4), np.int16),
        keys.LM: np.full((2, 3, 4), 300, np.uint16),
        keys.WINDOW: np.zeros(6, np.float32),
        keys.SEED: 1,
        keys.CASE_ID: "a",
        keys.ANNOTATED: np.array([True, False]),
    }
    batch = collate([sample, sample])
    assert batch[keys.LM].dtype == torch.int32
    assert batch[keys.IMAGE].shape == (2, 1, 2, 3, 4)
    assert int(batch[keys.LM].max()) == 300
