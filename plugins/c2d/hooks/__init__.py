"""The systems outside this process, one file each.

A class named ``...Hook`` is an Airflow hook. Those that need credentials also read an Airflow connection: ``ocean`` (datatoken),
``ipfs`` (ipfs), ``http`` (notify) and the amazon provider's ``aws`` (s3). :mod:`c2d.provider_info` registers the first two with Airflow.
"""
