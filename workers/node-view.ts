/**
 * What a node knows of itself, read from shared memory: status, lag, summaries. Reads only, and never waits for a thread,
 * so that it answers while one is stuck.
 */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import {
  type Board,
  type BoardTopic,
  GAUGE_LOG_BYTES,
  GAUGE_LOG_HELD_BACK,
} from '../engine/broker/node-board.ts'
import type { NodeConfig } from '../engine/config/config.ts'
import type { Refusal } from '../engine/contract/ingest.ts'
import type { PipelineSummary } from '../engine/contract/node.ts'
import { DETECTOR_HEALTHS, type DetectorHealth } from '../engine/contract/plugins.ts'
import type { DetectorStatus, NodeStatus } from '../engine/contract/queries.ts'
import * as catalog from '../engine/metrics/catalog.ts'
import type { ThreadBlock } from '../engine/metrics/exporter.ts'
import { readMetric } from '../engine/metrics/merge.ts'
import { STATE_FOLDER } from '../engine/store/state-store.ts'
import { systemClock } from '../engine/util/clock.ts'
import { VERSION } from '../engine/util/version.ts'
import type { DiskGuard } from './disk-guard.ts'
import type { Prepared } from './prepare.ts'

const LOG_FULL_RETRY_SECONDS = 5
const DISK_RETRY_SECONDS = 5
const LAG_RETRY_SECONDS = 1

export interface NodeViewOptions {
  readonly config: NodeConfig
  readonly prepared: Prepared
  readonly board: Board
  readonly blocks: readonly ThreadBlock[]
  readonly dir: string
  readonly startedMs: number
  readonly disk: DiskGuard
}

export class NodeView {
  readonly #options: NodeViewOptions

  constructor(options: NodeViewOptions) {
    this.#options = options
  }

  /** Why producers of the topic must wait, or null. */
  refusal(topic: BoardTopic): Refusal | null {
    const { board, config, disk } = this.#options
    // InfluxDB's clients send again on 503.
    if (disk.problem !== null) {
      return {
        status: 503,
        retryAfterSeconds: DISK_RETRY_SECONDS,
        problem: disk.problem,
        remedy: 'Send again later; it goes on when there is room. Free some, or lower --disk-reserve.',
      }
    }
    if (board.gauges[GAUGE_LOG_HELD_BACK] === 1) {
      return {
        status: 429,
        retryAfterSeconds: LOG_FULL_RETRY_SECONDS,
        problem:
          `the log holds ${board.gauges[GAUGE_LOG_BYTES]} bytes, its bound is ${config.retentionSizeBytes}, ` +
          'and pipelines still need what is in it',
        remedy: 'Send again later; if it stays so, raise --retention-size or find out why pipelines lag.',
      }
    }
    const lag = this.#lag(topic)
    if (lag <= config.lagLimit) return null
    return {
      status: 429,
      retryAfterSeconds: LAG_RETRY_SECONDS,
      problem: `a pipeline on topic "${topic.name}" is ${lag} offsets behind; the bound is ${config.lagLimit}`,
      remedy: 'Send again later; if it stays so, add shards or raise --lag-limit.',
    }
  }

  /** All pipelines have committed everything before these log ends (by topic slot). */
  isCommitted(ends: Float64Array): boolean {
    const { prepared, board } = this.#options
    return prepared.pipelines.every(({ topic, slot }) => {
      for (let partition = 0; partition < topic.partitions; partition++) {
        if (board.committed[slot + partition]! < ends[topic.slot + partition]!) return false
      }
      return true
    })
  }

