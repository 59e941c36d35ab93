"""The inputs of a trained network: tensors, arrays, pictures and lists of them, nothing else."""

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nasrun.data.decode import square
from nasrun.runs.preprocessing import Preprocessing

COLOUR, GREY = Preprocessing(3, 8, 1.0), Preprocessing(1, 8, 0.5)
LIKE = torch.zeros(1)


@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    count=st.integers(1, 3),
    view=st.sampled_from([COLOUR, GREY]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_every_form_of_the_same_pixels_is_seen_alike(height, width, count, view, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, view.channels, height, width)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    expected = view.read(pixels, LIKE)
    assert expected.shape == (count, view.channels, view.size, view.size)
    last = pixels.permute(0, 2, 3, 1).numpy()
    forms = [
        pixels.double() / 255,
        pixels.half() / 255,
        list(pixels),
        [pixels[:1], *pixels[1:]],
        last,
        last.astype("float64") / 255,
        last.astype("float32") / numpy.float32(255),
        list(last),
        tuple(last[::1, ::-1][:, ::-1]),  # strides of its own
    ]
    if view.channels == 1:
        forms += [list(last[..., 0]), list(pixels[:, 0])]
    for form in forms:
        seen = view.read(form, LIKE)
        assert seen.dtype == LIKE.dtype
        assert torch.allclose(seen, expected, atol=1e-3)
    single = view.read(last[0], LIKE)
    assert torch.allclose(single, expected[:1], atol=1e-6)
    assert torch.equal(view.read(pixels[0], LIKE), expected[:1])


@pytest.mark.parametrize("view", [COLOUR, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "I;16", "CMYK"])
def test_a_picture_is_seen_as_the_test_sees_its_file(view, mode, tmp_path):
    from nasrun.data.decode import load_image

    pixels = numpy.random.default_rng(0).integers(0, 256, (13, 17, 3)).astype(numpy.uint8)
    picture = Image.fromarray(pixels)
    if mode == "I;16":
        picture = Image.fromarray(pixels[..., 0].astype(numpy.uint16) * 257)
    picture = picture if mode == "I;16" else picture.convert(mode)
    path = tmp_path / "picture.tif"
    picture.save(path)
    expected = square(load_image(path, view.channels), view.size, view.kept).float() / 255
    with Image.open(path) as opened:
        assert torch.equal(view.read(opened, LIKE)[0], expected)


def test_images_of_several_sizes_and_kinds_are_one_batch():
    images = [
        torch.full((3, 5, 9), 0.5),
        numpy.full((12, 7, 3), 0.5),
        Image.new("RGB", (30, 20), (128, 128, 128)),
        [torch.full((2, 3, 4, 4), 128, dtype=torch.uint8)],
    ]
    seen = COLOUR.read(images, LIKE)
    assert seen.shape == (5, 3, 8, 8)
    assert (seen - 0.5).abs().max() < 0.003


# what is given -> words that the message must have
REFUSED = {
    "floats of 0..255": (torch.arange(192.0).view(3, 8, 8), "floats from 0 to 191 .* uint8"),
    "normalised floats": (
        torch.linspace(-2, 2, 192).view(3, 8, 8),
        r"floats from -2 to 2 .*0\.\.1",
    ),
    "no numbers": (torch.full((3, 8, 8), float("nan")), "floats from nan to nan"),
    "an array of 0..255 floats": (numpy.full((8, 8, 3), 200.0), "floats from 200 to 200"),
    "an empty batch": (torch.zeros(0, 3, 8, 8), "an empty batch; give one image or more"),
    "an empty list": ([], "an empty batch"),
    "an empty array": (numpy.zeros((0, 8, 8, 3)), "an empty batch"),
    "no pixels": (torch.zeros(1, 3, 0, 8), "has no pixels"),
    "other channels": (torch.zeros(1, 1, 8, 8), "images have 1 channels, the network takes 3"),
    "a single grey image": (torch.zeros(8, 8), r"shape \(8, 8\) is not read; use a tensor \(B, 3,"),
    "channels first": (numpy.zeros((3, 8, 8)), r"shape \(3, 8, 8\).*channels come last.*H, W, 3"),
    "five axes": (torch.zeros(1, 1, 3, 8, 8), "is not read; use"),
    "whole numbers": (torch.zeros(3, 8, 8, dtype=torch.long), r"torch\.int64 is not read"),
    "an array of whole numbers": (numpy.zeros((8, 8, 3), int), "int64 is not read"),
    "sixteen bits": (numpy.zeros((8, 8, 3), numpy.uint16), "uint16 is not read"),
    "objects": (numpy.array([None]), "object is not read"),
    "a path": ("picture.png", "str is not read; use .* a PIL image"),
    "numbers": ([[0.5]], "float is not read"),
    "nothing": (None, "NoneType is not read"),
}


@pytest.mark.parametrize(("given", "told"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_read_is_refused_with_the_form_that_is(given, told):
    with pytest.raises(ValueError, match=told):
        COLOUR.read(given, LIKE)


def test_floats_that_resampling_took_just_beyond_are_read():
    assert COLOUR.read(torch.full((3, 8, 8), 1.0004), LIKE).shape == (1, 3, 8, 8)


def test_floats_of_any_byte_order_and_width_are_read():
    image = numpy.random.default_rng(0).random((8, 8, 3))
    expected = Preprocessing(3, 8, 1.0).read(image, LIKE)
    for kind in (">f8", "<f8", ">f4", "longdouble", "f2"):
        seen = Preprocessing(3, 8, 1.0).read(image.astype(kind), LIKE)
        assert (seen - expected).abs().max() < 1e-3


def test_an_image_can_be_differentiated():
    image = torch.rand(3, 11, 9, requires_grad=True)
    COLOUR.read([image, image], LIKE).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
