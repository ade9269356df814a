"""Networks and measurements at the scale of the paper."""
