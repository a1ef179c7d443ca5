"""publish: brings the released files and the logs to the job's stores."""
