"""DatatokenHook: what a chain says of NFTs, datatokens and orders, in few round trips (web3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk.bases.hook import BaseHook

from c2d.access import ChainFacts, ChainQuestions

CONN_ID = "ocean_default"


class DatatokenHook(BaseHook):
    """Airflow connection type ``ocean``: extra is a JSON object of RPC URLs by chain id, one or a list each. Without such a connection,
    the setting NETWORK_URL holds.

    :param urls: in place of both.
    """

    conn_name_attr = "ocean_conn_id"
    default_conn_name = CONN_ID
    conn_type = "ocean"
    hook_name = "Ocean (EVM chains)"

    def __init__(
        self,
        ocean_conn_id: str = CONN_ID,
        *,
        urls: Mapping[int, Sequence[str]] | None = None,
        seconds: float = 5,
        logger_name: str | None = None,
    ):
        super().__init__(logger_name=logger_name)
        self.ocean_conn_id = ocean_conn_id

    def facts(self, chain_id: int, questions: ChainQuestions) -> ChainFacts:
        """The answers, of one round trip, or two where an order is used on.

        :raises c2d.access.Unavailable: no RPC server of the chain answers.
        """
        raise NotImplementedError

    def call(self, chain_id: int, address: str, abi: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
        """The result of a contract's view function (a file of type smartcontract).

        :raises c2d.access.Unavailable: no RPC server of the chain answers.
        :raises ValueError: the contract refuses the call or the arguments do not fit the ABI.
        """
        raise NotImplementedError

    def test_connection(self) -> tuple[bool, str]:
        """For the button in the UI: asks each RPC server which chain it is of."""
        raise NotImplementedError
