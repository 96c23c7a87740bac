"""The smallest physiological change of an ECG that turns a network's decision."""
