/**
 * What the query string of a write says: the topic and the unit of timestamps, in both of InfluxDB's dialects. `db`,
 * `rp`, `bucket`, `org` and whatever else clients send is accepted and ignored: topics are not databases. Clients send
 * the same string with every request, so readings are kept (bounded).
 */
import type { Fault } from '../contract/errors.ts'
import type { LinePrecision } from '../contract/ingest.ts'

export type Dialect = 'v1' | 'v2'

export const TOPIC_DEFAULT = 'metrics'
const TOPIC_LENGTH_MAX = 128

export type WriteParams =
  | { readonly topic: string; readonly precision: LinePrecision; readonly faults: null }
  | { readonly faults: readonly Fault[] }

/** v1 knows `n`, `u`, `ms`, `s`, `m`, `h` (and some clients say `ns` and `us`); v2 knows `ns`, `us`, `ms`, `s`. */
const PRECISIONS: Readonly<Record<Dialect, ReadonlyMap<string, LinePrecision>>> = {
  v1: new Map([
    ['n', 'ns'],
    ['ns', 'ns'],
    ['u', 'us'],
    ['us', 'us'],
    ['µ', 'us'],
    ['ms', 'ms'],
    ['s', 's'],
    ['m', 'm'],
    ['h', 'h'],
  ]),
  v2: new Map([
    ['ns', 'ns'],
    ['us', 'us'],
    ['ms', 'ms'],
    ['s', 's'],
  ]),
}

const READINGS_KEPT_MAX = 256
const QUERY_LENGTH_KEPT_MAX = 512
const readings: Readonly<Record<Dialect, Map<string, WriteParams>>> = { v1: new Map(), v2: new Map() }

export function readWriteParams(dialect: Dialect, query: string): WriteParams {
  const kept = readings[dialect]
  const known = kept.get(query)
  if (known !== undefined) return known
  const params = parse(dialect, query)
  if (query.length <= QUERY_LENGTH_KEPT_MAX) {
    if (kept.size >= READINGS_KEPT_MAX) kept.clear()
    kept.set(query, params)
  }
  return params
}

function parse(dialect: Dialect, query: string): WriteParams {
  const search = new URLSearchParams(query)
  const faults: Fault[] = []
  const known = PRECISIONS[dialect]
  const written = search.get('precision') || 'ns'
  const precision = known.get(written)
  if (precision === undefined) {
    faults.push({
      place: 'precision',
      value: written,
      problem: 'is not a unit of timestamps',
      remedy: `Use one of ${[...known.keys()].filter((key) => key !== 'µ').join(', ')}.`,
    })
  }
  const topic = search.get('topic') ?? TOPIC_DEFAULT
  if (topic === '' || topic.length > TOPIC_LENGTH_MAX) {
    faults.push({
      place: 'topic',
      value: topic,
      problem: topic === '' ? 'is empty' : `is longer than ${TOPIC_LENGTH_MAX} characters`,
      remedy: `Name a topic, or leave the parameter out for "${TOPIC_DEFAULT}".`,
    })
  }
  return precision === undefined || faults.length > 0 ? { faults } : { topic, precision, faults: null }
}
