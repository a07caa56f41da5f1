"""Solutions of the exercises of chapters 1 and 2."""

from __future__ import annotations


def fedprox_gradient(gradient, weights, global_weights, mu):
    """Gradient of the local loss plus ``mu / 2 * ||weights - global_weights||^2``."""
    return gradient + mu * (weights - global_weights)


def weighted_mean(states, num_examples):
    """Mean of the hospitals' states, each weighted by its number of examples."""
    total = sum(num_examples)
    return {
        name: sum(n / total * state[name] for state, n in zip(states, num_examples, strict=True))
        for name in states[0]
    }


def bytes_per_round(model, hospitals):
    """Bytes on the wire in one round: the state goes out to each hospital and comes back."""
    tensors = model.state_dict().values()
    return 2 * hospitals * sum(t.numel() * t.element_size() for t in tensors)


def other_hospital(global_weights, own_weights, own_records, other_records):
    """What the other of two hospitals returned, from the weighted mean of both."""
    total = own_records + other_records
    return (total * global_weights - own_records * own_weights) / other_records


def mean_gradient(before, after, learning_rate, local_steps):
    """The mean gradient over the local steps of plain SGD, from the states around them."""
    return (before - after) / (learning_rate * local_steps)


def class_share(said, before, after, learning_rate):
    """Share of a class, from what the model says on average and how its last bias moved."""
    return said + (after - before) / learning_rate
