/**
 * Result stream entries to JSON lines, for many of them: the same bytes that a sink's JSON has for the same record (a test
 * holds the two together), without making a record of each row. One object serves one (pipeline, partition).
 */
import {
  ENTRY_ALERT,
  ENTRY_LATE,
  ENTRY_RESULTS,
  LATE_HEADER_BYTES,
  RESULTS_HEADER_BYTES,
  SCORE_COLUMNS,
} from '../contract/entries.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import { decodeSeriesKey } from '../series/series-key.ts'
import { assert } from '../util/assert.ts'

/** Series whose labels are kept as JSON; only late samples need them. */
const SERIES_CACHED_MAX = 65_536

export interface ResultLinesOptions {
  readonly plan: PipelinePlan
  readonly partition: number
  readonly seriesKey: (seriesId: number) => Uint8Array | null
  /** JSON of an alert (its bytes as the chain wrote them) under this id. */
  readonly alertLine: (id: string, seq: number, alert: unknown) => string
}

export class ResultLines {
  readonly #options: ResultLinesOptions
  /** `"pipeline/partition/` */
  readonly #idHead: string
  /** `,"kind":"result","pipeline":"…","group":` */
  readonly #resultHead: string
  readonly #lateHead: string
  /** What stands before each column's number, in the order in which they are written, and which column it is. */
  readonly #before: string[] = []
  readonly #columns: number[] = []
  readonly #tail: string
  readonly #columnCount: number
  readonly #groups: string[] = []
  readonly #series = new Map<number, string>()

  constructor(options: ResultLinesOptions) {
    const { plan, partition } = options
    this.#options = options
    const name = JSON.stringify(plan.name)
    this.#idHead = `{"id":${name.slice(0, -1)}/${partition}/`
    this.#resultHead = `","kind":"result","pipeline":${name},"group":`
    this.#lateHead = `","kind":"late","pipeline":${name},"series":`
    const scored = plan.detectors.filter(({ column }) => column !== null).map((detector) => detector.name)
    const aggregates = plan.aggregates.map((aggregate) => aggregate.name)
    this.#columnCount = aggregates.length + SCORE_COLUMNS * scored.length
    let pending = ',"values":{'
    const column = (text: string, index: number): void => {
      this.#before.push(pending + text)
      this.#columns.push(index)
      pending = ''
    }
    for (const key of objectOrder(aggregates)) {
      column(`${pending === '' ? ',' : ''}${JSON.stringify(key)}:`, aggregates.indexOf(key))
    }
    pending += '},"scores":{'
    let first = true
    for (const key of objectOrder(scored)) {
      const at = aggregates.length + SCORE_COLUMNS * scored.indexOf(key)
      column(`${first ? '' : '},'}${JSON.stringify(key)}:{"score":`, at)
      column(',"expected":', at + 1)
      column(',"lower":', at + 2)
      column(',"upper":', at + 3)
      first = false
    }
    this.#tail = `${pending}${first ? '' : '}'}}}\n`
  }

  group(groupId: number, key: Uint8Array): void {
    this.#groups[groupId] = JSON.stringify(decodeSeriesKey(key))
  }

  /** Calls `line` with every row of the entry, newline included; returns their number. `bytes` is 8-byte aligned. */
  write(kind: number, seq: number, bytes: Uint8Array, length: number, line: (text: string) => void): number {
    if (kind === ENTRY_RESULTS) return this.#results(seq, bytes, line)
    if (kind === ENTRY_LATE) return this.#late(seq, bytes, line)
    assert(kind === ENTRY_ALERT, 'an entry of a kind that has lines', kind)
    const { partition, plan, alertLine } = this.#options
    const alert: unknown = JSON.parse(textDecoder.decode(bytes.subarray(0, length)))
    line(`${alertLine(`${plan.name}/${partition}/${seq}/0`, seq, alert)}\n`)
    return 1
  }

  #results(seq: number, bytes: Uint8Array, line: (text: string) => void): number {
    const i32 = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2)
    const f64 = new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length >> 3)
    const rows = i32[0]!
    assert(i32[1] === this.#columnCount, 'an entry has the columns of its plan', i32[1], this.#columnCount)
    const cells = RESULTS_HEADER_BYTES >> 3
    const groupsAt = (cells + rows * this.#columnCount) * 2
    const before = this.#before
    const columns = this.#columns
    const head = `${this.#idHead}${seq}/`
    const window = `,"windowStartMs":${f64[1]!},"windowEndMs":${f64[2]!}`
    for (let row = 0; row < rows; row++) {
      const group = this.#groups[i32[groupsAt + row]!]
      assert(group !== undefined, 'a group is announced before it is used', i32[groupsAt + row])
      let text = head + row + this.#resultHead + group + window
      for (let k = 0; k < columns.length; k++) {
        text += before[k]! + numberText(f64[cells + columns[k]! * rows + row]!)
      }
      line(text + this.#tail)
    }
    return rows
  }

  #late(seq: number, bytes: Uint8Array, line: (text: string) => void): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    const rows = view.getInt32(0, true)
    const stride = rows * 8
    for (let row = 0; row < rows; row++) {
      const at = LATE_HEADER_BYTES + row * 8
      const seriesId = view.getInt32(LATE_HEADER_BYTES + 3 * stride + row * 4, true)
      line(
        `${this.#idHead}${seq}/${row}${this.#lateHead}${this.#seriesJson(seriesId)}` +
          `,"timestampMs":${view.getFloat64(at, true)},"value":${numberText(view.getFloat64(at + stride, true))}` +
          `,"offset":${view.getFloat64(at + 2 * stride, true)}}\n`,
      )
    }
    return rows
  }

  #seriesJson(seriesId: number): string {
    const known = this.#series.get(seriesId)
    if (known !== undefined) return known
    const key = this.#options.seriesKey(seriesId)
    assert(key !== null, 'a series is stored before its samples', seriesId)
    const json = JSON.stringify(decodeSeriesKey(key))
    if (this.#series.size >= SERIES_CACHED_MAX) this.#series.clear()
    this.#series.set(seriesId, json)
    return json
  }
}

const textDecoder = new TextDecoder()

/** JSON knows neither NaN nor infinities; null says "no number". */
function numberText(value: number): string {
  return value - value === 0 ? String(value) : 'null'
}

/** The order in which JSON.stringify meets these names as keys of one object: those that look like indices come first. */
function objectOrder(names: readonly string[]): string[] {
  return Object.keys(Object.fromEntries(names.map((name) => [name, 0])))
}
