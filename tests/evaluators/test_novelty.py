"""EN2AS's archive: what a cell's genes say, how novel it is, and how it climbs."""

import math
import statistics

import pytest
import torch
from toys import DARTS, Toy

from nasrun.evaluators.novelty import Archive, Encoding, MostNovel, Novelty
from nasrun.genotype import NONE
from nasrun.spaces.darts import DartsSpace

SMALL = {"archive": 12, "neighbours": 3}
FOUR = DartsSpace(
    operations=("none", "skip_connect", "sep_conv_3x3", "max_pool_3x3"),
    nodes=4,
    kept_edges=2,
    channels=2,
    layers=3,
)


def begun(sampler, space, seed=0):
    torch.manual_seed(seed)
    sampler.begin(space)
    return sampler


def pairs(cell):
    """Return what counts of a cell: its kept edges with their operations."""
    return {(name, choice) for name, choice in cell.items() if choice != NONE}


def distance(one, other):
    return 1 - len(pairs(one) & pairs(other)) / len(pairs(one))


def cells_of(archive):
    return [archive.encoding.genotype(row) for row in archive.choices]


def novelty(cell, others, neighbours):
    return statistics.fmean(sorted(distance(cell, other) for other in others)[:neighbours])


def test_drawn_cells_are_legal_and_uniform_in_what_they_keep_and_choose():
    torch.manual_seed(0)
    for space in (Toy(), DARTS, FOUR):
        for group in space.groups:
            encoding = Encoding(space, group)
            drawn = [encoding.genotype(row) for row in encoding.choices(encoding.uniform(2000))]
            for limit in space.limits:
                if limit.group == group:
                    for name in limit.decisions:
                        kept = [cell[name] for cell in drawn if cell[name] != NONE]
                        share = limit.count / len(limit.decisions)
                        assert len(kept) / len(drawn) == pytest.approx(share, abs=0.06)
                        often = [kept.count(choice) / len(kept) for choice in set(kept)]
                        assert often == pytest.approx([1 / len(often)] * len(often), abs=0.06)
            assert len({len(pairs(cell)) for cell in drawn}) == 1
    sampler = begun(Novelty(**SMALL, perturbations=2, alpha=5.0, sigma=1.0), FOUR)
    for _ in range(50):
        FOUR.check(sampler.draw())


def test_none_is_a_choice_like_the_others_where_the_space_says_so():
    from nasrun.config import build, compose, resolve

    space = build(resolve(compose(["space=nasbench201"]).config["space"]), "space")
    archive = Archive(Encoding(space, space.groups[0]), 40, 3)
    cells = cells_of(archive)
    assert {choice for cell in cells for choice in cell.values()} == set(space.operations)
    expected = [[sum(a[n] != b[n] for n in a) / 6 for b in cells] for a in cells]
    found = archive.encoding.distances(archive.choices, archive.choices)
    torch.testing.assert_close(found, torch.tensor(expected))


def test_novelty_is_the_mean_distance_to_the_nearest_cells_all_pairs_counted():
    torch.manual_seed(0)
    archive = Archive(Encoding(FOUR, "normal"), 30, 4)
    known = cells_of(archive)
    others = archive.encoding.choices(archive.encoding.uniform(20))
    expected = [novelty(archive.encoding.genotype(row), known, 4) for row in others]
    assert archive.novelty(others).tolist() == pytest.approx(expected)
    assert len(set(expected)) > 3
    own = [novelty(cell, [*known[:place], *known[place + 1 :]], 4)
           for place, cell in enumerate(known)]  # fmt: skip
    assert archive.mean_novelty() == pytest.approx(statistics.fmean(own))


