"""Proofs about the emitted netlist: translation to transition systems, induction, refutation and seeded bugs."""
