"""The paper's experiments, defined in docs/experiments.md: what shares of a pool take, alone and beside others."""
