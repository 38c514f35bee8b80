"""why_miss: one look-up, what it did not get, and the evidence."""

from __future__ import annotations

from msgspec import structs

from kvbm_nats.explain.answers import Fact, Loss, WhyMiss
from kvbm_nats.explain.kept import capacity_to_keep
from kvbm_nats.explain.known import Known, explain_together
from kvbm_nats.explain.life import events_of_key, seqs_of_key
from kvbm_nats.explain.look_up import LookUp, Told
from kvbm_nats.explain.loss import Traced, losses_of
from kvbm_nats.explain.words import blocks, sentence, tokens_of
from kvbm_nats.projection import Projection

EVIDENCE_MAX = 8
"""Events of a block's life that are shown as evidence, the last ones before the look-up."""


async def why_miss(
    projection: Projection, request: str, *, instance: str | None = None, until: int | None = None
) -> WhyMiss | None:
    """Why the request's last look-up did not find all that it asked for; None where it never asked.

    Args:
        projection: what is read
        request: its name
        instance: where it asked, if one name is used in several
        until: take its last look-up up to and with this sequence. What came later may still be evidence.
    """
    async with projection.one_moment():
        return await _explain(projection, request, instance, until)


async def _explain(projection: Projection, request: str, instance: str | None, until: int | None) -> WhyMiss | None:
    known = Known(projection, (await projection.position()).seq)
    await known.begin()
    story = [row for row in await projection.stories([request], known.until) if row.type == "Matched"]
    look_ups = [look_up for row in story if (look_up := LookUp.of(row)) and instance in {None, look_up.instance}]
    up_to = [each for each in look_ups if until is None or each.seq <= until]
    if not up_to:
        return None
    look_up = up_to[-1]
    (losses,) = await explain_together(known, [losses_of(look_up, known)])
    namespace = known.namespace(look_up.instance, look_up.seq)
    return WhyMiss(
        request=request,
        instance=look_up.instance,
        namespace=namespace,
        seq=look_up.seq,
        at_us=look_up.at_us,
        look_up=len(up_to),
        look_ups=len(look_ups),
        start=look_up.start,
        asked=look_up.asked,
        found={part.tier: part.blocks for part in look_up.found},
        by_engine=look_up.by_engine,
        missed=look_up.asked - look_up.reached,
        block_tokens=tokens_of(namespace),
        losses=[await _with_evidence(projection, known, look_up, traced) for traced in losses],
    )


async def _with_evidence(projection: Projection, known: Known, look_up: LookUp, traced: Traced) -> Loss:
    loss, finding, _ = traced
    if finding is None:
        return structs.replace(loss, evidence=await _facts_at(projection, [loss.seq]))
    if finding.row is None:
        return structs.replace(loss, evidence=await _facts_at(projection, [*finding.behind[:1], *finding.behind[-1:]]))
    rows = known.rows(loss.key, finding.row.instance)
    told = {seq: Told.of(row) for seq, row in (await projection.events(sorted(seqs_of_key(rows)))).items()}
    events = events_of_key(rows, told, max(look_up.seq, loss.seq))
    evidence = [Fact(seq=event.last_seq, at_us=event.at_us, said=event.said) for event in events[-EVIDENCE_MAX:]]
    if attached := known.attached(loss.instance, loss.seq):
        evidence.append(Fact(seq=attached.row.seq, at_us=attached.row.at_us, said=sentence(attached.event)))
    sizes = await capacity_to_keep(projection, known, look_up, traced)
    if sizes is None:
        return structs.replace(loss, evidence=evidence)
    capacity, needed = sizes
    what = "it" if loss.blocks == 1 else f"all {loss.blocks:,}"
    kept = f"{loss.said}. {loss.tier} with {blocks(needed)} would have kept {what}, it has {capacity:,}"
    return structs.replace(loss, said=kept, evidence=evidence, capacity=capacity, capacity_needed=needed)


async def _facts_at(projection: Projection, seqs: list[int]) -> list[Fact]:
    """What the entries at these sequences say."""
    rows = await projection.events(seqs)
    return [Fact(seq=seq, at_us=row.at_us, said=sentence(Told.of(row).event)) for seq, row in sorted(rows.items())]
