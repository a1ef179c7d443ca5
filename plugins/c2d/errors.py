"""Every error that this package raises on purpose, in one tree.

    C2DError
      ├─ InvalidInput          what was sent or configured is wrong; the text names the field and what would be right
      ├─ Conflict              it is right, but something that exists already stands in its way
      ├─ AccessDenied          Ocean's rules or the asset's owner do not allow it
      ├─ Rejected              Airflow or Kubernetes will never accept it; trying again cannot help
      ├─ UpstreamUnavailable   a system that must be asked does not answer; trying again later may help
      ├─ FetchError            a remote file could not be fetched
      ├─ ResultError           a result cannot be stored, verified, read or downloaded
      └─ ApiError              how an API answers a request

The text of an error may be shown to the person who asked. It never holds a secret or a URL with a key in it.
Standard library only: the stage image carries this file too.
"""

from __future__ import annotations

from typing import Any


class C2DError(Exception):
    """The root of the tree."""


# -- what was sent or configured is wrong ------------------------------------------------------------------------------------------


class InvalidInput(C2DError, ValueError):
    """Something that was given to us is wrong. The text names the field and says what would be right."""


class InvalidSettings(InvalidInput):
    """A setting is missing or wrong. The text names each and never shows a value."""


class InvalidJob(InvalidInput):
    """The job cannot be accepted. The text has one sentence for each field that is wrong."""


class NotRepublishable(InvalidJob):
    """The results of this job cannot be published again. The text says why."""


class InvalidDdo(InvalidInput):
    """The document is not a DDO v4, or not the one that its DID names. The text names the field."""


class InvalidServiceFiles(InvalidInput):
    """The ``files`` of a DDO's service are malformed, or encrypted for another Provider."""


class InvalidOrder(InvalidInput):
    """The transaction does not hold the order that is claimed."""


class InvalidSeal(InvalidInput):
    """The text is not sealed to this key, or was sealed for another job."""


class InvalidSignature(InvalidInput):
    """The signature is malformed, or was not made by the expected key."""


class InvalidField(InvalidInput):
    """A JSON document does not have the form that the contract with the stage image gives it (:mod:`c2d.contract`).

    :param field: the path of the wrong field, such as ``inputs[1].files[0].url``.
    :param problem: what it must be. It never repeats the value, which may be a secret.
    """

    def __init__(self, field: str, problem: str):
        super().__init__(f"{field}: {problem}")
        self.field = field


class InvalidToken(InvalidInput):
    """The auth token is not valid. The text is that of Ocean's Provider."""


# -- something that exists stands in its way ---------------------------------------------------------------------------------------


class Conflict(C2DError, ValueError):
    """The request is right, but something that exists already stands in its way."""


class JobIdTaken(Conflict):
    """The job id belongs to another job."""


class OrderUsed(Conflict):
    """An order that is good for one job has been used for another one."""


class NonceUsed(Conflict):
    """The nonce is not higher than the last one of its signer."""


class AgreementInUse(Conflict):
    """A job that has not ended has the same agreementId."""


class TooManyJobs(Conflict):
    """The owner has reached the limit of unfinished jobs."""


# -- not allowed, or never accepted ------------------------------------------------------------------------------------------------


class AccessDenied(C2DError):
    """An asset may not be used like this. Rendered as ``{"error": {resource: message}}``.

    :param resource: what is wrong, in Ocean's words: ``dataset``, ``datasets[1].serviceId``, ``algorithm``, ``order``, ...
    :param message: Ocean's key or text.
    :param detail: the reason at length, for the operator's log; never holds a secret or a URL.
    """

    def __init__(self, resource: str, message: str, detail: str = ""):
        super().__init__(f"{resource}: {message}" + (f" ({detail})" if detail else ""))
        self.resource = resource
        self.message = message
        self.detail = detail


class Rejected(C2DError, ValueError):
    """Another system will never accept this. Trying again cannot help."""


class RunRejected(Rejected):
    """Airflow will never make a run of this job."""


class ManifestRejected(Rejected):
    """The cluster does not accept the object, or is not fit for the job."""


# -- other systems ------------------------------------------------------------------------------------------------------------------


class UpstreamUnavailable(C2DError):
    """A system that must be asked does not answer. Asking again later may help. The text names the system."""


class DagNotFound(C2DError, LookupError):
    """Airflow has not parsed the environment's DAG (yet)."""


class FetchError(C2DError):
    """A remote file could not be fetched. The text says why."""


class UnsafeAddress(FetchError):
    """The URL leads, itself or by a redirect, to an address that strangers must not make us contact."""


class ResponseTooLarge(FetchError):
    """The response has more bytes than are allowed."""


# -- results ------------------------------------------------------------------------------------------------------------------------


class ResultError(C2DError):
    """A result cannot be stored, verified, read or downloaded."""


class ResultStoreError(ResultError, ValueError):
    """The store refuses, or does not hold what publish said. The text holds no key or URL: operator and owner may see it."""


class TamperedResult(ResultError, ValueError):
    """An encrypted result is not what publish wrote."""


class ResultNotReadable(ResultError):
    """A result file cannot be given out. The text may be shown to its owner.

    :param status: HTTP's: 404 there is no such file, 410 it was removed, 502 it is not what was published or the store does not answer.
    :param again: whether a later attempt may succeed.
    """

    def __init__(self, status: int, text: str, again: bool = False):
        super().__init__(text)
        self.status = status
        self.text = text
        self.again = again


class DownloadFailed(ResultError):
    """A result could not be downloaded. The text says which and why."""


class DownloadInterrupted(ResultError):
    """The connection broke. The part that has arrived stays on disk."""


# -- answers of the APIs ------------------------------------------------------------------------------------------------------------


class ApiError(C2DError):
    """Answer the request with ``status`` and one sentence."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None):
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers


class InvalidRequest(C2DError):
    """A Provider request lacks something.

    :param faults: what is wrong, by field, as Ocean's Provider answers it.
    """

    def __init__(self, faults: Any):
        super().__init__("Validation error")
        self.faults = faults


class RequestDenied(C2DError):
    """A Provider request is refused.

    :param error: a sentence, or codes by resource.
    :param status: 400 unless Ocean's Provider answers otherwise.
    """

    def __init__(self, error: Any, status: int = 400):
        super().__init__(str(error))
        self.error = error
        self.status = status
