"""The predictor of the benchmark of schedules is perfect, and its judge knows the chain."""

import itertools

import pytest
import torch
from benchmarks.schedules import Chain, Options, main

from parlando.generative.masking import MASK_SCHEDULES


def test_the_predictor_is_what_enumeration_says():
    chain = Chain(3, seed=1)
    torch.testing.assert_close(chain.start @ chain.matrix, chain.start)
    codes = torch.tensor([[0, 2, 0, 0, 1], [0, 0, 0, 0, 0]])
    masked = torch.tensor([[True, False, True, True, False], [True] * 5])
    words = torch.tensor(list(itertools.product(range(3), repeat=5)))
    joint = chain.start[words[:, 0]] * chain.matrix[words[:, :-1], words[:, 1:]].prod(1)
    found = chain.predict(codes, masked, torch.ones(2)).softmax(-1)
    for item in range(2):
        agrees = ((words == codes[item]) | masked[item]).all(1)
        for place in masked[item].nonzero().flatten().tolist():
            counts = torch.stack(
                [joint[agrees & (words[:, place] == code)].sum() for code in range(3)]
            )
            torch.testing.assert_close(found[item, place], counts / counts.sum())


def test_codes_one_by_one_are_more_like_the_chain_than_all_at_once():
    chain, options = Chain(6, seed=2), Options(sequences=100, length=12)
    few, many = (chain.judge(chain.draw(options, "linear", steps))[0] for steps in (1, 12))
    true = chain.judge(chain.follow(options))[0]
    assert true < 0.1
    assert true < many < 0.7 * few


def test_the_judge_measures_pairs():
    chain = Chain(2, seed=0)
    variation, nats = chain.judge(torch.zeros(1, 9, dtype=torch.int64))
    assert variation == pytest.approx(1.0 - float(chain.pairs[0, 0]))
    assert nats == pytest.approx(-float(chain.matrix[0, 0].log()))


def test_both_tables_have_a_row_for_each_schedule(capsys):
    main(Options(entries=3, length=4, sequences=5, steps=(1, 2)))
    lines = capsys.readouterr().out.splitlines()
    names = [line.rsplit(None, 2)[0] for line in lines]
    rows = [*MASK_SCHEDULES, "the chain"]
    assert names == ["variation of pairs", *rows, "nats a code", *rows]
