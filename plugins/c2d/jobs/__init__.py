"""What a job is: its model, its states and its ids."""
