"""The algebra of labels: values, names, channels, groups, remappings, and the way from raw files to a network."""

from fran.labels.groups import LabelGroups, check_groups, group_labels, group_names
from fran.labels.remapping import IDENTITY, Remapping, composed
from fran.labels.scheme import MAX_LABEL, LabelScheme
from fran.labels.spelling import parse_remapping
from fran.labels.table import LabelTable

__all__ = [
    "IDENTITY",
    "MAX_LABEL",
    "LabelGroups",
    "LabelScheme",
    "LabelTable",
    "Remapping",
    "check_groups",
    "composed",
    "group_labels",
    "group_names",
    "parse_remapping",
]
