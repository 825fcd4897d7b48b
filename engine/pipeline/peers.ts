/**
 * Groups that are held against each other: which labels they share, where they come together, and their values in one
 * window. All values of one set of peers are judged by one owner in one call, whatever the number of threads: sets are
 * chosen by labels, owners by labels that every set shares, and order within a set by value.
 */
import type { Fault } from '../contract/errors.ts'
import type { DetectorPlan, LabelMatcher, PipelinePlan, TopicSpec } from '../contract/plan.ts'
import type { Registry } from '../contract/plugins.ts'
import { decodeSeriesKey, groupKey } from '../series/series-key.ts'
import { isCovered } from './coverage.ts'
import type { ResultTable } from './entry-writer.ts'
import { LABEL_REMEDY, labelOf, labelProblem } from './matchers.ts'

/** A detector that holds groups against each other, and the labels that peers share. */
export interface PeersPlan {
  readonly name: string
  readonly by: readonly string[]
}

export function peersOf(detectors: readonly DetectorPlan[], registry: Registry): PeersPlan[] {
  return detectors.flatMap(({ name, kind, options }) => {
    const plugin = registry.detectors.get(kind)
    if (plugin?.peersBy === undefined || options === null) return []
    return [{ name, by: plugin.peersBy(options as never).map(labelOf) }]
  })
}

/** Labels that all of them share: groups with the same values of these get one owner. */
export function sharedBy(peers: readonly PeersPlan[]): readonly string[] {
  const [first, ...others] = peers
  if (first === undefined) return []
  return first.by.filter((label) => others.every(({ by }) => by.includes(label))).sort()
}

export function peersFaults(
  peers: readonly PeersPlan[],
  topic: TopicSpec | null,
  where: readonly LabelMatcher[],
  groupBy: readonly string[] | null,
  root: string,
): Fault[] {
  return peers.flatMap(({ name, by }): Fault[] => {
    const place = `${root}.detect(${name}).by`
    const bad = by.flatMap((label): Fault[] => {
      const problem = labelProblem(label)
      return problem === null ? [] : [{ place, value: label, problem, remedy: LABEL_REMEDY }]
    })
    if (bad.length > 0) return bad
    if (groupBy !== null) {
      return by
        .filter((label) => !groupBy.includes(label))
        .map((label) => ({
          place,
          value: label,
          problem: 'is no label that groups have',
          remedy: `Add it to groupBy, or name one of ${groupBy.join(', ') || 'none'}.`,
        }))
    }
    if (topic === null || isCovered(topic, where, by)) return []
    const labels = by.map((label) => JSON.stringify(label)).join(', ')
    return [
      {
        place,
        value: by,
        problem: `series that are peers lie in several partitions of topic "${topic.name}", each by itself`,
        remedy: `Group by labels, such as .groupBy(${[...by, 'instance'].map((label) => JSON.stringify(label)).join(', ')}), or declare topic("${topic.name}", { ${by.length === 0 ? 'partitions: 1' : `partitionBy: [${labels}]`} }).`,
      },
    ]
  })
}

/** The bytes by which the owner of a group is chosen: its key, or what it shares with its peers. */
export function ownerKey(plan: PipelinePlan, key: Uint8Array): Uint8Array {
  const by = plan.exchange?.by
  return by === undefined ? key : groupKey(decodeSeriesKey(key), by)
}

const NO_VALUES = new Float64Array(0)

/** Values of one detector's peers in the window that is about to be judged. */
export class PeerValues {
  readonly #by: readonly string[]
  readonly #keyOfRow: (row: number) => Uint8Array
  /** By row: its set, from 1; 0: not looked up yet. Follows from the groups' keys, so that no checkpoint needs it. */
  #sets: Int32Array = new Int32Array(0)
  readonly #known = new Map<string, number>()
  /** By set: values of the window so far, and how many. */
  #values: Float64Array[] = []
  readonly #counts: number[] = []
  #sorted: Float64Array[] = []

  constructor(by: readonly string[], keyOfRow: (row: number) => Uint8Array) {
    this.#by = by
    this.#keyOfRow = keyOfRow
  }

  /** A window is looked at from the start. */
  begin(): void {
    this.#counts.fill(0)
  }

  /** Takes some of the window's rows. O(rows). */
  collect(table: ResultTable, rows: Int32Array, column: number): void {
    const { cells, capacity, rowCount } = table
    const valueAt = column * capacity
    for (let j = 0; j < rowCount; j++) {
      const value = cells[valueAt + j]!
      if (!Number.isFinite(value)) continue
      const set = this.#setOf(rows[j]!)
      const count = this.#counts[set]!
      let values = this.#values[set]!
      if (count === values.length) {
        values = new Float64Array(Math.max(8, 2 * count))
        values.set(this.#values[set]!)
        this.#values[set] = values
      }
      values[count] = value
      this.#counts[set] = count + 1
    }
  }

  /** All of the window was taken. O(n log n). */
  settle(): void {
    this.#sorted = this.#values.map((values, set) => values.subarray(0, this.#counts[set]!).sort())
  }

  /** The window's values of a row's set, ascending. */
  of(row: number): Float64Array {
    return this.#sorted[this.#setOf(row)] ?? NO_VALUES
  }

  #setOf(row: number): number {
    if (row >= this.#sets.length) {
      const sets = new Int32Array(Math.max(64, 2 * (row + 1)))
      sets.set(this.#sets)
      this.#sets = sets
    }
    const known = this.#sets[row]!
    if (known !== 0) return known - 1
    const key = Buffer.from(groupKey(decodeSeriesKey(this.#keyOfRow(row)), this.#by)).toString('latin1')
    let set = this.#known.get(key)
    if (set === undefined) {
      set = this.#known.size
      this.#known.set(key, set)
      this.#values.push(NO_VALUES)
      this.#counts.push(0)
    }
    this.#sets[row] = set + 1
    return set
  }
}
