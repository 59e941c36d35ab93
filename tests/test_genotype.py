"""Decisions and genotypes: values that compare, hash, and survive a file."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.genotype import NONE, Decision, Genotype, fingerprint

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
joined = st.dictionaries(names, st.sets(st.integers(0, 9), min_size=1), max_size=2)
genotypes = st.builds(Genotype, names, st.dictionaries(names, names, max_size=6), joined)


def example():
    return Genotype("darts", {"normal/2-0": "sep_conv_3x3", "normal/2-1": NONE})


def test_the_group_of_a_decision_is_what_stands_before_the_last_slash():
    assert Decision("normal/3-1", ("a",)).group == "normal"
    assert Decision("generator/cell2/up0", ("a",)).group == "generator/cell2"
    assert Decision("layer07", ("a",)).group == ""


@pytest.mark.parametrize("choices", [(), ("a", "b", "a")])
def test_a_decision_without_or_with_repeated_choices_is_refused_by_name(choices):
    with pytest.raises(ValueError, match="normal/3-1"):
        Decision("normal/3-1", choices)


def test_a_genotype_reads_like_a_mapping_in_the_order_given():
    genotype = example()
    assert list(genotype) == ["normal/2-0", "normal/2-1"]
    assert len(genotype) == 2
    assert genotype["normal/2-0"] == "sep_conv_3x3"
    with pytest.raises(KeyError):
        genotype["normal/9-9"]


def test_a_genotype_cannot_be_changed_not_even_through_what_it_was_made_of():
    choices = {"layer0": "a"}
    genotype = Genotype("toy", choices)
    choices["layer0"] = "b"
    assert genotype["layer0"] == "a"
    with pytest.raises(TypeError):
        genotype["layer0"] = "b"


def test_equal_genotypes_hash_alike_whatever_the_order_of_their_choices():
    first = Genotype("toy", {"x": "a", "y": "b"})
    second = Genotype("toy", {"y": "b", "x": "a"})
    assert first == second
    assert len({first, second}) == 1


def test_another_space_or_another_choice_is_another_genotype():
    genotype = Genotype("toy", {"x": "a"})
    assert genotype != Genotype("other", {"x": "a"})
    assert genotype != Genotype("toy", {"x": "b"})
    assert genotype != {"x": "a"}


def test_its_repr_leaves_dropped_edges_out():
    assert repr(example()) == "Genotype('darts', {'normal/2-0': 'sep_conv_3x3'})"


@settings(max_examples=50, deadline=None, derandomize=True)
@given(genotypes)
def test_every_genotype_survives_json(genotype):
    assert Genotype.from_json(json.loads(json.dumps(genotype.to_json()))) == genotype


def test_every_genotype_survives_a_file(tmp_path):
    path = tmp_path / "genotype.json"
    path.write_text(json.dumps(example().to_json()))
    assert Genotype.read(path) == example()


def test_a_file_of_another_schema_is_refused_with_both_numbers(tmp_path):
    path = tmp_path / "genotype.json"
    path.write_text(json.dumps({**example().to_json(), "schema": 7}))
    with pytest.raises(ValueError, match=r"genotype\.json.*schema=7.*reads 1 and 2"):
        Genotype.read(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"schema": 1, "space": "darts", "choices": {"normal/2-0": "sep_co',
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"schema": 1, "space": "darts"}',
        b'{"schema": 1, "space": "darts", "choices": ["sep_conv_3x3"]}',
        b'{"schema": 1, "space": "darts", "choices": {"normal/2-0": 4}}',
        b'{"space": "darts", "choices": {"normal/2-0": "sep_conv_3x3"}}',
        b'{"schema": true, "space": "darts", "choices": {}}',
        b'{"schema": [1], "space": "darts", "choices": {}}',
        b'{"schema": 1, "space": 3, "choices": {}}',
        b'{"schema": 1, "choices": {}}',
        b'{"schema": 1, "space": "darts", "choices": {}, "concat": {"normal": [2]}}',
        b'{"schema": 2, "space": "darts", "choices": {}, "concat": [2]}',
        b'{"schema": 2, "space": "darts", "choices": {}, "concat": {"normal": 2}}',
        b'{"schema": 2, "space": "darts", "choices": {}, "concat": {"normal": []}}',
        b'{"schema": 2, "space": "darts", "choices": {}, "concat": {"normal": [2, 2]}}',
        b'{"schema": 2, "space": "darts", "choices": {}, "concat": {"normal": [true]}}',
        b"[" * 99_999,
        b'{"choices":' * 99_999,
        b" " * 2**20 + b"{}",
        b"9" * 9_999,
        b"\xfe\xff\x00",
        b"\x00",
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "genotype.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"genotype\.json") as caught:
        Genotype.read(path)
    assert len(str(caught.value).splitlines()) == 1


@settings(max_examples=60, deadline=None, derandomize=True)
@given(genotypes, st.integers(0, 400), st.integers(0, 9), st.binary(max_size=3))
def test_a_file_with_a_flaw_is_read_or_refused_by_name(tmp_path_factory, genotype, at, cut, put):
    path = tmp_path_factory.getbasetemp() / "flawed.json"
    content = json.dumps(genotype.to_json()).encode()
    path.write_bytes(content[:at] + put + content[at + cut :])
    try:
        found = Genotype.read(path)
    except ValueError as error:
        found, lines = None, str(error).splitlines()
    if found is None:
        assert len(lines) == 1
        assert "flawed.json" in lines[0]
        return
    assert Genotype.from_json(found.to_json()) == found


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_with_a_byte_order_mark_is_read(tmp_path, encoding):
    path = tmp_path / "genotype.json"
    path.write_text(json.dumps(example().to_json()), encoding=encoding)
    assert Genotype.read(path) == example()


def test_joined_nodes_make_another_genotype_of_the_second_schema():
    plain, partly = example(), Genotype("darts", example(), {"normal": [5, 4]})
    assert partly != plain
    assert hash(partly) != hash(plain)
    assert partly.concat == {"normal": (4, 5)}
    assert "concat={'normal': (4, 5)}" in repr(partly)
    assert partly.changed({"normal/2-0": NONE}).concat == partly.concat
    assert partly.changed({"normal/2-0": NONE})["normal/2-0"] == NONE
    assert plain.to_json()["schema"] == 1
    assert "concat" not in plain.to_json()
    assert partly.to_json()["schema"] == 2
    assert partly.to_json()["concat"] == {"normal": [4, 5]}
    partly.concat["normal"] = (2,)
    assert partly.concat == {"normal": (4, 5)}


def test_a_missing_file_is_a_value_error_with_its_name(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.json.*No such file"):
        Genotype.read(tmp_path / "absent.json")


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.dictionaries(names, st.integers(), min_size=1, max_size=5), st.data())
def test_a_fingerprint_depends_on_the_content_and_not_on_the_order_of_keys(content, data):
    digits = fingerprint(content)
    assert len(digits) == 12
    assert set(digits) <= set("0123456789abcdef")
    shuffled = data.draw(st.permutations(list(content.items())))
    assert fingerprint(dict(shuffled)) == digits
    key = data.draw(st.sampled_from(sorted(content)))
    assert fingerprint({**content, key: content[key] + 1}) != digits
