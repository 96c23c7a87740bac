"""Limits of counterfactual edits around one record, for tests."""

import ecg
from counterfactual.edits import EDITS, Limits

WIDE = 0.4  # mV to both sides of what the record has


def limits_around(signal, room=WIDE, sd=0.2):
    """Limits that leave `room` in either direction of a record's own measurements."""
    before = ecg.measure(signal, 100)
    columns = dict.fromkeys(column for edit in EDITS.values() for column in edit.columns)
    values = {column: float(before[column]) for column in columns}
    low = {column: value - room for column, value in values.items()}
    high = {column: value + room for column, value in values.items()}
    return Limits(low, high, dict.fromkeys(columns, sd), 100)
