"""The HTTP APIs: Ocean's Operator-Service and Provider, and the guard in front of Airflow's own trigger."""
