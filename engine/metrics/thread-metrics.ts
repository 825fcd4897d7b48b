/**
 * A thread's own block of counters, gauges and histograms in shared memory. One writer a block (the thread), any number
 * of readers (the scrape): plain adds, no lock, no message, so a scrape answers even while a worker is stuck. A reader
 * may see one cell a moment before another; a single aligned Float64 is never seen torn on 64-bit machines. A thread
 * that is restarted gets its old block again, so that counters do not fall.
 *
 * Called once a batch, request or transaction, never once a sample.
 */
import { assert } from '../util/assert.ts'
import { BLOCK_CELLS, CATALOG } from './catalog.ts'
import { observeSeconds } from './histogram.ts'
import { cellAt, type Metric } from './metric.ts'

/** Main thread, before the thread starts. Gauges are NaN, that is absent, until they are set. */
export function createMetricsBlock(): SharedArrayBuffer {
  const block = new SharedArrayBuffer(BLOCK_CELLS * Float64Array.BYTES_PER_ELEMENT)
  const cells = new Float64Array(block)
  for (const metric of CATALOG) {
    if (metric.type === 'gauge') cells.fill(Number.NaN, metric.at, metric.at + metric.cellCount)
  }
  return block
}

export class ThreadMetrics {
  readonly #cells: Float64Array

  constructor(block: SharedArrayBuffer) {
    this.#cells = new Float64Array(block)
    assert(this.#cells.length === BLOCK_CELLS, 'a block of another layout', this.#cells.length, BLOCK_CELLS)
  }

  /** `row`: position of the topic, pipeline or sink in the names that the exporter was given. */
  add<V extends string>(metric: Metric<V, 'counter'>, amount: number, row = 0, value?: V): void {
    this.#cells[this.#cellAt(metric, row, value)]! += amount
  }

  set<V extends string>(metric: Metric<V, 'gauge'>, amount: number, row = 0, value?: V): void {
    this.#cells[this.#cellAt(metric, row, value)] = amount
  }

  /** A duration, in a histogram. */
  observe<V extends string>(metric: Metric<V, 'histogram'>, seconds: number, row = 0, value?: V): void {
    observeSeconds(this.#cells, this.#cellAt(metric, row, value), seconds)
  }

  #cellAt<V extends string>(metric: Metric<V>, row: number, value: V | undefined): number {
    return cellAt(metric, row, value === undefined ? 0 : metric.valueIndex[value])
  }
}
