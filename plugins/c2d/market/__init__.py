"""Ocean's rules as pure functions: DDOs, orders, fees, and who may compute on what."""
