"""Ocean's Operator-Service on Airflow: what an Ocean Provider talks to (docs/operator-service.md)."""
