"""The algebra of labels: values, names, channels, groups, remappings, and the way from raw files to a network."""

from fran.labels.classes import parse_classes
from fran.labels.flow import LabelFlow, LabelRow, LabelRules, SourceLabels
from fran.labels.groups import LabelGroups, check_groups, group_labels, group_names
from fran.labels.remapping import IDENTITY, Remapping, composed
from fran.labels.resolve import resolve_labels
from fran.labels.scheme import MAX_LABEL, LabelScheme
from fran.labels.spelling import parse_remapping
from fran.labels.table import LabelTable

__all__ = [
    "IDENTITY",
    "MAX_LABEL",
    "LabelFlow",
    "LabelGroups",
    "LabelRow",
    "LabelRules",
    "LabelScheme",
    "LabelTable",
    "Remapping",
    "SourceLabels",
    "check_groups",
    "composed",
    "group_labels",
    "group_names",
    "parse_classes",
    "parse_remapping",
    "resolve_labels",
]
