"""Cards, scores and their test on constructed maps: hand values, and p-values that are not too
small under the null.
"""

import warnings

import numpy as np
import pytest

from attribution.cards import Card, make_card, planted_cards, textbook_cards
from attribution.cells import CellMaps
from common.files import UserError
from common.labels import LABEL_MAPPINGS, LEADS
from common.stats import patient_weights, permutation_p
from ecg.segments import SEGMENTS, WAVES
from ecg.textbook import RULES, rules_table
from glocal.scorecard import lift_interval, neighbour_cards, permuted_cards, permuted_lifts
from glocal.scorecard import score as score_of


def maps_of(relevance, time=None, signed=None, patients=None):
    """CellMaps from sums (n, 12, 24); by default one time unit per cell."""
    relevance = np.asarray(relevance, dtype=float)
    time = np.full(relevance.shape, 2.0) if time is None else time
    signed = relevance if signed is None else signed
    return CellMaps(
        relevance, signed, time, np.arange(len(relevance)) if patients is None else patients
    )


def weights_of(maps, n_resamples=200):
    """Bootstrap weights of a group."""
    return patient_weights(maps.patients, n_resamples, 0).astype(float)


def score(maps, card, weights, n_permutations):
    """scorecard.score with its resamples and permutations made on the spot."""
    return score_of(maps, card, weights, permuted_cards(card.cells, n_permutations, seed=0))


def card_of(*cells):
    """A card of (lead, segment) index pairs without signs."""
    mask = np.zeros((12, 24), dtype=bool)
    mask[tuple(zip(*cells, strict=True))] = True
    return Card("card", mask, np.zeros((12, 24), dtype=int))


# ---------------------------------------------------------------- the table


def test_every_rule_names_leads_segments_and_a_source():
    for rule in RULES:
        assert set(rule.leads) <= set(LEADS)
        assert len(set(rule.leads)) == len(rule.leads)
        assert rule.segments
        assert set(rule.segments) <= set(SEGMENTS)
        assert rule.sign in (-1, 0, 1)
        assert any(character.isdigit() for character in rule.source)
        assert rule.reads
    assert {segment for stretch in WAVES.values() for segment in stretch} == set(SEGMENTS)
    assert len(rules_table()) == len(RULES)


def test_the_pathologies_asked_for_have_a_card():
    for name in (
        "NORM",
        "LVH",
        "CLBBB",
        "CRBBB",
        "LAFB",
        "AMI",
        "IMI",
        "LMI",
        "ISC_",
        "1AVB",
        "AFIB",
    ):
        assert any(rule.pathology == name for rule in RULES)
    known = textbook_cards(LABEL_MAPPINGS["subdiagnostic"])
    assert set(known) == {
        "NORM",
        "LVH",
        "CLBBB",
        "CRBBB",
        "LAFB/LPFB",
        "AMI",
        "IMI",
        "LMI",
        "ISC_",
        "_AVB",
    }
    assert {"ASMI", "1AVB", "LAFB"} <= set(textbook_cards(LABEL_MAPPINGS["diagnostic"]))
    assert set(textbook_cards(LABEL_MAPPINGS["rhythm"])) == {"AFIB"}
    np.testing.assert_array_equal(
        textbook_cards(["ASMI"])["ASMI"].cells, textbook_cards(["AMI"])["AMI"].cells
    )


@pytest.mark.parametrize(
    ("label", "lead", "segment", "sign"),
    [
        ("LVH", "V5", "R-Peak", 1),
        ("LVH", "V1", "S-Peak", -1),
        ("LVH", "V6", "T-Peak", -1),
        ("IMI", "III", "Q-Peak", -1),
        ("AMI", "V2", "J-point", 1),
        ("CRBBB", "V1", "q)", 1),
        ("NORM", "II", "P-Peak", 1),
    ],
)
def test_known_cells_with_their_sign(label, lead, segment, sign):
    card = textbook_cards([label])[label]
    at = LEADS.index(lead), SEGMENTS.index(segment)
    assert card.cells[at]
    assert card.signs[at] == sign


def test_cells_outside_a_criterion_are_outside_its_card():
    imi = textbook_cards(["IMI"])["IMI"].cells
    assert not imi[LEADS.index("V2")].any()
    assert not imi[:, SEGMENTS.index("P-Peak")].any()