def test_a_row_of_each_cell_type_climbs_as_the_equation_says_and_is_what_trains():
    settings = {"perturbations": 5, "alpha": 2.0, "sigma": 0.7}
    sampler = begun(Novelty(**SMALL, **settings), FOUR)
    before = [archive.genes.clone() for archive in sampler.archives]
    known = [cells_of(archive) for archive in sampler.archives]
    torch.manual_seed(1)
    drawn = sampler.draw()
    torch.manual_seed(1)
    rows = []
    for archive, genes, cells in zip(sampler.archives, before, known, strict=True):
        rows.append(int(torch.randint(12, ())))
        theta = genes[rows[-1]]
        eta = torch.randn(5, len(theta))
        width = len(archive.encoding.decisions)

        def clipped(row, width=width):
            return torch.cat([row[:width].clamp(0, 2), row[width:]])  # three operations

        step = torch.zeros_like(theta)
        for each in eta:
            near = archive.encoding.choices(clipped(theta + 0.7 * each)[None])[0]
            step += novelty(archive.encoding.genotype(near), cells, 3) * each
        genes[rows[-1]] = clipped(theta + 2.0 / (5 * 0.7) * step)
        torch.testing.assert_close(archive.genes, genes)  # continuous, and one row alone
        trained = archive.encoding.genotype(archive.encoding.choices(genes[rows[-1]][None])[0])
        assert trained.items() <= drawn.items()
    assert rows[0] != rows[1]


def test_changed_genes_and_the_archives_novelty_are_logged_and_counted_anew():
    sampler = begun(Novelty(**SMALL, perturbations=2, alpha=20.0, sigma=1.0), DARTS)
    before = [archive.choices.clone() for archive in sampler.archives]
    sampler.draw()
    changed = sum(
        int((old != archive.choices).sum())
        for old, archive in zip(before, sampler.archives, strict=True)
    )
    mean = statistics.fmean(archive.mean_novelty() for archive in sampler.archives)
    assert sampler.report() == {"changed_genes": changed, "archive_novelty": pytest.approx(mean)}
    assert changed
    assert sampler.report()["changed_genes"] == 0


def test_with_the_published_step_hardly_any_cell_changes():
    sampler = begun(
        Novelty(archive=100, neighbours=10, perturbations=10, alpha=0.01, sigma=1.0), FOUR
    )
    stored = [{tuple(row.tolist()) for row in archive.choices} for archive in sampler.archives]
    for _ in range(100):
        sampler.draw()
    assert sampler.report()["changed_genes"] <= 2
    for archive, known in zip(sampler.archives, stored, strict=True):
        assert sum(tuple(row.tolist()) in known for row in archive.choices) >= 98


def test_the_most_novel_of_several_draws_trains_in_the_place_of_the_oldest():
    sampler = begun(MostNovel(archive=4, neighbours=2, draws=6), Toy())
    (archive,) = sampler.archives
    for number in range(6):
        known = cells_of(archive)
        torch.manual_seed(number)
        drawn = sampler.draw()
        torch.manual_seed(number)
        rows = archive.encoding.choices(archive.encoding.uniform(6))
        rivals = [archive.encoding.genotype(row) for row in rows]
        assert dict(drawn) == max(rivals, key=lambda cell: novelty(cell, known, 2))
        known[number % 4] = dict(drawn)
        assert cells_of(archive) == known
    assert set(sampler.report()) == {"archive_novelty"}


def test_a_sampler_goes_on_from_its_state():
    for make in (
        lambda: Novelty(**SMALL, perturbations=3, alpha=5.0, sigma=1.0),
        lambda: MostNovel(**SMALL, draws=3),
    ):
        whole, other = begun(make(), FOUR), begun(make(), FOUR, seed=1)
        for _ in range(5):
            whole.draw()
        whole.report()
        kept = {key: value for key, value in whole.state_dict().items() if key != "genes"}
        genes = [each.clone() for each in whole.state_dict()["genes"]]
        expected, generator = [], torch.get_rng_state()
        for _ in range(20):
            expected.append(whole.draw())
        other.load_state_dict({**kept, "genes": genes})
        torch.set_rng_state(generator)
        assert [other.draw() for _ in range(20)] == expected
        assert other.report() == whole.report()


def test_impossible_values_are_refused():
    moved = {"perturbations": 2, "alpha": 0.1, "sigma": 1.0}
    for key, value, told in (
        ("neighbours", 0, "use 1 or more"),
        ("archive", 3, "use an archive of at least 4"),
        ("archive", 20_000, "use at most 10000"),
        ("perturbations", 0, "use 1 or more"),
        ("alpha", 0.0, "use more than 0"),
        ("sigma", -1.0, "use more than 0"),
        ("alpha", math.nan, "use more than 0"),
    ):
        with pytest.raises(ValueError, match=rf"{key}={value}.*{told}"):
            Novelty(**{**SMALL, **moved, key: value})
    with pytest.raises(ValueError, match="draws=1: use 2 or more"):
        MostNovel(**SMALL, draws=1)
