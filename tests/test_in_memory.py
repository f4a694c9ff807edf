"""A data set in memory gives, at once, the batches that a plain loop over its samples gives."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset, default_collate

from helpers import through_a_file
from in_memory import FORMS, LABELS, PIXELS, Halved, as_form, batch_of, is_batch
from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, MixedLoader
from learn2mix.data import InMemory

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("maps")


def sampler_of(mixer=None):
    return MixedBatchSampler(LABELS, mixer or FixedMix("uniform"), batch_size=5, seed=5)


def data_of(folder, forms, *, named=False, halved=False):
    pixels, labels = (as_form(array, form, folder) for array, form in zip((PIXELS, LABELS), forms, strict=True))
    arrays = [{"pixels": pixels, "labels": labels}] if named else [pixels, labels]
    return InMemory(*arrays, transform=Halved() if halved else None)


def check_epochs(loader, halved, num_epochs=2):
    wanted = [batch for sampler in [sampler_of()] for _ in range(num_epochs) for batch in sampler]
    found = [batch for _ in range(num_epochs) for batch in loader]
    assert len(found) == len(wanted)
    assert all(is_batch(batch, batch_of(one, halved=halved)) for batch, one in zip(found, wanted, strict=True))


# ------------------------------------------------------------------ samples


@given(st.tuples(st.sampled_from(FORMS), st.sampled_from(FORMS)), st.booleans(), st.integers(-30, 29))
def test_a_sample_is_that_of_a_tensor_data_set(folder, forms, halved, index):
    wanted = TensorDataset(torch.from_numpy(PIXELS / np.float32(2) if halved else PIXELS), torch.from_numpy(LABELS))
    data = data_of(folder, forms, halved=halved)
    for place in (index, np.int32(index), torch.tensor(index)):
        sample = data[place]
        assert isinstance(sample, tuple)
        assert all(map(torch.equal, sample, wanted[index]))
    assert len(data) == 30
    assert [int(label) for _, label in data] == LABELS.tolist()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("named", [False, True])
def test_several_indices_a_slice_or_a_mask_give_a_batch(folder, form, named):
    data, chosen = data_of(folder, [form, form], named=named), [7, 3, -1, 3]
    mask = LABELS == 1
    for index in (chosen, np.array(chosen), np.array(chosen, np.int16), torch.tensor(chosen)):
        assert is_batch(data[index], batch_of(chosen, halved=False))
    read_only = np.array([7, 3, 3], np.int32)
    read_only.flags.writeable = False
    assert is_batch(data[read_only], batch_of([7, 3, 3], halved=False))
    assert is_batch(data[2:20:3], batch_of(range(2, 20, 3), halved=False))
    for index in (mask, torch.from_numpy(mask)):
        assert is_batch(data[index], batch_of(np.flatnonzero(mask), halved=False))


@pytest.mark.parametrize("index", [30, -31, [0, 30], np.array([-31]), torch.tensor([99])])
@pytest.mark.parametrize("form", FORMS)
def test_an_index_out_of_range_is_an_error(folder, form, index):
    with pytest.raises(IndexError, match="below 30"):
        data_of(folder, [form, form])[index]


@pytest.mark.parametrize("index", [[0.5], [[1]], [True, False]])
def test_what_is_no_index_is_an_error(folder, index):
    with pytest.raises(IndexError, match="whole numbers"):
        data_of(folder, ["tensor", "tensor"])[index]


def test_arrays_are_neither_copied_nor_changed(folder):
    array, tensor = PIXELS.copy(), torch.tensor(LABELS)
    data = InMemory(array, tensor, transform=lambda batch: batch.zero_())
    assert np.shares_memory(data.arrays[0].numpy(), array)
    assert data.arrays[1] is tensor
    assert data[4][0].sum() == 0
    assert np.array_equal(array, PIXELS)
    mapped = as_form(PIXELS, "map", folder)
    for data in (InMemory(mapped), InMemory(mapped, device="cpu"), InMemory.of(InMemory(mapped), device="cpu")):
        assert np.shares_memory(data.arrays[0], mapped)


def test_bytes_stay_bytes_and_other_types_what_they_are():
    for dtype in (np.uint8, np.bool_, np.int16, np.float16, np.float64, np.complex64):
        (found,) = InMemory(np.ones((4, 2), dtype))[[1, 2]]
        assert found.numpy().dtype == dtype
    assert InMemory(torch.ones(3, dtype=torch.bfloat16))[0][0].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("arrays", "error", "match"),
    [
        ([], ValueError, "at least one"),
        ([{}], ValueError, "at least one"),
        ([PIXELS, LABELS[:-1]], ValueError, r"one length, got lengths \[30, 29\]"),
        ([np.float32(3)], ValueError, "a row for each sample"),
        ([torch.ones(3), torch.ones(3, device="meta")], ValueError, r"one device, got \['cpu', 'meta'\]; give device="),
        ([["a", "b"]], TypeError, "a type that torch has, got <U1"),
        ([np.array([1, None])], TypeError, "got object"),
        ([np.ones(3, ">f4")], TypeError, "got >f4"),
    ],
)
def test_what_cannot_be_gathered_is_an_error(arrays, error, match):
    with pytest.raises(error, match=match):
        InMemory(*arrays)


# ------------------------------------------------------------------ transforms


def test_a_transform_gets_the_first_array_s_batch_or_the_dict_of_all():
    seen = []

    def noted(batch):
        seen.append(batch)
        return batch

    for data in (InMemory(PIXELS, LABELS, transform=noted), InMemory({"x": PIXELS, "y": LABELS}, transform=noted)):
        next(iter(MixedLoader(data, sampler_of())))
    first, second = seen
    assert first.shape == (5, 2, 3)
    assert {name: len(part) for name, part in second.items()} == {"x": 5, "y": 5}


def test_a_transform_may_give_several_views():
    data = InMemory(PIXELS, LABELS, transform=lambda batch: (batch, {"flipped": batch.flip(-1)}))
    (one, two), _ = data[3]
    assert torch.equal(one.flip(-1), two["flipped"])
    for loader in (MixedLoader(data, sampler_of()), DataLoader(data, batch_sampler=sampler_of())):
        (one, two), _ = next(iter(loader))
        assert one.shape == (5, 2, 3)
        assert torch.equal(one.flip(-1), two["flipped"])


@pytest.mark.parametrize("wrong", [lambda batch: batch[0], lambda batch: batch.sum(), lambda batch: [batch, batch[1:]]])
def test_a_transform_that_was_made_for_single_samples_is_found_out(wrong):
    with pytest.raises(ValueError, match="transform must return as many samples as it gets"):
        InMemory(PIXELS, LABELS, transform=wrong)[[0, 1, 2, 5, 7]]
    with pytest.raises(ValueError, match=r"transform must return tensors.*got str"):
        InMemory(PIXELS, LABELS, transform=str)[[0, 1]]


def test_torchvision_s_transforms_work_on_batches_as_on_each_image():
    v2 = pytest.importorskip("torchvision.transforms.v2")
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (30, 3, 8, 8), dtype=np.uint8))
    still = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5, 0.4, 0.3], [0.2, 0.2, 0.2])])
    for images_of_batch, _ in MixedLoader(InMemory(images, LABELS, transform=still), sampler_of()):
        assert images_of_batch.shape == (5, 3, 8, 8)
    assert torch.equal(InMemory(images, transform=still)[:][0], torch.stack([still(image) for image in images]))
    moving = v2.Compose([v2.RandomCrop(8, padding=2), v2.RandomHorizontalFlip()])
    with torch.random.fork_rng():
        for seed in range(5):
            torch.manual_seed(seed)
            (found,) = InMemory(images, transform=moving)[[4, 5, 6]]
            torch.manual_seed(seed)
            assert torch.equal(found, moving(images[4:7])), "one draw for the batch"


# ------------------------------------------------------------------ loaders

SETTINGS = st.fixed_dictionaries(
    {
        "forms": st.tuples(st.sampled_from(FORMS), st.sampled_from(FORMS)),
        "named": st.booleans(),
        "halved": st.booleans(),
    }
)


@given(SETTINGS, st.sampled_from(["raise", "skip", "torch", "torch, of a subset"]))
def test_every_loader_gives_the_batches_of_a_plain_loop(folder, given_settings, kind):
    data = data_of(folder, **given_settings)
    if kind == "torch":
        loader = DataLoader(data, batch_sampler=sampler_of())
    elif kind == "torch, of a subset":
        loader = DataLoader(Subset(data, range(30)), batch_sampler=sampler_of())
    else:
        loader = MixedLoader(data, sampler_of(), on_error=kind)
    check_epochs(loader, given_settings["halved"])


def test_mixed_loader_makes_no_lists_of_its_indices_and_torch_s_does():
    class Noted(InMemory):
        def __getitems__(self, indices):
            assert type(indices) is self.kind
            return super().__getitems__(indices)

    for kind, loader in ((np.ndarray, MixedLoader), (list, DataLoader)):
        Noted.kind = kind
        check_epochs(loader(Noted(PIXELS, LABELS), batch_sampler=sampler_of()), halved=False)


WAYS = {
    "torch": (DataLoader, {}),
    "ours": (MixedLoader, {}),
    "skip": (MixedLoader, {"on_error": "skip"}),
    "no lag": (MixedLoader, {"zero_lag": True}),
    "no lag, skip": (MixedLoader, {"zero_lag": True, "on_error": "skip"}),
}


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=4)
@given(SETTINGS)
def test_so_it_does_with_workers(folder, way, given_settings):
    kind, arguments = WAYS[way]
    loader = kind(data_of(folder, **given_settings), batch_sampler=sampler_of(), num_workers=2, **arguments)
    check_epochs(loader, given_settings["halved"])


@pytest.mark.parametrize("kind", [MixedLoader, DataLoader])
def test_so_it_does_with_workers_that_are_not_forked(folder, kind, unforked):
    data = data_of(folder, ["part of a map", "read-only"], halved=True)
    check_epochs(kind(data, batch_sampler=sampler_of(), num_workers=1, multiprocessing_context=unforked), True, 1)


@pytest.mark.filterwarnings("ignore:.*pin_memory.*no accelerator")
@pytest.mark.parametrize("kind", [MixedLoader, DataLoader])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_memory_may_be_pinned(folder, kind, num_workers):
    data = data_of(folder, ["tensor", "map"], halved=True)
    check_epochs(kind(data, batch_sampler=sampler_of(), num_workers=num_workers, pin_memory=True), halved=True)


def test_a_collate_fn_gets_samples_and_default_collate_the_batch_as_it_was_gathered(folder):
    gathered = []

    def noted(batch):
        gathered.append(batch / 2)
        return gathered[-1]

    def collate(samples):
        assert len(samples) == 5
        assert [int(label) for _, label in samples] == [int(samples[place][1]) for place in range(-5, 0)]
        assert len(samples[1:3]) == 2
        with pytest.raises(IndexError):
            samples[5]
        return default_collate(samples), list(samples)

    data = InMemory(PIXELS, LABELS, transform=noted)
    for loader in (
        MixedLoader(data, sampler_of(), collate_fn=collate),
        DataLoader(data, batch_sampler=sampler_of(), collate_fn=collate),
    ):
        (pixels, labels), samples = next(iter(loader))
        assert pixels is gathered[-1]
        assert all(map(torch.equal, default_collate(samples), (pixels, labels)))
        assert type(default_collate(samples)) is list


def test_several_in_a_row_are_a_data_set_too(folder):
    parts = [data_of(folder, ["tensor", "map"]), data_of(folder, ["array", "tensor"])]
    sampler = MixedBatchSampler(np.r_[LABELS, LABELS], FixedMix(), batch_size=6)
    for pixels, labels in MixedLoader(ConcatDataset(parts), sampler):
        assert pixels.shape == (6, 2, 3)
        assert labels.dtype == torch.int64


def test_samples_that_a_transform_breaks_on_are_skipped_alone():
    def fragile(batch):
        if (batch == PIXELS[7].max()).all():
            raise ValueError("seven")
        return batch

    pixels = PIXELS.copy()
    pixels[7] = PIXELS[7].max()
    data = InMemory(pixels, LABELS, transform=lambda batch: torch.cat([fragile(one[None]) for one in batch]))
    loader = MixedLoader(data, sampler_of(FixedMix()), on_error="skip")
    with pytest.warns(UserWarning, match="skipped sample 7: ValueError: seven"):
        sizes = [len(labels) for _, labels in loader]
    assert sorted(sizes) == [4, 5, 5, 5, 5, 5]
    with pytest.raises(ValueError, match="seven"):
        list(MixedLoader(data, sampler_of(FixedMix())))


# ------------------------------------------------------------------ stops


def test_losses_find_their_batch_and_a_stop_is_resumed(folder):
    def run(loader, length):
        seen = []
        for (pixels, labels), _ in zip(loader, range(length), strict=False):
            loader.observe(1.0 + labels)
            seen.append((pixels.tolist(), loader.mixer.proportions.tolist()))
        return seen

    def made():
        return MixedLoader(data_of(folder, ["map", "tensor"], halved=True), sampler_of(Learn2Mix(0.3)))

    unbroken, stopped, resumed = made(), made(), made()
    before = run(stopped, 3)
    resumed.load_state_dict(through_a_file(stopped.state_dict()))
    assert before + run(resumed, 3) == run(unbroken, 6)


@pytest.mark.parametrize("form", FORMS)
def test_a_pickle_has_the_values_but_of_a_map_only_its_place(folder, form):
    big = np.arange(100_000, dtype=np.float32).reshape(-1, 2)
    data = InMemory(as_form(big, form, folder), transform=Halved())
    packed = pickle.dumps(data)
    assert (len(packed) < 5000) == ("map" in form)
    again = pickle.loads(pickle.dumps(pickle.loads(packed)))
    assert torch.equal(again[3:40:5][0], torch.from_numpy(big[3:40:5] / 2))


def test_a_map_whose_changes_stay_in_memory_is_pickled_with_them(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(4))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="c")
    mapped[2] = 7
    assert pickle.loads(pickle.dumps(InMemory(mapped)))[2] == (torch.tensor(7.0, dtype=torch.float64),)


def test_nothing_is_drawn_from_the_global_random_state(folder, untouched_random_state):
    data = data_of(folder, ["tensor", "map"], halved=True)
    list(MixedLoader(data, sampler_of()))
    InMemory.of([data[index] for index in range(30)])
