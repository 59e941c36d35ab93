"""Folders as people have them: parts, classes, links, and names."""

import os

import pytest

from nasrun.data.layout import read_layout


@pytest.fixture
def plant(tmp_path):
    """Make files of their own names as contents below `set`; returns that folder."""

    def planted(*names):
        for name in names:
            path = tmp_path / "set" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        return tmp_path / "set"

    return planted


def numbered(part, count=8, classes=("ant", "bee")):
    return [f"{part}/{name}/{number}.png" for name in classes for number in range(count)]


def parts(root, test=None):
    """The names of the training, the validation and the test files."""
    layout = read_layout(str(root), test)
    aside = layout.aside
    names = layout.training.files
    given = [] if aside is None else [n for n, a in zip(names, aside.tolist(), strict=True) if a]
    return sorted(set(names) - set(given)), sorted(given), sorted(layout.test.files)


def refused(root, test=None):
    with pytest.raises(ValueError, match=r"dataset\.") as error:
        read_layout(str(root), test)
    assert "\n" not in str(error.value)
    return str(error.value)


# Parts


@pytest.mark.parametrize("train", ["train", "Train", "TRAIN", "training", "Training"])
@pytest.mark.parametrize("test", ["test", "Test", "TEST", "testing", "Testing"])
def test_the_common_names_of_train_and_test_are_known_in_any_case(plant, train, test):
    root = plant(*numbered(train), *numbered(test, 3))
    assert parts(root) == (numbered(train), [], numbered(test, 3))


@pytest.mark.parametrize("name", ["val", "Val", "valid", "validation", "Validation", "VALID"])
def test_a_validation_folder_is_the_test_part_alone_and_itself_beside_one(plant, name):
    root = plant(*numbered("train"), *numbered(name, 2))
    assert parts(root) == (numbered("train"), [], numbered(name, 2))
    plant(*numbered("test", 3))
    assert parts(root) == (numbered("train"), numbered(name, 2), numbered("test", 3))


def test_two_names_for_a_part_are_refused(plant):
    root = plant(*numbered("train"), *numbered("Testing", 3), *numbered("test", 3))
    assert "both Testing and test are there; keep one" in refused(root)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("training_set", "test_set"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("2023", "2024"),
    ],
)
def test_folders_that_share_the_names_of_classes_are_parts_not_classes(plant, first, second):
    root = plant(*numbered(first), *numbered(second, 3))
    text = refused(root)
    names = sorted([first.split("/")[0], second.split("/")[0]])
    assert f"the folders {names[0]} and {names[1]} both have ant, bee in them" in text
    assert "name the parts of the set train, val and test, or put its classes into train/" in text


def test_parts_inside_of_classes_are_no_classes_either(plant):
    names = [f"{name}/{part}/{n}.png" for name in ("ant", "bee") for part in ("Test", "train")
             for n in range(3)]  # fmt: skip
    assert "the folders ant and bee both have test, train in them" in refused(plant(*names))


def test_nested_classes_are_classes_where_nothing_says_otherwise(plant):
    names = [f"{name}/images/raw/{n}.png" for name in ("ant", "bee") for n in range(5)]
    training, _, test = parts(plant(*names))
    assert sorted(training + test) == sorted(names)
    inside = [f"train/{name}/{view}/{n}.png" for name in ("ant", "bee") for view in ("l", "r")
              for n in range(3)]  # fmt: skip
    training, _, test = parts(plant(*inside))
    assert sorted(training + test) == sorted(inside)


def test_a_part_of_an_unknown_name_is_no_reason_to_hold_a_test_part_out_of_train(plant):
    root = plant(*numbered("train"), *numbered("holdout", 3))
    assert "holdout has ant, bee in it as train has; name it test or val, or move" in refused(root)
    plant(*numbered("test", 2))
    assert parts(root)[2] == numbered("test", 2)


