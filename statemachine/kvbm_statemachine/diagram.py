"""The table as a Mermaid state diagram: `python -m kvbm_statemachine.diagram` prints what the room's README shows."""

from __future__ import annotations

from kvbm_statemachine.table import TABLE, SlotState


def diagram() -> str:
    """One arrow a row of the table, each with its event; a slot begins free."""
    lines = ["stateDiagram-v2", f"    [*] --> {_name(SlotState.FREE)}"]
    lines += [f"    {_name(row.before)} --> {_name(row.after)}: {row.cause}" for row in TABLE]
    return "\n".join(lines)


def _name(state: SlotState) -> str:
    return state.name.lower()


if __name__ == "__main__":
    print(diagram())  # noqa: T201 - the command's output
