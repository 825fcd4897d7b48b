/**
 * What a metric is, and where its cells lie in a block: a Float64Array that every thread has one of, with the same
 * layout, fixed by the order of the catalogue. Adding a metric to the catalogue is all it takes to get cells and a line
 * on /metrics. Used by catalog.ts only to define; everybody else imports the constants from there.
 *
 *     block:  | cells of metric 0 | cells of metric 1 | …
 *     metric: row-major [row][value][cell]; a counter or gauge has one cell, a histogram HISTOGRAM_CELLS
 */
import { assert } from '../util/assert.ts'
import { HISTOGRAM_CELLS } from './histogram.ts'

/** What the rows of a metric stand for. `thread`: one cell a block, labelled with the thread's name. */
export type Scope = 'node' | 'thread' | 'topic' | 'pipeline' | 'sink' | 'detector'

/** Rows kept apart a scope; the last one takes everything beyond and is labelled OTHER. */
export const ROWS_MAX: Readonly<Record<Scope, number>> = {
  node: 1,
  thread: 1,
  topic: 33,
  pipeline: 65,
  sink: 129,
  detector: 129,
}
export const OTHER = 'other'

/** How the cells of several threads become one number. */
export type Merge = 'sum' | 'min' | 'max'

export type MetricType = 'counter' | 'gauge' | 'histogram'

export interface Metric<V extends string = string, T extends MetricType = MetricType> {
  readonly name: string
  readonly type: T
  readonly help: string
  readonly scope: Scope
  readonly merge: Merge
  /** Name of the label whose values are known beforehand, and those values; null: no such label. */
  readonly label: string | null
  readonly values: readonly V[]
  /** Position of a value in `values`. */
  readonly valueIndex: Readonly<Record<V, number>>
  readonly rowsMax: number
  /** Position of its first cell in the block. */
  readonly at: number
  readonly cellsPerValue: number
  readonly cellCount: number
}

export interface MetricShape<V extends string> {
  readonly scope?: Scope
  readonly merge?: Merge
  readonly label?: string
  readonly values?: readonly V[]
}

const NO_VALUE = ''

/** Hands out cells in the order of definition. */
export class MetricList {
  readonly #metrics: Metric[] = []
  #cellCount = 0

  counter<V extends string = ''>(
    name: string,
    help: string,
    shape: MetricShape<V> = {},
  ): Metric<V, 'counter'> {
    return this.#define(name, 'counter', help, shape)
  }

  gauge<V extends string = ''>(name: string, help: string, shape: MetricShape<V> = {}): Metric<V, 'gauge'> {
    return this.#define(name, 'gauge', help, shape)
  }

  /** Of durations in seconds. */
  histogram<V extends string = ''>(
    name: string,
    help: string,
    shape: MetricShape<V> = {},
  ): Metric<V, 'histogram'> {
    return this.#define(name, 'histogram', help, shape)
  }

  get metrics(): readonly Metric[] {
    return this.#metrics
  }

  get cellCount(): number {
    return this.#cellCount
  }

  #define<V extends string, T extends MetricType>(
    name: string,
    type: T,
    help: string,
    shape: MetricShape<V>,
  ): Metric<V, T> {
    const scope = shape.scope ?? 'node'
    const values = shape.values ?? [NO_VALUE as V]
    assert((shape.label === undefined) === (shape.values === undefined), 'a label needs its values', name)
    const cellsPerValue = type === 'histogram' ? HISTOGRAM_CELLS : 1
    const rowsMax = ROWS_MAX[scope]
    const metric: Metric<V, T> = {
      name,
      type,
      help,
      scope,
      merge: shape.merge ?? 'sum',
      label: shape.label ?? null,
      values,
      valueIndex: Object.fromEntries(values.map((value, index) => [value, index])) as Record<V, number>,
      rowsMax,
      at: this.#cellCount,
      cellsPerValue,
      cellCount: rowsMax * values.length * cellsPerValue,
    }
    this.#metrics.push(metric)
    this.#cellCount += metric.cellCount
    return metric
  }
}

/** Position of the cells of one row and value; rows beyond the limit share the last. */
export function cellAt(metric: Metric, row: number, valueIndex: number): number {
  const last = metric.rowsMax - 1
  return metric.at + (Math.min(row, last) * metric.values.length + valueIndex) * metric.cellsPerValue
}
