"""What a run of the glocal stage maps, and all that it computes with."""

from dataclasses import dataclass

from attribution.cards import Card
from glocal.groups import Group, Pool
from records.dataset import Dataset


@dataclass(frozen=True)
class Question:
    """What is mapped.

    pathologies  groups that are drawn and scored
    pairs        groups whose maps are compared, both explained for the first one's label
    methods      those asked for, then the controls
    """

    pathologies: list[str]
    pairs: list[tuple[str, str]]
    methods: list[str]


@dataclass(frozen=True)
class Job:
    """All that a run computes with.

    groups  pathology -> its records, of the pathologies and of the pairs
    cards   label -> the cells that its maps are held against
    """

    question: Question
    data: Dataset
    pool: Pool
    groups: dict[str, Group]
    cards: dict[str, Card]

    @property
    def shown(self) -> list[Group]:
        """The groups that are drawn and scored: pathologies without a record have none."""
        return [self.groups[name] for name in self.question.pathologies if name in self.groups]
