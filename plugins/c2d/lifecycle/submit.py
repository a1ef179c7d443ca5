"""How a job enters by an API: it is sealed, accepted with its nonce and notification, and later released to Airflow."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from c2d.access import admission
from c2d.database.nonces import Caller
from c2d.database.queue import JobQueue
from c2d.errors import InvalidJob
from c2d.jobs.ids import new_job_id
from c2d.jobs.model import Job
from c2d.market.orders import OrderKey
from c2d.results.keys import consumers_key
from c2d.settings.installation import Settings


def submit(settings: Settings, queue: JobQueue, job: Job, environment: str, caller: Caller, orders: Sequence[OrderKey] = ()) -> str:
    """Accept ``job`` for ``environment`` and return its id. The dispatcher starts its run.

    A job without a ``secret`` gets one, as operator-engine gives one: the algorithm and the receiver of notifications know it.

    :param job: with its secrets in clear, or sealed to this operator. It is stored sealed for its own job id.
    :param orders: the orders that pay for it, as far as they are checked here.
    :raises InvalidJob: the environment does not accept such jobs or jobs of this chain, or needs the consumer's public key.
    :raises NonceUsed, AgreementInUse, TooManyJobs, OrderUsed: see :meth:`c2d.database.queue.JobQueue.accept`.
    """
    env = settings.environment(environment)
    if env.chains and job.chainId not in env.chains:
        raise InvalidJob(f"chainId: environment {env.id} takes jobs of {', '.join(map(str, sorted(env.chains)))} only")
    consumers_key(job, env)
    job_id = new_job_id()
    job = job.opened(settings.OPERATOR_PRIVATE_KEY, job_id)
    admission.check(job, env, caller.provider, settings.address)
    if job.secret is None:
        job = job.model_copy(update={"secret": secrets.token_hex(16)})
    once = orders if settings.provider.C2D_ORDERS_ONCE else ()
    queue.accept(job_id, env.id, job.sealed(settings.public_key, job_id), caller, settings.C2D_MAX_JOBS_PER_OWNER, once)
    return job_id
