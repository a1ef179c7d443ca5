"""A small Ocean market on this machine, for tests and `make demo-market`.

- `anvil`: runs the blockchain; `chain`: deploys Ocean's real contracts on it and calls them
- `metadata_cache`: as much of Aquarius' API as clients and Providers use
- `ocean_js`: publishing, buying and computing with Ocean's unmodified client library; `bridge` runs it in Node.js, `npm` installs it
- `ddo`: the documents that publishers write; `fees`: a Provider's fees
- `demo`: `make demo-market`
"""