def test_opposite_signs_on_one_cell_cancel():
    card = make_card("x", [("I", "qr", 1), ("I", "qr", -1), ("II", "qr", -1), ("II", "qr", -1)])
    assert (
        card.n_cells,
        card.signs[0, SEGMENTS.index("qr")],
        card.signs[1, SEGMENTS.index("qr")],
    ) == (2, 0, -1)


def test_no_card_can_be_all_leads_alike():
    """A card that no permutation of leads moves could never be tested."""
    for card in textbook_cards([rule.pathology for rule in RULES]).values():
        assert len({row.tobytes() for row in card.cells}) > 1


# ---------------------------------------------------------------- planted cards


def cells_of(card):
    """(lead, segment, sign) of a card's cells."""
    return {
        (LEADS[lead], SEGMENTS[k], card.signs[lead, k])
        for lead, k in zip(*np.nonzero(card.cells), strict=True)
    }


def test_planted_cells_become_cards_of_the_task(tmp_path):
    path = tmp_path / "planted_causes.csv"
    path.write_text(
        "label,lead,segment,effect,effect_abs\n"
        "ASMI,V1,qr,-0.4,.4\nAMI,V3,jt,0.4,.4\nAMI,V3,tp,0.09,.09\nLVH,V5,qr,1.6,1.6\nSBRAD,I,tp,.1,.1\n"
    )
    cards = planted_cards(path, "subdiagnostic", ["AMI", "LVH", "NORM"])
    assert set(cards) == {"AMI", "LVH"}
    # the peaks beside a changed stretch belong to it; an onset does not; .09 is under a quarter of
    # .4
    assert cells_of(cards["AMI"]) == {
        ("V1", "qr", -1),
        ("V1", "Q-Peak", -1),
        ("V1", "R-Peak", -1),
        ("V3", "jt", 1),
    }
    assert set(planted_cards(path, "diagnostic", ["AMI", "ASMI"])) == {"AMI", "ASMI"}


def test_points_between_two_planted_stretches_are_planted(tmp_path):
    path = tmp_path / "planted_causes.csv"
    path.write_text(
        "label,lead,segment,effect,effect_abs\n"
        "LVH,V6,jt,-0.1,.1\nLVH,V6,(t,-0.2,.2\nLVH,V6,qj,0.1,.1\n"
    )
    found = cells_of(planted_cards(path, "all", ["LVH"])["LVH"])
    assert ("V6", "T-Onset", -1) in found
    assert ("V6", "J-point", 0) in found  # between a rise and a fall
    assert ("V6", "T-Peak", -1) in found
    assert not any(segment in ("QRS-Offset", "T-Offset") for _, segment, _ in found)


def test_where_waves_move_the_mean_change_cancels_and_the_cell_is_planted_all_the_same(tmp_path):
    path = tmp_path / "planted_causes.csv"
    path.write_text(
        "label,lead,segment,effect,effect_abs\n"
        "IMI,II,qr,-0.4,0.4\nIMI,III,q),0.02,0.3\nIMI,aVF,q),0.3,0.05\nSTACH,I,tp,.5,.5\n"
    )
    cards = planted_cards(path, "all", ["IMI", "STACH"])
    assert set(cards) == {"IMI"}  # a rate lies in no cell
    found = {(lead, segment) for lead, segment, _ in cells_of(cards["IMI"])}
    assert ("III", "q)") in found
    assert ("aVF", "q)") not in found


def test_a_planted_table_that_is_not_one_is_refused(tmp_path):
    path = tmp_path / "planted_causes.csv"
    path.write_text("label,lead,segment,effect,effect_abs\nLVH,V5,Spike,1,1\n")
    with pytest.raises(UserError, match="Spike"):
        planted_cards(path, "subdiagnostic", ["LVH"])
    path.write_text("label,lead,effect\nLVH,V5,1\n")
    with pytest.raises(UserError, match="lacks the column segment"):
        planted_cards(path, "subdiagnostic", ["LVH"])
    with pytest.raises(UserError, match="does not exist"):
        planted_cards(tmp_path / "none.csv", "subdiagnostic", ["LVH"])


