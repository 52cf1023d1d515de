"""A net learns to balance a pole on a cart: python examples/cartpole.py [--updates 60] [--seed 0]

REINFORCE (Williams, Machine Learning 8, 1992), with the mean return at each moment as its baseline, on the cart of
Barto, Sutton and Anderson (1983): a push to the left or the right every 20 ms. An episode ends when the pole leans by
12 degrees, when the cart is 2.4 m off, or after 500 pushes; its return is the number of pushes. 32 carts run at a time.
"""

import argparse

import numpy as np

import fastbp as fb

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--updates", type=int, default=60, help="of the policy, each after 32 episodes (default 60)")
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()
rng = np.random.default_rng(options.seed)


def push(state, right):
    """The carts' states, place, speed, angle and its speed in (carts, 4), after 20 ms of a force of 10 N."""
    _, speed, angle, spin = state.T
    sin, cos = np.sin(angle), np.cos(angle)
    pushed = (np.where(right, 10, -10) + 0.05 * spin**2 * sin) / 1.1
    twist = (9.8 * sin - cos * pushed) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
    return state + 0.02 * np.stack([speed, pushed - 0.05 * twist * cos / 1.1, spin, twist], axis=1)


def episodes(chance_of_right, carts=32, longest=500):
    """What the carts saw (T, carts, 4), where they were pushed (T, carts) and whether they were still up (T, carts)."""
    state, up, seen = rng.uniform(-0.05, 0.05, (carts, 4)), np.ones(carts, bool), []
    while up.any() and len(seen) < longest:
        right = rng.uniform(size=carts) < chance_of_right(state.astype(np.float32))
        seen.append((state.astype(np.float32), right, up))
        state = push(state, right)
        up = up & (np.abs(state[:, 0]) < 2.4) & (np.abs(state[:, 2]) < np.deg2rad(12))
    return map(np.array, zip(*seen))


def policy_loss(logits, target):
    """Mean of -advantage log p(action): going down its gradient is going up that of the return."""
    taken, advantage = np.eye(2)[target[:, 0].astype(int)], target[:, 1:]
    p = fb.ops.softmax_forward(logits)
    return -(advantage * taken * np.log(p)).sum() / len(p), advantage * (p - taken) / len(p)


net = fb.Network(4, [fb.Dense(32, "tanh"), fb.Dense(2)], seed=options.seed)
trainer = fb.Trainer(net, policy_loss, fb.Adam(0.02))
_, _, up = episodes(lambda state: 0.5)
print(f"pushed at random: mean return {up.sum(axis=0).mean():.0f}")
for update in range(1, options.updates + 1):
    states, actions, up = episodes(lambda state: fb.ops.softmax_forward(net.predict(state))[:, 1])
    returns = up[::-1].cumsum(axis=0)[::-1]  # pushes still to come
    advantage = (returns - (returns * up).sum(axis=1, keepdims=True) / up.sum(axis=1, keepdims=True))[up]
    trainer.step(states[up], np.stack([actions[up], advantage / returns[up].std()], axis=1))
    if update % 5 == 0:
        print(f"update {update:3}: mean return {up.sum(axis=0).mean():.0f}", flush=True)
