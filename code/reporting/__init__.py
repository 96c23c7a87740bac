"""The report: one page from what the stages wrote."""
