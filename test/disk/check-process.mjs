/** Checks the pages of a file again and again while somebody else writes it. Arguments: file, times. Prints what it saw. */
import { checkPages } from '../../dist/engine/store/page-check.js'

const [file, times] = process.argv.slice(2)
const seen = { sound: 0, overtaken: 0, transactions: 0 }
const transactions = new Set()
for (let i = 0; i < Number(times); i++) {
  const counts = checkPages(file, '')
  if (counts === null) seen.overtaken++
  else {
    seen.sound++
    transactions.add(counts.transaction)
  }
}
seen.transactions = transactions.size
process.stdout.write(JSON.stringify(seen))
