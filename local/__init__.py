"""The laptop stack: the whole system on one machine, for development, tests and demonstrations. Nothing here runs in a deployment.

- `stack`: the commands `up`, `down`, `status` and `clean`; `readiness` waits until the system answers
- `plan`: the processes of a stack; `settings`: their environment variables; `env_files`: the two files of variables that a user sees
- `supervisor`: starts, restarts and stops the processes of a plan; `units` has the types that it shares with `stack`
- `airflow`, `airflow_api`, `postgres`, `migrations`, `images`, `cluster`, `data_server`: one module for each part of the system
- `home`: the folder where a stack stores its secrets, ports, databases and logs
- `demo`: `make demo`; `market`: `make demo-market` and the blockchain around it
- `runner`: the pod runner, which serves the part of the Kubernetes API that jobs use
- `uv`: installs packages, with pip's settings
"""
