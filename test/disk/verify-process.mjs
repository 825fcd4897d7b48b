/**
 * Opens stores and compares them with a workload; a process of its own, so that it may be killed by what it opens.
 * Reads one question a line, {dir, seed, count, least: {log, state}, most: {log, state}, reopen}, and answers each with a
 * line: {fault: null | text, code: null | MillraceError code}. Sound means: exactly the first k steps of each
 * environment, least <= k <= most, and (with `reopen`) the steps after that can be done, and are there after reopening.
 */
import { createInterface } from 'node:readline'
import { describeStore, Model, Session, stepsOf } from './workload.mjs'

const STEPS_ON = 3
const workloads = new Map()

/** Descriptions of the model after each number of steps. */
function workloadOf(seed, count) {
  const key = `${seed}/${count}`
  const known = workloads.get(key)
  if (known !== undefined) return known
  const steps = stepsOf(seed, count)
  const model = new Model()
  const log = [model.describeLog()]
  const state = [model.describeState()]
  for (let i = 0; i < count; i++) {
    model.doLog(steps.log[i])
    model.doState(steps.state[i])
    log.push(model.describeLog())
    state.push(model.describeState())
  }
  const workload = { steps, log, state }
  workloads.set(key, workload)
  return workload
}

function prefixOf(descriptions, found, what, least, most) {
  const k = descriptions.lastIndexOf(found, most)
  if (k >= least) return k
  const other = descriptions.lastIndexOf(found)
  throw new Error(
    other < 0
      ? `the ${what} is not that of any number of steps (acknowledged ${least}, begun ${most}): ${found}`
      : `the ${what} is that of ${other} steps, but ${least} were acknowledged and ${most} begun`,
  )
}

async function check({ dir, seed, count, least, most, reopen }) {
  const { steps, log, state } = workloadOf(seed, count)
  const session = await Session.open(dir)
  let at
  try {
    const found = await describeStore(dir)
    at = {
      log: prefixOf(log, found.log, 'log', least.log, most.log),
      state: prefixOf(state, found.state, 'state', least.state, most.state),
    }
    if (!reopen) return
    for (let i = 0; i < STEPS_ON; i++) {
      if (at.log < count) session.doLog(steps.log[at.log++])
      if (at.state < at.log) session.doState(steps.state[at.state++])
    }
  } finally {
    await session.close()
  }
  const again = await Session.open(dir)
  try {
    const found = await describeStore(dir)
    prefixOf(log, found.log, 'log written on', at.log, at.log)
    prefixOf(state, found.state, 'state written on', at.state, at.state)
  } finally {
    await again.close()
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer = { fault: null, code: null }
  try {
    await check(JSON.parse(line))
  } catch (error) {
    answer = { fault: error.message, code: error.code ?? null }
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
