"""What a hospital can check before it answers a model that it was sent.

Each check answers with a :class:`Check`: a statistic, the threshold beyond which it is an alarm,
and a sentence. None needs the help of the server. ``same_model`` needs the other hospitals.

| check             | looks at                        | meant for                               |
|-------------------|---------------------------------|-----------------------------------------|
| identical_rows    | directions of dense rows        | an imprint layer (Fowl et al., 2022)    |
| bias_ladder       | order of dense biases           | an imprint layer, bins in their order   |
| identical_answers | answers of neurons, own records | an imprint layer with other rows        |
| silent_neurons    | ReLUs, own records              | a dead model; traps that hardly fire    |
| gradient_snr      | gradients, own records          | one record that drowns the others       |
| same_model        | hashes of what each was sent    | any difference between hospitals        |
| lone_records      | slopes, own records             | the leak itself, whoever made it        |

Thresholds, and what honest layers reached as noted beside them, come from models of seeds that no
study reports; those of study 7 came nearer to some, at most 0.92 of pairs silent. No alarm is no
proof. Traps that fire as often as a trained layer pass the first five, and so would rows that point
in different directions and sort the records all the same. ``lone_records`` asks another question,
what the gradient gives away, and answers it for honest models too: there an alarm is true, though
nobody meant harm. It asks what two neurons give away, and no more. Imprints made of convolutions
and ReLUs called as functions are not looked for, and models are tried in evaluation mode, even if
they train in the other.

Sources: D-SNR and the division into checks of weights and of gradients, Garov et al. (2024,
arXiv:2306.03013); comparing models, Pasquini et al. (2022, arXiv:2111.07380). The other checks
follow from the attacks, and all thresholds are this package's own.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy, normalize

from leaklab.runtime import progress
from leaklab.updates import State

__all__ = ["inspect", "same_model"]

MOST_ALIKE = 7  # rows of a layer with another's direction: fewer bins part few records
SAME_DIRECTION = 0.98  # absolute cosine of two rows; honest layers reached 0.73
MOST_SAME_ANSWERS = 0.25  # share of a layer's neurons; honest layers reached 0.1
SAME_ANSWERS = 0.999  # absolute correlation over records
LONGEST_LADDER = 11  # biases in order; by chance 12 occur once in 200,000 layers of 1,000
MOST_SILENT = 0.95  # share of pairs of record and neuron that are off; honest layers reached 0.88
HIGHEST_SNR = 1.0  # one record outweighs all others together; honest models reached 0.64
LEFT = 1e-3  # of a lone record: the share that others may weigh, for an image read to 60 dB
HEARD = 1e-4  # of a neuron's largest slope: a lone record below that drowns in rounding


@dataclass(frozen=True)
class Check:
    """What one check found.

    name
        Of the function.
    statistic, threshold
        It is an alarm where the first lies above the second.
    sentence
        What was found, with its numbers.
    """

    name: str
    statistic: float
    threshold: float
    sentence: str

    @property
    def alarm(self) -> bool:
        """Whether the hospital should not answer before it knows why."""
        return self.statistic > self.threshold


def inspect(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Check, ...]:
    """Was it crafted? All that one hospital can check alone, on records of its own.

    Shapes: inputs (n, ...), labels (n,). Raises ``ValueError`` for fewer than 16 records: of a few
    anything looks alike. ``model`` is left unchanged.
    """
    return (identical_rows(model), bias_ladder(model), identical_answers(model, inputs),
            silent_neurons(model, inputs), gradient_snr(model, inputs, labels))


def identical_rows(model: nn.Module) -> Check:
    """How many rows of a dense layer have another's direction, or the opposite one.

    The largest number over the layers. Neither order nor length of the rows matters.
    """
    alike = {name: _alike(normalize(layer.weight.detach().double(), dim=1), SAME_DIRECTION)
             for name, layer in _dense(model)}
    return _worst("identical_rows", alike, MOST_ALIKE, "rows of layer {} have another's direction "
                  f"(absolute cosine above {SAME_DIRECTION})")


def bias_ladder(model: nn.Module) -> Check:
    """The longest run of a dense layer's biases that only rise or only fall."""
    runs = {name: _longest_run(layer.bias.detach()) for name, layer in _dense(model)
            if layer.bias is not None}
    return _worst("bias_ladder", runs, LONGEST_LADDER, "biases of layer {} stand in order")


