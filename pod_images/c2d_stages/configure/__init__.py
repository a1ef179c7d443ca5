"""configure: fetches the inputs and the algorithm into the job's volume."""
