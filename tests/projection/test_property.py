"""Whatever legal history there is: the tables are its fold, at the end and where a projector was stopped."""

from __future__ import annotations

import asyncio
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from projection.checks import assert_equal, caught_up
from projection.histories import COMMANDS, Story, log_of

small = st.integers(0, 63)
commands = st.lists(st.tuples(st.sampled_from((*COMMANDS, "fill", "fill", "fill")), small, small), max_size=40)


@settings(max_examples=60)
@given(commands=commands, observed=st.booleans(), capacity=st.integers(4, 24), share=st.floats(0, 1))
def test_the_tables_are_the_fold(commands, observed, capacity, share):
    story = Story(capacity=capacity, observed=observed)
    for command in commands:
        story.do(*command)
    asyncio.run(check(story, int(share * len(story.events))))


async def check(story, stop):
    log = log_of(a=story)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/p.db"
        if stop:
            await caught_up(url, log, stop)
            await assert_equal(url, log)
        await caught_up(url, log)
        await assert_equal(url, log)