@pytest.mark.parametrize("name", ["holdout", "test_set", "Evaluation"])
def test_a_part_of_an_unknown_name_is_no_reason_to_test_on_the_validation_part(plant, name):
    root = plant(*numbered("train"), *numbered("val", 2), *numbered(name, 3))
    assert f"{name} has ant, bee in it as train has; name it test or val, or move" in refused(root)


def test_parts_that_are_a_part_of_the_names_of_folders_are_no_classes(plant):
    for form in ("{part}A", "{part}_ant", "{part}1", "ant_{part}", "ant-{part}"):
        for number, last in enumerate(("test", "Testing", "val", "dev", "holdout")):
            first, second = (form.format(part=part) for part in ("train", last))
            home = f"{form.format(part='')}{number}"
            root = plant(*(f"{home}/{name}/{n}.png" for name in (first, second, "bee")
                           for n in range(3)))  # fmt: skip
            text, names = refused(root / home), sorted([first, second])
            assert f"{names[0]} and {names[1]} are named as two parts of one class" in text
            assert "make train/CLASS/ and test/CLASS/ of them" in text


def test_classes_whose_names_begin_as_parts_do_are_classes(plant):
    names = ("trainer", "tester", "valley", "trains", "developer", "contest", "interval")
    layout = read_layout(str(plant(*(f"{name}/{n}.png" for name in names for n in range(3)))), None)
    assert layout.classes == tuple(sorted(names))


def test_a_test_fraction_is_held_out_by_the_names_of_files(plant):
    root = plant(*numbered("train", 40))
    training, _, test = parts(root)
    assert sorted(training + test) == sorted(numbered("train", 40))
    assert 5 <= len(test) <= 27  # 16 and three deviations
    for name in (*numbered("train", 40)[::3], "train/bee/3.png"):
        (root / name).unlink(missing_ok=True)
    plant("train/ant/new.png", "train/bee/another.png")
    left = {str(path.relative_to(root)) for path in root.rglob("*.png")}
    fewer, _, tested = parts(root)
    assert set(tested) & set(test) == set(test) & left
    assert not set(tested) & set(training)
    assert not set(fewer) & set(test)


def test_the_same_classes_are_divided_alike_at_the_top_and_in_train(plant):
    root = plant(*numbered("train"))
    below = {name.removeprefix("train/") for name in parts(root)[2]}
    assert below == set(parts(root / "train")[2])


def test_another_fraction_beside_a_test_part_is_refused(plant):
    root = plant(*numbered("train"), *numbered("Test", 3))
    assert refused(root, 0.3) == "dataset.test=0.3: Test is the test part already; use null"


# What is missing


def test_a_set_inside_of_a_single_folder_is_found_for_the_user(plant):
    root = plant(*numbered("images/train"), *numbered("images/test"), "images/README.txt")
    assert f"1 class folders in {root}; give dataset.root={root}/images" in refused(root)


def test_a_class_that_is_named_as_a_part_can_be_put_right(plant):
    root = plant(*(f"{name}/{n}.png" for name in ("bus", "car", "train") for n in range(3)))
    assert "if train is a class, put all classes into train/, train/train/ too" in refused(root)
    (root / "all").mkdir()
    for name in ("bus", "car", "train"):
        (root / name).rename(root / "all" / name)
    (root / "all").rename(root / "train")
    assert read_layout(str(root), None).classes == ("bus", "car", "train")


def test_a_test_folder_without_class_folders_has_no_labels_and_is_left_out(plant):
    root = plant(*numbered("train"), *numbered("val", 3), "test/0.png")
    assert parts(root) == (numbered("train"), [], numbered("val", 3))
    plant("test/images/0.png")  # as in Tiny-ImageNet
    assert parts(root) == (numbered("train"), [], numbered("val", 3))
    plant("test/ant/0.png")
    assert "against train, test lacks bee and has images; make" in refused(root)


