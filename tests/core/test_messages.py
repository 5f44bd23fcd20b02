"""Messages and their priorities in the broker."""

from __future__ import annotations

from flowerapp.core import messages
from flowerapp.core.messages import Message, TaskCall


def test_forty_values_map_onto_ten_steps_in_order() -> None:
    low = [messages.broker_step(nice, highest_first=False) for nice in range(-20, 20)]
    assert low == sorted(low)
    assert {step: low.count(step) for step in low} == dict.fromkeys(range(10), 4)
    assert [messages.broker_step(nice, highest_first=True) for nice in range(-20, 20)] == [9 - step for step in low]


def test_a_message_is_made_again_from_its_row() -> None:
    head, after, join = (TaskCall(seq=seq, program="P", queue="q", priority=-3, time_limit=5) for seq in (1, 2, 3))
    canvas = messages.carried_json([after], join)
    assert Message.of("flow", head, canvas) == Message(flow_id="flow", head=head, then=(after,), join=join)
    assert messages.carried_json([], None) is None
    assert Message.of("flow", head, None) == Message(flow_id="flow", head=head)
