/**
 * Does the steps of a workload on a store below ROOT, under the shim, and marks in the record what has begun and what is
 * acknowledged: `begin log K`, `acked log K` (the first K steps are). Arguments: ROOT, dir, seed, steps, sessions.
 */
import { openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { Session, stepsOf } from './workload.mjs'

const [root, dir, seed, count, sessions, orders = ''] = process.argv.slice(2)
const control = openSync(join(root, 'control'), 'w')
const say = (line) => writeSync(control, `${line}\n`)
for (const order of orders.split(',').filter(Boolean)) say(order)

const steps = stepsOf(Number(seed), Number(count))
const eachSession = Math.ceil(steps.log.length / Number(sessions))
let done = 0
while (done < steps.log.length) {
  const session = await Session.open(dir)
  for (const end = Math.min(done + eachSession, steps.log.length); done < end; done++) {
    say(`mark begin log ${done + 1}`)
    session.doLog(steps.log[done])
    say(`mark acked log ${done + 1}`)
    say(`mark begin state ${done + 1}`)
    session.doState(steps.state[done])
    say(`mark acked state ${done + 1}`)
  }
  await session.close()
}