def test_what_is_missing_is_refused_by_name_with_what_to_do(plant, tmp_path):
    assert "nowhere: there is no such folder; name one with" in refused(tmp_path / "nowhere")
    (tmp_path / "set").mkdir()
    assert "0 class folders in" in refused(tmp_path / "set")
    root = plant(*numbered("test", 3))
    assert "test is there, but no train folder beside it; put the" in refused(root)
    plant(*numbered("train", 3, ("ant", "wasp")))
    assert "against train, test lacks wasp and has bee; make the same" in refused(root)


def test_an_empty_class_folder_is_refused_by_name(plant):
    root = plant(*numbered("train"), *numbered("test", 2), "train/cow/notes.txt", "test/cow/1.png")
    assert "train/cow has no images; put images with one of the endings .bmp" in refused(root)


def test_images_in_a_part_without_class_folders_are_refused_with_how_to_sort_them(plant):
    root = plant(*numbered("train"), "val/ILSVRC2012_val_00000001.png")
    assert "val has no class folders; sort the images into val/<class>/" in refused(root)


def test_a_class_with_too_few_files_to_hold_one_out_is_refused_by_its_name(plant):
    root = plant(*numbered("train"), "train/cow/0.png")
    text = refused(root)
    assert "class cow has only 1 image to divide between two parts, and train," in text
    assert "train, validation and test each need one" in text


def test_other_and_hidden_files_are_no_images(plant):
    root = plant(*numbered("train"), *numbered("test", 2), "train/ant/labels.csv")
    plant("train/ant/._0.png", ".git/x.png", "train/ant/.thumbs/0.png", "train/.cache/1.png")
    plant("train/ant/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/train/ant/0.png")
    plant("train/__MACOSX/0.png", "test/@eaDir/1.png")
    assert parts(root) == (numbered("train"), [], numbered("test", 2))


def test_the_contents_are_names_and_sizes_wherever_they_lie(plant, tmp_path, monkeypatch):
    root = plant(*numbered("train"), *numbered("test", 2), "README.txt", "train/ant/notes.txt")
    known = read_layout(str(root), None).contents()
    assert dict(known.files) == {n: len(n) for n in (*numbered("train"), *numbered("test", 2))}
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", str(tmp_path))
    link = tmp_path / "link"
    link.symlink_to(root)
    for spelled in (".", "../set/", "~/set", str(link)):
        assert read_layout(spelled, None).contents() == known
    root.rename(tmp_path / "moved")
    assert read_layout(str(tmp_path / "moved"), None).contents().digest == known.digest


# Links


@pytest.fixture
def store(tmp_path):
    """Files that lie elsewhere."""
    for number in range(6):
        path = tmp_path / "store" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(number))
    return tmp_path / "store"


def test_class_folders_may_be_made_of_links_to_files_elsewhere(plant, store):
    root = plant("ant/8.png", "ant/9.png", "bee/8.png", "bee/9.png")
    for number in range(6):
        (root / ("ant", "bee")[number % 2] / f"{number}.png").symlink_to(store / f"{number}.png")
    training, _, test = parts(root)
    assert len(training + test) == 10
    beside = plant(*numbered("train"), *numbered("test", 2), "images/1.png")
    (beside / "train/ant/link.png").symlink_to("../../images/1.png")
    assert "train/ant/link.png" in parts(beside)[0]


def test_a_link_to_another_image_of_the_set_is_refused(plant, store):
    root = plant(*numbered("train"), *numbered("test", 2))
    for link, target, named in (
        ("test/ant/8.png", root / "train/ant/3.png", "train/ant/3.png"),
        ("train/bee/8.png", "../ant/3.png", "train/ant/3.png"),
        ("train/bee/9.png", "3.png", "train/bee/3.png"),
    ):
        (root / link).symlink_to(target)
        assert f"{root / link} and {root / named} are the same file; remove one" in refused(root)
        (root / link).unlink()
    for name in ("train/ant/a.png", "test/ant/b.png"):
        (root / name).symlink_to(store / "1.png")
    assert "test/ant/b.png and" in refused(root)


