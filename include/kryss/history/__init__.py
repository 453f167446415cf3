"""What is believed of each object over time: identity, first and last seen, and an end by negative evidence only."""

from kryss.history.believe import believe
from kryss.history.evidence import Before, Beliefs, Evidence, Load
from kryss.history.surveys import SurveyLook

__all__ = ["Before", "Beliefs", "Evidence", "Load", "SurveyLook", "believe"]
