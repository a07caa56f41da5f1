"""The model under audit: called alike whatever it returns, examined before anything is run.

Models from other packages answer with a tensor, a tuple, a dictionary, or an object with
``logits``. :func:`examine` finds out by one call, looks where records enter and logits leave by
watching that call, and names what would make an audit meaningless.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from leaklab.assess.audit.inputs import Batch
from leaklab.federation import Loss
from leaklab.updates import LocalTraining

KEYS = ("logits", "out")
PROBE = 4  # records of the call that is watched


class Subject(nn.Module):
    """The audited model ``net``, whose answer is always the tensor of logits.

    ``how`` is what :func:`answer_of` says of an answer. ``low`` and ``span``, where given, map
    guesses in [0, 1] to the scale of the model: ``low + span * guess``.
    """

    def __init__(self, net: nn.Module, how: str, low: Tensor | None = None,
                 span: Tensor | None = None):
        super().__init__()
        self.net, self.how, self.low, self.span = net, how, low, span

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits for ``inputs``."""
        answer = self.net(inputs if self.low is None else self.low + self.span * inputs)
        if self.how == "tensor":
            return answer
        if self.how == "first":
            return answer[0]
        return answer[self.how] if isinstance(answer, Mapping) else getattr(answer, self.how)

    def scaled(self, low: Tensor, span: Tensor) -> Subject:
        """The same model for guesses in [0, 1]; its states have the same names."""
        return Subject(self.net, self.how, low, span)


@dataclass(frozen=True)
class Anatomy:
    """Where records enter and logits leave, as one call of the model showed; ``None``: nowhere.

    first
        A linear layer with bias that the record itself enters, flattened.
    head
        A linear layer with bias whose output is the logits.
    table
        An embedding that looks up the tokens.
    warnings
        What to know before reading the results, a sentence each.
    """

    first: str | None
    head: str | None
    table: str | None
    warnings: tuple[str, ...]


def answer_of(answer: object) -> str:
    """How to take logits from what a model returned: ``"tensor"``, ``"first"``, or a key.

    Raises ``ValueError`` for anything else.
    """
    if isinstance(answer, Tensor):
        return "tensor"
    for key in KEYS:
        found = answer.get(key) if isinstance(answer, Mapping) else getattr(answer, key, None)
        if isinstance(found, Tensor):
            return key
    if isinstance(answer, tuple | list) and answer and isinstance(answer[0], Tensor):
        return "first"
    raise ValueError(f"model: returns {type(answer).__name__}, expected a tensor of logits, a "
                     "tuple that starts with it, or something with 'logits' or 'out'; wrap the "
                     "model in a module that returns its logits")


def device_of(model: nn.Module) -> torch.device:
    """Where the model is; records are moved there.

    Raises ``ValueError`` for a model without parameters or on several devices.
    """
    places = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    if len(places) != 1 or not list(model.parameters()):
        raise ValueError(f"model: parameters on {sorted(map(str, places)) or 'no device'}, "
                         "expected all on one")
    return places.pop()


