"""Mixed networks with deadlines that arrive at random: policies of sharing a pool, compared by simulation.

The simulation is event-driven over latency tables of layers (`benchmarks.latency_tables`), which the exact timing model
makes, with the costs of switching of `hypervisor.switch`. Times are cycles.
"""
