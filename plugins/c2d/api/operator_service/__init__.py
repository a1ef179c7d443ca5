"""Ocean's operator-service protocol on Airflow: what an Ocean Provider talks to (docs/reference/operator-service.md)."""