def examine(
    model: nn.Module, loss: Loss, batch: Batch, training: LocalTraining
) -> tuple[Subject, Anatomy]:
    """The model ready for the audit and what is known of it; ``model`` itself is left unchanged.

    Raises ``ValueError`` that names the fault: something that is no module, frozen or not
    copyable; a call that fails on inputs of this shape; an answer without logits; a loss that is
    no single finite number.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: {type(model).__name__} given, expected a torch.nn.Module")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("model: no parameter needs a gradient, expected some that train")
    device = device_of(model)
    try:
        net = copy.deepcopy(model)
    except Exception as error:
        raise ValueError(f"model: {type(model).__name__} cannot be copied ({error})") from error
    probe = batch.take(_telling(batch.targets))
    probe = Batch(probe.inputs.to(device), probe.targets.to(device))
    net.eval()
    try:
        with torch.no_grad():
            how = answer_of(net(probe.inputs))
    except (RuntimeError, TypeError, IndexError, AttributeError, KeyError) as error:
        hint = "" if probe.inputs.is_floating_point() else (
            "; whole numbers are taken for tokens, so save any others as floats")
        raise ValueError(f"model: fails on inputs of shape {tuple(probe.inputs.shape)} and type "
                         f"{probe.inputs.dtype}: {error}{hint}") from error
    subject = Subject(net, how)
    first, head, table = _watched(subject, probe.inputs)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        untouched = _untouched(subject, loss, probe)
    said = tuple(_warnings(net, model.training, batch, training, untouched))
    said += tuple(f"The model or the loss warned: {text}"
                  for text in dict.fromkeys(str(w.message).strip() for w in heard
                                            if issubclass(w.category, UserWarning)))
    subject.train(training.mode == "train")
    return subject, Anatomy(first, head, table, said)


def _telling(targets: Tensor) -> list[int]:
    """Some records, those of the highest and the lowest target among them: a label out of range
    shows there."""
    flat = targets.reshape(len(targets), -1).double()
    ends = [int(flat.amax(1).argmax()), int(flat.amin(1).argmin())]
    return list(dict.fromkeys([*ends, *range(len(targets))]))[:PROBE]


def _watched(subject: Subject, inputs: Tensor) -> tuple[str | None, str | None, str | None]:
    """First layer, head and token table, by what enters and leaves them in one call."""
    found: dict[str, list] = {"first": [], "head": [], "table": []}
    outputs: list[tuple[str, Tensor]] = []

    def watch(name: str):
        def hook(layer: nn.Module, given: tuple, answer: object) -> None:
            entered = given[0] if given and isinstance(given[0], Tensor) else None
            if entered is None or not isinstance(answer, Tensor):
                return
            if isinstance(layer, nn.Linear) and layer.bias is not None:
                outputs.append((name, answer))
                if entered.numel() == inputs.numel() and torch.equal(
                        entered.flatten(), inputs.to(entered.dtype).flatten()):
                    found["first"].append(name)
            if isinstance(layer, nn.Embedding) and torch.equal(entered, inputs):
                found["table"].append(name)
        return hook

    handles = [layer.register_forward_hook(watch(name)) for name, layer in subject.named_modules()
               if isinstance(layer, nn.Linear | nn.Embedding)]
    try:
        with torch.no_grad():
            logits = subject(inputs)
    finally:
        for handle in handles:
            handle.remove()
    found["head"] = [name for name, answer in outputs
                     if torch.equal(answer.flatten(), logits.flatten())]
    return tuple((found[part] or [None])[0] for part in ("first", "head", "table"))


def _untouched(subject: Subject, loss: Loss, probe: Batch) -> list[str]:
    """Trainable parameters that the loss has no gradient for; checks the loss on the way."""
    try:
        value = loss(subject(probe.inputs), probe.targets)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"loss: fails on the model's answer and targets of shape "
                         f"{tuple(probe.targets.shape)} and type {probe.targets.dtype}, such as "
                         f"{probe.targets.flatten()[:1].tolist()}: {error}") from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"loss: {shape} returned, expected a tensor of one number")
    if not torch.isfinite(value):
        raise ValueError(f"loss: {value.item()} on {len(probe.inputs)} of the records given, "
                         "expected a finite number; look at the scale of the inputs and at labels "
                         "out of range")
    if not value.requires_grad:
        raise ValueError("loss: does not depend on the model's parameters, expected that it does")
    names = {name: p for name, p in subject.net.named_parameters() if p.requires_grad}
    slopes = torch.autograd.grad(value.reshape(()), list(names.values()), allow_unused=True)
    bad = [name for name, slope in zip(names, slopes, strict=True)
           if slope is not None and not torch.isfinite(slope).all()]
    if bad:
        raise ValueError(f"loss: gradient of {_few(bad)} holds NaN or infinity, expected numbers")
    return [name for name, slope in zip(names, slopes, strict=True) if slope is None]


def _warnings(net, was_training: bool, batch: Batch, training: LocalTraining, untouched):
    """A sentence for each thing that shapes the results."""
    train = training.mode == "train"
    if was_training != train:
        yield (f"The model came in {'train' if was_training else 'eval'} mode; hospitals train in "
               f"{training.mode} mode here, as the federation says.")
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm)]
    if norms and train:
        yield (f"BatchNorm in train mode ({counted(len(norms), 'layer')}) mixes the records of "
               "a batch, and sends statistics of it along; attacks that need each record's own "
               "gradient are weaker, and the statistics are a leak of their own that is not scored "
               "here.")
    drops = [m.p for m in net.modules() if isinstance(m, _DropoutNd) and m.p > 0]
    if drops and train:
        yield (f"Dropout is on ({counted(len(drops), 'layer')}), with units the attacks do not "
               "know: searches fail that an attacker who reads the mask off the update might not.")
    if untouched:
        yield (f"No gradient reaches {_few(untouched)}: no update of these says anything, and "
               "attacks that read them find nothing.")
    frozen = [name for name, p in net.named_parameters() if not p.requires_grad]
    if frozen:
        yield f"Frozen, and so sending nothing: {_few(frozen)}."
    if batch.groups is None:
        yield ("Records came without groups: if a patient has several, some may be victim and "
               "public at once, and the baselines are too good.")


def counted(number: int, what: str = "record") -> str:
    """The number in words that agree with it."""
    return f"{number} {what}" + "s" * (number != 1)


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
