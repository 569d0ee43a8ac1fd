"""How fast this provider is, beside what it is measured against; run by scripts/bench.py."""
