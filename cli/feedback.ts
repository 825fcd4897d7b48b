/**
 * `millrace alerts expected`, `missed`, `undo`: what a person thinks of an alert, told to the node that runs, since it changes
 * what alerts from then on. `millrace alerts feedback`: what was said so far; the store tells as well.
 */
import { userInfo } from 'node:os'
import type { ArgsDef } from 'citty'
import { readTimeMs, TIME_ALLOWED } from '../engine/config/times.ts'
import { type Fault, MillraceError } from '../engine/contract/errors.ts'
import { BY_LENGTH_MAX, type FeedbackAnswer, type FeedbackStatement } from '../engine/contract/feedback.ts'
import { QUERY_ROWS_MAX } from '../engine/contract/queries.ts'
import { seriesText } from '../engine/series/series-key.ts'
import { askNodeOnly, askNodeOrStore, tellNode } from './ask.ts'
import { type Colours, colours, wantsColour } from './colour.ts'
import { readSeries } from './read-series.ts'
import { EXIT_OK, EXIT_USAGE, type Shell } from './shell.ts'
import { timeText } from './time-text.ts'

const SAYINGS = ['expected', 'missed', 'feedback', 'undo'] as const
type Saying = (typeof SAYINGS)[number]

const USAGE: Readonly<Record<Saying, string>> = {
  expected: 'name one alert by its id (millrace alerts list --json), as in: millrace alerts expected ID',
  missed:
    "name a pipeline and one series, as in: millrace alerts missed cpu-load 'host=a' --detector mean-ewma --at -1h",
  feedback: 'takes nothing behind it, as in: millrace alerts feedback --pipeline cpu-load',
  undo: 'name one statement by its number (millrace alerts feedback), as in: millrace alerts undo 3',
}
const WORDS: Readonly<Record<Saying, number>> = { expected: 1, missed: 2, feedback: 0, undo: 1 }

export const feedbackFlags: ArgsDef = {
  at: {
    type: 'string',
    valueHint: 'time',
    description: 'missed: a time within the window it should have told of',
  },
  note: { type: 'string', valueHint: 'text', description: 'expected, missed, undo: why, for others' },
  by: {
    type: 'string',
    valueHint: 'name',
    description: 'expected, missed, undo: who says so (default: you)',
  },
}

export function isFeedback(action: string): action is Saying {
  return SAYINGS.some((one) => one === action)
}

export async function runFeedback(
  saying: Saying,
  words: readonly string[],
  args: Readonly<Record<string, unknown>>,
  shell: Shell,
): Promise<number> {
  if (words.length !== WORDS[saying]) {
    shell.err(`millrace alerts ${saying}: ${USAGE[saying]}\n`)
    return EXIT_USAGE
  }
  if (saying === 'feedback') return runList(args, shell)
  const body = { ...bodyOf(saying, words, args, shell), ...wordsOf(args) }
  const node = await askNodeOnly(args, shell)
  try {
    const answer = (await tellNode(node.url!, '/api/v1/feedback', 'POST', body)) as FeedbackAnswer
    if (args.json === true) shell.out(`${JSON.stringify(answer, null, 2)}\n`)
    else {
      const { isRepeated, statement, meaning } = answer
      shell.out(`${meaning}\n`)
      const undo = `millrace alerts undo ${statement.id}`
      if (!isRepeated && statement.says !== 'undo')
        shell.out(`Statement ${statement.id}; ${undo} takes it back.\n`)
    }
    return EXIT_OK
  } finally {
    await node.close()
  }
}

function bodyOf(
  saying: Exclude<Saying, 'feedback'>,
  words: readonly string[],
  args: Readonly<Record<string, unknown>>,
  shell: Shell,
): object {
  const faults: Fault[] = []
  const body = { says: saying }
  const done = (more: object): object => {
    if (faults.length > 0) throw MillraceError.ofFaults('INPUT_INVALID', 'nothing was said', faults)
    return { ...body, ...more }
  }
  if (saying === 'expected') return done({ alert: words[0] })
  if (saying === 'undo') {
    const id = /^[1-9]\d{0,14}$/.test(words[0]!) ? Number(words[0]) : 0
    if (id === 0) {
      const remedy = 'See millrace alerts feedback.'
      faults.push({ place: 'undo', value: words[0], problem: 'is not the number of a statement', remedy })
    }
    return done({ id })
  }
  const { detector, at } = args
  if (typeof detector !== 'string') {
    const remedy = 'Name the detector that should have told; millrace explain shows those there are.'
    faults.push({ place: '--detector', value: detector, problem: 'is missing', remedy })
  }
  const atMs = typeof at === 'string' ? readTimeMs(at, shell.clock.nowMs()) : null
  if (atMs === null) {
    const problem = at === undefined ? 'is missing' : 'is not a time'
    faults.push({ place: '--at', value: at, problem, remedy: `Write ${TIME_ALLOWED}.` })
  }
  return done({ pipeline: words[0], detector, series: readSeries(words[1]!), at: atMs })
}

function wordsOf({ note, by }: Readonly<Record<string, unknown>>): object {
  return {
    ...(typeof note === 'string' ? { note } : {}),
    by: typeof by === 'string' ? by : userName(),
  }
}

/** Null: a user without a name, as in some containers. */
function userName(): string | null {
  try {
    return userInfo().username.slice(0, BY_LENGTH_MAX)
  } catch {
    return null
  }
}

async function runList(args: Readonly<Record<string, unknown>>, shell: Shell): Promise<number> {
  const answers = await askNodeOrStore(args, shell)
  try {
    const named = typeof args.pipeline === 'string' ? { pipeline: args.pipeline } : {}
    const found = await answers.feedback({ ...named, limit: QUERY_ROWS_MAX })
    const paint = colours(wantsColour(shell.outIsTerminal === true, shell.env))
    if (args.json === true) shell.out(`${JSON.stringify({ rows: found }, null, 2)}\n`)
    else if (found.length === 0) shell.err('nothing was said of alerts so far\n')
    else shell.out(found.map((statement) => `${statementLine(statement, paint)}\n`).join(''))
    return EXIT_OK
  } finally {
    await answers.close()
  }
}

/** `3  2026-01-31 12:00:05Z  expected  cpu-load/mean-ewma cpu{host="a"} of 2026-01-31 11:58:00Z: 1 → 1.4  ("backup runs", ada)` */
function statementLine(statement: FeedbackStatement, paint: Colours): string {
  const { id, says, of, saidMs, pipeline, detector, group, timeMs, before, after, note, by, undoneBy } =
    statement
  const what = says === 'undo' ? `undo of ${of}` : says
  const where = `${pipeline}/${detector} ${seriesText(group)} of ${timeText(timeMs)}`
  const why = [...(note === null ? [] : [JSON.stringify(note)]), ...(by === null ? [] : [by])].join(', ')
  const back = undoneBy === null ? '' : `  ${paint.dim(`taken back by ${undoneBy}`)}`
  return `${String(id).padStart(4)}  ${paint.dim(timeText(saidMs))}  ${what.padEnd(8)}  ${where}: ${before} → ${after}${why === '' ? '' : `  (${why})`}${back}`
}
