"""Helpers of ``scripts/train_networks.py``: data, training, quantisation, report."""
