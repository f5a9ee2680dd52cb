"""Order, views and normalisation: by stream and epoch, never by the batch, the device or what ran before."""

import numpy as np
import pytest
import torch

from kdstats.datasets import Dataset, load_dataset
from kdstats.plan import stream
from kdstats.protocol import Recipe
from kdstats.training.data import (
    Batch,
    Mixing,
    augmentation,
    augmented,
    batches,
    epoch_order,
    mixed,
    normalise,
    to_device,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images():
    return to_device(load_dataset("digits"), CPU)


def test_normalised_training_images_have_mean_zero_and_variance_one(images):
    x = normalise(images, images.x_train)
    assert x.shape == (300, 1, 8, 8) and x.dtype == torch.float32
    assert abs(x.mean().item()) < 1e-5 and x.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_a_constant_channel_is_zero_not_nan():
    x = np.zeros((4, 5, 5, 2), np.uint8)
    x[..., 1] = np.arange(4)[:, None, None]
    y = np.array([0, 1, 0, 1])
    images = to_device(Dataset("x", x, y, x, y, 2), CPU)
    assert (normalise(images, images.x_train)[:, 0] == 0).all()


def test_an_epoch_sees_each_image_at_most_once_and_drops_what_fills_no_batch():
    order = epoch_order(stream(0, "student", 1, 2, "order"), 3, 100, 30)
    assert order.shape == (3, 30) and len(set(order.ravel().tolist())) == 90
    seen = {i for epoch in range(20) for i in epoch_order(stream(0), epoch, 100, 30).ravel().tolist()}
    assert seen == set(range(100))


def test_order_belongs_to_stream_and_epoch():
    first = epoch_order(stream(0, "a"), 0, 50, 10)
    assert np.array_equal(first, epoch_order(stream(0, "a"), 0, 50, 10))
    assert not np.array_equal(first, epoch_order(stream(0, "a"), 1, 50, 10))
    assert not np.array_equal(first, epoch_order(stream(0, "b"), 0, 50, 10))


@pytest.mark.parametrize("name", ["crop", "crop-flip"])
def test_a_view_belongs_to_the_image_not_to_its_batch(images, name):
    seed = stream(0, "views")
    index = torch.tensor([5, 17, 200])
    draws, others = (augmentation(name, seed, epoch, 300, images.shape, CPU) for epoch in (2, 3))
    together = augmented(images.x_train[index], index, draws)
    alone = augmented(images.x_train[index[1:2]], index[1:2], draws)
    assert torch.equal(together[1:2], alone)
    assert not torch.equal(together, augmented(images.x_train[index], index, others))


def test_every_view_is_a_shifted_and_perhaps_mirrored_copy():
    x = torch.arange(1, 65, dtype=torch.uint8).reshape(1, 8, 8, 1).repeat(200, 1, 1, 1)
    index = torch.arange(200)
    views = augmented(x, index, augmentation("crop-flip", stream(1), 0, 200, (8, 8, 1), CPU))[..., 0]
    padded = torch.nn.functional.pad(x[0, ..., 0], (1, 1, 1, 1))
    allowed = {
        crop.numpy().tobytes()
        for row in range(3)
        for column in range(3)
        for crop in (padded[row : row + 8, column : column + 8], padded[row : row + 8, column : column + 8].flip(1))
    }
    found = {view.contiguous().numpy().tobytes() for view in views}
    assert (
        found <= allowed and len(found) == 18
    )  # 9 shifts × 2: all occur in 200 draws (P(miss one) < 2e-4; fixed seed)


def test_batches_hold_views_and_labels_of_their_index(images):
    order = epoch_order(stream(0), 0, 300, 30)
    parts = list(batches(images, order, Recipe(), stream, 0))
    assert len(parts) == 10
    index = parts[7].index
    assert torch.equal(parts[7].labels, images.y_train[index])
    assert torch.equal(parts[7].views, normalise(images, images.x_train[index]))


def test_smoothed_labels_by_hand(images):
    order = epoch_order(stream(0), 0, 300, 30)
    labels = next(batches(images, order, Recipe(label_smoothing=0.2), stream, 0)).labels
    true = images.y_train[torch.from_numpy(order[0])]
    assert torch.allclose(labels.gather(1, true[:, None]), torch.tensor(0.82))  # .8 + .2 / 10
    assert torch.allclose(labels.sum(1), torch.tensor(1.0)) and labels.min() == pytest.approx(0.02)


def test_mixed_by_hand():
    views = torch.arange(32.0).reshape(2, 1, 4, 4)
    labels = torch.eye(2)
    batch = Batch(torch.arange(2), views, labels)
    half = mixed(batch, Mixing(0.75))
    x, y = half.views, half.labels
    assert torch.equal(x[0], 0.75 * views[0] + 0.25 * views[1]) and torch.equal(x[1], 0.25 * views[0] + 0.75 * views[1])
    assert y.tolist() == [[0.75, 0.25], [0.25, 0.75]]
    half = mixed(batch, Mixing(0.5, (slice(0, 2), slice(0, 4))))
    x, y = half.views, half.labels
    assert torch.equal(x[0, :, :2], views[1, :, :2]) and torch.equal(x[0, :, 2:], views[0, :, 2:])
    assert y.tolist() == [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_labels_are_mixed_as_the_pixels_are(kind):
    """Images of one colour, 0 or 1: the mean pixel is the share of the label's class, whatever is drawn."""
    x = np.zeros((64, 8, 8, 1), np.float32)
    x[32:] = 1
    y = np.repeat([0, 1], 32)
    images = to_device(Dataset("x", x, y, x, y, 2), CPU)
    recipe = Recipe(batch_size=16, **{kind: 1.0})
    shares = []
    for epoch in range(5):
        order = epoch_order(stream(1), epoch, 64, 16)
        for batch in batches(images, order, recipe, stream, epoch):
            pixels = batch.views.mean((1, 2, 3)) * images.std + images.mean
            assert torch.allclose(pixels, batch.labels[:, 1], atol=1e-5)
            shares += batch.labels.max(1).values.tolist()
    assert len(set(shares)) > 10 and min(shares) < 0.9


def test_mixing_belongs_to_stream_and_epoch(images):
    order = epoch_order(stream(0), 0, 300, 30)
    first, again, other = (next(batches(images, order, Recipe(mixup=1.0), stream, epoch)).views for epoch in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
