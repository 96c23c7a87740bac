"""Discovery: subgroups that the labels hide."""
