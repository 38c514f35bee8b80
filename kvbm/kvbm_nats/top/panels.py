"""The panels that are text: what happens to tiers, rates, paths, and why blocks were missed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kvbm_nats.cli.stat_line import short
from kvbm_nats.cli.text import printable
from kvbm_nats.explain.answers import MissCauses
from kvbm_nats.explain.words import blocks, span
from kvbm_nats.live import Sample, TierFlow, View
from kvbm_nats.live.sample import together
from kvbm_nats.status import TierStatus
from kvbm_nats.top.text import bar, cut, sparkline

OVER_S = 5.0
"""What a rate is taken over: steadier than one interval, and still of now."""
WIDE = 100
"""From so many columns on a tier's row has its policy and all its states."""
LEGEND = "tiers: █ registered, ▒ being filled, ? in doubt, · free; blocks/s in and out"


def recent(view: View) -> Sample:
    """What happened in the last few seconds."""
    taken: list[Sample] = []
    for sample in reversed(view.samples):
        taken.append(sample)
        if sum(each.interval_s for each in taken) >= OVER_S:
            break
    return together(taken[::-1])


def tiers_text(view: View, width: int) -> str:
    """A row for each tier: its slots by state, and what comes and goes."""
    if not view.slots.tiers:
        return f"what is in the tiers is not known: {printable(view.slots.note or 'asking the service')} …"
    now = recent(view)
    return "\n".join(_tier_row(tier, now, width) for tier in view.slots.tiers)


def _tier_row(tier: TierStatus, now: Sample, width: int) -> str:
    doubtful = tier.condemned + tier.quarantined
    flow = now.tiers.get(tier.tier, TierFlow())
    used = f"{tier.registered:,} of {tier.capacity:,}"
    right = f" {used:>18}  in {short(now.per_s(flow.came)):>4}  out {short(now.per_s(flow.left)):>4}"
    if width >= WIDE:
        right += f"  filling {short(tier.allocated):>4}  in doubt {short(doubtful):>4}  {tier.policy}"
    parts = [(tier.registered, "█"), (tier.allocated, "▒"), (doubtful, "?")]
    return f"{tier.tier} {bar(parts, tier.capacity, max(10, width - len(right) - 3))}{right}"


def rates_text(view: View, width: int) -> str:
    """Rates of now, with the last two minutes beside them."""
    now, samples = recent(view), view.samples
    hit = "-" if now.hit_ratio is None else f"{now.hit_ratio:.0%}"
    rows: list[tuple[str, str, Callable[[Sample], float | None], float | None]] = [
        ("hit ratio", hit, lambda sample: sample.hit_ratio, 1.0),
        ("look-ups", f"{short(now.per_s(now.look_ups))}/s", lambda sample: sample.per_s(sample.look_ups), None),
        (
            "found",
            f"{short(now.per_s(sum(now.found.values())))}/s",
            lambda sample: sample.per_s(sum(sample.found.values())),
            None,
        ),
        (
            "evicted",
            f"{short(now.per_s(sum(now.evicted.values())))}/s",
            lambda sample: sample.per_s(sum(sample.evicted.values())),
            None,
        ),
        ("moved", f"{short(now.per_s(now.moved_bytes))}B/s", lambda sample: sample.per_s(sample.moved_bytes), None),
    ]
    lines: list[str] = []
    for name, said, value, top in rows:
        left = f"{name:<10}{said:>8} "
        values = [None if sample.away else value(sample) for sample in samples]
        lines.append(left + sparkline(values, width - len(left), top=top))
    return "\n".join(lines)


