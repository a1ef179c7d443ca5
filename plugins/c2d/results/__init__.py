"""Where a job's results are stored, and how they are read back.

``destinations`` (which store), ``stores`` with ``volume_store``, ``s3_store`` and ``ipfs_store`` (what publish may do there, whether the
results have arrived, and their removal), ``keys`` (of encrypted results), ``reader`` and ``archive`` (for the APIs), ``download``,
``decrypt`` and ``sources`` (for ``c2d results``).
"""
