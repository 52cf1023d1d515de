"""One `Trainer.step` from Python, and one prediction, for every net."""

import pytest

import fastbp as fb
from fastbp import reference
from fastbp.bench import contestants, nets, verify

ids = [f"{net.name} batch {net.batch} {net.update}" for net in nets.ALL]
distinct = list({net.name: net for net in nets.ALL}.values())


@pytest.mark.parametrize("net", nets.ALL, ids=ids)
def bench_step(speed, net):
    verify.verify(net, [contestants.Fastbp], 1)
    x, y = net.data(net.batch)
    trainers = [one(net, x, y).trainer for one in (contestants.Fastbp, contestants.Twin)]
    fast, twin = (lambda trainer=trainer: trainer.step(x, y) for trainer in trainers)
    verify.agree(fast(), twin(), 1e-4)
    speed(fast, twin, flops=net.flops(net.batch))


@pytest.mark.parametrize("rows", [1, 1000])
@pytest.mark.parametrize("net", distinct, ids=[net.name for net in distinct])
def bench_predict(speed, net, rows):
    x, _ = net.data(rows)
    fast, twin = (module.Network(net.widths[0], net.layers()) for module in (fb, reference))
    verify.agree(fast.predict(x), twin.predict(x), 1e-5)
    flops = net.forward_flops(rows)
    speed(lambda: fast.predict(x), lambda: twin.predict(x), flops=flops)