  summaries(): PipelineSummary[] {
    const blocks = this.#cells()
    return this.#options.prepared.pipelines.map(({ plan }, row) => {
      const fate = (value: 'windowed' | 'filtered' | 'late' | 'non_finite' | 'dead'): number =>
        readMetric(catalog.PIPELINE_SAMPLES, blocks, row, value)
      return {
        name: plan.name,
        samples: readMetric(catalog.PIPELINE_SAMPLES_IN, blocks, row),
        windowed: fate('windowed'),
        filtered: fate('filtered'),
        late: fate('late'),
        nonFinite: fate('non_finite'),
        dead: fate('dead'),
        results: readMetric(catalog.PIPELINE_RESULTS, blocks, row),
        alertsFiring: readMetric(catalog.PIPELINE_ALERTS, blocks, row, 'firing'),
        alertsResolved: readMetric(catalog.PIPELINE_ALERTS, blocks, row, 'resolved'),
      }
    })
  }

  /** How the pipeline's detectors do, in plan order. */
  detectors(pipeline: string): readonly DetectorStatus[] {
    const { pipelines } = this.#options.prepared
    const blocks = this.#cells()
    let row = 0
    for (const { plan } of pipelines) {
      if (plan.name !== pipeline) {
        row += plan.detectors.length
        continue
      }
      return plan.detectors.map(({ name }, i) => {
        const counts = DETECTOR_HEALTHS.map((health) => [
          health,
          readMetric(catalog.DETECTOR_SERIES, blocks, row + i, health),
        ])
        // Beyond the rows that metrics have, detectors are not told apart.
        const isKnown =
          row + i < catalog.DETECTOR_SERIES.rowsMax - 1 && counts.every(([, count]) => !Number.isNaN(count))
        return {
          name,
          series: isKnown ? (Object.fromEntries(counts) as Record<DetectorHealth, number>) : null,
        }
      })
    }
    return []
  }

  /** Null before the first sample. */
  watermarkMs(pipelineId: number, partition: number): number | null {
    const { prepared, board } = this.#options
    const pipeline = prepared.pipelines.find((candidate) => candidate.pipelineId === pipelineId)
    if (pipeline === undefined) return null
    const watermarkMs = board.watermarkMs[pipeline.slot + partition]!
    return Number.isFinite(watermarkMs) ? watermarkMs : null
  }

  status(): NodeStatus {
    const { prepared, board, config, dir, startedMs, disk } = this.#options
    const nowMs = systemClock.nowMs()
    const blocks = this.#cells()
    return {
      version: VERSION,
      startedMs,
      nowMs,
      uptimeSeconds: (nowMs - startedMs) / 1_000,
      dataDirectory: dir,
      threads: this.#options.blocks.map(({ thread, block }) => {
        const cells = [new Float64Array(block)]
        const seenSeconds = readMetric(catalog.THREAD_HEARTBEAT, cells)
        const failedSeconds = readMetric(catalog.THREAD_LAST_FAILURE, cells)
        return {
          name: thread,
          lastSeenMs: Number.isNaN(seenSeconds) ? null : seenSeconds * 1_000,
          restarts: readMetric(catalog.THREAD_RESTARTS, cells),
          lastFailureMs: Number.isNaN(failedSeconds) ? null : failedSeconds * 1_000,
        }
      }),
      disk: {
        freeBytes: Number.isNaN(disk.freeBytes) ? null : disk.freeBytes,
        reserveBytes: disk.reserveBytes,
        isLow: disk.isLow,
      },
      logBytes: board.gauges[GAUGE_LOG_BYTES]!,
      stateBytes: this.stateBytes(),
      topics: prepared.topics.map((topic, row) => ({
        name: topic.name,
        partitions: topic.partitions,
        series: readMetric(catalog.LOG_SERIES, blocks, row) || 0,
        seriesLimit: config.seriesLimit,
        appended: board.logEnd
          .subarray(topic.slot, topic.slot + topic.partitions)
          .reduce((sum, end) => sum + end, 0),
      })),
    }
  }

  stateBytes(): number {
    return statSync(join(this.#options.dir, STATE_FOLDER, 'data.mdb'), { throwIfNoEntry: false })?.size ?? 0
  }

  /** Offsets that the slowest pipeline of the topic is behind. */
  #lag(topic: BoardTopic): number {
    const { prepared, board } = this.#options
    let worst = 0
    for (const pipeline of prepared.pipelines) {
      if (pipeline.topic.topicId !== topic.topicId) continue
      let lag = 0
      for (let partition = 0; partition < topic.partitions; partition++) {
        const end = board.logEnd[topic.slot + partition]!
        lag += Math.max(0, end - board.processed[pipeline.slot + partition]!)
      }
      worst = Math.max(worst, lag)
    }
    return worst
  }

  #cells(): Float64Array[] {
    return this.#options.blocks.map(({ block }) => new Float64Array(block))
  }
}
