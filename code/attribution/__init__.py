"""Attribution: what in a record a network's logit rests on."""

from attribution.methods import METHODS, attribute, attribute_records, explain, explain_records

__all__ = ["METHODS", "attribute", "attribute_records", "explain", "explain_records"]
