"""Which of several answers are one and the same, for counting votes among them."""

from collections import Counter
from collections.abc import Sequence

from treepo.rewards.answers import quick_verdict, respell
from treepo.rewards.scoring import LONGEST_ANSWER


def group_answers(answers: Sequence[str]) -> list[int]:
    r"""Groups answers that the scorer takes for equal by reading alone.

    The scorer's equality is not transitive: `5` equals `5\text{ cm}` and `5\text{ m}`, which differ. So all members of
    a group equal each other, in both directions, and an answer that fits several groups goes to the one that began with
    the most frequent spelling. What only math-verify could tell stays apart.

    Args:
        answers: Contents of boxes.

    Returns:
        The number of each answer's group, from 0; groups do not depend on the order of the answers.
    """
    spelt = [respell(answer) for answer in answers]
    groups: list[list[str]] = []
    places: dict[str, int] = {}
    for spelling, _ in sorted(Counter(spelt).items(), key=lambda entry: (-entry[1], entry[0])):
        fitting = (place for place, group in enumerate(groups) if all(_equal(member, spelling) for member in group))
        place = next(fitting, len(groups))
        if place == len(groups):
            groups.append([])
        groups[place].append(spelling)
        places[spelling] = place
    return [places[spelling] for spelling in spelt]


def _equal(one: str, other: str) -> bool:
    if max(len(one), len(other)) > LONGEST_ANSWER:
        return False
    return quick_verdict(one, other) is True and quick_verdict(other, one) is True
