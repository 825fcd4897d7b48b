/**
 * What people say of alerts, over HTTP.
 *
 *     GET  /api/v1/feedback   pipeline, limit                                   what was said, newest first
 *     POST /api/v1/feedback   {"says": "expected", "alert": ID}
 *                             {"says": "missed", "pipeline": …, "detector": …, "series": {LABEL: VALUE}, "at": TIME}
 *                             {"says": "undo", "id": NUMBER}                    each with "note" and "by" if wanted
 *
 * Only this server's own page may post, and what is no page: a statement changes what alerts, so that it is asked more than
 * a write is.
 */
import { readTimeMs, TIME_ALLOWED } from '../config/times.ts'
import { type Fault, MillraceError } from '../contract/errors.ts'
import type { FeedbackAnswer, FeedbackDoor } from '../contract/feedback.ts'
import type { Clock } from '../util/clock.ts'
import { type Exchange, type Headers, sendJson } from './exchange.ts'
import { QueryParams } from './query-params.ts'
import { readSmallBody } from './small-body.ts'

/** Labels of a group and a note are longer than most small bodies. */
const BODY_BYTES_MAX = 16_384
const REMEDY =
  'Send {"says": "expected", "alert": ID}, {"says": "missed", "pipeline": …, "detector": …, "series": {…}, "at": TIME} or {"says": "undo", "id": NUMBER}.'

export async function handleFeedback(
  door: FeedbackDoor,
  exchange: Exchange,
  headers: Headers,
  clock: Clock,
): Promise<void> {
  const { req, res, query } = exchange
  if (req.method !== 'POST') {
    const params = new QueryParams(query, clock.nowMs())
    const pipeline = params.text('pipeline')
    const asked = { limit: params.limit(), ...(pipeline === undefined ? {} : { pipeline }) }
    const faults = params.end()
    if (faults.length > 0) throw MillraceError.ofFaults('INPUT_INVALID', 'the query string', faults)
    sendJson(res, 200, { rows: door.list(asked) }, headers)
    return
  }
  const body = await readSmallBody(exchange, { bytesMax: BODY_BYTES_MAX, remedy: REMEDY, headers })
  if (body !== null) sendJson(res, 200, await say(door, new Said(body), clock), headers)
}

function say(door: FeedbackDoor, said: Said, clock: Clock): Promise<FeedbackAnswer> {
  const words = { note: said.textOrNone('note'), by: said.textOrNone('by') }
  switch (said.text('says')) {
    case 'expected': {
      const alert = said.text('alert')
      said.end()
      return door.expected({ alert, ...words })
    }
    case 'missed': {
      const missed = {
        pipeline: said.text('pipeline'),
        detector: said.text('detector'),
        series: said.labels('series'),
        atMs: said.timeMs('at', clock.nowMs()),
      }
      said.end()
      return door.missed({ ...missed, ...words })
    }
    case 'undo': {
      const id = said.id('id')
      said.end()
      return door.undo({ id, ...words })
    }
    default:
      throw said.unknown('says', 'is not expected, missed or undo')
  }
}

/** A body, read by name; every fault of it is told at once. */
class Said {
  readonly #values: Readonly<Record<string, unknown>>
  readonly #known = new Set<string>()
  readonly #faults: Fault[] = []

  constructor(body: string) {
    let written: unknown
    try {
      written = JSON.parse(body)
    } catch {
      throw invalid([{ place: 'body', value: body, problem: 'is not JSON', remedy: REMEDY }])
    }
    if (typeof written !== 'object' || written === null || Array.isArray(written)) {
      throw invalid([{ place: 'body', value: written, problem: 'is not an object', remedy: REMEDY }])
    }
    this.#values = written as Readonly<Record<string, unknown>>
  }

  text(name: string): string {
    const value = this.#take(name)
    if (typeof value === 'string' && value !== '') return value
    this.#fault(name, value === undefined ? 'is missing' : 'is not a text')
    return ''
  }

  textOrNone(name: string): string | null {
    const value = this.#take(name) ?? null
    if (value === null || typeof value === 'string') return value === '' ? null : value
    this.#fault(name, 'is not a text')
    return null
  }

  labels(name: string): Readonly<Record<string, string>> {
    const value = this.#take(name)
    const isMap = typeof value === 'object' && value !== null && !Array.isArray(value)
    if (isMap && Object.values(value).every((one) => typeof one === 'string'))
      return value as Record<string, string>
    this.#fault(name, 'is not an object of labels and their values')
    return {}
  }

  timeMs(name: string, nowMs: number): number {
    const value = this.#take(name)
    const ms = readTimeMs(String(value), nowMs)
    if (ms === null || !Number.isFinite(ms) || Math.abs(ms) > TIME_MS_MAX) {
      this.#fault(name, 'is not a time', `Give ${TIME_ALLOWED}.`)
      return 0
    }
    return ms
  }

  id(name: string): number {
    const value = this.#take(name)
    if (Number.isSafeInteger(value) && (value as number) >= 1) return value as number
    this.#fault(name, 'is not the number of a statement', 'See GET /api/v1/feedback.')
    return 0
  }

  end(): void {
    for (const name of Object.keys(this.#values))
      if (!this.#known.has(name)) this.#fault(name, 'is not known here')
    if (this.#faults.length > 0) throw invalid(this.#faults)
  }

  unknown(name: string, problem: string): MillraceError {
    return invalid([{ place: name, value: this.#values[name], problem, remedy: REMEDY }])
  }

  #take(name: string): unknown {
    this.#known.add(name)
    return Object.hasOwn(this.#values, name) ? this.#values[name] : undefined
  }

  #fault(place: string, problem: string, remedy = REMEDY): void {
    this.#faults.push({ place, value: this.#values[place], problem, remedy })
  }
}

/** What a Date can hold. */
const TIME_MS_MAX = 8.64e15

function invalid(faults: readonly Fault[]): MillraceError {
  return MillraceError.ofFaults('INPUT_INVALID', 'nothing was changed', faults)
}
