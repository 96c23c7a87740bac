"""Few and small physiological changes of an ECG that turn a network's decision."""
