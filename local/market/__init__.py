"""A small Ocean market on this machine, for tests and `make demo-market`.

- `anvil`: runs the blockchain; `chain`: deploys Ocean's real contracts on it and calls them
- `metadata_cache`: as much of Aquarius' API as clients and Providers use
- `ocean_js`: Ocean's unmodified client library, which runs in Node.js (`bridge.js`); `npm` installs it
- `ddo`: the documents that publishers write
- `demo`: `make demo-market`
"""
