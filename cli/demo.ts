/**
 * `millrace demo`: this machine's own metrics through the pipelines of examples/host.ts, the file that ships with the
 * package. Stopped and started again, it goes on where it was. Says where to look, and when an alert fires or resolves.
 */
import { join } from 'node:path'
import { defineCommand } from 'citty'
import { SampleBuilder } from '../engine/batch/sample-builder.ts'
import type { Node } from '../engine/contract/node.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { HostSample } from '../operators/sources/host-metrics.ts'
import { watchAlerts } from './alert-watch.ts'
import { settingFlags } from './arguments.ts'
import { loadConfig } from './load-config.ts'
import { loadPipelines } from './load-pipeline.ts'
import { packageRoot } from './package-root.ts'
import { aborted, withNode } from './serve.ts'
import { type Command, EXIT_OK, type Shell, shellOf } from './shell.ts'

/** Beyond these, the disk is slower than the five appends a second, and samples are left out. */
const APPENDS_WAITING_MAX = 300

/** The pipeline of examples/host.ts that sees a disturbance, and its detector. */
const DISTURBED = { pipeline: 'millrace-itself', detector: 'cpu' }
/** What it has watched before a disturbance, from its first verdict on. */
const WATCHED_MS = 3_000
const LOOK_MS = 500

export const demo: Command = {
  definition: defineCommand({
    meta: { name: 'demo', description: "Watch this machine's own metrics" },
    args: {
      'reset-state': {
        type: 'boolean',
        description: 'forget state and results of the pipelines and read the log from its beginning',
      },
      disturb: {
        type: 'boolean',
        description:
          'once it knows what is normal, burn CPU for some seconds: a real anomaly, found as you watch',
      },
      ...settingFlags(),
    },
    run: ({ args, data }) => runDemo(args, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace demo                          listen on 127.0.0.1:8428, keep data in ./millrace-data
  millrace demo --disturb                burn CPU for 8 s once warm: the page shows what is found, and why
  millrace demo --port 0 --data /tmp/d   on any free port, with data elsewhere
`,
}

async function runDemo(args: Readonly<Record<string, unknown>>, shell: Shell): Promise<number> {
  const config = await loadConfig(args, shell)
  const file = join(packageRoot(), 'examples', 'host.ts')
  const plans = await loadPipelines([file], shell.cwd, await shell.registry(), config)
  const resetState = args['reset-state'] === true
  return withNode(shell, { config, pipelines: plans, resetState, demo: true }, async (node, stop) => {
    shell.out(whereToLook(node.address, plans, file, config.data))
    const metrics = await feedHost(node, plans[0]!.topic.name, shell, stop)
    if (args.disturb === true) void disturbOnceWarm(node, shell, stop)
    const watch = watchAlerts(node.queries, (line) => shell.out(`${line}\n`))
    await aborted(stop)
    watch.close()
    await metrics.close()
    shell.out('stopped; `millrace demo` goes on from here\n')
    return EXIT_OK
  })
}

/** Waits for the detector's verdicts: before, the disturbance would be what it learns as normal. */
async function disturbOnceWarm(node: Node, shell: Shell, stop: AbortSignal): Promise<void> {
  let watchedFromMs = Number.POSITIVE_INFINITY
  while (shell.clock.monotonicMs() - watchedFromMs < WATCHED_MS) {
    await pause(LOOK_MS, stop)
    if (stop.aborted) return
    // A node that does not answer is stopping, and says itself if something is wrong.
    const isJudging = await judges(node, shell).catch(() => false)
    if (isJudging && watchedFromMs === Number.POSITIVE_INFINITY) watchedFromMs = shell.clock.monotonicMs()
  }
  const { seconds, threads } = node.disturb()
  shell.out(
    `disturbed ${threads} threads burn CPU for ${seconds} s: an alert on process_cpu_demand_cores follows\n`,
  )
}

async function judges(node: Node, shell: Shell): Promise<boolean> {
  const fromMs = shell.clock.nowMs() - 2 * LOOK_MS
  const { rows } = await node.queries.results({ pipeline: DISTURBED.pipeline, fromMs, limit: 1 })
  return typeof rows[0]?.scores[DISTURBED.detector]?.expected === 'number'
}

function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer)
      stop.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    stop.addEventListener('abort', end, { once: true })
  })
}

async function feedHost(
  node: Node,
  topic: string,
  shell: Shell,
  stop: AbortSignal,
): Promise<{ close(): Promise<void> }> {
  const { openHostMetrics } = await import('../operators/sources/host-metrics.ts')
  const { openProcessMetrics } = await import('../operators/sources/process-metrics.ts')
  const input = node.input(topic)
  const builder = new SampleBuilder()
  const waiting = new Set<Promise<unknown>>()
  let left = 0
  const emit = (samples: readonly HostSample[]): void => {
    if (stop.aborted) return
    if (waiting.size >= APPENDS_WAITING_MAX) {
      if (left++ === 0) shell.err('millrace: the store is slower than the samples come; some are left out\n')
      return
    }
    builder.clear()
    for (const { labels, timestampMs, value } of samples) {
      const id = input.table.intern(labels)
      if (id >= 0) builder.push(id, timestampMs, value)
    }
    const appended: Promise<unknown> = input.append(builder).then(
      () => waiting.delete(appended),
      // A node that cannot append says so through onFatal.
      () => waiting.delete(appended),
    )
    waiting.add(appended)
  }
  const metrics = openHostMetrics({ clock: shell.clock, emit })
  const own = openProcessMetrics({ clock: shell.clock, emit })
  return {
    async close() {
      metrics.close()
      own.close()
      await Promise.all(waiting)
    },
  }
}

function whereToLook(address: string, plans: readonly PipelinePlan[], file: string, data: string): string {
  const names = plans.map((plan) => plan.name).join(', ')
  return `millrace watches this machine: CPU, load, memory, disks and network, a sample of each a second, and
the CPU that it wants itself four times a second.

  page       ${address}/
  results    curl -s '${address}/api/v1/results?pipeline=${plans[0]!.name}&limit=5'
  alerts     curl -s '${address}/api/v1/alerts'
  metrics    curl -s '${address}/metrics'
  pipelines  ${names}
             ${file}
  data       ${data}

Detectors warm up: ten seconds for the CPU it wants, a minute for the machine. Alerts are said here. The button on the page, or
--disturb, burns CPU for some seconds, to see one. Ctrl-C stops.

`
}
