"""Notices: who did what, when and why, as a record has it and as people read it."""

import pytest

from fencepost.batch import ChangeBatch, create
from fencepost.client import settings_with, stores
from fencepost.connect import open_zone_store
from fencepost.errors import EndpointPinned, PlansFrozen, ZoneFrozen
from fencepost.notice import Notice
from fencepost.plan import Draft, Target, content
from fencepost.records import txt
from fencepost.stores import Actor

ZONE = "dynamodb.us-east-1.fencepost.test."
NOTICE = Notice("ada", 1_760_942_880, "a race")
TOLD = r"\(by ada since 2025-10-20 06:48:00 UTC: a race\)"


def test_notice_of_another_form_is_told_as_it_is():
    """Nothing is made up about a text that nobody of ours wrote."""
    assert Notice.parse("hands off").told == "hands off"
    assert Notice.parse(NOTICE.text).told == "by ada since 2025-10-20 06:48:00 UTC: a race"


async def test_refusals_tell_who_froze_or_holds_since_when_and_why(redis_url):
    """People read them, so that a time is a time of day: the plan store's two, and the zone's."""
    draft = Draft({ZONE: content(5, [Target("lb", "A", "127.1.1.1", 10)])}, "routine")
    async with stores(settings_with(redis_url=redis_url), Actor("ada", operator=True)) as opened:
        await opened.zones.create_zone(ZONE, opened.region.zone_records(ZONE))
        await opened.zones.change(ChangeBatch(ZONE, (create(NOTICE.freezing(ZONE)),)))
        automation = open_zone_store(opened.settings, Actor("use1-az1-enactor"))
        held = Draft(draft.changes, "by hand", by="ada", operator=True, pin=NOTICE)

        await opened.plans.publish(held, expected=0)
        other = Draft({ZONE: content(5, [Target("lb", "A", "127.1.1.1", 11)])}, "routine")
        with pytest.raises(EndpointPinned, match=TOLD):
            await opened.plans.publish(other, expected=1)
        await opened.plans.freeze(NOTICE)
        with pytest.raises(PlansFrozen, match=TOLD):
            await opened.plans.publish(other, expected=1)
        with pytest.raises(ZoneFrozen, match=TOLD):
            await automation.change(ChangeBatch(ZONE, (create(txt(f"x.{ZONE}", "y")),)))
        await automation.close()
