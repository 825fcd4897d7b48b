/** Waits until a node that is no longer fed has nothing left to do. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import type { NodeProcess } from './node-process.ts'
import { FILES } from './pipelines.ts'

/** Nothing moved for so long: windows are closed, silence is told, sinks have everything. */
const QUIET_MS = 2_500
const QUIET_MS_MAX = 90_000
const POLL_MS = 100

/** True: neither log nor files nor posts grow any more, and no sink lags. False: they still did when the wait was over. */
export async function becomesQuiet(
  node: NodeProcess,
  url: string,
  dir: string,
  postCount: () => number,
): Promise<boolean> {
  let before = ''
  let sinceMs = performance.now()
  const untilMs = sinceMs + QUIET_MS_MAX
  while (performance.now() < untilMs) {
    const metrics = await (await fetch(`${url}/metrics`)).text()
    const status = (await (await fetch(`${url}/api/v1/status`)).json()) as { topics: { appended: number }[] }
    const lag = metrics.split('\n').filter((line) => /^millrace_(sink|pipeline)_lag\w*\{.* [^0]/.test(line))
    const sizes = FILES.map(({ name }) => statSync(join(dir, name), { throwIfNoEntry: false })?.size ?? 0)
    const now = JSON.stringify([status.topics.map(({ appended }) => appended), sizes, postCount()])
    if (now !== before || lag.length > 0) sinceMs = performance.now()
    before = now
    if (performance.now() - sinceMs >= QUIET_MS) return true
    if ((await node.endsWithin(POLL_MS)) !== null) throw new Error(`the node ended by itself\n${node.said}`)
  }
  return false
}