def identical_answers(model: nn.Module, inputs: Tensor) -> Check:
    """The share of a dense layer's neurons that sort the records just as another one does.

    By the correlation of what they say before the activation, over ``inputs``, shape (n, ...).
    Raises ``ValueError`` for fewer than 16 records.
    """
    said = _outputs(model, inputs, nn.Linear)
    alike = {}
    for name in _wide(said):
        values = said[name].double()
        centred = values - values.mean(0)
        moves = centred.norm(dim=0) > 1e-6 * values.norm(dim=0)  # a constant correlates by rounding
        count = _alike(normalize(centred[:, moves].T, dim=1), SAME_ANSWERS)
        alike[name] = count / values.shape[1]
    return _worst("identical_answers", alike, MOST_SAME_ANSWERS, "of the neurons of {} answer "
                  f"as another does (absolute correlation above {SAME_ANSWERS})")


def silent_neurons(model: nn.Module, inputs: Tensor) -> Check:
    """The largest share of a ReLU's neurons that is off, over ``inputs``, shape (n, ...).

    Of modules ``nn.ReLU`` that run once; functions are not seen.

    Raises ``ValueError`` for fewer than 16 records.
    """
    off = {name: float((output <= 0).double().mean())
           for name, output in _outputs(model, inputs, nn.ReLU).items()}
    return _worst("silent_neurons", off, MOST_SILENT, "of the neurons of {} are off")


def gradient_snr(model: nn.Module, inputs: Tensor, labels: Tensor) -> Check:
    r"""D-SNR, the disaggregation signal-to-noise ratio of a batch.

    Over the weights of dense and convolutional layers, the largest
    :math:`\max_i \|g_i\| / \sum_{j \ne i} \|g_j\|`, with one gradient a record. Shapes: inputs
    (n, ...), labels (n,). Raises ``ValueError`` for fewer than 16 records.

    Source: Garov et al. (2024, arXiv:2306.03013).
    """
    _require_records(inputs)
    model = copy.deepcopy(model).eval()
    weights = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())
    names = [f"{name}.weight".lstrip(".") for name, layer in model.named_modules()
             if isinstance(layer, nn.Linear | nn.Conv2d)]
    if not names:
        return _worst("gradient_snr", {}, HIGHEST_SNR, "")

    def loss(weights, record, label):
        return cross_entropy(functional_call(model, (weights, buffers), (record[None],)),
                             label[None])

    def norms(record, label):
        gradient = grad(loss)(weights, record, label)
        return torch.stack([gradient[name].norm() for name in names])

    sizes = vmap(norms, chunk_size=16)(inputs, labels).double()
    largest = sizes.amax(0)
    ratios = largest / (sizes.sum(0) - largest).clamp_min(1e-30) * (largest > 0)
    return _worst("gradient_snr", dict(zip(names, ratios.tolist(), strict=True)), HIGHEST_SNR,
                  "times all others together weighs one record in the gradient of {}")


def lone_records(model: nn.Module, inputs: Tensor, labels: Tensor) -> Check:
    """The share of the records that one neuron of a dense layer, or two together, isolate.

    The input of the layer at such a record can be divided out of the gradient; see
    :func:`isolated`. Any is an alarm, also from a model that nobody crafted. Of three neurons and
    more nothing is asked, so a low share is no all-clear; rounding of the update, in which small
    slopes drown, is not counted, so a high one is no reading. A model without a dense layer of
    eight neurons is not judged, as the sentence says. Shapes: inputs (n, ...), labels (n,).
    The share falls with n: give as many as train at once.

    Raises ``ValueError`` for fewer than 16 records.
    """
    outputs = _outputs(model, inputs, nn.Linear, labels)
    shares = {name: float(isolated(outputs[name].T).double().mean()) for name in _wide(outputs)}
    return _worst("lone_records", shares, 0.0, "of the records are alone in layer {}")


