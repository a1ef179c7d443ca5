// Calls the unmodified Ocean client library for a program in another language: each line is a JSON request, and gets a line of JSON.
//
//   {"id", "object", "new": [...], "method", "args": [...]}   object: an export of @oceanprotocol/lib, or "ethers.utils". With "new" it
//                                                              is a class; without "method" it is a function.
//   {"id", "result"} or {"id", "error"}, and "log": what the library has printed during the call
//
// In arguments, {"$signer": KEY} stands for that account's wallet, {"$config": CHANGES} for the library's configuration of the chain,
// and {"$new": CLASS, "args"} for an object of the library.
// The result of a transaction is that of its receipt. A buffer is sent as {"$base64": ...}.
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
provider.pollingInterval = 20 // ms; the default of 4 s fits the blocks of a public chain
const wallets = {}

function revive(value) {
  if (Array.isArray(value)) return value.map(revive)
  if (!value || typeof value !== 'object') return value === null ? undefined : value
  if (value.$signer) return (wallets[value.$signer] ||= new ethers.Wallet(value.$signer, provider))
  if (value.$config) return { ...new ocean.ConfigHelper().getConfig(8996), ...value.$config }
  if (value.$new) return new (exported(value.$new))(...revive(value.args))
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

function exported(path) {
  const [first, ...rest] = path.split('.')
  return rest.reduce((at, name) => at[name], first === 'ethers' ? ethers : ocean[first])
}

async function answer(request) {
  let target = exported(request.object)
  const args = revive(request.args || [])
  if (request.new) target = new target(...revive(request.new))
  let result = await (request.method ? target[request.method](...args) : target(...args))
  if (result && typeof result.wait === 'function') {
    const { transactionHash, events } = await result.wait()
    const args = (event) => Object.fromEntries(Object.entries(event.args || {}).filter(([name]) => isNaN(name)))
    const known = (events || []).filter((event) => event.event) // those in the ABI of the contract that was called
    result = { transactionHash, events: known.map((event) => ({ event: event.event, address: event.address, args: args(event) })) }
  }
  return plain(result)
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { id, ...request } = JSON.parse(line)
    log = []
    let outcome
    try {
      outcome = { result: (await answer(request)) ?? null }
    } catch (error) {
      outcome = { error: error.message }
    }
    process.stdout.write(JSON.stringify({ id, ...outcome, log }) + '\n')
  }
}

main()
