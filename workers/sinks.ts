/**
 * The sink thread: runs the outbox on an event loop of its own, so that a slow target holds up neither ingest nor
 * commit. Progress of sinks goes to the committer, which makes it durable; a nudge comes back with every commit.
 *
 * Whatever goes wrong beside a sink's own failures ends the thread, not only the task: calls under way end with it, and
 * its successor (supervisor.ts) is the only one that sends. So a failure is told over `control`, and then the thread exits.
 */
import { threadId } from 'node:worker_threads'
import { ShardActivity } from '../engine/broker/shard-activity.ts'
import type { SinkProgress } from '../engine/contract/plugins.ts'
import * as catalog from '../engine/metrics/catalog.ts'
import { ThreadMetrics } from '../engine/metrics/thread-metrics.ts'
import { OutboxRunner, progressJson, type SinkMetrics } from '../engine/pipeline/outbox.ts'
import { Doorbell } from '../engine/ring/doorbell.ts'
import { openLogReader } from '../engine/store/log-store.ts'
import { openStateReader } from '../engine/store/state-store.ts'
import { systemClock } from '../engine/util/clock.ts'
import { registry } from '../operators/registry.ts'
import { sinkFaultHook } from './fault-hook.ts'
import { wireOf } from './wire-error.ts'
import type { CommittedMessage, RememberMessage, SinkControl, SinkReport, SinkWiring } from './wiring.ts'

const HEARTBEAT_MS = 1_000
/** Shorter than the supervisor's looks at the shortest `--hang-after`. */
const BEAT_MS = 50

export async function runSinks(wiring: SinkWiring): Promise<void> {
  const activity = new ShardActivity(wiring.activity)
  activity.restores(threadId)
  const end = (error: unknown): never => {
    wiring.control.postMessage({ type: 'failed', error: wireOf(error) } satisfies SinkReport)
    // Of a thread: it ends this one only.
    process.exit(1)
  }
  process.once('uncaughtException', end)
  try {
    await deliver(wiring, activity)
  } catch (error) {
    end(error)
  }
  process.off('uncaughtException', end)
}

async function deliver(wiring: SinkWiring, activity: ShardActivity): Promise<void> {
  const log = openLogReader({ dir: wiring.dir })
  const state = openStateReader({ dir: wiring.dir })
  const metrics = new ThreadMetrics(wiring.metrics)
  const committerBell = new Doorbell(wiring.committerBell)
  const waiting = new Map<number, () => void>()
  let nextRequest = 1
  const topicIds = new Map(wiring.topics.map((topic) => [topic.name, topic.topicId]))
  const report = (message: SinkReport): void => wiring.control.postMessage(message)

  const outbox = new OutboxRunner({
    pipelines: wiring.pipelines.map(({ pipelineId, ...pipeline }) => ({ id: pipelineId, ...pipeline })),
    sinks: sinkFaultHook()?.wrap(registry.sinks) ?? registry.sinks,
    state,
    seriesKey: (topic, seriesId) => log.seriesKey(topicIds.get(topic)!, seriesId),
    remember: (pipelineId, sink, progress) =>
      new Promise((resolve) => {
        const request = nextRequest++
        waiting.set(request, resolve)
        const message: RememberMessage = {
          request,
          pipelineId,
          sink,
          json: progressJson(progress),
          wanted: wantedOf(progress),
        }
        wiring.port.postMessage(message)
        committerBell.ring()
      }),
    warn: (error) => report({ type: 'warning', error: error.toWire() }),
    metrics: sinkMetrics(wiring, metrics),
  })

  wiring.port.on('message', (message: CommittedMessage) => {
    for (const request of message.remembered) {
      waiting.get(request)?.()
      waiting.delete(request)
    }
    for (const { pipelineId } of wiring.pipelines) outbox.committed(pipelineId)
  })

  const beat = (): void => {
    metrics.set(catalog.THREAD_HEARTBEAT, systemClock.nowMs() / 1_000)
    for (const [row, { lagEntries }] of outbox.status().entries())
      metrics.set(catalog.SINK_LAG, lagEntries, row)
  }
  beat()
  activity.started()
  const heartbeat = setInterval(beat, HEARTBEAT_MS)
  const moves = setInterval(() => activity.beat(), BEAT_MS)
  await new Promise<void>((resolve, reject) => {
    wiring.control.on('message', (message: SinkControl) => {
      if (message.type === 'stop') resolve()
      else outbox.drained().then(() => report({ type: 'drained', request: message.request }), reject)
    })
    outbox.start().catch(reject)
  })
  await outbox.stop()
  clearInterval(heartbeat)
  clearInterval(moves)
  wiring.port.close()
  wiring.control.close()
  await state.close()
  await log.close()
}

function wantedOf(progress: SinkProgress): Record<string, number> {
  return Object.fromEntries(
    Object.entries(progress.positions).map(([partition, { seq }]) => [partition, seq]),
  )
}

function sinkMetrics(wiring: SinkWiring, metrics: ThreadMetrics): SinkMetrics {
  const names = wiring.pipelines.flatMap(({ plan }) => plan.sinks.map((sink) => `${plan.name}/${sink.name}`))
  const row = (pipeline: string, sink: string): number => names.indexOf(`${pipeline}/${sink}`)
  return {
    delivered: (pipeline, sink, records) => metrics.add(catalog.SINK_RECORDS, records, row(pipeline, sink)),
    retried: (pipeline, sink) => metrics.add(catalog.SINK_RETRIES, 1, row(pipeline, sink)),
    deadLetters: (pipeline, sink, records) => metrics.add(catalog.SINK_DEAD, records, row(pipeline, sink)),
    failed: (pipeline, sink) => metrics.add(catalog.SINK_FAILURES, 1, row(pipeline, sink)),
  }
}
