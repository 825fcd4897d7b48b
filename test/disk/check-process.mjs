/**
 * Checks the pages of a file again and again while somebody else writes it. Arguments: file, times. Goes on until it has seen two
 * transactions, for a small file is checked faster than one is written. Prints what it saw.
 */
import { checkPages } from '../../dist/engine/store/page-check.js'

const [file, times] = process.argv.slice(2)
const seen = { checks: 0, sound: 0, overtaken: 0, transactions: 0 }
const transactions = new Set()
const untilMs = performance.now() + 60_000
while (seen.checks < Number(times) || (transactions.size < 2 && performance.now() < untilMs)) {
  seen.checks++
  const counts = checkPages(file, '')
  if (counts === null) seen.overtaken++
  else {
    seen.sound++
    transactions.add(counts.transaction)
  }
}
seen.transactions = transactions.size
process.stdout.write(JSON.stringify(seen))
