// Calls the unmodified Ocean client library for a program in another language: one JSON request a line, one JSON answer a line.
//
//   {"id", "object", "new": [...], "method", "args": [...]}   object: an export of @oceanprotocol/lib, or "ethers.utils";
//                                                              a class where there is "new", a function where there is no method
//   {"id", "result"} or {"id", "error"}, and "log": what the library printed meanwhile
//
// A value {"$signer": KEY} is that account's wallet, {"$config": CHANGES} the library's configuration of the chain,
// {"$new": CLASS, "args"} an object of the library's.
// A transaction is waited for; a buffer comes as {"$base64": ...}.
'use strict'
const readline = require('readline')

let log = []
const inspect = (value) => (typeof value === 'string' ? value : value instanceof Error ? value.message : JSON.stringify(value))
for (const verb of ['log', 'warn', 'error', 'debug', 'info']) {
  console[verb] = (...values) => log.push(values.map(inspect).join(' '))
}

const { ethers } = require('ethers')
const ocean = require(process.env.OCEAN_LIB)

const provider = new ethers.providers.StaticJsonRpcProvider(process.env.NODE_URI)
provider.pollingInterval = 20 // ms; 4 s otherwise, which is about a public chain's block
const wallets = {}

function revive(value) {
  if (Array.isArray(value)) return value.map(revive)
  if (!value || typeof value !== 'object') return value === null ? undefined : value
  if (value.$signer) return (wallets[value.$signer] ||= new ethers.Wallet(value.$signer, provider))
  if (value.$config) return { ...new ocean.ConfigHelper().getConfig(8996), ...value.$config }
  if (value.$new) return new (found(value.$new))(...revive(value.args))
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, revive(each)]))
}

function plain(value) {
  if (ethers.BigNumber.isBigNumber(value)) return value.toString()
  if (value instanceof ArrayBuffer || Buffer.isBuffer(value)) return { $base64: Buffer.from(value).toString('base64') }
  if (Array.isArray(value)) return value.map(plain)
  if (value && typeof value === 'object') {
    return Object.fromEntries(
      Object.entries(value)
        .filter(([, each]) => typeof each !== 'function')
        .map(([name, each]) => [name, plain(each)])
    )
  }
  return value
}

function found(path) {
  const [first, ...rest] = path.split('.')
  return rest.reduce((at, name) => at[name], first === 'ethers' ? ethers : ocean[first])
}

async function answer(request) {
  let target = found(request.object)
  const args = revive(request.args || [])
  if (request.new) target = new target(...revive(request.new))
  let result = await (request.method ? target[request.method](...args) : target(...args))
  if (result && typeof result.wait === 'function') {
    const { transactionHash, events } = await result.wait()
    const args = (event) => Object.fromEntries(Object.entries(event.args || {}).filter(([name]) => isNaN(name)))
    const known = (events || []).filter((event) => event.event) // by the ABI of the contract that was called
    result = { transactionHash, events: known.map((event) => ({ event: event.event, address: event.address, args: args(event) })) }
  }
  return plain(result)
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { id, ...request } = JSON.parse(line)
    log = []
    let said
    try {
      said = { result: (await answer(request)) ?? null }
    } catch (error) {
      said = { error: error.message }
    }
    process.stdout.write(JSON.stringify({ id, ...said, log }) + '\n')
  }
}

main()
