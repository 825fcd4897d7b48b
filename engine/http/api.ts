/**
 * The JSON API: a query string in, committed data out. Bad parameters are told all at once, with what to write instead.
 *
 *     GET /api/v1/results         pipeline, group.LABEL, from, to, limit, cursor
 *     GET /api/v1/alerts          pipeline, state                              alerts as they stand now
 *     GET /api/v1/alerts/history  pipeline, group.LABEL, state, from, to, limit, cursor
 *     GET /api/v1/incidents       pipeline, from, by, gap                      alerts that belong together
 *     GET /api/v1/silences        state                                        (POST: silences.ts)
 *     GET /api/v1/late            pipeline, from, to, limit, cursor
 *     GET /api/v1/dead-letters    pipeline
 *     GET /api/v1/explain         pipeline, detector, group.LABEL              what detectors decided for a series
 *     GET /api/v1/pipelines
 *     GET /api/v1/status
 */
import { MillraceError } from '../contract/errors.ts'
import type { Queries } from '../contract/queries.ts'
import { SILENCE_STATES } from '../contract/silences.ts'
import type { Clock } from '../util/clock.ts'
import { QueryParams } from './query-params.ts'

/** Incidents of the last day, where nothing is said. */
const INCIDENTS_FROM_MS = 86_400_000

export type ApiQuestion = (queries: Queries, params: QueryParams) => Promise<unknown>

export const API: Readonly<Record<string, ApiQuestion>> = {
  '/api/v1/results': (queries, params) => {
    const query = { ...pageOf(params), ...given({ group: params.group() }) }
    return asked(params, () => queries.results(query))
  },
  '/api/v1/alerts': async (queries, params) => {
    const query = given({ pipeline: params.text('pipeline'), state: params.state() })
    return { rows: await asked(params, () => queries.alerts(query)) }
  },
  '/api/v1/alerts/history': (queries, params) => {
    const query = { ...pageOf(params), ...given({ group: params.group(), state: params.state() }) }
    return asked(params, () => queries.alertHistory(query))
  },
  '/api/v1/incidents': (queries, params) => {
    const pipeline = params.text('pipeline')
    const fromMs = params.timeMs('from') ?? params.nowMs - INCIDENTS_FROM_MS
    const query = { fromMs, ...given({ pipeline, by: params.names('by'), gapMs: params.durationMs('gap') }) }
    return asked(params, () => queries.incidents(query))
  },
  '/api/v1/silences': async (queries, params) => {
    const query = given({ state: params.oneOf('state', SILENCE_STATES) })
    return { rows: await asked(params, () => queries.silences(query)) }
  },
  '/api/v1/late': (queries, params) => {
    const query = pageOf(params)
    return asked(params, () => queries.late(query))
  },
  '/api/v1/dead-letters': async (queries, params) => {
    const query = given({ pipeline: params.text('pipeline') })
    return { rows: await asked(params, () => queries.deadLetters(query)) }
  },
  '/api/v1/explain': async (queries, params) => {
    const query = given({ pipeline: params.text('pipeline'), detector: params.text('detector') })
    const group = params.someGroup()
    if (query.detector !== undefined && query.pipeline === undefined) {
      params.required('pipeline', 'Name the pipeline whose detector it is.')
    }
    return { rows: await asked(params, () => queries.explain({ ...query, group })) }
  },
  '/api/v1/pipelines': async (queries, params) => ({
    rows: await asked(params, () => queries.pipelines()),
  }),
  '/api/v1/status': (queries, params) => asked(params, () => queries.status()),
}

export function askApi(
  question: ApiQuestion,
  queries: Queries,
  query: string,
  clock: Clock,
): Promise<unknown> {
  return question(queries, new QueryParams(query, clock.nowMs()))
}

/** Only a question without faults is put. */
async function asked<T>(params: QueryParams, put: () => Promise<T>): Promise<T> {
  const faults = params.end()
  if (faults.length > 0) throw MillraceError.ofFaults('INPUT_INVALID', 'the query string', faults)
  return put()
}

function pageOf(params: QueryParams) {
  return {
    pipeline: params.required('pipeline', 'Name one of GET /api/v1/pipelines.'),
    limit: params.limit(),
    ...given({ cursor: params.text('cursor'), fromMs: params.timeMs('from'), toMs: params.timeMs('to') }),
  }
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> }

/** Parameters left out are left out of the question too. */
function given<T extends object>(values: T): Given<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Given<T>
}
