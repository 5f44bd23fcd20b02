"""What it costs, measured on real servers: ratios within one run, for machines are noisy."""
