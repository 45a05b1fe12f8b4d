"""Data sets from arrays, from torch's data sets, and by registering."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset
from torchvision.datasets import FakeData
from torchvision.transforms import ToTensor

import lmcnb
from lmcnb import Dataset
from lmcnb.data import DATASETS


def test_pictures_and_tensors_of_torch_give_the_same_data_set():
    pictures = [FakeData(n, (3, 8, 8), 4, random_offset=k) for k, n in enumerate((40, 20))]
    tensors = [FakeData(n, (3, 8, 8), 4, ToTensor(), random_offset=k) for k, n in enumerate((40, 20))]
    a, b = Dataset.from_torch("fake", *pictures), Dataset.from_torch("fake", *tensors)
    assert a.fingerprint == b.fingerprint and a.train.shape == (3, 8, 8) and len(a.test) == 20
    assert torch.equal(a.train.x[3], torch.from_numpy(np.asarray(pictures[0][3][0])).permute(2, 0, 1))
    assert a.train.y[3] == int(pictures[0][3][1])


def test_bytes_are_taken_as_they_are_and_options_passed_on():
    x = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)
    data = TensorDataset(x, torch.tensor([0, 1, 0, 1]))
    found = Dataset.from_torch("bytes", data, data, mean=[0.5], std=[0.25], note="made up")
    assert torch.equal(found.train.x, x) and found.train.mean.tolist() == [0.5] and found.note == "made up"


def test_what_is_normalised_or_of_many_sizes_is_refused():
    normalised = TensorDataset(torch.randn(4, 1, 8, 8), torch.zeros(4))
    with pytest.raises(ValueError, match="mine: pixels must lie in 0…1; take normalising out"):
        Dataset.from_torch("mine", normalised, normalised)
    sizes = [(Image.new("RGB", (8, 8 + k)), 0) for k in range(2)]
    with pytest.raises(ValueError, match="mine: images must be of one size"):
        Dataset.from_torch("mine", sizes, sizes)


def test_a_data_set_is_registered_by_a_decorator_that_may_run_again():
    try:
        for count in (100, 200):
            @lmcnb.register_dataset("mine")
            def mine(count=count) -> Dataset:
                return lmcnb.load("digits").first(train=count)
            assert len(lmcnb.load("mine").train) == count and callable(mine)
        for name in ("cifar10", "folder:x"):
            with pytest.raises(ValueError, match="is built in; choose another name"):
                lmcnb.register_dataset(name, mine)
    finally:
        DATASETS.pop("mine", None)


def test_an_array_that_is_missing_is_named():
    with pytest.raises(ValueError, match="mine: arrays y_train, x_test are missing"):
        Dataset.from_arrays("mine", x_train=np.zeros((2, 4, 4, 3), np.uint8), y_test=np.zeros(2, int))