def isolated(slopes: Tensor) -> Tensor:
    r"""Which records, (n,), one row of ``slopes`` (neurons, n) or a difference of two has alone.

    Of :math:`s_j - c\,s_k`, with any factor c, one record is left: all others together weigh less
    than :data:`LEFT` of it, and it more than :data:`HEARD` of the largest slope of neuron j. The
    factor that cancels all records but one cancels the largest slope of neuron k or, where that is
    the lone record's own, the second largest: two factors a pair are enough.
    """
    size = slopes.abs().amax(1, keepdim=True)
    slopes = (slopes / size)[size[:, 0] > 0].double()
    lone = _only(slopes)
    for row in progress(slopes, "isolated records"):
        largest = row.abs().topk(min(2, len(row))).indices
        for record in largest[row[largest] != 0]:
            lone |= _only(slopes - slopes[:, record, None] / row[record] * row)
    return lone


def fingerprint(state: State) -> str:
    """SHA-256 over names, types, shapes and bytes of a model, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def same_model(received: Mapping[str, State]) -> Check:
    """How many different models the hospitals were sent; ``received`` holds one state a hospital.

    In a federation they would exchange fingerprints, or derive their masks from them, so that
    the masks of different models do not cancel.
    """
    count = len({fingerprint(state) for state in received.values()})
    return Check("same_model", count, 1, f"{count} different models were sent to "
                                         f"{len(received)} hospitals")


def _dense(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers that are wide enough to hold more than a few bins."""
    return ((name, layer) for name, layer in model.named_modules()
            if isinstance(layer, nn.Linear) and layer.out_features > MOST_ALIKE)


def _wide(outputs: Mapping[str, Tensor]) -> list[str]:
    """The layers of that width which answer once a record."""
    return [name for name, output in outputs.items()
            if output.ndim == 2 and output.shape[1] > MOST_ALIKE]


def _alike(rows: Tensor, bound: float) -> float:
    """How many rows of length 1 have a product beyond ``bound`` with another one."""
    return float(((rows @ rows.T).abs().fill_diagonal_(0) > bound).any(1).sum())


def _only(left: Tensor) -> Tensor:
    """Which records, (n,), some row of ``left`` (rows, n) holds alone; rows in units of slopes."""
    top, record = left.abs().max(1)
    alone = (left.abs().sum(1) - top < LEFT * top) & (top > HEARD)
    found = torch.zeros(left.shape[1], dtype=torch.bool, device=left.device)
    found[record[alone]] = True
    return found


def _longest_run(values: Tensor) -> float:
    rises = values.diff().sign().tolist()
    longest = run = 0
    for k, rise in enumerate(rises):
        run = 0 if rise == 0 else run + 1 if k and rise == rises[k - 1] else 1
        longest = max(longest, run)
    return float(longest + 1)


def _outputs(model: nn.Module, inputs: Tensor, kind: type[nn.Module],
             labels: Tensor | None = None) -> dict[str, Tensor]:
    """What each layer of a kind gives, in evaluation mode; with labels, the loss's slope by it,
    in double precision: small slopes count."""
    _require_records(inputs)
    model = copy.deepcopy(model).eval()
    if labels is not None:
        model, inputs = model.double(), inputs.double() if inputs.is_floating_point() else inputs
    given: dict[str, Tensor] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, kind):
            layer.register_forward_hook(
                lambda _, __, output, name=name: given.__setitem__(name, output))
    with torch.set_grad_enabled(labels is not None):
        logits = model(inputs)
    if labels is None:
        return given
    loss = cross_entropy(logits, labels, reduction="sum")
    return dict(zip(given, torch.autograd.grad(loss, list(given.values())), strict=True))


def _require_records(inputs: Tensor) -> None:
    if len(inputs) < 16:
        raise ValueError(f"inputs: {len(inputs)} records given, expected 16 or more")


def _worst(name: str, found: Mapping[str, float], threshold: float, says: str) -> Check:
    """The check of the layer with the highest statistic; 0 where there is no such layer."""
    if not found:
        return Check(name, 0.0, threshold, "there is no layer that this check looks at")
    layer = max(found, key=found.get)
    value = found[layer]
    return Check(name, value, threshold, f"{value:.4g} {says.format(repr(layer))}")