# ---------------------------------------------------------------- scores


def test_all_relevance_inside_the_card():
    relevance = np.zeros((6, 12, 24))
    relevance[:, 6, 10] = [1, 5, 2, 1, 1, 3]
    maps = maps_of(relevance)
    found = score(maps, card_of((6, 10)), weights_of(maps), n_permutations=2000)
    assert (found["share"], found["chance"], found["lift"]) == pytest.approx((1, 1 / 288, 288))
    assert (found["low"], found["high"]) == pytest.approx((288, 288))
    assert found["p"] == pytest.approx(
        1 / 12, abs=0.02
    )  # one lead of twelve: no smaller p can be had
    assert found["p_floor"] == pytest.approx(1 / 12, abs=0.02)
    assert found["top5_precision"] == 1 / 5


def test_all_relevance_outside_scores_nothing():
    relevance = np.ones((2, 12, 24))
    relevance[:, :3] = 0
    maps = maps_of(relevance)
    found = score(maps, card_of((0, 1), (2, 20)), weights_of(maps), n_permutations=500)
    assert found["share"] == found["lift"] == found["top5_precision"] == 0
    assert found["p"] == 1


def test_a_uniform_map_is_at_chance_whatever_the_card():
    rng = np.random.default_rng(0)
    time = rng.gamma(2.0, 5.0, size=(4, 12, 24))
    maps = maps_of(0.3 * time, time)
    for card in textbook_cards(LABEL_MAPPINGS["subdiagnostic"]).values():
        found = score(maps, card, weights_of(maps), n_permutations=300)
        assert found["lift"] == pytest.approx(1)
        assert found["p"] == 1


def test_lift_by_hand_with_unequal_times():
    relevance, time = np.ones((1, 12, 24)), np.ones((1, 12, 24)) * 2
    time[0, 0, 0], relevance[0, 0, 0] = 26.0, 13.0
    maps = maps_of(relevance, time)
    found = score(maps, card_of((0, 0), (1, 1)), weights_of(maps), n_permutations=10)
    assert found["share"] == pytest.approx(14 / 300)
    assert found["chance"] == pytest.approx(28 / 600)
    assert found["lift"] == pytest.approx(1)


def test_top5_precision_counts_the_densest_cells():
    relevance = np.ones((1, 12, 24))
    relevance[0, 3, :5] = [50, 40, 30, 20, 10]
    maps = maps_of(relevance)
    found = score(
        maps, card_of((3, 0), (3, 4), (3, 5), (8, 8)), weights_of(maps), n_permutations=10
    )
    assert found["top5_precision"] == pytest.approx(2 / 5)
    assert found["top5_chance"] == pytest.approx(4 / 288)


def test_sign_agreement_by_hand():
    relevance, signed = np.full((1, 12, 24), 4.0), np.zeros((1, 12, 24))
    card = make_card("x", [("I", "qr", 1), ("II", "qr", -1)])
    k = SEGMENTS.index("qr")
    signed[0, 0, k], signed[0, 1, k] = 4.0, -2.0  # wholly positive; three quarters negative
    maps = maps_of(relevance, signed=signed)
    assert score(maps, card, weights_of(maps), 10)["sign_agreement"] == pytest.approx(
        (1 + 0.75) / 2
    )
    assert np.isnan(score(maps, card_of((0, 0)), weights_of(maps), 10)["sign_agreement"])


def test_a_qrs_rule_is_not_flattered_by_bright_qrs():
    """All leads alike, QRS ten times as bright: a high lift, and no significance."""
    relevance = np.ones((5, 12, 24))
    relevance[:, :, 6:15] = 10
    maps = maps_of(relevance)
    found = score(maps, textbook_cards(["LAFB"])["LAFB"], weights_of(maps), n_permutations=500)
    assert found["lift"] > 2
    assert found["p"] == 1


