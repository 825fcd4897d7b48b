/**
 * Query strings of the JSON API, read into the questions of engine/contract/queries.ts. Every fault of a string is
 * found, and all are told at once. Times are epoch milliseconds, ISO 8601, or how long ago: `-15m`.
 */
import { knownRemedy } from '../config/did-you-mean.ts'
import { readTimeMs, TIME_ALLOWED } from '../config/times.ts'
import { DURATION_ALLOWED, readDurationMs } from '../config/units.ts'
import type { AlertState } from '../contract/alert.ts'
import type { Fault } from '../contract/errors.ts'
import { QUERY_ROWS_DEFAULT, QUERY_ROWS_MAX } from '../contract/queries.ts'
import type { Labels } from '../contract/samples.ts'

const ALERT_STATES: readonly AlertState[] = ['pending', 'firing', 'resolved']
const GROUP_PREFIX = 'group.'
const TIME_REMEDY = `Give ${TIME_ALLOWED}.`

export class QueryParams {
  readonly faults: Fault[] = []
  readonly #search: URLSearchParams
  readonly #known = new Set<string>()
  readonly nowMs: number

  constructor(query: string, nowMs: number) {
    this.#search = new URLSearchParams(query)
    this.nowMs = nowMs
  }

  text(name: string): string | undefined {
    this.#known.add(name)
    const value = this.#search.get(name)
    if (value === null || value !== '') return value ?? undefined
    this.#fault(name, value, 'is empty', 'Give a value, or leave the parameter out.')
    return undefined
  }

  required(name: string, remedy: string): string {
    const value = this.text(name)
    if (value === undefined && !this.#search.has(name)) this.#fault(name, undefined, 'is missing', remedy)
    return value ?? ''
  }

  timeMs(name: string): number | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    const ms = readTimeMs(value, this.nowMs)
    if (ms === null) this.#fault(name, value, 'is not a time', TIME_REMEDY)
    return ms ?? undefined
  }

  durationMs(name: string): number | undefined {
    const value = this.text(name)
    if (value === undefined) return undefined
    const read = readDurationMs(value)
    if ('value' in read) return read.value
    this.#fault(name, value, read.problem, `Give ${DURATION_ALLOWED}.`)
    return undefined
  }

  /** Separated by commas. */
  names(name: string): readonly string[] | undefined {
    const names = this.text(name)
      ?.split(',')
      .map((one) => one.trim())
    if (names?.includes('')) {
      this.#fault(name, this.#search.get(name), 'holds an empty name', 'Give names with commas between them.')
    }
    return names
  }

  limit(): number {
    const value = this.text('limit')
    if (value === undefined) return QUERY_ROWS_DEFAULT
    const rows = /^\d+$/.test(value) ? Number(value) : 0
    if (rows >= 1 && rows <= QUERY_ROWS_MAX) return rows
    this.#fault('limit', value, 'is not a number of rows', `Give a whole number from 1 to ${QUERY_ROWS_MAX}.`)
    return QUERY_ROWS_DEFAULT
  }

  state(): AlertState | undefined {
    const value = this.text('state')
    if (value === undefined) return undefined
    const state = ALERT_STATES.find((each) => each === value)
    if (state === undefined) {
      this.#fault('state', value, 'is not a state of alerts', knownRemedy(value, ALERT_STATES))
    }
    return state
  }

  oneOf<T extends string>(name: string, known: readonly T[]): T | undefined {
    const value = this.text(name)
    const found = known.find((each) => each === value)
    if (value !== undefined && found === undefined)
      this.#fault(name, value, 'is not one of the choices', knownRemedy(value, known))
    return found
  }

  /** `group.LABEL=VALUE`, as often as there are labels. */
  group(): Labels | undefined {
    const labels: [string, string][] = []
    for (const [name, value] of this.#search) {
      if (!name.startsWith(GROUP_PREFIX)) continue
      this.#known.add(name)
      labels.push([name.slice(GROUP_PREFIX.length), value])
    }
    this.#known.add(`${GROUP_PREFIX}LABEL`)
    return labels.length === 0 ? undefined : Object.fromEntries(labels)
  }

  /** As `group`, with one label at least. */
  someGroup(): Labels {
    const group = this.group()
    if (group !== undefined) return group
    this.#fault(`${GROUP_PREFIX}LABEL`, undefined, 'is missing', 'Name the series, as in group.host=a.')
    return {}
  }

  /** After all the others: whatever was not asked for is a slip of the pen. */
  end(): readonly Fault[] {
    for (const name of new Set(this.#search.keys())) {
      if (this.#known.has(name)) continue
      this.#fault(name, this.#search.get(name), 'is not a parameter here', knownRemedy(name, this.#known))
    }
    return this.faults
  }

  #fault(place: string, value: unknown, problem: string, remedy: string): void {
    this.faults.push({ place, value, problem, remedy })
  }
}
