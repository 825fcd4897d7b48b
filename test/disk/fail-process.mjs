/**
 * Does the steps of a workload on stores whose disk fails, under the shim: one store a question, {dir, seed, count, order},
 * where `order` tells the shim what to fail. Answers with what was acknowledged and begun, how it ended, whether the fault
 * was met at all, and what the writers said afterwards. The argument is ROOT.
 */
import { existsSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Session, stepsOf } from './workload.mjs'

const LATER = 3
const [root] = process.argv.slice(2)
const hit = join(root, 'hit')
const control = openSync(join(root, 'control'), 'w')

function codeOf(action) {
  try {
    action()
    return 'done'
  } catch (error) {
    return error.code ?? error.message
  }
}

async function run({ dir, seed, count, order }) {
  const steps = stepsOf(seed, count)
  const acked = { log: 0, state: 0 }
  const begun = { log: 0, state: 0 }
  const later = []
  let error = null
  rmSync(hit, { force: true })
  writeSync(control, `${order}\n`)
  try {
    const session = await Session.open(dir)
    for (let i = 0; i < count && error === null; i++) {
      for (const env of ['log', 'state']) {
        const step = () => (env === 'log' ? session.doLog(steps.log[i]) : session.doState(steps.state[i]))
        begun[env] = i + 1
        writeSync(control, `mark begin ${env} ${i + 1}\n`)
        try {
          step()
          acked[env] = i + 1
          writeSync(control, `mark acked ${env} ${i + 1}\n`)
        } catch (thrown) {
          error = thrown
          for (let n = 0; n < LATER; n++) later.push(codeOf(step))
          break
        }
      }
    }
    if (error === null) await session.close()
  } catch (thrown) {
    error = thrown
  }
  writeSync(control, 'fail write 0 0 once\n')
  writeSync(control, 'fail sync 0 0 once\n')
  const ended = error === null ? null : { code: error.code ?? null, name: error.name, message: error.message }
  return { acked, begun, ended, later, wasHit: existsSync(hit) }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await run(JSON.parse(line)))}\n`)
}
process.exit(0)