def test_permuted_lead_names_give_p_that_are_not_too_small():
    """Real maps are smooth over segments and differ by lead; with the names shuffled, p <= alpha at
    most alpha of the time.
    """
    rng = np.random.default_rng(1)
    cards = list(textbook_cards(["LVH", "IMI", "CRBBB", "AMI", "1AVB"]).values())
    p = []
    for trial in range(400):
        by_lead = (
            rng.gamma(1.0, 1.0, size=(12, 1))
            * rng.gamma(2.0, 1.0, size=(1, 24))
            * rng.gamma(20.0, 0.05, size=(12, 24))
        )
        share = by_lead / by_lead.sum()
        time = np.full((12, 24), 1 / 288)
        shuffled = share[rng.permutation(12)]
        cells = cards[trial % len(cards)].cells
        null = permuted_lifts(shuffled, time, permuted_cards(cells, 199, seed=trial))
        p.append(permutation_p((shuffled * cells).sum() / (time * cells).sum(), null))
    p = np.array(p)
    for alpha in (0.01, 0.05, 0.1, 0.25, 0.5):
        allowed = alpha + 2.6 * np.sqrt(alpha * (1 - alpha) / len(p))
        assert (p <= alpha).mean() <= allowed
    assert (p <= 0.25).mean() > 0.15  # and not so large that nothing could be found


def test_orders_that_keep_neighbours():
    cells = np.zeros((12, 24), bool)
    cells[[6, 7], 10] = True  # V1 and V2
    orders = neighbour_cards(cells).reshape(-1, 12, 24)
    assert len(np.unique(orders[:, :, 10], axis=0)) == 12  # pairs of neighbours on two circles
    assert (orders.sum(axis=(1, 2)) == 2).all()
    assert np.array_equal(orders[0], cells)
    whole = np.random.default_rng(0).random((12, 24))
    assert len(np.unique(neighbour_cards(whole), axis=0)) == 288


def smooth_over_leads(rng):
    """A share of relevance (12, 24) whose neighbouring leads are alike, around the limb circle and
    along the chest.
    """
    field = np.empty((12, 24))
    for leads in ([4, 0, 3, 1, 5, 2], list(range(6, 12))):
        distance = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
        correlation = 0.8 ** np.minimum(distance, 6 - distance)
        field[leads] = np.linalg.cholesky(correlation) @ rng.normal(size=(6, 1))
    field = np.exp(0.5 * field + 0.1 * rng.normal(size=(12, 24)))
    return field / field.sum()


def test_p_of_neighbours_holds_where_neighbouring_leads_are_alike():
    """Permuted leads reject a true null of the card V1 to V4 too often, orders that keep
    neighbours do not; of cards that lie apart (LVH) they reject about as often as they say.
    """
    rng, time = np.random.default_rng(0), np.full((12, 24), 1 / 288)
    cards = textbook_cards(["AMI", "LVH"])
    rejected = {name: np.zeros(2) for name in cards}
    trials = 200
    for _ in range(trials):
        share = smooth_over_leads(rng)
        for name, card in cards.items():
            observed = (share * card.cells).sum() / card.cells.mean() * (1 - 1e-5)
            free = permuted_lifts(share, time, permuted_cards(card.cells, 199, 0))
            kept = permuted_lifts(share, time, neighbour_cards(card.cells))
            p = permutation_p(observed, free), (kept >= observed).mean()
            rejected[name] += np.array(p) <= 0.05
    allowed = trials * 0.05 + 2.6 * np.sqrt(trials * 0.05 * 0.95)
    assert rejected["AMI"][0] > allowed
    assert max(rejected[name][1] for name in cards) <= allowed


def test_p_finds_relevance_in_the_right_leads_only():
    rng = np.random.default_rng(2)
    cards = textbook_cards(["IMI", "AMI"])
    relevance = rng.gamma(4.0, 1.0, size=(20, 12, 24))
    relevance[:, cards["IMI"].cells] *= 3
    maps = maps_of(relevance)
    own, other = (score(maps, cards[name], weights_of(maps), 4000) for name in ("IMI", "AMI"))
    assert own["p"] <= 2 * own["p_floor"]
    assert own["p_floor"] == pytest.approx(1 / 220, abs=0.003)  # 3 leads of 12
    assert own["low"] > 1
    assert other["p"] > 0.1
    assert other["lift"] < 1


