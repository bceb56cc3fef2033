"""What an alarm does beside speaking: `on_alarm` of the recipe, each act an event of the run.

What it changes lies in the run's memory, where the loop and the method read it, so that a resumed run goes on with it:
`rate` is a share of the learning rate, `price` a factor on what the distance to the start costs, `stop` ends the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sodate.core.recipe import OnAlarm, PolishRecipe

if TYPE_CHECKING:
    from sodate.train.methods import Setup

PAUSE = 3  # steps that an act is given to show
MOST = 3  # acts on one kind of alarm
LESS, MORE = 0.5, 2.0  # what the rate and the price are multiplied by

Event = Callable[..., Any]


class Acts:
    """Called with the kind of an alarm and the step as long as its cause is there; acts now and then.

    `wanted`: the weights are registered whatever they are worth, so that no run is pointless.
    """

    def __init__(self, how: OnAlarm, memory: dict[str, float], event: Event, *, wanted: bool = False) -> None:
        self.how = how
        self.memory = memory
        self.event = event
        self.wanted = wanted

    def __call__(self, alarm: str, step: int) -> None:
        memory, count = self.memory, f"acts {alarm}"
        if alarm == "flat" and self.how != "stop":  # no rate and no price makes equal rewards differ
            return
        if self.how == "nothing" or memory.get(count, 0) >= MOST or step < memory.get("acted", -PAUSE) + PAUSE:
            return
        memory["acted"] = float(step)
        memory[count] = memory.get(count, 0.0) + 1
        key, value = {
            "lower_rate": ("rate", LESS * memory.get("rate", 1.0)),
            "raise_kl": ("price", MORE * memory.get("price", 1.0)),
            "stop": ("stop", 1.0),
        }[self.how]
        memory[key] = value
        self.event("act", alarm=alarm, act=self.how, step=step, **{key: value})

    def end(self, alarm: str, step: int) -> None:
        """Ends a run that can't show a gain, unless alarms do nothing or its weights are wanted all the same."""
        if self.how != "nothing" and not self.wanted and not self.memory.get("stop"):
            self.memory["stop"] = 1.0
            self.event("act", alarm=alarm, act="stop", step=step, stop=1.0)


def of(setup: Setup) -> Acts:
    """What the alarms of a run do, and the memory they do it in."""
    recipe = setup.recipe
    assert isinstance(recipe, PolishRecipe)
    return Acts(recipe.on_alarm, {}, setup.run.event, wanted=recipe.register_no_gain)


def silent(alarm: str, step: int) -> None:
    """For a method without a recipe: alarms only speak."""
