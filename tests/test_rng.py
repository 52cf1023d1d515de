"""Random numbers: known answers, an independent Philox, the twin bit for bit, and that they look random.

Nothing here is differentiated. Normal numbers alone are more than integer arithmetic, and go through the instruction
sets.
"""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest
from arrays import assert_same_on_fused, needs_two_fused

from fastbp import ops, reference
from fastbp.reference.rng import philox4x32

SEEDS = (0, 1, 2**32 - 1, 2**32, 0x299F31D0A4093822, 2**64 - 1)
STREAMS = (0, 1, 2**40 | 3, 2 << 40 | 7, 0x0370734413198A2E, 2**64 - 1)
SIZES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 63, 64, 65, 255, 256, 257, 2047, 2048, 2049)


def philox(counter, key):
    """Philox4x32-10 of four words and two, as Salmon et al. (SC 2011) define it, on Python's integers."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for round_ in range(10):
        if round_:
            k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
        high0, low0 = divmod(0xD2511F53 * c0, 1 << 32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 1 << 32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return [c0, c1, c2, c3]


def words_of(seed, stream, n):
    """The first n words of a stream, block by block."""
    key = seed & 0xFFFFFFFF, seed >> 32
    blocks = (philox((j & 0xFFFFFFFF, j >> 32, stream & 0xFFFFFFFF, stream >> 32), key) for j in range(-(-n // 4)))
    return np.array(list(itertools.chain.from_iterable(blocks))[:n], "uint32")


def words(text):
    return [int(word, 16) for word in text.split()]


# ----------------------------------------------------------------------------------------------------------- literals

# From the file kat_vectors of the Random123 distribution, the lines of philox4x32 with 10 rounds: counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize("counter, key, result", KNOWN_ANSWERS)
def test_known_answers(counter, key, result):
    counter, key, result = words(counter), words(key), words(result)
    assert philox(counter, key) == result
    assert philox4x32(np.array(counter, "uint64").reshape(4, 1), key).ravel().tolist() == result


def test_the_first_block_is_the_first_known_answer():
    # The other two have counters that a stream reaches after 2^61 blocks and more.
    assert ops.random_bits(0, 0, 4).tolist() == words(KNOWN_ANSWERS[0][2])


def test_uniform_numbers_by_hand():
    # Of the first known answer: 27 bits of one word, 26 of the next.
    expected = [(0x6627E8D5 >> 5 << 26 | 0xE169C58D >> 6) / 2**53, (0xBC57AC4C >> 5 << 26 | 0x9B00DBD8 >> 6) / 2**53]
    assert ops.random_uniform(0, 0, 2).tolist() == expected
    assert expected[0] == pytest.approx(0x6627E8D5 / 2**32, abs=2**-26)


def test_normal_numbers_by_hand(isa):
    # The same words, 52 bits of them and a half: 0.399... and 0.735... Quantiles by the standard library.
    middles = [(int(u * 2**52) + 0.5) / 2**52 for u in ops.random_uniform(0, 0, 2).tolist()]
    expected = [NormalDist().inv_cdf(u) for u in middles]
    assert ops.random_normal(0, 0, 2).tolist() == pytest.approx(expected, rel=1e-15)
    assert expected == pytest.approx([-0.2558, 0.6302], abs=1e-4)


def test_permutation_by_hand():
    # The words of the first known answer in order of size: 6627..., 9b00..., bc57..., e169...
    assert ops.random_permutation(0, 0, 4).tolist() == [0, 3, 2, 1]


# ----------------------------------------------------------------------------- the definition and the twin, bit for bit


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("stream", STREAMS)
def test_words_are_those_of_the_definition(seed, stream):
    assert np.array_equal(ops.random_bits(seed, stream, 101), words_of(seed, stream, 101))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", ["random_bits", "random_uniform", "random_permutation"])
def test_against_the_twin(name, n):
    dtype = {"random_bits": "uint32", "random_uniform": "float64", "random_permutation": "int64"}[name]
    for seed, stream in zip(SEEDS, STREAMS, strict=True):
        got = getattr(ops, name)(seed, stream, n)
        assert got.dtype == dtype and got.shape == (n,)
        assert np.array_equal(got, getattr(reference, name)(seed, stream, n))


@pytest.mark.parametrize("n", SIZES)
def test_normal_numbers_against_the_twin(isa, n):
    for seed, stream in zip(SEEDS, STREAMS, strict=True):
        got = ops.random_normal(seed, stream, n)
        assert got.dtype == "float64" and got.shape == (n,)
        np.testing.assert_allclose(got, reference.random_normal(seed, stream, n), rtol=2e-15, atol=0)


@needs_two_fused
def test_normal_numbers_have_the_same_bits_on_every_instruction_set():
    for n in SIZES:
        assert_same_on_fused(ops.random_normal, 7, n, n)
    assert_same_on_fused(ops.random_normal, 7, 8, 100_003)


def test_long_ones_against_the_twin():
    for name in ("random_bits", "random_uniform", "random_permutation"):
        assert np.array_equal(getattr(ops, name)(3, 5, 100_003), getattr(reference, name)(3, 5, 100_003))


def test_equal_words_keep_their_order():
    n = 200_000
    drawn = ops.random_bits(1, 2, n)
    assert len(np.unique(drawn)) < n, "this seed has no equal words: the test would show nothing"
    assert np.array_equal(ops.random_permutation(1, 2, n), np.argsort(drawn, kind="stable"))


# ----------------------------------------------------------------------------------------- edges, and that it is random


@pytest.mark.parametrize("name", ["random_bits", "random_uniform", "random_normal"])
def test_a_number_does_not_depend_on_how_many_are_drawn(name):
    draw = getattr(ops, name)
    many = draw(9, 4, 300)
    for n in range(40):
        assert np.array_equal(draw(9, 4, n), many[:n])


@pytest.mark.parametrize("n", SIZES)
def test_a_permutation_is_one(n):
    order = ops.random_permutation(11, 12, n)
    assert np.array_equal(np.sort(order), np.arange(n))
    if n > 8:
        assert not np.array_equal(order, np.arange(n))


def test_permutations_are_all_as_likely():
    # 24 orders of four, 250 times each on the average: chi squared of 23 degrees of freedom, above 49.7 once in 1,000.
    counts = {order: 0 for order in itertools.permutations(range(4))}
    for stream in range(6000):
        counts[tuple(ops.random_permutation(5, stream, 4).tolist())] += 1
    assert sum((count - 250) ** 2 / 250 for count in counts.values()) < 49.7


def test_uniform_moments():
    n = 200_000
    u = ops.random_uniform(1, 0, n)
    assert u.min() >= 0 and u.max() < 1
    assert np.array_equal(u * 2**53, np.floor(u * 2**53))
    # Moment k is 1/(k + 1), its variance (1/(2k + 1) - 1/(k + 1)^2)/n: within four standard deviations.
    for k in range(1, 7):
        deviation = np.sqrt((1 / (2 * k + 1) - 1 / (k + 1) ** 2) / n)
        assert abs((u**k).mean() - 1 / (k + 1)) < 4 * deviation
    # Correlation with the next ones, with other streams and other seeds: of variance 1/n when there is none.
    others = [np.roll(u, lag) for lag in (1, 2, 4, 64)]
    others += [ops.random_uniform(1, stream, n) for stream in (1, 2**32, 2**40)]
    others += [ops.random_uniform(seed, 0, n) for seed in (0, 2, 2**32 + 1)]
    for other in others:
        assert abs(np.corrcoef(u, other)[0, 1]) < 4 / np.sqrt(n)


def test_normal_moments():
    n = 200_000
    z = ops.random_normal(1, 0, n)
    # Of moments 1 to 6 the means are 0, 1, 0, 3, 0, 15 and the variances 1, 2, 15, 96, 945, 10170.
    for k, (mean, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96), (0, 945), (15, 10170)], 1):
        assert abs((z**k).mean() - mean) < 4 * math.sqrt(variance / n)
    # Twenty parts as likely as each other: chi squared of 19 degrees of freedom, above 43.8 once in 1,000.
    edges = [NormalDist().inv_cdf(k / 20) for k in range(1, 20)]
    counts = np.bincount(np.searchsorted(edges, z), minlength=20)
    assert ((counts - n / 20) ** 2 / (n / 20)).sum() < 43.8


def test_every_bit_is_set_half_of_the_time():
    n = 100_000
    drawn = ops.random_bits(7, 7, n)
    for bit in range(32):
        assert abs((drawn >> bit & 1).mean() - 0.5) < 4 * 0.5 / np.sqrt(n)
    u = (ops.random_uniform(7, 7, n) * 2**53).astype("uint64")
    for bit in range(53):
        assert abs((u >> np.uint64(bit) & np.uint64(1)).mean() - 0.5) < 4 * 0.5 / np.sqrt(n)


def test_seeds_and_streams_differ_in_every_word_of_theirs():
    drawn = {tuple(ops.random_bits(seed, stream, 4).tolist()) for seed in SEEDS for stream in STREAMS}
    assert len(drawn) == len(SEEDS) * len(STREAMS)