def paths_text(view: View, width: int) -> str:
    """A row for each path that is known: what moved, moves, waits, and was dropped."""
    now = recent(view)
    known = {(path.source, path.tier) for sample in view.samples for path in sample.paths if path.source}
    status = {(path.source, path.tier): path for path in view.status.paths} if view.status else {}
    lines = [cut("path  moves/s   B/s fly wait drop", width)]
    for source, tier in sorted(known | status.keys(), key=lambda path: (path[0] > path[1], path)):
        path = f"{source}>{tier}"
        parts = [each for each in now.paths if (each.source, each.tier) == (source, tier)]
        moves, size = sum(each.transfers for each in parts), sum(each.size_bytes for each in parts)
        asked = status.get((source, tier))
        waiting, dropped = ("-", "-") if asked is None else (short(asked.waiting), short(sum(asked.dropped.values())))
        lines.append(
            cut(
                f"{path:<6}{short(now.per_s(moves)):>7}{short(now.per_s(size)):>6}"
                f"{view.under_way.get(path, 0):>4}{waiting:>5}{dropped:>5}",
                width,
            )
        )
    return "\n".join(lines if len(lines) > 1 else [*lines, "nothing has moved yet"])


def causes_text(causes: MissCauses | None, note: str, width: int) -> str:
    """Why the newest look-ups missed blocks, by share."""
    if causes is None:
        return f"not known: {printable(note)}" if note else "asking why …"
    if not causes.causes:
        return cut(f"the newest {causes.look_ups:,} look-ups missed nothing", width)
    lines: list[str] = []
    for each in causes.causes:
        left = f"{each.cause.replace('_', ' '):<15}{each.share:>5.0%} {each.blocks:>7,} "
        lines.append(cut(left + bar([(each.blocks, "█")], causes.missed, max(4, width - len(left))), width))
    return "\n".join(lines)


def notice_text(view: View, width: int) -> str:
    """Who is there and how far behind everybody is."""
    sample = view.samples[-1]
    parts = [f"{blocks(view.slots.requests, 'request')} open"]
    if view.status is None:
        parts.append("no service answers: what waits is not known")
    elif sample.unstored is not None:
        parts.append(f"{sample.unstored:,} events not acknowledged")
    parts.append(f"{'?' if sample.lag is None else f'{sample.lag:,}'} not read yet")
    if dropped := _dropped(view):
        parts.append(f"dropped {dropped}")
    others = {reason: count for reason, count in recent(view).evicted.items() if reason != "capacity"}
    if others:
        parts.append("evicted as " + ", ".join(f"{reason} {count:,}" for reason, count in sorted(others.items())))
    return cut(" · ".join(parts), width)


def _dropped(view: View) -> str:
    counts: dict[str, int] = {}
    for path in view.status.paths if view.status else ():
        for reason, count in path.dropped.items():
            counts[reason] = counts.get(reason, 0) + count
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()))


def workers_text(view: View, width: int) -> str:
    """Who holds the memory of each rank, and when it was last heard."""
    if not view.workers:
        return cut("memory: nobody has told who has it", width)
    return cut("memory: " + " · ".join(_worker(view, worker.rank) for worker in view.workers), width)


def _worker(view: View, rank: int) -> str:
    worker = next(each for each in view.workers if each.rank == rank)
    who = printable(worker.holder) or "told before this screen began"
    if worker.ended:
        return f"rank {rank} {who}, ended"
    if not worker.heard_us:
        return f"rank {rank} {who}"
    return f"rank {rank} {who}, heard {span(max(0, view.at_us - worker.heard_us))} ago"


def head_text(view: View | None, instance: str, instances: Sequence[str], *, paused: bool, width: int) -> str:
    """What is shown, and whether it is of now."""
    which = (
        f" ({instances.index(instance) + 1} of {len(instances)})"
        if instance in instances and len(instances) > 1
        else ""
    )
    left = f"kvbm top · {instance}{which}"
    if view is None:
        return cut(f"{left} · reading the log …", width)
    if view.slots.epoch:
        left += f" · epoch {view.slots.epoch}"
    if paused:
        state = "PAUSED, p goes on"
    elif view.away:
        state = f"AWAY for {span(view.at_us - view.away_since_us)}"
    else:
        state = "live" if view.is_ready else "reading the log …"
    left += f" · seq {view.seq:,} · {state}"
    return cut(left, width)
