"""Parameters, multiply-adds, memory, and limits on them."""
