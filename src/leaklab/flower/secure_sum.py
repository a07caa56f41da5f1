"""The federation of chapter 1 behind secure aggregation, as a Flower app: four messages a round.

    query.advertise   a hospital draws secrets and answers with its public keys
    query.share       it is told everyone's keys and answers with sealed shares of its secrets
    train             it is told the sealed shares, trains, and answers with its masked update
    query.reveal      it is told who is left, answers with shares, and forgets its secrets

The phases are those of :mod:`leaklab.defences.secure_aggregation`; here they are carried by Flower
1.41's Message API, in process by :class:`leaklab.flower.local_grid.LocalGrid`. No number of
records and no loss goes out in the clear. Keys depend on the model and on the training settings
that a hospital was sent; it shares and masks once a round, and refuses unbound masks. Needs the
extras ``flower`` and ``defences``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from leaklab.defences import secure_aggregation as sa
from leaklab.flower.app import (
    TIMEOUT,
    config_of,
    hospital_of,
    initial_model,
    training_of,
)
from leaklab.flower.strategy import RoundFailed, wait_for_nodes
from leaklab.runtime import generator
from leaklab.updates import LocalTraining, State, copy_state

LOG = logging.getLogger("leaklab.flower")


# --- Messages as Flower's records ---------------------------------------------------------------


def cohort_record(cohort: sa.Cohort) -> ConfigRecord:
    """What everyone knows before a round."""
    quantiser = {f"quantiser-{name}": value for name, value in asdict(cohort.quantiser).items()}
    return ConfigRecord({"hospitals": list(cohort.hospitals), "threshold": cohort.threshold,
                         "round": cohort.round, "bind-model": cohort.bind_model, **quantiser})


def cohort_of(record: Mapping) -> sa.Cohort:
    """The reverse; raises ``ValueError`` as :class:`leaklab.defences.secure_aggregation.Cohort`."""
    quantiser = {name.removeprefix("quantiser-"): value for name, value in record.items()
                 if name.startswith("quantiser-")}
    return sa.Cohort(tuple(record["hospitals"]), int(record["threshold"]), int(record["round"]),
                     sa.Quantiser(**quantiser), bool(record["bind-model"]))


def advert_record(advert: sa.Advert) -> ConfigRecord:
    """Public keys."""
    return ConfigRecord(asdict(advert))


def shares_record(shares: sa.Shares) -> ConfigRecord:
    """Sealed shares, and the hashes of what is in them, joined two by two."""
    return ConfigRecord({"hospital": shares.hospital, "holders": list(shares.sealed),
                         "sealed": list(shares.sealed.values()),
                         "hashes": [b"".join(shares.hashes[name]) for name in shares.sealed]})


def shares_of(record: Mapping) -> sa.Shares:
    """The reverse."""
    pairs = [(both[:len(both) // 2], both[len(both) // 2:]) for both in record["hashes"]]
    return sa.Shares(str(record["hospital"]),
                     dict(zip(record["holders"], record["sealed"], strict=True)),
                     dict(zip(record["holders"], pairs, strict=True)))


def revealed_record(revealed: sa.Revealed) -> ConfigRecord:
    """Shares of own masks and of keys."""
    return ConfigRecord({"hospital": revealed.hospital,
                         "own-of": list(revealed.own), "own": list(revealed.own.values()),
                         "pairs-of": list(revealed.pairs), "pairs": list(revealed.pairs.values())})


def revealed_of(record: Mapping) -> sa.Revealed:
    """The reverse."""
    return sa.Revealed(str(record["hospital"]),
                       dict(zip(record["own-of"], record["own"], strict=True)),
                       dict(zip(record["pairs-of"], record["pairs"], strict=True)))


def all_of(content: RecordDict, kind: str) -> list[ConfigRecord]:
    """The records of one kind that the server passes on, one a hospital."""
    return [record for name, record in content.config_records.items()
            if name.startswith(f"{kind}/")]


# --- At the hospital ---------------------------------------------------------------------------

client_app = ClientApp()


@client_app.query("advertise")
def answer_advertise(message: Message, context: Context) -> Message:
    """Draw secrets for this round and answer with the public keys behind them."""
    secrets = sa.draw_secrets()
    context.state["secrets"] = ConfigRecord(
        {"pairs": secrets.pairs, "own": secrets.own, "channel": secrets.channel})
    context.state["used"] = ConfigRecord({"share": False, "train": False})
    name = _hospital(message, context).name
    return _reply(message, "advert", advert_record(sa.advertise(name, secrets)))


@client_app.query("share")
def answer_share(message: Message, context: Context) -> Message:
    """Split the secrets among those whose keys the server passes on."""
    _use_once(context, "share")
    shares = sa.share(_cohort(message), _hospital(message, context).name, _secrets(context),
                      _adverts(message.content))
    return _reply(message, "shares", shares_record(shares))


@client_app.train()
def answer_train(message: Message, context: Context) -> Message:
    """Train the received model and answer with the masked update, and nothing else."""
    config, seat = message.content["config"], _seat(message, context)
    hospital, seed, size = (_hospital(message, context), int(config["seed"]),
                            int(config["image-size"]))
    _use_once(context, "train")
    model = initial_model(seed, size)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    number = seat.cohort.round
    update = hospital.train(model, training_of(config), round=number,
                            generator=generator(seed, number, hospital.name))
    words = sa.mask(seat, update).words
    return Message(RecordDict({"arrays": ArrayRecord({"words": Array(words)}),
                               "sender": ConfigRecord({"hospital": hospital.name})}),
                   reply_to=message)


@client_app.query("reveal")
def answer_reveal(message: Message, context: Context) -> Message:
    """Hand out the shares that open the sum, once: the secrets are forgotten first."""
    seat = _seat(message, context)
    del context.state["secrets"]
    return _reply(message, "revealed", revealed_record(
        sa.reveal(seat, list(message.content["survivors"]["names"]))))


def _hospital(message: Message, context: Context):
    config = message.content["config"]
    return hospital_of(context, int(config["seed"]), int(config["image-size"]))


def _secrets(context: Context) -> sa.Secrets:
    if "secrets" not in context.state:
        raise sa.RoundAborted("secrets: none for this round, or already used")
    return sa.Secrets(**context.state["secrets"])


def _use_once(context: Context, step: str) -> None:
    """Two answers under the same keys would tell their difference."""
    _secrets(context)
    if context.state["used"][step]:
        raise sa.RoundAborted(f"{step}: already answered in this round")
    context.state["used"][step] = True


def _cohort(message: Message) -> sa.Cohort:
    """What the server says of the round, and what else it says to do, which keys depend on."""
    cohort = cohort_of(message.content["cohort"])
    if not cohort.bind_model:
        raise sa.RoundAborted("cohort: masks not bound to the model, expected bound ones")
    return replace(cohort, told=_told(message.content["config"]))


def _told(config: Mapping) -> str:
    return repr(sorted(config.items()))


def _adverts(content: RecordDict) -> list[sa.Advert]:
    return [sa.Advert(**record) for record in all_of(content, "advert")]


def _seat(message: Message, context: Context) -> sa.Seat:
    content = message.content
    return sa.take_seat(_cohort(message), _hospital(message, context).name,
                        _secrets(context), _adverts(content),
                        [shares_of(record) for record in all_of(content, "shares")])


def _reply(message: Message, kind: str, record: ConfigRecord) -> Message:
    return Message(RecordDict({kind: record}), reply_to=message)


# --- At the server -----------------------------------------------------------------------------


def federate_securely(
    grid: Grid, training: LocalTraining, *, rounds: int, seed: int, num_hospitals: int,
    threshold: int | None = None, size: int = 28, timeout: float = TIMEOUT,
) -> Iterator[sa.Opened]:
    """Yield what the server opens in each round, over the nodes of ``grid``.

    A hospital that does not answer ``train`` drops out of that round, with a warning that names
    it. Raises :class:`leaklab.defences.secure_aggregation.RoundAborted` where a round cannot be
    opened, and ``RoundFailed`` where too few nodes are there, or one fails before it has shared.
    On the same seed this is ``leaklab.federation.fed_avg`` to the rounding of float32.
    """
    state = copy_state(initial_model(seed, size).state_dict())
    for number in range(1, rounds + 1):
        nodes = wait_for_nodes(grid, num_hospitals, timeout)
        opened = _round(grid, nodes, state, config_of(training, seed, size), number,
                        len(nodes) // 2 + 1 if threshold is None else threshold, timeout)
        state = opened.after
        yield opened


def _round(grid: Grid, nodes: Sequence[int], state: State, config: ConfigRecord, number: int,
           threshold: int, timeout: float) -> sa.Opened:
    def ask(kind: str, whom: Sequence[int], **records) -> dict[int, RecordDict]:
        sent = [Message(RecordDict({"config": config, **records}), node, kind,
                        group_id=str(number)) for node in whom]
        replies = grid.send_and_receive(sent, timeout=timeout)
        for reply in replies:
            if not reply.has_content():
                LOG.warning("round %d: node %d answers %s with %s", number,
                            reply.metadata.src_node_id, kind, reply.error.reason)
        return {reply.metadata.src_node_id: reply.content for reply in replies
                if reply.has_content()}

    def everyone(kind: str, name: str, **records) -> dict[int, ConfigRecord]:
        answers = ask(kind, nodes, **records)
        if len(answers) < len(nodes):
            raise RoundFailed(f"round {number}: {len(answers)} of {len(nodes)} hospitals answered "
                              f"{kind}, expected all: start the round anew without the others")
        return {node: content[name] for node, content in sorted(answers.items())}

    adverts = everyone("query.advertise", "advert")
    names = {node: str(record["hospital"]) for node, record in adverts.items()}
    cohort = sa.Cohort(tuple(names.values()), threshold, number, told=_told(config))
    told = {"cohort": cohort_record(cohort),
            **{f"advert/{node}": record for node, record in adverts.items()}}
    shares = everyone("query.share", "shares", **told)
    told |= {f"shares/{node}": record for node, record in shares.items()}
    answers = ask("train", nodes, arrays=ArrayRecord(dict(state)), **told)
    masked = [sa.Masked(names[node], np.asarray(content["arrays"]["words"].numpy()))
              for node, content in sorted(answers.items())]
    survivors = ConfigRecord({"names": [answer.hospital for answer in masked]})
    revealed = ask("query.reveal", list(answers), survivors=survivors, **told)
    return sa.open_sum(cohort, state, [sa.Advert(**record) for record in adverts.values()],
                       [shares_of(record) for record in shares.values()], masked,
                       [revealed_of(content["revealed"]) for content in revealed.values()])