def test_interval_is_over_patients():
    rng = np.random.default_rng(3)
    relevance = np.repeat(rng.gamma(1.0, 1.0, size=(5, 12, 24)), 20, axis=0)
    patients = np.repeat(np.arange(5), 20)
    card = textbook_cards(["IMI"])["IMI"]
    by_patient, by_record = maps_of(relevance, patients=patients), maps_of(relevance)
    wide, narrow = (
        score(maps, card, weights_of(maps, 500), 10) for maps in (by_patient, by_record)
    )
    assert wide["lift"] == pytest.approx(narrow["lift"])
    assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"])
    few = maps_of(relevance[:60], patients=patients[:60])  # three patients: no interval
    assert np.isnan(score(few, card, weights_of(few), 10)["low"])


@pytest.mark.parametrize("n", [5, 20])
def test_intervals_of_lifts_cover_in_small_groups(n):
    """Skewed relevance, 200 groups: the true lift lies within in at least .92, less chance."""
    rng, card = np.random.default_rng(7), textbook_cards(["LVH"])["LVH"]

    def draw(n_records):
        relevance = rng.gamma(0.7, 1.0, size=(n_records, 12, 24))
        relevance[:, card.cells] *= rng.gamma(1.0, 2.0, size=(n_records, 1))
        return maps_of(relevance)

    truth = lift_interval(whole := draw(20_000), None, card, weights_of(whole, 2))[0]
    held = []
    for _ in range(200):
        maps = draw(n)
        _, low, high = lift_interval(maps, None, card, weights_of(maps))
        held.append(low <= truth <= high)
    assert np.mean(held) >= 0.92 - 2.6 * np.sqrt(0.92 * 0.08 / 200)


def test_lift_ratio_is_paired_with_the_control():
    rng = np.random.default_rng(4)
    relevance = rng.gamma(1.0, 1.0, size=(30, 12, 24))
    card = textbook_cards(["LVH"])["LVH"]

    def ratio(one, other):
        pair = maps_of(one), maps_of(other)
        return lift_interval(*pair, card, weights_of(pair[0]))

    assert ratio(relevance, 3 * relevance) == pytest.approx((1, 1, 1))
    point, low, high = ratio(relevance, np.where(card.cells, relevance / 2, relevance))
    assert 1 < low < point < high < 2


def test_lead_lift_is_one_when_leads_are_alike_and_leaves_the_segments_out():
    relevance = np.ones((2, 12, 24))
    relevance[:, :, 6:15] = 7
    maps = maps_of(relevance)
    card = textbook_cards(["LAFB"])["LAFB"]
    assert score(maps, card, weights_of(maps), 200)["lead_lift"] == pytest.approx(1)
    relevance[:, card.cells] *= 2
    found = score(maps_of(relevance), card, weights_of(maps), 2000)
    inside = card.cells.mean(
        axis=0
    )  # mean permuted card: the same part of leads in every segment, relevance 7 or 14
    expected = 2 / (1 + (inside * card.cells.sum(axis=0)).sum() / card.n_cells)
    assert found["lead_lift"] == pytest.approx(expected, rel=0.03)


def test_a_card_of_cells_that_no_record_has_is_not_tested():
    time = np.full((6, 12, 24), 2.0)
    time[:, 3, 5] = 0
    maps = maps_of(np.where(time > 0, 1.0, 0.0), time)
    found = score(maps, card_of((3, 5)), weights_of(maps), 200)
    assert np.isnan([found["lift"], found["p"], found["p_neighbours"]]).all()


@pytest.mark.parametrize("seconds", [0.0, 2.0])
def test_a_card_of_a_segment_without_relevance_in_any_lead_has_no_lead_lift(seconds):
    """Neither a division by the mean of nothing nor by 0."""
    time, relevance = np.full((6, 12, 24), 2.0), np.ones((6, 12, 24))
    time[..., 5], relevance[..., 5] = seconds, 0
    maps = maps_of(relevance, time)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score(maps, card_of((3, 5)), weights_of(maps), 200)
    assert np.isnan(found["lead_lift"])
    assert found["share"] == 0


def test_a_group_without_any_relevance_is_refused():
    maps = maps_of(np.zeros((2, 12, 24)))
    with pytest.raises(ValueError, match="any relevance"):
        score(maps, card_of((0, 0)), weights_of(maps), 10)