def test_a_link_to_a_folder_is_refused_wherever_it_leads(plant, store):
    root = plant(*numbered("train"), *numbered("test", 2))
    for link, target in (
        ("train/ant/loop", ".."),
        ("train/ant/more", store),
        ("train/ant/self", "."),
        ("train/cow", "ant"),
        ("train/cow", store),
    ):
        (root / link).symlink_to(target)
        if "cow" in link:
            (root / "test/cow").symlink_to(store)
        text = refused(root)
        assert f"{root / link} is a link to the folder" in text
        assert "make it a folder with links to the files" in text
        for made in (root / link, root / "test/cow"):
            made.unlink(missing_ok=True)
    (root / "test").rename(root / "elsewhere")
    (root / "test").symlink_to("elsewhere")
    assert f"{root}/test is a link to the folder {root}/elsewhere" in refused(root)


def test_the_root_itself_may_be_a_link_and_links_beside_the_parts_do_not_matter(plant, store):
    root = plant(*numbered("train"), *numbered("test", 2))
    (root / "more").symlink_to(store)
    (root.parent / "link").symlink_to(root)
    assert parts(root.parent / "link") == (numbered("train"), [], numbered("test", 2))


# Files that are none, and their names


def test_what_is_no_file_is_refused_by_name_and_not_waited_for(plant):
    root = plant(*numbered("train"), *numbered("test", 2))
    os.mkfifo(root / "train/ant/pipe.jpg")
    (root / "train/bee/gone.png").symlink_to(root / "nowhere.png")
    (root / "train/bee/round.png").symlink_to("round.png")
    text = refused(root)
    assert f"{root}/train/ant/pipe.jpg is a pipe, a socket or a device, remove it" in text
    assert f"{root}/train/bee/gone.png cannot be read (No such file or directory)" in text
    assert f"{root}/train/bee/round.png cannot be read (Too many levels" in text


def test_a_name_that_is_not_utf_8_is_refused_and_shown(plant):
    root = plant(*numbered("train"), *numbered("test", 2))
    path = os.fsencode(root) + b"/train/ant/caf\xe9.png"
    open(path, "wb").close()
    text = refused(root)
    assert f"{root}/train/ant/caf\\xe9.png has a name that is not UTF-8; rename it" in text
    text.encode()
    os.remove(path)
    for part in (b"train", b"test"):
        os.mkdir(os.path.join(os.fsencode(root), part, b"caf\xe9"))
    assert "the class folder caf\\xe9 has a name that cannot be printed" in refused(root)


def test_a_class_whose_name_moves_the_cursor_is_refused_and_a_file_is_shown_escaped(plant):
    strange = "\x1b[2Jcow"
    root = plant(*numbered("train"), *numbered("test", 2), f"train/{strange}/1.png")
    plant(f"test/{strange}/1.png")
    assert "the class folder \\x1b[2Jcow has a name that cannot be printed" in refused(root)
    other = plant(*(f"../other/{n}" for n in numbered("train"))).parent / "other"
    os.mkfifo(other / "train/ant/\x1b[31m\n.png")
    assert "\\x1b[31m\\n.png is a pipe" in refused(other)


def test_classes_may_have_names_of_any_language(plant):
    names = ("Ärger", "ねこ", "سگ‌ها", "a b")  # the third with a zero-width joiner
    root = plant(*numbered("train", 3, names), *numbered("test", 1, names))
    assert read_layout(str(root), None).classes == tuple(sorted(names))


def test_many_wrong_files_are_counted(plant):
    root = plant(*numbered("train"), *numbered("test", 2))
    for number in range(14):
        (root / f"train/ant/x{number}.png").symlink_to("nowhere")
    assert refused(root).endswith("and 4 more")
